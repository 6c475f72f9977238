/**
 * A device for test programs of processors and interrupt controllers, absent unless asked for: a register that keeps what is written, wires to
 * every interrupt line, and memory that only MMIO reaches. Ports and addresses are those of QEMU's `pc-testdev`, which such programs expect.
 */

import { StateReader } from '../platform/state.ts';
import { extract, insert } from '../platform/device.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from '../platform/device.ts';
import type { LevelInterrupt } from '../platform/interrupts.ts';

const LINES = 24;
const MEMORY_LENGTH = 0x10000;
/** Where the ranges lie in the device's own register space. */
const REGISTER = 0;
const FLUSH = 4;
const WIRES = 0x100;
const MEMORY = MEMORY_LENGTH;

export class TestDevice implements Device {
  readonly name = 'test-device';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [
    { space: 'port', base: 0xe0, length: 4, offset: REGISTER, width: 4 },
    { space: 'port', base: 0xe4, length: 4, offset: FLUSH, width: 4 },
    { space: 'port', base: 0x2000, length: LINES, offset: WIRES, width: 1 },
    { space: 'memory', base: 0xff000000, length: MEMORY_LENGTH, offset: MEMORY, width: 4 },
  ];
  private readonly wires: readonly LevelInterrupt[];
  private register = 0;
  private levels = 0;
  private readonly memory = new DataView(new ArrayBuffer(MEMORY_LENGTH));

  /** @param wire a source of its own on interrupt line 0 to 23 */
  constructor(wire: (line: number) => LevelInterrupt) {
    this.wires = Array.from({ length: LINES }, (_, line) => wire(line));
  }

  reset(): void {
    this.register = 0;
    this.drive(0);
    new Uint8Array(this.memory.buffer).fill(0);
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= MEMORY) return this.readMemory(offset - MEMORY, size);
    return offset < FLUSH ? extract(this.register, offset, size) : 0;
  }

  /** A write to FLUSH makes QEMU forget a page of guest memory; here nothing keeps any. */
  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= MEMORY) this.writeMemory(offset - MEMORY, size, value);
    else if (offset >= WIRES) this.drive(value === 0 ? this.levels & ~(1 << (offset - WIRES)) : this.levels | (1 << (offset - WIRES)));
    else if (offset < FLUSH) this.register = insert(this.register, offset, size, value);
  }

  saveState(): DeviceState {
    return { version: this.version, register: this.register, levels: this.levels, memory: Buffer.from(this.memory.buffer).toString('base64') };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const register = reader.uint('register', 32);
    const levels = reader.uint('levels', LINES);
    const memory = reader.bytes('memory', MEMORY_LENGTH);
    this.register = register;
    this.drive(levels);
    new Uint8Array(this.memory.buffer).set(memory);
  }

  private drive(levels: number): void {
    this.levels = levels;
    this.wires.forEach((wire, line) => wire.set(((levels >> line) & 1) !== 0));
  }

  private readMemory(at: number, size: AccessSize): number {
    if (size === 1) return this.memory.getUint8(at);
    return size === 2 ? this.memory.getUint16(at, true) : this.memory.getUint32(at, true);
  }

  private writeMemory(at: number, size: AccessSize, value: number): void {
    if (size === 1) this.memory.setUint8(at, value);
    else if (size === 2) this.memory.setUint16(at, value, true);
    else this.memory.setUint32(at, value, true);
  }
}
