/** An interrupter: its event ring in guest memory, and when it interrupts. @xhci 4.9.4, 4.17 */

import { ERST_SEGMENTS, handlerBusy, highWord, interrupter as register, lowWord, management, withHigh, withLow } from './registers.ts';
import { TRB_BYTES, code, trbType } from './trb.ts';
import type { DmaPort } from '../../../platform/dma.ts';
import type { StateReader } from '../../../platform/state.ts';

/** The four words of an event; the cycle bit is the ring's. */
export type EventWords = readonly [number, number, number, number];

const segmentEntries = { least: 16, most: 4096 } as const;
/** Events that wait for room: endpoints stop before it comes to so many. */
const WAITING_MAXIMUM = 4096;
const moderationUnitNs = 250;

interface Place {
  readonly segment: number;
  readonly index: number;
}

export interface InterrupterHost {
  readonly dma: DmaPort;
  nowNs(): number;
  /** An interrupter wants to interrupt, or does no longer. */
  changed(): void;
  /** The ring is no memory. */
  failed(): void;
}

export class Interrupter {
  readonly #host: InterrupterHost;
  #management = 0;
  /** Low half: interval in units of 250 ns. */
  #moderation = 4000;
  #tableSize = 0;
  #table = 0;
  #dequeue = 0;
  /** Software has not come back from the last interrupt. */
  #busy = false;
  #at: Place = { segment: 0, index: 0 };
  #cycle = 1;
  #full = false;
  #waiting: EventWords[] = [];
  /** No interrupt before. */
  earliestNs = 0;

  constructor(host: InterrupterHost) {
    this.#host = host;
  }

  reset(): void {
    this.#management = this.#tableSize = this.#table = this.#dequeue = this.earliestNs = 0;
    this.#moderation = 4000;
    this.#busy = false;
    this.#restart();
  }

  /** Whether software is behind: endpoints then wait. */
  get blocked(): boolean {
    return this.#waiting.length > 0;
  }

  /** Whether it interrupts now, but for moderation. */
  get asserted(): boolean {
    return (this.#management & (management.pending | management.enable)) === (management.pending | management.enable);
  }

  /** An interrupt message has gone: the next one after the interval. */
  sent(): void {
    this.#management &= ~management.pending;
    this.earliestNs = this.#host.nowNs() + (this.#moderation & 0xffff) * moderationUnitNs;
  }

  /** @param quiet the event alone is no reason to interrupt */
  post(event: EventWords, quiet = false): void {
    if (this.#tableSize === 0) return;
    if (this.blocked || this.#full || !this.#put(event)) {
      if (this.#waiting.length < WAITING_MAXIMUM) this.#waiting.push(event);
      else this.#host.failed();
    }
    if (!quiet) this.#interrupt();
  }

  read(offset: number): number {
    switch (offset) {
      case register.management: return this.#management;
      case register.moderation: return this.#moderation >>> 0;
      case register.tableSize: return this.#tableSize;
      case register.table: return lowWord(this.#table);
      case register.tableHigh: return highWord(this.#table);
      case register.dequeue: return lowWord(this.#dequeue) + (this.#busy ? handlerBusy : 0);
      case register.dequeueHigh: return highWord(this.#dequeue);
      default: return 0;
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case register.management:
        this.#management = (value & management.enable) | (this.#management & ~value & management.pending);
        return this.#host.changed();
      case register.moderation: this.#moderation = value | 0; return;
      case register.tableSize: this.#tableSize = Math.min(value & 0xffff, ERST_SEGMENTS); return;
      case register.table: this.#table = withLow(this.#table, (value & ~63) >>> 0); return this.#restart();
      case register.tableHigh: this.#table = withHigh(this.#table, value); return this.#restart();
      case register.dequeue: return this.#take(withLow(this.#dequeue, (value & ~15) >>> 0), (value & handlerBusy) !== 0);
      case register.dequeueHigh: return this.#take(withHigh(this.#dequeue, value), false);
      default:
    }
  }

  save(): object {
    return {
      management: this.#management, moderation: this.#moderation >>> 0, tableSize: this.#tableSize, table: this.#table, dequeue: this.#dequeue, busy: this.#busy, segment: this.#at.segment, index: this.#at.index,
      cycle: this.#cycle, full: this.#full, waiting: this.#waiting.flat(), earliestNs: this.earliestNs,
    };
  }

  check(reader: StateReader): () => void {
    const [bits, moderation, tableSize] = [reader.integer('management', 0, 3), reader.uint('moderation', 32), reader.integer('tableSize', 0, ERST_SEGMENTS)];
    const [table, dequeue] = [reader.uint('table', 53), reader.uint('dequeue', 53)];
    const at = { segment: reader.integer('segment', 0, ERST_SEGMENTS - 1), index: reader.integer('index', 0, segmentEntries.most - 1) };
    const [cycle, full, busy, earliest] = [reader.integer('cycle', 0, 1), reader.boolean('full'), reader.boolean('busy'), reader.time('earliestNs')];
    const words = reader.uints('waiting', 32, WAITING_MAXIMUM * 4, false);
    if (words.length % 4 !== 0) reader.refuse('waiting', 'four words an event');
    return () => {
      this.#management = bits;
      this.#moderation = moderation | 0;
      this.#tableSize = tableSize;
      this.#table = table;
      this.#dequeue = dequeue;
      this.#busy = busy;
      this.#at = at;
      this.#cycle = cycle;
      this.#full = full;
      this.earliestNs = earliest;
      this.#waiting = Array.from({ length: words.length / 4 }, (_, event) => [words[event * 4] ?? 0, words[event * 4 + 1] ?? 0, words[event * 4 + 2] ?? 0, words[event * 4 + 3] ?? 0]);
    };
  }

  /** Writing the table's address starts the ring anew. */
  #restart(): void {
    this.#at = { segment: 0, index: 0 };
    this.#cycle = 1;
    this.#full = false;
    this.#waiting = [];
  }

  /** Software has taken events up to `dequeue`. */
  #take(dequeue: number, handled: boolean): void {
    this.#dequeue = dequeue;
    if (handled) this.#busy = false;
    this.#full = this.#full && this.#isLast(this.#at);
    while (!this.#full && this.#waiting[0] && this.#put(this.#waiting[0])) this.#waiting.shift();
    if (handled && this.#address(this.#at) !== this.#dequeue) this.#interrupt();
    this.#host.changed();
  }

  #interrupt(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#management |= management.pending;
    this.#host.changed();
  }

  /** Writes an event. The last free place holds the news that the ring is full. False: the event still waits. */
  #put(event: EventWords): boolean {
    const at = this.#at;
    const full = this.#isLast(this.#next(at));
    const [low, high, status, control] = full ? [0, 0, code.eventRingFull << 24, trbType.hostController << 10] : event;
    const bytes = new Uint8Array(TRB_BYTES);
    const view = new DataView(bytes.buffer);
    [low, high, status, control].forEach((word, index) => view.setUint32(index * 4, word, true));
    bytes[12] = ((bytes[12] ?? 0) & ~1) | this.#cycle;
    const address = this.#address(at);
    if (address === null || !this.#host.dma.write(address, bytes)) {
      this.#host.failed();
      return true;
    }
    const next = this.#next(at);
    if (next.segment === 0 && next.index === 0) this.#cycle ^= 1;
    this.#at = next;
    this.#full = full;
    return !full;
  }

  /** Whether a place is the one that software takes from next. */
  #isLast(at: Place): boolean {
    return this.#address(this.#next(at)) === this.#dequeue;
  }

  #next({ segment, index }: Place): Place {
    const { entries } = this.#segment(segment);
    if (index + 1 < entries) return { segment, index: index + 1 };
    return { segment: segment + 1 < this.#tableSize ? segment + 1 : 0, index: 0 };
  }

  #address({ segment, index }: Place): number | null {
    const { base } = this.#segment(segment);
    return base === null ? null : base + index * TRB_BYTES;
  }

  #segment(number: number): { readonly base: number | null; readonly entries: number } {
    const entry = new Uint8Array(16);
    if (!this.#host.dma.read(this.#table + number * 16, entry)) return { base: null, entries: segmentEntries.least };
    const view = new DataView(entry.buffer);
    const base = (view.getUint32(4, true) & 0x1fffff) * 2 ** 32 + ((view.getUint32(0, true) & ~63) >>> 0);
    return { base, entries: Math.max(segmentEntries.least, Math.min(view.getUint16(8, true), segmentEntries.most)) };
  }
}
