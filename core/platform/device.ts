/** The one interface of every device model: ranges of registers, reads, writes, reset, versioned state. */

/** Width of an access in bytes. Eight-byte MMIO arrives as two four-byte accesses unless the device is a `WideDevice`. */
export type AccessSize = 1 | 2 | 4;

/** A run of ports or guest-physical addresses that a device answers. */
export interface DeviceRange {
  readonly space: 'port' | 'memory';
  /** First port or guest-physical address. */
  readonly base: number;
  readonly length: number;
  /** Where `base` lies in the device's own register space: the offsets that `read` and `write` see start here. */
  readonly offset: number;
  /** Widest access the device takes whole; the bus splits wider ones, low half first, as a narrow bus does. */
  readonly width: AccessSize;
}

/** A device's registers as plain data: what `saveState` returns can be written as JSON. */
export type DeviceState = Readonly<Record<string, unknown>> & { readonly version: number };

/** What can be saved, restored and reset, with or without registers of its own. */
export interface Component {
  /** Unique in a machine; names the component's state in a snapshot. */
  readonly name: string;
  /** Version of the saved state's layout; a change of layout raises it. */
  readonly version: number;
  /** Power-on state. Resetting twice is resetting once. */
  reset(): void;
  /** A copy: later changes of the device do not reach it. */
  saveState(): DeviceState;
  /**
   * Replaces the state by a saved one, or leaves it untouched and throws.
   * @throws StateError naming the device and the field when `state` is not a state this device could have saved.
   */
  loadState(state: unknown): void;
}

/** Registers that a bus reaches. Nothing a guest reads or writes may make them throw. */
export interface Registers {
  readonly name: string;
  /** Returns the register's value, unsigned, in `size` bytes. */
  read(offset: number, size: AccessSize): number;
  /** `value` is unsigned and fits in `size` bytes. */
  write(offset: number, size: AccessSize, value: number): void;
}

/** A device that port I/O or MMIO reaches at fixed places. */
export interface Device extends Component, Registers {
  readonly ranges: readonly DeviceRange[];
}

/** A 64-bit quantity as two unsigned 32-bit halves. */
export interface WideValue {
  readonly low: number;
  readonly high: number;
}

/** Registers of 64 bits that must be read and written in one piece. Offsets are multiples of eight. */
export interface WideRegisters extends Registers {
  readWide(offset: number): WideValue;
  writeWide(offset: number, low: number, high: number): void;
}

export interface WideDevice extends Device, WideRegisters {}

export function isWide(registers: Registers): registers is WideRegisters {
  return 'readWide' in registers && 'writeWide' in registers;
}

const masks: Readonly<Record<AccessSize, number>> = { 1: 0xff, 2: 0xffff, 4: 0xffffffff };

/** All bits of an access of `size` bytes, unsigned. */
export function sizeMask(size: AccessSize): number {
  return masks[size];
}

/** The `size` bytes at `byte` (0 to 3) of a 32-bit register, unsigned. */
export function extract(register: number, byte: number, size: AccessSize): number {
  return ((register >>> (byte * 8)) & sizeMask(size)) >>> 0;
}

/** A 32-bit register with the `size` bytes at `byte` (0 to 3) replaced by `value`, unsigned. */
export function insert(register: number, byte: number, size: AccessSize, value: number): number {
  const mask = sizeMask(size) << (byte * 8);
  return ((register & ~mask) | ((value << (byte * 8)) & mask)) >>> 0;
}
