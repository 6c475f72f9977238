/** A person's hands as virtio devices: a keyboard, and a tablet whose pointer goes where the person points. @virtio 5.8 */

import { configurationBytes, readBytes } from './device.ts';
import { gather, scatter } from '../segments.ts';
import { keyCode, keyCodes } from './inputCodes.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtQueue } from './queue.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const queueNumber = { events: 0, status: 1 } as const;
/** What the driver asks for by its selection. @virtio 5.8.2 */
const selection = { name: 0x01, serial: 0x02, identity: 0x03, properties: 0x10, events: 0x11, axis: 0x12 } as const;
const configuration = { select: 0, subselect: 1, size: 2, data: 8, bytes: 136 } as const;
/** Types of events and some of their codes, as the driver's system numbers them. */
const eventType = { synchronize: 0x00, key: 0x01, relative: 0x02, absolute: 0x03, light: 0x11, repeat: 0x14 } as const;
const axis = { x: 0x00, y: 0x01, wheel: 0x08 } as const;
const buttonCodes = [0x110, 0x111, 0x112] as const;
const lightCodes = [0x00, 0x01, 0x02] as const;
/** Delay and period: the driver's system repeats keys itself. */
const repeatCodes = [0x00, 0x01] as const;
/** BUS_VIRTUAL. */
const identity = { bus: 0x06, vendor: 0x0627, version: 1 } as const;

const QUEUE_SIZE = 64;
const EVENT_BYTES = 8;
/** Events that wait for buffers; a person who types on while nobody looks is not remembered for ever. */
const PENDING_MAXIMUM = 128;
/** Places on the screen go from 0 to this in both directions. */
const PLACE_MAXIMUM = 0x7fff;

interface InputEvent {
  readonly type: number;
  readonly code: number;
  /** 32 bits, signed or not. */
  readonly value: number;
}

interface Abilities {
  readonly product: number;
  readonly title: string;
  /** Codes by type of event. */
  readonly codes: ReadonlyMap<number, readonly number[]>;
}

/** One device; what it tells is said by the classes below. */
class VirtioInput implements VirtioKind {
  readonly name: string;
  readonly deviceType = 18;
  readonly classCode: number;
  readonly features = 0n;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly configurationLength = configuration.bytes;
  readonly #abilities: Abilities;
  #run: VirtioRun | null = null;
  #select = 0;
  #subselect = 0;
  /** Whole reports: each ends with its synchronization. */
  #pending: InputEvent[] = [];

  constructor(name: string, classCode: number, abilities: Abilities) {
    this.name = name;
    this.classCode = classCode;
    this.#abilities = abilities;
  }

  /** A driver listens. */
  get ready(): boolean {
    return this.#run !== null;
  }

  readConfiguration(offset: number, size: AccessSize): number {
    const view = configurationBytes(configuration.bytes, [[configuration.select, 1, this.#select], [configuration.subselect, 1, this.#subselect]]);
    const answer = this.#answer();
    view.setUint8(configuration.size, answer.length);
    new Uint8Array(view.buffer).set(answer, configuration.data);
    return readBytes(view, offset, size);
  }

  writeConfiguration(offset: number, size: AccessSize, value: number): void {
    if (offset === configuration.select) this.#select = value & 0xff;
    if (offset === configuration.subselect) this.#subselect = value & 0xff;
    if (offset === configuration.select && size > 1) this.#subselect = (value >> 8) & 0xff;
  }

  start(run: VirtioRun): void {
    this.#run = run;
    const [events, status] = run.queues;
    for (const chain of events?.retake() ?? []) events?.give(chain.head, 0);
    for (const chain of status?.retake() ?? []) status?.give(chain.head, 0);
    for (const number of [queueNumber.events, queueNumber.status]) this.notify(number);
  }

  notify(number: number): void {
    const queue = this.#run?.queues[number];
    if (queue === undefined) return;
    if (number === queueNumber.events) this.#deliver(queue);
    else this.#hear(queue);
    queue.signal();
  }

  stop(): void {
    this.#run = null;
    this.#select = this.#subselect = 0;
    this.#pending = [];
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { select: this.#select, subselect: this.#subselect, pending: this.#pending.map(event => ({ ...event })) };
  }

  readState(reader: StateReader): () => void {
    const [select, subselect] = [reader.uint('select', 8), reader.uint('subselect', 8)];
    const pending = reader.recordsUpTo('pending', PENDING_MAXIMUM).map(row => ({ type: row.uint('type', 16), code: row.uint('code', 16), value: row.uint('value', 32) }));
    return () => {
      this.#select = select;
      this.#subselect = subselect;
      this.#pending = pending;
    };
  }

  /** Tells of what happened at one moment. Nobody listens: it is forgotten. */
  protected report(events: readonly InputEvent[]): void {
    const run = this.#run;
    if (run === null || this.#pending.length + events.length >= PENDING_MAXIMUM) return;
    this.#pending.push(...events, { type: eventType.synchronize, code: 0, value: 0 });
    try {
      this.notify(queueNumber.events);
    } catch (error) {
      run.fail(error);
    }
  }

  /** The driver tells of something, such as a light that is to shine. */
  protected told(_event: InputEvent): void {}

  #deliver(queue: VirtQueue): void {
    const run = this.#run;
    while (run !== null && this.#pending.length > 0) {
      const chain = queue.take();
      if (chain === null) return;
      const event = this.#pending.shift();
      if (event !== undefined) scatter(run.memory, chain.writable, 0, encode(event));
      queue.give(chain.head, EVENT_BYTES);
    }
  }

  #hear(queue: VirtQueue): void {
    const bytes = new Uint8Array(EVENT_BYTES);
    const view = new DataView(bytes.buffer);
    for (let chain = queue.take(); chain; chain = queue.take()) {
      const reached = this.#run !== null && gather(this.#run.memory, chain.readable, 0, bytes);
      if (reached) this.told({ type: view.getUint16(0, true), code: view.getUint16(2, true), value: view.getUint32(4, true) });
      queue.give(chain.head, 0);
    }
  }

  #answer(): Uint8Array {
    const { title, product, codes } = this.#abilities;
    switch (this.#select) {
      case selection.name: return Buffer.from(title);
      case selection.serial: return Buffer.from(this.name);
      case selection.identity: return new Uint8Array(Uint16Array.of(identity.bus, identity.vendor, product, identity.version).buffer);
      case selection.events: return bitmap(codes.get(this.#subselect) ?? []);
      case selection.axis: return codes.get(eventType.absolute)?.includes(this.#subselect) === true ? new Uint8Array(Uint32Array.of(0, PLACE_MAXIMUM, 0, 0, 0).buffer) : new Uint8Array(0);
      default: return new Uint8Array(0);
    }
  }
}

export class VirtioKeyboard extends VirtioInput {
  /** As the guest has set them: bits for Num, Caps, Scroll Lock. */
  lights = 0;

  constructor(name: string) {
    super(name, 0x090000, { product: 1, title: 'Vanderpool Virtio Keyboard', codes: new Map<number, readonly number[]>([[eventType.key, keyCodes], [eventType.light, lightCodes], [eventType.repeat, repeatCodes]]) });
  }

  /** @param place the browser's name of the key's place (KeyboardEvent.code) */
  setKey(place: string, down: boolean): void {
    const code = keyCode(place);
    if (code !== undefined) this.report([{ type: eventType.key, code, value: down ? 1 : 0 }]);
  }

  override stop(): void {
    super.stop();
    this.lights = 0;
  }

  override saveState(): Readonly<Record<string, unknown>> {
    return { ...super.saveState(), lights: this.lights };
  }

  override readState(reader: StateReader): () => void {
    const restore = super.readState(reader);
    const lights = reader.uint('lights', lightCodes.length);
    return () => {
      restore();
      this.lights = lights;
    };
  }

  protected override told({ type, code, value }: InputEvent): void {
    if (type !== eventType.light || code >= lightCodes.length) return;
    this.lights = value === 0 ? this.lights & ~(1 << code) : this.lights | (1 << code);
  }
}

export class VirtioTablet extends VirtioInput {
  #buttons = 0;

  constructor(name: string) {
    super(name, 0x090200, {
      product: 2, title: 'Vanderpool Virtio Tablet',
      codes: new Map<number, readonly number[]>([[eventType.key, buttonCodes], [eventType.relative, [axis.wheel]], [eventType.absolute, [axis.x, axis.y]]]),
    });
  }

  /**
   * Moves the pointer.
   * @param x from the left, @param y from the top, 0 to PLACE_MAXIMUM
   * @param buttons left, right, middle as bits, @param wheel steps away from the person
   */
  setPointer(x: number, y: number, buttons: number, wheel = 0): void {
    const place = (value: number): number => Math.max(0, Math.min(PLACE_MAXIMUM, Math.round(value)));
    const changed = (buttons ^ this.#buttons) & 7;
    this.#buttons = buttons & 7;
    this.report([
      { type: eventType.absolute, code: axis.x, value: place(x) }, { type: eventType.absolute, code: axis.y, value: place(y) },
      ...buttonCodes.flatMap((code, bit) => ((changed >> bit) & 1 ? [{ type: eventType.key, code, value: (buttons >> bit) & 1 }] : [])),
      ...(wheel === 0 ? [] : [{ type: eventType.relative, code: axis.wheel, value: Math.max(-127, Math.min(127, Math.round(wheel))) >>> 0 }]),
    ]);
  }

  override stop(): void {
    super.stop();
    this.#buttons = 0;
  }

  override saveState(): Readonly<Record<string, unknown>> {
    return { ...super.saveState(), buttons: this.#buttons };
  }

  override readState(reader: StateReader): () => void {
    const restore = super.readState(reader);
    const buttons = reader.uint('buttons', buttonCodes.length);
    return () => {
      restore();
      this.#buttons = buttons;
    };
  }
}

function encode({ type, code, value }: InputEvent): Uint8Array {
  const bytes = new Uint8Array(EVENT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, type, true);
  view.setUint16(2, code, true);
  view.setUint32(4, value, true);
  return bytes;
}

/** A bit for each code; no byte more than the last one needs. */
function bitmap(codes: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(codes.length === 0 ? 0 : (Math.max(...codes) >> 3) + 1);
  for (const code of codes) bytes[code >> 3] = (bytes[code >> 3] ?? 0) | (1 << (code & 7));
  return bytes;
}
