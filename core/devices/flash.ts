/** NOR flash with Intel's command set, as UEFI firmware keeps its variables in. One byte wide, blocks of 4 KiB. */

import { StateReader } from '../platform/state.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from '../platform/device.ts';

const command = {
  program: 0x10, programAlternate: 0x40, erase: 0x20, clearStatus: 0x50, readStatus: 0x70, readIdentity: 0x90, query: 0x98, confirm: 0xd0,
  bufferedProgram: 0xe8, readArray: 0xff,
} as const;
const ready = 0x80;
const blockBytes = 4096;
const bufferLimit = 256;

/** Firmware and its variables have less than this below 4 GiB. */
export const FLASH_MAXIMUM = 4 << 20;

/** Whether bytes, or a file of them, can be the content of a flash: whole blocks. */
export function fitsFlash({ length }: { readonly length: number }): boolean {
  return length > 0 && length % blockBytes === 0 && length <= FLASH_MAXIMUM;
}

/** What the next write means. */
const modes = ['array', 'status', 'identity', 'program', 'erase', 'buffer-length', 'buffer-data', 'buffer-confirm'] as const;
type Mode = (typeof modes)[number];

export class Flash implements Device {
  readonly name = 'flash';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[];
  /** What is in it. */
  readonly data: Uint8Array;
  /** Called when contents have changed. */
  onChange: () => void = () => {};
  private mode: Mode = 'array';
  private status = ready;
  /** Bytes that a buffered program still takes, and those that it has taken. */
  private expected = 0;
  private buffer: { readonly at: number; readonly value: number }[] = [];

  /** @param data a multiple of 4 KiB; the flash keeps it and changes it */
  constructor(base: number, data: Uint8Array) {
    this.data = data;
    this.ranges = [{ space: 'memory', base, length: data.length, offset: 0, width: 4 }];
  }

  /** Contents outlive it. */
  reset(): void {
    this.mode = 'array';
    this.status = ready;
    this.expected = 0;
    this.buffer = [];
  }

  read(offset: number, size: AccessSize): number {
    return Array.from({ length: size }, (_, index) => this.byte(offset + index)).reduceRight((value, byte) => value * 256 + byte, 0);
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let index = 0; index < size; index++) this.writeByte(offset + index, (value >>> (index * 8)) & 0xff);
  }

  saveState(): DeviceState {
    const { mode, status, expected } = this;
    const buffer = this.buffer.flatMap(({ at, value }) => [at, value]);
    return { version: this.version, mode, status, expected, buffer, data: Buffer.from(this.data).toString('base64') };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const mode = reader.word('mode', modes);
    const status = reader.uint('status', 8);
    const expected = reader.integer('expected', 0, bufferLimit);
    const flat = reader.uints('buffer', 32, bufferLimit * 2, false);
    const data = reader.bytes('data', this.data.length);
    if (flat.length % 2 !== 0) reader.refuse('buffer', 'pairs of place and value');
    this.mode = mode;
    this.status = status;
    this.expected = expected;
    this.buffer = Array.from({ length: flat.length / 2 }, (_, index) => ({ at: flat[index * 2] ?? 0, value: (flat[index * 2 + 1] ?? 0) & 0xff }));
    this.data.set(data);
    this.onChange();
  }

  private byte(offset: number): number {
    if (this.mode === 'array') return this.data[offset] ?? 0xff;
    // Manufacturer and device: Intel's, a boot block part.
    if (this.mode === 'identity') return (offset & 0xff) === 0 ? 0x89 : (offset & 0xff) === 1 ? 0x18 : 0;
    return this.status;
  }

  private writeByte(offset: number, value: number): void {
    switch (this.mode) {
      case 'program':
        this.program(offset, value);
        this.finish();
        break;
      case 'erase':
        if (value === command.confirm) this.erase(offset);
        this.finish();
        break;
      case 'buffer-length':
        this.expected = Math.min(value + 1, bufferLimit);
        this.buffer = [];
        this.mode = 'buffer-data';
        break;
      case 'buffer-data':
        this.buffer.push({ at: offset, value });
        this.expected--;
        if (this.expected === 0) this.mode = 'buffer-confirm';
        break;
      case 'buffer-confirm':
        if (value === command.confirm) for (const { at, value: byte } of this.buffer) this.program(at, byte);
        this.buffer = [];
        this.finish();
        break;
      default:
        this.command(value);
    }
  }

  private command(value: number): void {
    switch (value) {
      case command.program: case command.programAlternate:
        this.mode = 'program';
        break;
      case command.erase:
        this.mode = 'erase';
        break;
      case command.bufferedProgram:
        this.mode = 'buffer-length';
        this.status |= ready;
        break;
      case command.readStatus:
        this.mode = 'status';
        break;
      case command.readIdentity: case command.query:
        this.mode = 'identity';
        break;
      case command.clearStatus:
        this.status = 0;
        this.mode = 'array';
        break;
      default:
        this.mode = 'array';
    }
  }

  /** Programming clears bits; only erasing sets them. */
  private program(offset: number, value: number): void {
    if (offset < this.data.length) this.data[offset] = (this.data[offset] ?? 0) & value;
  }

  private erase(offset: number): void {
    const first = offset - (offset % blockBytes);
    this.data.fill(0xff, first, first + blockBytes);
  }

  private finish(): void {
    this.mode = 'status';
    this.status |= ready;
    this.onChange();
  }
}
