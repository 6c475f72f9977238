/** Device slots, and the commands that software gives about them. @xhci 4.6 */

import { CONTEXT_BYTES, ENDPOINTS, endpointState, parseEndpoint, parseSlot, readContext, setEndpointState, setSlotState, slotState, writeContext } from './contexts.ts';
import { Endpoint } from './endpoint.ts';
import { SLOTS } from './registers.ts';
import { code, pointerOf, trbBit, trbType, typeOf } from './trb.ts';
import type { EndpointHost } from './endpoint.ts';
import type { RootPort } from './ports.ts';
import type { StateReader } from '../../../platform/state.ts';
import type { Trb } from './trb.ts';
import type { UsbDevice } from '../device.ts';

interface Slot {
  state: number;
  /** Address of the device context: of the slot's own, followed by those of endpoints. */
  context: number;
  /** Root hub port, from 1 on; 0: none yet. */
  port: number;
  readonly endpoints: Map<number, Endpoint>;
}

export interface SlotsHost {
  /** What endpoints need, but for what slots know. */
  readonly endpoints: Omit<EndpointHost, 'device' | 'stateChanged'>;
  readonly ports: readonly RootPort[];
  /** Address of the array of pointers to device contexts, and how many slots software has enabled. */
  readonly contexts: number;
  readonly enabled: number;
  /** An endpoint's transfer has ended, or its ring runs again. */
  idle(endpoint: Endpoint): void;
  gone(endpoint: Endpoint): void;
}

type Handler = (trb: Trb, slot: number) => number;

export class Slots {
  readonly #host: SlotsHost;
  readonly #endpointHost: EndpointHost;
  readonly #slots = new Map<number, Slot>();
  /** The slot of the last command, for its event. */
  completed = 0;
  readonly #handlers: Readonly<Record<number, Handler>> = {
    [trbType.enableSlot]: () => this.#enable(),
    [trbType.disableSlot]: (_, slot) => this.#disable(slot),
    [trbType.addressDevice]: (trb, slot) => this.#address(trb, slot),
    [trbType.configureEndpoint]: (trb, slot) => this.#configure(trb, slot),
    [trbType.evaluateContext]: (trb, slot) => this.#evaluate(trb, slot),
    [trbType.resetEndpoint]: (trb, slot) => this.#resetEndpoint(trb, slot),
    [trbType.stopEndpoint]: (trb, slot) => this.#stopEndpoint(trb, slot),
    [trbType.setDequeue]: (trb, slot) => this.#setDequeue(trb, slot),
    [trbType.resetDevice]: (_, slot) => this.#resetDevice(slot),
    [trbType.commandNoOperation]: () => code.success,
  };

  constructor(host: SlotsHost) {
    this.#host = host;
    this.#endpointHost = { ...host.endpoints, device: slot => this.#device(slot), stateChanged: endpoint => this.#tell(endpoint) };
  }

  /** Obeys a command. Returns the completion code; `completed` is the slot that it concerned. */
  obey(trb: Trb): number {
    const slot = trb.control >>> 24;
    this.completed = slot;
    return this.#handlers[typeOf(trb)]?.(trb, slot) ?? code.trb;
  }

  /** The endpoint that a doorbell names, where its ring may run. */
  ring(slot: number, index: number): Endpoint | null {
    const endpoint = this.#slots.get(slot)?.endpoints.get(index);
    if (endpoint === undefined || endpoint.state === endpointState.halted || endpoint.state === endpointState.error) return null;
    if (endpoint.state === endpointState.stopped) {
      endpoint.state = endpointState.running;
      this.#tell(endpoint);
    }
    return endpoint;
  }

  get endpoints(): readonly Endpoint[] {
    return [...this.#slots.values()].flatMap(({ endpoints }) => [...endpoints.values()]);
  }

  reset(): void {
    for (const number of [...this.#slots.keys()]) this.#forget(number);
  }

  /** A port has lost its device: what was asked of it fails. */
  unplugged(port: number): void {
    for (const { port: own, endpoints } of this.#slots.values()) if (own === port) for (const endpoint of endpoints.values()) if (endpoint.cancel()) this.#host.idle(endpoint);
  }

  save(): readonly object[] {
    return [...this.#slots].map(([number, { state, context, port, endpoints }]) => ({ number, state, context, port, endpoints: [...endpoints.values()].map(endpoint => endpoint.save()) }));
  }

  check(rows: readonly StateReader[]): () => void {
    const slots = rows.map(row => {
      const number = row.integer('number', 1, SLOTS);
      const slot = { state: row.integer('state', 0, slotState.configured), context: row.uint('context', 53), port: row.integer('port', 0, this.#host.ports.length) };
      return [number, slot, row.recordsUpTo('endpoints', ENDPOINTS).map(endpoint => Endpoint.check(this.#endpointHost, endpoint, SLOTS))] as const;
    });
    return () => {
      this.reset();
      for (const [number, slot, endpoints] of slots) {
        this.#slots.set(number, { ...slot, endpoints: new Map(endpoints.map(endpoint => [endpoint.index, endpoint])) });
        for (const endpoint of endpoints) endpoint.onIdle = () => this.#host.idle(endpoint);
      }
    };
  }

  // ---- Commands -----------------------------------------------------------------------------------------------------

  #enable(): number {
    for (let number = 1; number <= Math.min(this.#host.enabled, SLOTS); number++) {
      if (this.#slots.has(number)) continue;
      this.#slots.set(number, { state: slotState.enabled, context: 0, port: 0, endpoints: new Map() });
      this.completed = number;
      return code.success;
    }
    return code.noSlots;
  }

  #disable(number: number): number {
    const slot = this.#slots.get(number);
    if (slot === undefined) return code.slotNotEnabled;
    this.#tellSlot(slot, slotState.enabled, 0);
    this.#forget(number);
    return code.success;
  }

  #address(trb: Trb, number: number): number {
    const slot = this.#slots.get(number);
    if (slot === undefined) return code.slotNotEnabled;
    const block = (trb.control & trbBit.blockAddress) !== 0;
    if (slot.state !== slotState.enabled && (block || slot.state !== slotState.default)) return code.contextState;
    const input = this.#input(trb);
    const [slotContext, endpointContext, place] = [input?.context(0), input?.context(1), this.#contextAddress(number)];
    if (!input || !slotContext || !endpointContext || place === null || (input.added & 3) !== 3) return code.parameter;
    const { route, port } = parseSlot(slotContext);
    const settings = parseEndpoint(endpointContext, 1);
    const root = this.#host.ports[port - 1];
    if (settings?.kind !== 'control' || root === undefined) return code.parameter;
    // Devices behind hubs: no hub is ever plugged in.
    if (route !== 0 || root.device === null || !root.enabled) return code.transaction;
    Object.assign(slot, { context: place, port, state: block ? slotState.default : slotState.addressed });
    setSlotState(slotContext, slot.state, block ? 0 : number);
    writeContext(this.#host.endpoints.dma, place, slotContext);
    this.#drop(slot, 1);
    this.#add(slot, number, 1, settings);
    this.#writeEndpoint(slot, 1, endpointContext);
    return code.success;
  }

  #configure(trb: Trb, number: number): number {
    const slot = this.#slots.get(number);
    if (slot === undefined) return code.slotNotEnabled;
    if (slot.state < slotState.addressed) return code.contextState;
    if ((trb.control & trbBit.deconfigure) !== 0) {
      for (let index = 2; index <= ENDPOINTS; index++) this.#drop(slot, index);
      this.#tellSlot(slot, slotState.addressed, number);
      return code.success;
    }
    const input = this.#input(trb);
    if (input === null) return code.parameter;
    const wanted = [...indices(input.added)].map(index => {
      const context = input.context(index);
      return { index, context, settings: context && parseEndpoint(context, index) };
    });
    if (wanted.some(({ settings }) => !settings)) return code.parameter;
    for (const index of indices(input.dropped)) this.#drop(slot, index);
    for (const { index, context, settings } of wanted) {
      if (!context || !settings) continue;
      this.#drop(slot, index);
      this.#add(slot, number, index, settings);
      this.#writeEndpoint(slot, index, context);
    }
    this.#tellSlot(slot, [...slot.endpoints.keys()].some(index => index > 1) ? slotState.configured : slotState.addressed, number, input.context(0));
    return code.success;
  }

  /** Of a slot: latency and interrupter. Of the default endpoint: its packet size, once the device has told it. @xhci 4.6.7 */
  #evaluate(trb: Trb, number: number): number {
    const slot = this.#slots.get(number);
    if (slot === undefined) return code.slotNotEnabled;
    if (slot.state < slotState.default) return code.contextState;
    const input = this.#input(trb);
    if (input === null) return code.parameter;
    const { dma } = this.#host.endpoints;
    const [now, wanted] = [readContext(dma, slot.context), input.context(0)];
    if ((input.added & 1) !== 0 && now && wanted) {
      now[1] = ((now[1] ?? 0) & ~0xffff) | ((wanted[1] ?? 0) & 0xffff);
      now[2] = ((now[2] ?? 0) & 0x3fffff) | ((wanted[2] ?? 0) & ~0x3fffff);
      writeContext(dma, slot.context, now);
    }
    const [endpoint, size] = [readContext(dma, slot.context + CONTEXT_BYTES), input.context(1)];
    if ((input.added & 2) !== 0 && endpoint && size) {
      endpoint[1] = ((endpoint[1] ?? 0) & 0xffff) | ((size[1] ?? 0) & ~0xffff);
      writeContext(dma, slot.context + CONTEXT_BYTES, endpoint);
    }
    return code.success;
  }

  #resetEndpoint(trb: Trb, number: number): number {
    const endpoint = this.#find(trb, number);
    if (typeof endpoint === 'number') return endpoint;
    if (endpoint.state !== endpointState.halted) return code.contextState;
    if ((trb.control & trbBit.preserve) === 0) endpoint.setDequeue(endpoint.dequeue);
    endpoint.state = endpointState.stopped;
    this.#tell(endpoint);
    return code.success;
  }

  #stopEndpoint(trb: Trb, number: number): number {
    const endpoint = this.#find(trb, number);
    if (typeof endpoint === 'number') return endpoint;
    if (endpoint.state !== endpointState.running) return code.contextState;
    endpoint.stop();
    return code.success;
  }

  #setDequeue(trb: Trb, number: number): number {
    const endpoint = this.#find(trb, number);
    if (typeof endpoint === 'number') return endpoint;
    if (endpoint.state !== endpointState.stopped && endpoint.state !== endpointState.error) return code.contextState;
    const pointer = pointerOf(trb);
    endpoint.setDequeue({ address: pointer - (pointer % 16), cycle: trb.low & 1 });
    endpoint.state = endpointState.stopped;
    this.#tell(endpoint);
    return code.success;
  }

  #resetDevice(number: number): number {
    const slot = this.#slots.get(number);
    if (slot === undefined) return code.slotNotEnabled;
    if (slot.state < slotState.default) return code.contextState;
    for (let index = 2; index <= ENDPOINTS; index++) this.#drop(slot, index);
    this.#tellSlot(slot, slotState.default, 0);
    return code.success;
  }

  // ---- Contexts -----------------------------------------------------------------------------------------------------

  #find(trb: Trb, number: number): Endpoint | number {
    const slot = this.#slots.get(number);
    if (slot === undefined) return code.slotNotEnabled;
    return slot.endpoints.get((trb.control >>> 16) & 31) ?? (slot.state < slotState.default ? code.contextState : code.endpointNotEnabled);
  }

  /** An input context: which contexts to drop and to add, and those to add. */
  #input(trb: Trb): { readonly dropped: number; readonly added: number; context(index: number): Uint32Array | null } | null {
    const address = pointerOf(trb) - (trb.low & 15);
    const { dma } = this.#host.endpoints;
    const control = readContext(dma, address);
    if (control === null) return null;
    const [dropped = 0, added = 0] = control;
    return { dropped, added, context: index => readContext(dma, address + (index + 1) * CONTEXT_BYTES) };
  }

  #contextAddress(number: number): number | null {
    const { endpoints: { dma }, contexts } = this.#host;
    const [low, high] = [dma.read32(contexts + number * 8), dma.read32(contexts + number * 8 + 4)];
    return low === null || high === null ? null : (high & 0x1fffff) * 2 ** 32 + ((low & ~63) >>> 0);
  }

  #add(slot: Slot, number: number, index: number, settings: Endpoint['settings']): void {
    const endpoint = new Endpoint(this.#endpointHost, number, index, settings);
    endpoint.onIdle = () => this.#host.idle(endpoint);
    slot.endpoints.set(index, endpoint);
  }

  #drop(slot: Slot, index: number): void {
    const endpoint = slot.endpoints.get(index);
    if (endpoint === undefined) return;
    endpoint.cancel();
    endpoint.state = endpointState.disabled;
    this.#tell(endpoint);
    slot.endpoints.delete(index);
    this.#host.gone(endpoint);
  }

  #forget(number: number): void {
    const slot = this.#slots.get(number);
    if (slot === undefined) return;
    for (const endpoint of slot.endpoints.values()) {
      endpoint.cancel();
      this.#host.gone(endpoint);
    }
    this.#slots.delete(number);
  }

  #device(number: number): UsbDevice | null {
    const port = this.#host.ports[(this.#slots.get(number)?.port ?? 0) - 1];
    return port?.enabled === true ? port.device : null;
  }

  /** The device context follows an endpoint. */
  #tell(endpoint: Endpoint): void {
    const slot = this.#slots.get(endpoint.slot);
    const context = slot && readContext(this.#host.endpoints.dma, slot.context + endpoint.index * CONTEXT_BYTES);
    if (slot && context) this.#put(slot, endpoint, context);
  }

  #writeEndpoint(slot: Slot, index: number, context: Uint32Array): void {
    const endpoint = slot.endpoints.get(index);
    if (endpoint) this.#put(slot, endpoint, context);
  }

  #put(slot: Slot, { index, state, dequeue }: Endpoint, context: Uint32Array): void {
    setEndpointState(context, state, dequeue.address, dequeue.cycle);
    writeContext(this.#host.endpoints.dma, slot.context + index * CONTEXT_BYTES, context);
  }

  /** @param from what software has told anew of the slot: the last of its contexts */
  #tellSlot(slot: Slot, state: number, address: number, from: Uint32Array | null = null): void {
    slot.state = state;
    if (slot.context === 0) return;
    const { dma } = this.#host.endpoints;
    const context = readContext(dma, slot.context);
    if (context === null) return;
    if (from !== null) context[0] = (((context[0] ?? 0) & 0x07ffffff) | ((from[0] ?? 0) & 0xf8000000)) >>> 0;
    setSlotState(context, state, address);
    writeContext(dma, slot.context, context);
  }
}

/** Endpoints whose bits are set, 2 to 31. */
function* indices(bits: number): Generator<number> {
  for (let index = 2; index <= ENDPOINTS; index++) if ((bits & (1 << index)) !== 0) yield index;
}
