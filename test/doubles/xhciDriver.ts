/** An xHCI controller with memory around it, and the driver's side of its rings. */
import { ManualTime } from './manualTime.ts';
import { VirtualClock } from '../../core/platform/clock.ts';
import { XhciController } from '../../core/devices/usb/xhci/controller.ts';
import { trbType } from '../../core/devices/usb/xhci/trb.ts';
import { plugged } from './virtioDriver.ts';

/** Where things lie in memory. */
const at = { contexts: 0x1000, eventTable: 0x1800, commands: 0x2000, events: 0x3000, input: 0x4000, devices: 0x5000, rings: 0x10000, data: 0x40000 } as const;
const EVENTS = 64;
const RING_TRBS = 16;
const register = { command: 0x40, status: 0x44, commandRing: 0x58, contexts: 0x70, configure: 0x78, port: 0x440, interrupter: 0x1020, doorbell: 0x2000 } as const;

export interface Event {
  readonly type: number;
  readonly pointer: number;
  readonly code: number;
  /** Bytes that did not move, or what an event data block has counted. */
  readonly length: number;
  readonly endpoint: number;
  readonly slot: number;
}

export interface Block {
  readonly type: number;
  /** Address of the data, or eight bytes of it. */
  readonly pointer?: number | Uint8Array;
  readonly length?: number;
  /** Bits of the last word. */
  readonly flags?: number;
}

export const flag = { short: 4, chain: 16, interrupt: 32, immediate: 64, block: 512 } as const;
export const dataAt = at.data;

interface Ring {
  readonly base: number;
  index: number;
  cycle: number;
}

export class XhciDriver {
  readonly ram = new Uint8Array(1 << 20);
  readonly view = new DataView(this.ram.buffer);
  readonly time = new ManualTime();
  readonly clock = new VirtualClock(this.time);
  readonly controller = new XhciController('xhci', this.clock);
  readonly plug = plugged(this.controller, this.ram);
  readonly commands: Ring = { base: at.commands, index: 0, cycle: 1 };
  readonly #rings = new Map<number, Ring>();
  #event = 0;
  #eventCycle = 1;

  read(offset: number): number {
    return this.controller.registers.read(offset, 4);
  }

  write(offset: number, value: number): void {
    this.controller.registers.write(offset, 4, value >>> 0);
  }

  write64(offset: number, value: number): void {
    this.write(offset, value);
    this.write(offset + 4, Math.floor(value / 2 ** 32));
  }

  /** Everything that a driver sets up before it looks at the ports. */
  start(): void {
    this.ram.fill(0, at.commands, at.input);
    Object.assign(this.commands, { index: 0, cycle: 1 });
    this.#event = 0;
    this.#eventCycle = 1;
    this.controller.writeConfig(4, 2, 6);
    this.write(register.configure, 32);
    this.write64(register.contexts, at.contexts);
    this.write64(register.commandRing, at.commands | 1);
    this.view.setUint32(at.eventTable, at.events, true);
    this.view.setUint32(at.eventTable + 8, EVENTS, true);
    this.write(register.interrupter + 8, 1);
    this.write64(register.interrupter + 0x18, at.events);
    this.write64(register.interrupter + 0x10, at.eventTable);
    this.write(register.interrupter, 2);
    this.write(register.interrupter + 4, 0);
    this.write(register.command, 5);
  }

  /** Time passes, and timers run. */
  pass(ns: number): void {
    this.time.pass(ns);
    this.clock.runDue();
  }

  /** Events since the last call; taken off the ring. */
  events(): Event[] {
    const found: Event[] = [];
    for (;;) {
      const place = at.events + this.#event * 16;
      const control = this.view.getUint32(place + 12, true);
      if ((control & 1) !== this.#eventCycle) break;
      const status = this.view.getUint32(place + 8, true);
      found.push({
        type: (control >>> 10) & 63, pointer: this.view.getUint32(place, true), code: status >>> 24, length: status & 0xffffff, endpoint: (control >>> 16) & 31, slot: control >>> 24,
      });
      this.#event = (this.#event + 1) % EVENTS;
      if (this.#event === 0) this.#eventCycle ^= 1;
    }
    this.write(register.interrupter, 3);
    this.write64(register.interrupter + 0x18, (at.events + this.#event * 16) | 8);
    return found;
  }

  /** Gives a command and returns its completion. */
  command(type: number, { pointer = 0, slot = 0, endpoint = 0, flags = 0 }: { readonly pointer?: number; readonly slot?: number; readonly endpoint?: number; readonly flags?: number } = {}): Event {
    const before = this.events();
    if (before.some(event => event.type === trbType.commandCompletion)) throw new Error('a completion that nobody asked for');
    this.#put(this.commands, { type, pointer, flags: flags | (endpoint << 16) | (slot << 24) });
    this.write(register.doorbell, 0);
    this.unread.push(...before);
    const events = this.events();
    const completion = events.find(event => event.type === trbType.commandCompletion);
    if (completion === undefined) throw new Error('the command has no completion');
    this.unread.push(...events.filter(event => event !== completion));
    return completion;
  }

  /** Events that came while a command was under way. */
  readonly unread: Event[] = [];

  port(number: number): number {
    return this.read(register.port + (number - 1) * 16);
  }

  writePort(number: number, bits: number): void {
    this.write(register.port + (number - 1) * 16, 0x200 | bits);
  }

  /** Resets the port, and gives its device a slot and an address. Returns the slot. */
  address(port: number): number {
    this.writePort(port, 0x10);
    const { slot } = this.command(trbType.enableSlot);
    const device = at.devices + slot * 0x400;
    this.view.setUint32(at.contexts + slot * 8, device, true);
    this.ram.fill(0, at.input, at.input + 0x420);
    this.view.setUint32(at.input + 4, 3, true);
    this.#context(0, [(1 << 27) | (3 << 20), port << 16]);
    this.#endpointContext(1, 4, 64, this.#ring(slot, 1));
    const { code } = this.command(trbType.addressDevice, { pointer: at.input, slot });
    if (code !== 1) throw new Error(`the device has no address: ${code}`);
    return slot;
  }

  /** @param type of an endpoint context: 1 isochronous out, 2 bulk out, 3 interrupt out, 5 to 7 in */
  configure(slot: number, endpoints: readonly { readonly index: number; readonly type: number; readonly maxPacket: number; readonly interval?: number }[]): Event {
    this.ram.fill(0, at.input, at.input + 0x420);
    this.view.setUint32(at.input + 4, endpoints.reduce((bits, { index }) => bits | (1 << index), 1) >>> 0, true);
    this.#context(0, [(31 << 27) | (3 << 20), 1 << 16]);
    for (const { index, type, maxPacket, interval = 0 } of endpoints) this.#endpointContext(index, type, maxPacket, this.#ring(slot, index), interval);
    return this.command(trbType.configureEndpoint, { pointer: at.input, slot });
  }

  /** Puts blocks on an endpoint's ring and rings its doorbell. Returns their addresses. */
  queue(slot: number, index: number, blocks: readonly Block[], ring = true): number[] {
    const target = this.#rings.get(slot * 32 + index);
    if (target === undefined) throw new Error(`endpoint ${index} has no ring`);
    const places = blocks.map(block => this.#put(target, block));
    if (ring) this.ring(slot, index);
    return places;
  }

  ring(slot: number, index: number): void {
    this.write(register.doorbell + slot * 4, index);
  }

  /** Queues a control transfer. */
  control(slot: number, setup: readonly number[], length: number): number[] {
    const isIn = ((setup[0] ?? 0) & 0x80) !== 0;
    const data: Block[] = length === 0 ? [] : [{ type: trbType.data, pointer: at.data, length, flags: flag.short | (isIn ? 1 << 16 : 0) }];
    return this.queue(slot, 1, [
      { type: trbType.setup, pointer: Uint8Array.from(setup), length: 8, flags: flag.immediate | ((length === 0 ? 0 : isIn ? 3 : 2) << 16) }, ...data,
      { type: trbType.status, flags: flag.interrupt | (isIn ? 0 : 1 << 16) },
    ]);
  }

  /** State and dequeue pointer of an endpoint, as its context tells them. */
  endpoint(slot: number, index: number): { readonly state: number; readonly dequeue: number } {
    const place = at.devices + slot * 0x400 + index * 32;
    return { state: this.ram[place]! & 7, dequeue: this.view.getUint32(place + 8, true) };
  }

  #ring(slot: number, index: number): Ring {
    const ring = { base: at.rings + (slot * 32 + index) * RING_TRBS * 16, index: 0, cycle: 1 };
    this.ram.fill(0, ring.base, ring.base + RING_TRBS * 16);
    this.#rings.set(slot * 32 + index, ring);
    return ring;
  }

  #put(ring: Ring, { type, pointer = 0, length = 0, flags = 0 }: Block): number {
    if (ring.index === RING_TRBS - 1) {
      this.#write(ring, { type: trbType.link, pointer: ring.base, flags: 2 });
      ring.index = 0;
      ring.cycle ^= 1;
    }
    return this.#write(ring, { type, pointer, length, flags });
  }

  #write(ring: Ring, { type, pointer = 0, length = 0, flags = 0 }: Block): number {
    const place = ring.base + ring.index * 16;
    if (typeof pointer === 'number') this.view.setBigUint64(place, BigInt(pointer), true);
    else this.ram.set(pointer, place);
    this.view.setUint32(place + 8, length, true);
    this.view.setUint32(place + 12, ((type << 10) | flags | ring.cycle) >>> 0, true);
    ring.index += 1;
    return place;
  }

  #context(index: number, words: readonly number[]): void {
    words.forEach((word, number) => this.view.setUint32(at.input + (index + 1) * 32 + number * 4, word >>> 0, true));
  }

  #endpointContext(index: number, type: number, maxPacket: number, ring: Ring, interval = 0): void {
    this.#context(index, [interval << 16, (3 << 1) | (type << 3) | (maxPacket << 16), ring.base | ring.cycle, 0, 8]);
  }
}
