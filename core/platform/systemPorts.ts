/** Single ports of a PC: debug exit, POST codes, the debug console, the delay port, A20 and fast reset. */

import { StateReader } from './state.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';
import type { MachineEvents } from './machineEvents.ts';

/** Port F4H: a write ends the machine; the process's exit status is (value << 1) | 1. */
export class DebugExit implements Device {
  readonly name = 'debug-exit';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0xf4, length: 4, offset: 0, width: 4 }];
  private readonly events: MachineEvents;

  constructor(events: MachineEvents) {
    this.events = events;
  }

  reset(): void {}

  read(_offset: number, _size: AccessSize): number {
    return 0;
  }

  write(offset: number, _size: AccessSize, value: number): void {
    if (offset === 0) this.events.debugExit(value);
  }

  saveState(): DeviceState {
    return { version: this.version };
  }

  loadState(state: unknown): void {
    StateReader.open(this, state);
  }
}

/** Port 80H: power-on self-test codes. Guests also write it for the delay of a bus cycle. */
export class PostPort implements Device {
  readonly name = 'post';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [
    { space: 'port', base: 0x80, length: 1, offset: 0, width: 1 },
    { space: 'port', base: 0xed, length: 1, offset: 1, width: 1 },
  ];
  /** The code written last. */
  code = 0;

  reset(): void {
    this.code = 0;
  }

  read(offset: number, _size: AccessSize): number {
    return offset === 0 ? this.code : 0xff;
  }

  write(offset: number, _size: AccessSize, value: number): void {
    if (offset === 0) this.code = value;
  }

  saveState(): DeviceState {
    return { version: this.version, code: this.code };
  }

  loadState(state: unknown): void {
    this.code = StateReader.open(this, state).uint('code', 8);
  }
}

/**
 * Ports F0H and F1H: the coprocessor error of a PC. FERR# raises IRQ 13; a write to F0H drops it and asserts IGNNE# for as long as FERR# stays.
 * @sdm 1 D.2.1.2
 */
export class CoprocessorError implements Device {
  readonly name = 'coprocessor-error';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0xf0, length: 2, offset: 0, width: 1 }];
  private readonly wire: LevelInterrupt;
  private error = false;
  private requested = false;
  /** IGNNE#. */
  ignored = false;

  constructor(wire: LevelInterrupt) {
    this.wire = wire;
  }

  reset(): void {
    this.drive(false, false, false);
  }

  /** The level of FERR#. */
  setError(error: boolean): void {
    if (error !== this.error) this.drive(error, error || this.requested, error && this.ignored);
  }

  read(_offset: number, _size: AccessSize): number {
    return 0xff;
  }

  write(offset: number, _size: AccessSize, _value: number): void {
    if (offset === 0) this.drive(this.error, false, this.error);
  }

  saveState(): DeviceState {
    return { version: this.version, error: this.error, requested: this.requested, ignored: this.ignored };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    this.drive(...([reader.boolean('error'), reader.boolean('requested'), reader.boolean('ignored')] as const));
  }

  private drive(error: boolean, requested: boolean, ignored: boolean): void {
    this.error = error;
    this.requested = requested;
    this.ignored = ignored;
    this.wire.set(requested);
  }
}

/** Port 92H: bit 0 rising resets the machine, bit 1 is the A20 gate. The gate is remembered; addresses are never masked. */
export class Port92 implements Device {
  readonly name = 'port92';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0x92, length: 1, offset: 0, width: 1 }];
  private readonly events: MachineEvents;
  private value = 2;

  constructor(events: MachineEvents) {
    this.events = events;
  }

  reset(): void {
    this.value = 2;
  }

  read(_offset: number, _size: AccessSize): number {
    return this.value;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    const rising = (value & ~this.value & 1) !== 0;
    this.value = value & 3;
    if (rising) this.events.reset();
  }

  saveState(): DeviceState {
    return { version: this.version, value: this.value };
  }

  loadState(state: unknown): void {
    this.value = StateReader.open(this, state).uint('value', 2);
  }
}

/** Port 402H: what firmware says to whoever debugs it. Reading tells that the port is there. */
export class DebugConsole implements Device {
  readonly name = 'debug-console';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0x402, length: 1, offset: 0, width: 1 }];
  private readonly out: (byte: number) => void;

  constructor(out: (byte: number) => void) {
    this.out = out;
  }

  reset(): void {}

  read(_offset: number, _size: AccessSize): number {
    return 0xe9;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.out(value);
  }

  saveState(): DeviceState {
    return { version: this.version };
  }

  loadState(state: unknown): void {
    StateReader.open(this, state);
  }
}
