/** A PS/2 mouse with a wheel. (IBM PS/2 technical reference; Microsoft's IntelliMouse) */

import type { StateReader } from '../../platform/state.ts';

const command = {
  scaling1: 0xe6, scaling2: 0xe7, resolution: 0xe8, status: 0xe9, stream: 0xea, read: 0xeb, resetWrap: 0xec, wrap: 0xee, remote: 0xf0,
  identify: 0xf2, rate: 0xf3, enable: 0xf4, disable: 0xf5, defaults: 0xf6, resend: 0xfe, reset: 0xff,
} as const;
const acknowledge = 0xfa;
const passed = 0xaa;
const again = 0xfe;
const bufferLimit = 64;
/** The sample rates that turn the wheel on. */
const wheelKnock = [200, 100, 80] as const;

/** What the hand does: counts to the right, upwards, of the wheel towards the user; buttons left, right, middle as bits. */
export interface MouseMove {
  readonly dx: number;
  readonly dy: number;
  readonly dz: number;
  readonly buttons: number;
}

export class Mouse {
  /** Bytes for the controller, the first the next. */
  readonly buffer: number[] = [];
  private enabled = false;
  private remote = false;
  private wrap = false;
  private scaling2 = false;
  private resolution = 2;
  private rate = 100;
  private wheel = false;
  private knock = 0;
  private pending = 0;
  private last = 0;
  private buttons = 0;
  private x = 0;
  private y = 0;
  private z = 0;

  reset(): void {
    this.buffer.length = 0;
    this.defaults();
    Object.assign(this, { wheel: false, knock: 0, pending: 0, last: 0, buttons: 0, x: 0, y: 0, z: 0, wrap: false });
  }

  move({ dx, dy, dz, buttons }: MouseMove): void {
    const limit = (value: number): number => Math.max(-0x7fff, Math.min(0x7fff, Math.trunc(value)));
    const pressed = buttons & 7;
    const changed = dx !== 0 || dy !== 0 || dz !== 0 || pressed !== this.buttons;
    this.x = limit(this.x + dx);
    this.y = limit(this.y + dy);
    this.z = limit(this.z + dz);
    this.buttons = pressed;
    if (changed && this.enabled && !this.remote) this.report();
  }

  /** The controller takes the next byte; undefined: there is none. */
  take(): number | undefined {
    const value = this.buffer.shift();
    if (value !== undefined) this.last = value;
    // What has moved meanwhile goes out now that there is room.
    if (this.buffer.length === 0 && this.enabled && !this.remote && (this.x !== 0 || this.y !== 0 || this.z !== 0)) this.report();
    return value;
  }

  /** A byte from the controller. */
  receive(value: number): void {
    if (this.wrap && value !== command.reset && value !== command.resetWrap) return this.answer(value);
    const { pending } = this;
    this.pending = 0;
    if (pending === command.rate) return this.setRate(value);
    if (pending === command.resolution) {
      this.resolution = value & 3;
      return this.answer(acknowledge);
    }
    switch (value) {
      case command.scaling1: case command.scaling2:
        this.scaling2 = value === command.scaling2;
        return this.answer(acknowledge);
      case command.rate: case command.resolution:
        this.pending = value;
        return this.answer(acknowledge);
      case command.status: return this.answer(acknowledge, this.status(), this.resolution, this.rate);
      case command.stream: case command.remote:
        this.remote = value === command.remote;
        return this.answer(acknowledge);
      case command.read:
        this.answer(acknowledge);
        return this.report();
      case command.wrap: case command.resetWrap:
        this.wrap = value === command.wrap;
        return this.answer(acknowledge);
      case command.identify: return this.answer(acknowledge, this.wheel ? 3 : 0);
      case command.enable: case command.disable:
        this.enabled = value === command.enable;
        return this.answer(acknowledge);
      case command.defaults:
        this.defaults();
        return this.answer(acknowledge);
      case command.resend: return this.answer(this.last);
      case command.reset:
        this.reset();
        return this.answer(acknowledge, passed, 0);
      default: return this.answer(again);
    }
  }

  save(): object {
    const { enabled, remote, wrap, scaling2, resolution, rate, wheel, knock, pending, last, buttons, x, y, z } = this;
    return { buffer: [...this.buffer], enabled, remote, wrap, scaling2, resolution, rate, wheel, knock, pending, last, buttons, x, y, z };
  }

  check(reader: StateReader): () => void {
    const buffer = reader.uints('buffer', 8, bufferLimit, false);
    const next = {
      enabled: reader.boolean('enabled'), remote: reader.boolean('remote'), wrap: reader.boolean('wrap'), scaling2: reader.boolean('scaling2'),
      resolution: reader.uint('resolution', 2), rate: reader.uint('rate', 8), wheel: reader.boolean('wheel'), knock: reader.integer('knock', 0, 2),
      pending: reader.uint('pending', 8), last: reader.uint('last', 8), buttons: reader.uint('buttons', 3),
      x: reader.integer('x', -0x7fff, 0x7fff), y: reader.integer('y', -0x7fff, 0x7fff), z: reader.integer('z', -0x7fff, 0x7fff),
    };
    return () => {
      this.buffer.splice(0, Infinity, ...buffer);
      Object.assign(this, next);
    };
  }

  private setRate(value: number): void {
    this.rate = value;
    this.knock = value === wheelKnock[this.knock] ? this.knock + 1 : 0;
    if (this.knock === wheelKnock.length) {
      this.wheel = true;
      this.knock = 0;
    }
    this.answer(acknowledge);
  }

  private status(): number {
    const { buttons } = this;
    const pressed = ((buttons & 1) << 2) | ((buttons & 4) >> 1) | ((buttons & 2) >> 1);
    return pressed | (this.scaling2 ? 0x10 : 0) | (this.enabled ? 0x20 : 0) | (this.remote ? 0x40 : 0);
  }

  private defaults(): void {
    Object.assign(this, { enabled: false, remote: false, scaling2: false, resolution: 2, rate: 100 });
  }

  /** As much of the movement as a packet holds; the rest stays for the next. */
  private report(): void {
    const bytes = this.wheel ? 4 : 3;
    if (this.buffer.length + bytes > bufferLimit) return;
    const part = (value: number, limit: number): number => Math.max(-limit, Math.min(limit, value));
    const [x, y, z] = [part(this.x, 255), part(this.y, 255), part(this.z, 7)];
    this.x -= x;
    this.y -= y;
    this.z -= z;
    const packet = [0x08 | this.buttons | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0), x & 0xff, y & 0xff, z & 0xff];
    this.buffer.push(...packet.slice(0, bytes));
  }

  private answer(...bytes: number[]): void {
    if (this.buffer.length + bytes.length <= bufferLimit) this.buffer.push(...bytes);
  }
}
