/** An endpoint's transfer ring at work: transfer descriptors become transfers of the device, and those become events. @xhci 4.9, 4.10 */

import { endpointState } from './contexts.ts';
import { code, lengthOf, nextEntry, pointerOf, trbBit, trbType, typeOf } from './trb.ts';
import { setupBytes, toHost } from '../device.ts';
import type { DmaPort } from '../../../platform/dma.ts';
import type { EndpointSettings } from './contexts.ts';
import type { EventWords } from './eventRing.ts';
import type { RingEntry, RingPlace, Trb } from './trb.ts';
import type { StateReader } from '../../../platform/state.ts';
import type { TransferKind, TransferStatus, UsbDevice } from '../device.ts';

/** What an endpoint needs of its controller. */
export interface EndpointHost {
  readonly dma: DmaPort;
  /** The slot's device; null: unplugged, or its port is disabled. */
  device(slot: number): UsbDevice | null;
  post(interrupter: number, event: EventWords, quiet: boolean): void;
  /** The endpoint's context in guest memory follows its state. */
  stateChanged(endpoint: Endpoint): void;
  /** A ring is no memory: the controller stops. */
  lost(): void;
}

/** Blocks of one descriptor, and bytes that go to the device at once. Longer descriptors go in pieces of whole packets. */
const ENTRIES_MAXIMUM = 1024;
const PIECE_BYTES = 32 * 1024;
const CONTROL_BYTES = 0xffff;

const kinds: readonly TransferKind[] = ['control', 'isochronous', 'bulk', 'interrupt'];
const failureCodes: Readonly<Record<Exclude<TransferStatus, 'completed'>, number>> = { stall: code.stall, error: code.transaction, babble: code.babble };

export class Endpoint {
  readonly slot: number;
  /** Device context index. */
  readonly index: number;
  readonly settings: EndpointSettings;
  state: number = endpointState.running;
  /** The next block to move bytes of. */
  dequeue: RingPlace;
  /** When the next isochronous transfer is due; null: none is. */
  dueNs: number | null = null;
  /** Bytes of that block that have moved. */
  #moved = 0;
  /** Bytes of blocks since the last event data block. */
  #accumulated = 0;
  /** A transfer is under way; the number tells a forgotten one's answer. */
  #busy = false;
  #epoch = 0;
  readonly #host: EndpointHost;

  constructor(host: EndpointHost, slot: number, index: number, settings: EndpointSettings) {
    this.#host = host;
    this.slot = slot;
    this.index = index;
    this.settings = settings;
    this.dequeue = { address: settings.dequeue, cycle: settings.cycle };
  }

  get busy(): boolean {
    return this.#busy;
  }

  /** Puts the dequeue pointer elsewhere: what had moved of the block there does not count. */
  setDequeue(place: RingPlace): void {
    this.dequeue = place;
    this.#moved = this.#accumulated = 0;
  }

  /** Forgets the transfer under way. Returns whether there was one. */
  cancel(): boolean {
    const was = this.#busy;
    this.#epoch += 1;
    this.#busy = false;
    // Devices of the host have isochronous packets under way that nobody has asked for yet.
    if (was || this.settings.kind === 'isochronous') this.#host.device(this.slot)?.cancel(this.settings.address);
    return was;
  }

  /** Software stops the ring: a transfer under way gets an event that says how far it came. @xhci 4.6.9 */
  stop(): void {
    if (this.cancel()) {
      const entry = this.#next();
      if (entry !== null) this.#post(entry.trb, code.stopped, lengthOf(entry.trb) - this.#moved);
    }
    this.#enter(endpointState.stopped);
  }

  /** Begins the next descriptor. False: there is none, or one is under way. */
  step(): boolean {
    if (this.#busy || this.state !== endpointState.running) return false;
    const entries = this.#descriptor();
    const first = entries?.[0];
    if (entries === null || first === undefined) return false;
    const device = this.#host.device(this.slot);
    if (device === null) this.#fail(first.trb, code.transaction);
    else if (this.settings.kind === 'control') this.#control(device, entries);
    else this.#data(device, entries);
    return true;
  }

  /** An isochronous ring has run empty. */
  starved(): void {
    const low = this.settings.address >= toHost ? code.overrun : code.underrun;
    this.#host.post(0, [0, 0, (low << 24) >>> 0, this.#eventControl(0)], false);
  }

  save(): object {
    const { slot, index, state, settings, dequeue, dueNs } = this;
    return { ...settings, slot, index, state, dequeue: dequeue.address, cycle: dequeue.cycle, dueNs, moved: this.#moved, accumulated: this.#accumulated };
  }

  static check(host: EndpointHost, reader: StateReader, slots: number): Endpoint {
    const kind = reader.word('kind', kinds);
    const settings: EndpointSettings = {
      kind, address: reader.uint('address', 8), maxPacket: reader.uint('maxPacket', 16), intervalNs: reader.integer('intervalNs', 125_000, 125_000 * 2 ** 15),
      dequeue: reader.uint('dequeue', 53), cycle: reader.integer('cycle', 0, 1),
    };
    const endpoint = new Endpoint(host, reader.integer('slot', 1, slots), reader.integer('index', 1, 31), settings);
    endpoint.state = reader.integer('state', endpointState.running, endpointState.error);
    endpoint.dueNs = reader.timeOrNull('dueNs');
    endpoint.#moved = reader.uint('moved', 17);
    endpoint.#accumulated = reader.uint('accumulated', 24);
    return endpoint;
  }

  // ---- Descriptors --------------------------------------------------------------------------------------------------

  /** The blocks of the next transfer descriptor; of a control endpoint, those of all its stages. Null: not all are there. */
  #descriptor(): readonly RingEntry[] | null {
    const entries: RingEntry[] = [];
    for (let at = this.dequeue; entries.length < ENTRIES_MAXIMUM;) {
      const entry = nextEntry(this.#host.dma, at);
      if (entry === 'lost') {
        this.#host.lost();
        return null;
      }
      if (entry === null) return null;
      entries.push(entry);
      at = entry.next;
      if (this.#ends(entries)) return entries;
    }
    this.#break(entries[0]);
    return null;
  }

  #ends(entries: readonly RingEntry[]): boolean {
    const [first, last] = [entries[0], entries.at(-1)];
    if (first === undefined || last === undefined || (last.trb.control & trbBit.chain) !== 0) return false;
    const isSetup = this.settings.kind === 'control' && typeOf(first.trb) === trbType.setup;
    return !isSetup || entries.some(({ trb }) => typeOf(trb) === trbType.status);
  }

  #next(): RingEntry | null {
    const entry = nextEntry(this.#host.dma, this.dequeue);
    return entry === 'lost' ? null : entry;
  }

  #control(device: UsbDevice, entries: readonly RingEntry[]): void {
    const [setup, ...rest] = entries;
    if (setup === undefined) return;
    if (entries.every(({ trb }) => isBookkeeping(trb))) return this.#retire(entries, 0);
    const blocks = entries.filter(({ trb }) => isData(trb));
    const isIn = (setup.trb.low & toHost) !== 0;
    const wanted = Math.min(CONTROL_BYTES, setup.trb.high >>> 16);
    const ordered = rest.every(({ trb }, index) => (typeOf(trb) === trbType.data ? index === 0 : isBookkeeping(trb) || typeOf(trb) === trbType.status || (isData(trb) && index > 0)));
    if (typeOf(setup.trb) !== trbType.setup || lengthOf(setup.trb) !== setupBytes || !ordered) return this.#break(setup);
    const length = Math.min(wanted, blocks.reduce((sum, { trb }) => sum + lengthOf(trb), 0));
    const data = isIn ? new Uint8Array(0) : this.#gather(blocks, length);
    if (data === null) return this.#fail(blocks[0]?.trb ?? setup.trb, code.dataBuffer);
    const packet = new Uint8Array(setupBytes);
    const view = new DataView(packet.buffer);
    view.setUint32(0, setup.trb.low, true);
    view.setUint32(4, setup.trb.high, true);
    this.#submit(device, packet, data, isIn ? length : 0, (status, answer) => {
      // What failed is the data stage, or the status stage where there is none.
      const failed = blocks[0] ?? entries.find(({ trb }) => typeOf(trb) === trbType.status) ?? setup;
      if (status !== 'completed') return this.#fail(failed.trb, failureCodes[status], failed);
      if (isIn && !this.#scatter(blocks, answer.subarray(0, length))) return this.#fail(failed.trb, code.dataBuffer, failed);
      this.#retire(entries, isIn ? Math.min(answer.length, length) : length);
    });
  }

  #data(device: UsbDevice, entries: readonly RingEntry[]): void {
    if (entries.every(({ trb }) => isBookkeeping(trb))) return this.#retire(entries, 0);
    const bad = entries.find(({ trb }) => !isBookkeeping(trb) && !isData(trb));
    if (bad !== undefined) return this.#break(bad);
    const blocks = entries.filter(({ trb }) => isData(trb));
    const { kind, address, maxPacket } = this.settings;
    const whole = blocks.reduce((sum, { trb }) => sum + lengthOf(trb), -this.#moved);
    const packet = Math.max(1, maxPacket & 0x7ff);
    const length = Math.max(0, kind === 'isochronous' ? Math.min(whole, 3 * 16 * packet) : Math.min(whole, PIECE_BYTES - (PIECE_BYTES % packet)));
    const isIn = address >= toHost;
    const data = isIn ? new Uint8Array(0) : this.#gather(blocks, length);
    const [first] = blocks;
    if (data === null || first === undefined) return this.#fail(entries[0]?.trb, code.dataBuffer);
    this.#submit(device, null, data, isIn ? length : 0, (status, answer) => {
      if (status !== 'completed') return this.#fail(first.trb, failureCodes[status]);
      const moved = isIn ? Math.min(answer.length, length) : length;
      if (isIn && !this.#scatter(blocks, answer.subarray(0, moved))) return this.#fail(first.trb, code.dataBuffer);
      this.#retire(entries, moved, moved < length || length === whole);
    });
  }

  #submit(device: UsbDevice, setup: Uint8Array | null, data: Uint8Array, length: number, done: (status: TransferStatus, data: Uint8Array) => void): void {
    this.#busy = true;
    const epoch = ++this.#epoch;
    const { address, kind } = this.settings;
    device.submit({
      endpoint: address, kind, setup, data, length,
      done: (status, answer) => {
        if (epoch !== this.#epoch) return;
        this.#epoch += 1;
        this.#busy = false;
        done(status, answer);
        this.onIdle();
      },
    });
  }

  /** Called when a transfer has ended: there may be another one. */
  onIdle: () => void = () => {};

  // ---- Bytes --------------------------------------------------------------------------------------------------------

  /** Where the next `length` bytes of a descriptor lie, or come to lie. */
  #runs(blocks: readonly RingEntry[], length: number): readonly { readonly trb: Trb; readonly from: number; readonly bytes: number; readonly at: number }[] {
    const runs = [];
    let at = 0;
    for (const [number, { trb }] of blocks.entries()) {
      const from = number === 0 && this.settings.kind !== 'control' ? this.#moved : 0;
      const bytes = Math.min(Math.max(0, lengthOf(trb) - from), length - at);
      if (bytes > 0) runs.push({ trb, from, bytes, at });
      at += bytes;
    }
    return runs;
  }

  #gather(blocks: readonly RingEntry[], length: number): Uint8Array | null {
    const data = new Uint8Array(length);
    for (const { trb, from, bytes, at } of this.#runs(blocks, length)) {
      const into = data.subarray(at, at + bytes);
      if ((trb.control & trbBit.immediate) !== 0) into.set(immediate(trb).subarray(from, from + bytes));
      else if (!this.#host.dma.read(pointerOf(trb) + from, into)) return null;
    }
    return data;
  }

  #scatter(blocks: readonly RingEntry[], data: Uint8Array): boolean {
    return this.#runs(blocks, data.length).every(({ trb, from, bytes, at }) => this.#host.dma.write(pointerOf(trb) + from, data.subarray(at, at + bytes)));
  }

  // ---- Events -------------------------------------------------------------------------------------------------------

  /**
   * Moves the dequeue pointer over what `bytes` more bytes complete, with the events that the blocks ask for.
   * @param over the descriptor ends with these bytes, even where its blocks have room for more
   */
  #retire(entries: readonly RingEntry[], bytes: number, over = true): void {
    let left = bytes;
    let short = false;
    for (const { trb, next } of entries) {
      if (typeOf(trb) === trbType.eventData) this.#retireEventData(trb, short);
      else if (!isData(trb)) this.#report(trb, code.success, 0);
      else if (short) this.#moved = 0;
      else {
        const room = lengthOf(trb) - this.#moved;
        if (left < room && !over) {
          this.#moved += left;
          return;
        }
        const moved = Math.min(left, room);
        this.#accumulated = (this.#accumulated + this.#moved + moved) & 0xffffff;
        left -= moved;
        short = moved < room;
        this.#moved = 0;
        this.#report(trb, short ? code.shortPacket : code.success, room - moved);
      }
      this.dequeue = next;
    }
  }

  #retireEventData(trb: Trb, short: boolean): void {
    if ((trb.control & trbBit.interrupt) !== 0) {
      const status = (((short ? code.shortPacket : code.success) << 24) | this.#accumulated) >>> 0;
      this.#host.post(trb.status >>> 22, [trb.low, trb.high, status, this.#eventControl(4)], (trb.control & trbBit.block) !== 0);
    }
    this.#accumulated = 0;
  }

  #report(trb: Trb, completion: number, residual: number): void {
    const wanted = trbBit.interrupt | (completion === code.shortPacket ? trbBit.shortInterrupt : 0);
    if ((trb.control & wanted) !== 0) this.#post(trb, completion, residual, (trb.control & trbBit.block) !== 0);
  }

  #post(trb: Trb, completion: number, residual: number, quiet = false): void {
    const status = ((completion << 24) | Math.max(0, residual)) >>> 0;
    this.#host.post(trb.status >>> 22, [lowOf(trb.address), Math.floor(trb.address / 2 ** 32), status, this.#eventControl(0)], quiet);
  }

  #eventControl(flags: number): number {
    return ((trbType.transferEvent << 10) | flags | (this.index << 16) | (this.slot << 24)) >>> 0;
  }

  /** A transfer has failed at a block: the endpoint halts there, unless it is isochronous. */
  #fail(trb: Trb | undefined, completion: number, at?: RingEntry): void {
    if (trb === undefined) return;
    this.#post(trb, completion, lengthOf(trb) - this.#moved);
    if (this.settings.kind === 'isochronous') {
      const entries = this.#descriptor();
      this.setDequeue(entries?.at(-1)?.next ?? this.dequeue);
      return;
    }
    if (at !== undefined) this.dequeue = { address: trb.address, cycle: trb.control & trbBit.cycle };
    this.#enter(endpointState.halted);
  }

  /** What lies on the ring makes no sense. @xhci 4.10.2.4 */
  #break(entry: RingEntry | undefined): void {
    if (entry === undefined) return;
    this.#post(entry.trb, code.trb, lengthOf(entry.trb));
    this.#enter(endpointState.error);
  }

  #enter(state: number): void {
    this.state = state;
    this.dueNs = null;
    this.#host.stateChanged(this);
  }
}

function isData(trb: Trb): boolean {
  const type = typeOf(trb);
  return type === trbType.normal || type === trbType.data || type === trbType.isochronous;
}

function isBookkeeping(trb: Trb): boolean {
  const type = typeOf(trb);
  return type === trbType.eventData || type === trbType.noOperation;
}

function immediate({ low, high }: Trb): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, low, true);
  view.setUint32(4, high, true);
  return bytes;
}

function lowOf(address: number): number {
  return address % 2 ** 32;
}
