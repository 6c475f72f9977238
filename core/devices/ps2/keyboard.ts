/** A PS/2 keyboard: its commands, its scan code sets, its buffer. (IBM PS/2 technical reference) */

import { eventBytes } from './scancodes.ts';
import type { StateReader } from '../../platform/state.ts';

const command = {
  lights: 0xed, echo: 0xee, set: 0xf0, identify: 0xf2, rate: 0xf3, enable: 0xf4, disable: 0xf5, defaults: 0xf6, resend: 0xfe, reset: 0xff,
} as const;
const acknowledge = 0xfa;
const passed = 0xaa;
const again = 0xfe;
/** Keys that nobody has fetched; of more, none is kept. */
const bufferLimit = 64;

export class Keyboard {
  /** Bytes for the controller, the first the next. */
  readonly buffer: number[] = [];
  private scanSet = 2;
  private scanning = true;
  private lights = 0;
  /** The command whose operand comes next; 0: none. */
  private pending = 0;
  private last = 0;

  reset(): void {
    this.buffer.length = 0;
    this.defaults();
    this.pending = 0;
    this.last = 0;
  }

  /** A key goes down or up. */
  key(key: number, down: boolean): void {
    const bytes = this.scanning ? eventBytes(key, down, this.scanSet) : [];
    if (this.buffer.length + bytes.length <= bufferLimit) this.buffer.push(...bytes);
  }

  /** The controller takes the next byte; undefined: there is none. */
  take(): number | undefined {
    const value = this.buffer.shift();
    if (value !== undefined) this.last = value;
    return value;
  }

  /** A byte from the controller. */
  receive(value: number): void {
    const { pending } = this;
    this.pending = 0;
    if (pending !== 0 && value < command.lights) return this.operand(pending, value);
    switch (value) {
      case command.lights: case command.set: case command.rate:
        this.pending = value;
        return this.answer(acknowledge);
      case command.echo: return this.answer(command.echo);
      case command.identify: return this.answer(acknowledge, 0xab, 0x83);
      case command.enable:
        this.scanning = true;
        return this.answer(acknowledge);
      case command.disable:
        this.defaults();
        this.scanning = false;
        return this.answer(acknowledge);
      case command.defaults:
        this.defaults();
        return this.answer(acknowledge);
      case command.resend: return this.answer(this.last);
      case command.reset:
        this.buffer.length = 0;
        this.defaults();
        return this.answer(acknowledge, passed);
      default: return this.answer(again);
    }
  }

  save(): object {
    const { scanSet, scanning, lights, pending, last } = this;
    return { buffer: [...this.buffer], scanSet, scanning, lights, pending, last };
  }

  check(reader: StateReader): () => void {
    const buffer = reader.uints('buffer', 8, bufferLimit + 4, false);
    const next = {
      scanSet: reader.integer('scanSet', 1, 2), scanning: reader.boolean('scanning'), lights: reader.uint('lights', 3),
      pending: reader.uint('pending', 8), last: reader.uint('last', 8),
    };
    return () => {
      this.buffer.splice(0, Infinity, ...buffer);
      Object.assign(this, next);
    };
  }

  private operand(pending: number, value: number): void {
    if (pending === command.lights) this.lights = value & 7;
    // Set 3 is not there: who asks for it keeps the set that is.
    if (pending === command.set && value === 0) return this.answer(acknowledge, this.scanSet);
    if (pending === command.set && (value === 1 || value === 2)) this.scanSet = value;
    this.answer(acknowledge);
  }

  private defaults(): void {
    this.scanSet = 2;
    this.scanning = true;
    this.lights = 0;
  }

  /** Answers come before keys that wait. */
  private answer(...bytes: number[]): void {
    this.buffer.splice(0, this.buffer.length, ...bytes, ...this.buffer.slice(0, bufferLimit - bytes.length));
  }
}
