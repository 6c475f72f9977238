/** Kernel images made for tests: whole, and easy to damage. */

export interface BzImageOptions {
  readonly protocol?: number;
  readonly is64?: boolean;
  readonly relocatable?: boolean;
  readonly payload?: number;
  readonly initSize?: number;
  readonly preferredAddress?: number;
  readonly initrdLimit?: number;
  readonly commandLineSize?: number;
}

/** A bzImage with two setup sectors, whose protected-mode part counts 0, 1, 2, ... */
export function bzImage(options: BzImageOptions = {}): Uint8Array {
  const { protocol = 0x20f, is64 = true, relocatable = true, payload = 0x8000, initSize = 0x400000, preferredAddress = 0x1000000 } = options;
  const setup = 3 * 512;
  const image = new Uint8Array(setup + payload);
  const view = new DataView(image.buffer);
  image[0x1f1] = 2;
  view.setUint32(0x1f4, payload / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  image.set([0xeb, 0x6a], 0x200);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, protocol, true);
  image[0x211] = 0x01;
  view.setUint32(0x214, 0x100000, true);
  view.setUint32(0x22c, options.initrdLimit ?? 0x7fffffff, true);
  view.setUint32(0x230, 0x200000, true);
  image[0x234] = relocatable ? 1 : 0;
  view.setUint16(0x236, is64 ? 1 : 0, true);
  view.setUint32(0x238, options.commandLineSize ?? 2047, true);
  view.setUint32(0x248, 0x100, true);
  view.setUint32(0x24c, payload - 0x100, true);
  view.setBigUint64(0x258, BigInt(preferredAddress), true);
  view.setUint32(0x260, initSize, true);
  for (let index = 0; index < payload; index++) image[setup + index] = index & 0xff;
  return image;
}

export interface ElfSegmentOptions {
  readonly address: number;
  readonly virtual?: number;
  readonly data: Uint8Array;
  readonly memoryLength?: number;
}

/** An ELF file with a multiboot header right behind its program headers. */
export function multibootElf(wide: boolean, entry: number, segments: readonly ElfSegmentOptions[], flags = 0x3): Uint8Array {
  const headerSize = wide ? 64 : 52;
  const entrySize = wide ? 56 : 32;
  const table = headerSize;
  const multiboot = table + entrySize * segments.length;
  const body = multiboot + 32;
  const image = new Uint8Array(body + segments.reduce((sum, { data }) => sum + data.length, 0));
  const view = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, wide ? 62 : 3, true);
  const word = (offset: number, value: number): void => (wide ? view.setBigUint64(offset, BigInt(value), true) : view.setUint32(offset, value, true));
  word(24, entry);
  word(wide ? 32 : 28, table);
  view.setUint16(wide ? 54 : 42, entrySize, true);
  view.setUint16(wide ? 56 : 44, segments.length, true);
  let next = body;
  segments.forEach(({ address, virtual = address, data, memoryLength = data.length }, index) => {
    const at = table + index * entrySize;
    view.setUint32(at, 1, true);
    const step = wide ? 8 : 4;
    [next, virtual, address, data.length, memoryLength].forEach((value, place) => word(at + step + place * step, value));
    image.set(data, next);
    next += data.length;
  });
  multibootHeader(view, multiboot, flags);
  return image;
}

/** A flat image with the address fields: header first, then `code`. */
export function multibootFlat(load: number, code: Uint8Array, bss: number): Uint8Array {
  const image = new Uint8Array(32 + code.length);
  const view = new DataView(image.buffer);
  multibootHeader(view, 0, 0x10003);
  [load, load, load + image.length, load + image.length + bss, load + 32].forEach((value, index) => view.setUint32(12 + index * 4, value, true));
  image.set(code, 32);
  return image;
}

function multibootHeader(view: DataView, at: number, flags: number): void {
  view.setUint32(at, 0x1badb002, true);
  view.setUint32(at + 4, flags, true);
  view.setUint32(at + 8, -(0x1badb002 + flags) >>> 0, true);
}
