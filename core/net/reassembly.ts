/** Fragments of the guest's packets, put together. A guest that never completes any gets no more memory than this. @rfc 791, 8200 4.5 */
import { formatIp } from './ip.ts';
import type { IpPacket } from './ip.ts';

const PACKETS_MAXIMUM = 32;
const PAYLOAD_MAXIMUM = 65_535;
/** Links that cut packets smaller than this have no honest use. */
const PIECES_MAXIMUM = 128;
const LIFETIME_MS = 30_000;

interface Partial {
  readonly pieces: Map<number, Uint8Array>;
  readonly begun: number;
  received: number;
  /** Where the piece ends that reaches furthest. */
  end: number;
  /** Known once the last fragment is there. */
  length: number | null;
}

export class Reassembly {
  readonly #packets = new Map<string, Partial>();

  /** The whole packet once its last missing fragment is there, else null. */
  add(packet: IpPacket, now = Date.now()): IpPacket | null {
    const { fragment, payload, source, destination, protocol } = packet;
    if (!fragment) return packet;
    const { id, at, last } = fragment;
    const fits = at + payload.length <= PAYLOAD_MAXIMUM && (last || (payload.length > 0 && payload.length % 8 === 0));
    if (!fits) return null;
    const key = `${formatIp(source)} ${formatIp(destination)} ${protocol} ${id}`;
    const partial = this.#packets.get(key) ?? this.#begin(key, now);
    // Fragments that overlap have no honest use: the packet is given up. @rfc 5722
    const overlaps = [...partial.pieces].some(([from, piece]) => at < from + piece.length && from < at + payload.length);
    if (overlaps || partial.pieces.size === PIECES_MAXIMUM || (last && partial.length !== null)) return this.#forget(key);
    partial.pieces.set(at, payload.slice());
    partial.received += payload.length;
    partial.end = Math.max(partial.end, at + payload.length);
    if (last) partial.length = at + payload.length;
    // Nothing lies behind the last fragment.
    if (partial.length !== null && partial.end > partial.length) return this.#forget(key);
    if (partial.length === null || partial.received < partial.length) return null;
    this.#forget(key);
    const whole = new Uint8Array(partial.length);
    for (const [from, piece] of partial.pieces) whole.set(piece, from);
    return { protocol, source: source.slice(), destination: destination.slice(), payload: whole };
  }

  get size(): number {
    return this.#packets.size;
  }

  #begin(key: string, now: number): Partial {
    for (const [old, { begun }] of this.#packets) if (now - begun > LIFETIME_MS) this.#forget(old);
    const [eldest] = this.#packets.keys();
    if (this.#packets.size >= PACKETS_MAXIMUM && eldest !== undefined) this.#forget(eldest);
    const partial: Partial = { pieces: new Map(), begun: now, received: 0, end: 0, length: null };
    this.#packets.set(key, partial);
    return partial;
  }

  #forget(key: string): null {
    this.#packets.delete(key);
    return null;
  }
}
