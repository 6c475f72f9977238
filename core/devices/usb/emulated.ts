/** What every emulated USB device does: standard requests, halted endpoints, transfers that wait for data. @usb 9.4 */

import { StateReader } from '../../platform/state.ts';
import { configurationDescriptor, descriptorType, deviceDescriptor, objectsDescriptor, stringDescriptor } from './descriptors.ts';
import { parseSetup, toHost } from './device.ts';
import type { DeviceDescription } from './descriptors.ts';
import type { DeviceState } from '../../platform/device.ts';
import type { SetupPacket, UsbDevice, UsbSpeed, UsbTransfer } from './device.ts';

const request = { getStatus: 0, clearFeature: 1, setFeature: 3, setAddress: 5, getDescriptor: 6, getConfiguration: 8, setConfiguration: 9, getInterface: 10, setInterface: 11, setDelay: 0x31, setSel: 0x30 } as const;
const typeMask = 0x60;
const recipientMask = 0x1f;
const recipient = { endpoint: 2 } as const;
const endpointHalt = 0;
const nothing = new Uint8Array(0);

/** Data of an answer; `stall`: refused. */
export type Answer = Uint8Array | 'stall';

export abstract class EmulatedDevice implements UsbDevice {
  readonly name: string;
  readonly version: number = 1;
  readonly speed: UsbSpeed;
  readonly restorable = true;
  readonly #description: DeviceDescription;
  #configuration = 0;
  #halted = new Set<number>();
  /** Transfers that wait until there is something to send, one an endpoint. */
  readonly #pending = new Map<number, UsbTransfer>();

  constructor(name: string, description: DeviceDescription) {
    this.name = name;
    this.speed = description.speed;
    this.#description = description;
  }

  /** Whether a driver has taken the device. */
  get configured(): boolean {
    return this.#configuration !== 0;
  }

  reset(): void {
    this.#configuration = 0;
    this.#halted.clear();
    this.#pending.clear();
  }

  saveState(): DeviceState {
    return { version: this.version, configuration: this.#configuration, halted: [...this.#halted] };
  }

  loadState(state: unknown): void {
    this.checkState(StateReader.open(this, state))();
  }

  protected checkState(reader: StateReader): () => void {
    const configuration = reader.integer('configuration', 0, 1);
    const halted = reader.uints('halted', 8, 32, false);
    return () => {
      this.#configuration = configuration;
      this.#halted = new Set(halted);
      this.#pending.clear();
    };
  }

  submit(transfer: UsbTransfer): void {
    const { endpoint, kind, setup, data } = transfer;
    if (setup !== null) {
      const packet = parseSetup(setup);
      return this.control(packet, data, answer => transfer.done(answer === 'stall' ? 'stall' : 'completed', answer === 'stall' ? nothing : answer.subarray(0, transfer.length)));
    }
    if (kind === 'control' || this.#halted.has(endpoint)) return transfer.done('stall', nothing);
    if (endpoint >= toHost) {
      this.#pending.set(endpoint, transfer);
      this.send(endpoint);
    } else this.receive(endpoint, data, taken => transfer.done(taken ? 'completed' : 'stall', nothing));
  }

  cancel(endpoint: number): void {
    this.#pending.delete(endpoint);
  }

  /** A request of the device's class. */
  protected abstract classRequest(packet: SetupPacket, data: Uint8Array): Answer;
  /** Bytes came in at an endpoint. `done(false)` halts it. */
  protected abstract receive(endpoint: number, data: Uint8Array, done: (taken: boolean) => void): void;
  /** The next bytes for the host: at most `room`. Null: none yet. */
  protected abstract produce(endpoint: number, room: number): Answer | null;
  /** What belongs to a descriptor type of the class. */
  protected classDescriptor(_type: number): Uint8Array | null {
    return null;
  }

  /** There may be something for a transfer that waits. */
  protected send(endpoint: number): void {
    const transfer = this.#pending.get(endpoint);
    if (transfer === undefined) return;
    const answer = this.produce(endpoint, transfer.length);
    if (answer === null) return;
    this.#pending.delete(endpoint);
    if (answer === 'stall') this.halt(endpoint);
    transfer.done(answer === 'stall' ? 'stall' : 'completed', answer === 'stall' ? nothing : answer);
  }

  /** Transfers stall until the host clears it. */
  protected halt(endpoint: number): void {
    this.#halted.add(endpoint);
  }

  private control(packet: SetupPacket, data: Uint8Array, done: (answer: Answer) => void): void {
    done((packet.requestType & typeMask) === 0 ? this.standard(packet) : this.classRequest(packet, data));
  }

  private standard({ requestType, request: wanted, value, index }: SetupPacket): Answer {
    const endpoint = (requestType & recipientMask) === recipient.endpoint ? index & 0x8f : null;
    switch (wanted) {
      case request.getDescriptor: return this.descriptor(value >> 8, value & 0xff) ?? 'stall';
      case request.getStatus: return Uint8Array.of(endpoint !== null && this.#halted.has(endpoint) ? 1 : 0, 0);
      case request.getConfiguration: return Uint8Array.of(this.#configuration);
      case request.setConfiguration:
        if (value > 1) return 'stall';
        this.#configuration = value;
        this.#halted.clear();
        return nothing;
      case request.getInterface: return Uint8Array.of(0);
      case request.setInterface: return value === 0 ? nothing : 'stall';
      case request.clearFeature:
        if (endpoint !== null && value === endpointHalt) this.#halted.delete(endpoint);
        return nothing;
      case request.setFeature:
        if (endpoint !== null && value === endpointHalt) this.halt(endpoint);
        return nothing;
      case request.setAddress: case request.setSel: case request.setDelay: return nothing;
      default: return 'stall';
    }
  }

  private descriptor(type: number, number: number): Uint8Array | null {
    const description = this.#description;
    switch (type) {
      case descriptorType.device: return deviceDescriptor(description);
      case descriptorType.configuration: return number === 0 ? configurationDescriptor(description) : null;
      case descriptorType.string: return stringDescriptor(description, number);
      case descriptorType.objects: return this.speed === 'super' ? objectsDescriptor() : null;
      default: return this.classDescriptor(type);
    }
  }
}
