/** Reading saved state as hostile input: every field is checked before anything of a device changes. */

import { deflateSync, inflateSync } from 'node:zlib';

/** Times lie below this: 36 years. From 104 days on a nanosecond count loses its last bit, and then further ones. */
export const latestTimeNs = 2 ** 60;

/** A saved state was refused. The message names the component, the field and what was expected. */
export class StateError extends Error {
  override readonly name = 'StateError';
}

/** Checked access to the fields of one saved state. Every method throws `StateError` on a field that does not fit. */
export class StateReader {
  private readonly fields: Readonly<Record<string, unknown>>;
  private readonly path: string;

  constructor(path: string, value: unknown) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new StateError(`${path}: the saved state is not an object`);
    this.path = path;
    this.fields = value as Record<string, unknown>;
  }

  /** Opens a component's state and checks its version. */
  static open(component: { readonly name: string; readonly version: number }, value: unknown): StateReader {
    const reader = new StateReader(component.name, value);
    const version = reader.fields['version'];
    if (version !== component.version) {
      throw new StateError(`${component.name}: saved state has version ${String(version)}, this program reads version ${component.version}`);
    }
    return reader;
  }

  /** An integer from `minimum` to `maximum`, both included. */
  integer(field: string, minimum: number, maximum: number): number {
    const value = this.value(field);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < minimum || value > maximum) {
      return this.refuse(field, `an integer from ${minimum} to ${maximum}`);
    }
    return value;
  }

  /** An unsigned integer of `bits` bits, at most 53. */
  uint(field: string, bits: number): number {
    return this.integer(field, 0, 2 ** bits - 1);
  }

  boolean(field: string): boolean {
    const value = this.value(field);
    return typeof value === 'boolean' ? value : this.refuse(field, 'true or false');
  }

  /** A point of virtual time in nanoseconds. */
  time(field: string): number {
    return this.integer(field, 0, latestTimeNs);
  }

  /** A point of virtual time, or null where none is set. */
  timeOrNull(field: string): number | null {
    return this.value(field) === null ? null : this.time(field);
  }

  /** A 64-bit unsigned integer, saved as a decimal string. */
  uint64(field: string): bigint {
    const value = this.value(field);
    if (typeof value !== 'string' || !/^(0|[1-9][0-9]{0,19})$/.test(value) || BigInt(value) >> 64n !== 0n) {
      return this.refuse(field, 'a 64-bit unsigned integer in decimal');
    }
    return BigInt(value);
  }

  /** A string of at most `maximum` characters. */
  text(field: string, maximum: number): string {
    const value = this.value(field);
    return typeof value === 'string' && value.length <= maximum ? value : this.refuse(field, `a text of at most ${maximum} characters`);
  }

  /** Exactly `length` bytes, saved as base64. */
  bytes(field: string, length: number): Uint8Array {
    const value = this.value(field);
    const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : null;
    return bytes?.length === length && bytes.toString('base64') === value ? bytes : this.refuse(field, `${length} bytes in base64`);
  }

  /** Exactly `length` bytes, as `deflated` writes them. */
  deflated(field: string, length: number): Uint8Array<ArrayBuffer> {
    const text = this.text(field, length * 2 + 64);
    try {
      const bytes = inflateSync(Buffer.from(text, 'base64'), { maxOutputLength: length });
      if (bytes.length === length) return new Uint8Array(bytes.buffer, bytes.byteOffset, length);
    } catch {
      // Said below.
    }
    return this.refuse(field, `${length} bytes, deflated, in base64`);
  }

  /** One of the given words. */
  word<T extends string>(field: string, words: readonly T[]): T {
    const value = this.value(field);
    return words.find(word => word === value) ?? this.refuse(field, `one of ${words.join(', ')}`);
  }

  /** Unsigned integers of `bits` bits; exactly `count` of them, or up to `count` when `count` is a maximum. */
  uints(field: string, bits: number, count: number, exact = true): number[] {
    const values = this.array(field, count, exact);
    return values.map((value, index) => {
      if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 2 ** bits - 1) {
        return this.refuse(`${field}[${index}]`, `an integer from 0 to ${2 ** bits - 1}`);
      }
      return value;
    });
  }

  /** A nested record. */
  record(field: string): StateReader {
    return new StateReader(`${this.path}.${field}`, this.value(field));
  }

  /** The state of a part that checks it itself. */
  nested(field: string): unknown {
    return this.value(field);
  }

  /** Exactly `count` nested records. */
  records(field: string, count: number): StateReader[] {
    return this.array(field, count, true).map((value, index) => new StateReader(`${this.path}.${field}[${index}]`, value));
  }

  /** Up to `maximum` nested records. */
  recordsUpTo(field: string, maximum: number): StateReader[] {
    return this.array(field, maximum, false).map((value, index) => new StateReader(`${this.path}.${field}[${index}]`, value));
  }

  /** Refuses the whole state for a reason that spans fields. */
  refuse(field: string, expected: string): never {
    throw new StateError(`${this.path}.${field}: expected ${expected}`);
  }

  private array(field: string, count: number, exact: boolean): readonly unknown[] {
    const value = this.value(field);
    if (!Array.isArray(value) || (exact ? value.length !== count : value.length > count)) {
      return this.refuse(field, `a list of ${exact ? 'exactly' : 'at most'} ${count}`);
    }
    return value;
  }

  private value(field: string): unknown {
    return Object.hasOwn(this.fields, field) ? this.fields[field] : this.refuse(field, 'a value, but the field is missing');
  }
}

/** Many bytes in a saved state: deflated, in base64. */
export function deflated(bytes: Uint8Array): string {
  return deflateSync(bytes, { level: 1 }).toString('base64');
}
