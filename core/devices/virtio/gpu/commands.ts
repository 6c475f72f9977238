/** Commands of a virtio GPU and their layouts. @virtio 5.7.6 */

export const gpuCommand = {
  getDisplayInfo: 0x0100, createResource: 0x0101, unrefResource: 0x0102, setScanout: 0x0103, flush: 0x0104, transferToHost: 0x0105,
  attachBacking: 0x0106, detachBacking: 0x0107, getEdid: 0x010a, updateCursor: 0x0300, moveCursor: 0x0301,
} as const;

export const gpuResponse = {
  ok: 0x1100, displayInfo: 0x1101, edid: 0x1104, unspecified: 0x1200, outOfMemory: 0x1201, invalidScanout: 0x1202, invalidResource: 0x1203, invalidParameter: 0x1205,
} as const;
export type GpuResponse = (typeof gpuResponse)[keyof typeof gpuResponse];

/** Of every command and response: type, flags, fence, context. */
export const HEADER_BYTES = 24;
/** The longest command apart from the entries behind one. */
export const COMMAND_BYTES = 56;
export const MEMORY_ENTRY_BYTES = 16;
export const DISPLAY_INFO_BYTES = HEADER_BYTES + 16 * 24;
export const EDID_RESPONSE_BYTES = HEADER_BYTES + 8 + 1024;
const fenced = 1;

/** A command was refused: the response says why. */
export class GpuError extends Error {
  override readonly name = 'GpuError';
  readonly response: GpuResponse;

  constructor(response: GpuResponse) {
    super(`response ${response.toString(16)}H`);
    this.response = response;
  }
}

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function within({ x, y, width, height }: Rectangle, whole: { readonly width: number; readonly height: number }): boolean {
  return width > 0 && height > 0 && x + width <= whole.width && y + height <= whole.height;
}

/** Fields of a command by their offsets. */
export class GpuCommand {
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get type(): number {
    return this.word(0);
  }

  word(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  /** A 64-bit number; what is beyond 2^53 loses low bits, and no memory is there. */
  long(offset: number): number {
    return this.word(offset + 4) * 2 ** 32 + this.word(offset);
  }

  rectangle(offset: number): Rectangle {
    return { x: this.word(offset), y: this.word(offset + 4), width: this.word(offset + 8), height: this.word(offset + 12) };
  }

  /** A response of so many bytes: a fence goes back with it, since the command is done. */
  response(type: GpuResponse, length = HEADER_BYTES): DataView {
    const view = new DataView(new ArrayBuffer(length));
    view.setUint32(0, type, true);
    if ((this.word(4) & fenced) === 0) return view;
    view.setUint32(4, fenced, true);
    for (const offset of [8, 12, 16]) view.setUint32(offset, this.word(offset), true);
    return view;
  }
}
