/** The bytes of 9P2000.L messages: little-endian numbers, and strings with their length before them. */
import { TreeError } from './tree.ts';

/** Reads one message; what is missing of it is an error (EPROTO). */
export class MessageReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(): number {
    return this.#view.getUint8(this.#step(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#step(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#step(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#step(8), true);
  }

  /** A 64-bit number that is an offset or a length. */
  size(): number {
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new TreeError('EFBIG');
    return Number(value);
  }

  /** Bytes as latin1. */
  text(): string {
    const length = this.u16();
    const at = this.#step(length);
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + at, length).toString('latin1');
  }

  data(length: number): Uint8Array {
    const at = this.#step(length);
    return this.#bytes.subarray(at, at + length);
  }

  #step(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#bytes.length) throw new TreeError('EPROTO');
    this.#at += bytes;
    return at;
  }
}

/** Builds one message of at most `limit` bytes. */
export class MessageWriter {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  length = 0;

  constructor(limit: number) {
    this.#bytes = new Uint8Array(limit);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get room(): number {
    return this.#bytes.length - this.length;
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  u8(value: number): this {
    this.#view.setUint8(this.#step(1), value);
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#step(2), value, true);
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#step(4), value, true);
    return this;
  }

  u64(value: bigint | number): this {
    this.#view.setBigUint64(this.#step(8), BigInt.asUintN(64, BigInt(value)), true);
    return this;
  }

  text(value: string): this {
    this.u16(value.length);
    this.#bytes.set(Buffer.from(value, 'latin1'), this.#step(value.length));
    return this;
  }

  /** Room for `length` bytes, to be filled; `cut` gives back what was not. */
  space(length: number): Uint8Array {
    const at = this.#step(length);
    return this.#bytes.subarray(at, at + length);
  }

  cut(length: number): void {
    this.length = length;
  }

  /** Puts a number over four bytes that were written before. */
  patch32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  #step(bytes: number): number {
    if (bytes > this.room) throw new TreeError('EMSGSIZE');
    const at = this.length;
    this.length += bytes;
    return at;
  }
}
