/** Human interface devices: a tablet, whose pointer goes where the person points, and a keyboard. @hid 1.11 */

import { EmulatedDevice } from './emulated.ts';
import { hidUsage } from './hidUsages.ts';
import type { Answer } from './emulated.ts';
import type { DeviceState } from '../../platform/device.ts';
import type { SetupPacket } from './device.ts';
import type { StateReader } from '../../platform/state.ts';

const classRequest = { getReport: 0x01, getIdle: 0x02, getProtocol: 0x03, setReport: 0x09, setIdle: 0x0a, setProtocol: 0x0b } as const;
const hidType = { hid: 0x21, report: 0x22 } as const;
const endpoint = 0x81;
/** Reports that wait for the host; the oldest goes when there are more. */
const QUEUE_MAXIMUM = 64;

interface HidDescription {
  readonly product: number;
  readonly name: string;
  /** Boot interface: 1 keyboard, 0 none. */
  readonly protocol: number;
  readonly reportDescriptor: Uint8Array;
  readonly reportBytes: number;
}

/** Reports of input, one after the other. */
abstract class HidDevice extends EmulatedDevice {
  readonly #description: HidDescription;
  #queue: Uint8Array[] = [];
  #last: Uint8Array;
  #idle = 0;
  #protocol = 1;

  constructor(name: string, description: HidDescription) {
    const { reportDescriptor, protocol, reportBytes } = description;
    super(name, {
      vendor: 0x0627, product: description.product, release: 0x0100, speed: 'high', names: { manufacturer: 'Vanderpool', product: description.name, serial: '1' },
      interfaces: [{
        classCode: 3, subclass: protocol === 0 ? 0 : 1, protocol, classDescriptors: hidDescriptor(reportDescriptor.length),
        endpoints: [{ address: endpoint, kind: 'interrupt', maxPacket: reportBytes, interval: 4 }],
      }],
    });
    this.#description = description;
    this.#last = new Uint8Array(reportBytes);
  }

  override reset(): void {
    super.reset();
    this.#queue = [];
    this.#last = new Uint8Array(this.#description.reportBytes);
    this.#idle = 0;
    this.#protocol = 1;
  }

  override saveState(): DeviceState {
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    return { ...super.saveState(), queue: this.#queue.map(report => ({ report: text(report) })), last: text(this.#last), idle: this.#idle, protocol: this.#protocol };
  }

  protected override checkState(reader: StateReader): () => void {
    const restore = super.checkState(reader);
    const { reportBytes } = this.#description;
    const queue = reader.recordsUpTo('queue', QUEUE_MAXIMUM).map(row => row.bytes('report', reportBytes));
    const [last, idle, protocol] = [reader.bytes('last', reportBytes), reader.uint('idle', 8), reader.integer('protocol', 0, 1)];
    return () => {
      restore();
      this.#queue = queue;
      this.#last = last;
      this.#idle = idle;
      this.#protocol = protocol;
    };
  }

  /** Queues a report and sends it when the host asks. */
  protected report(bytes: Uint8Array): void {
    this.#last = bytes;
    this.#queue.push(bytes);
    if (this.#queue.length > QUEUE_MAXIMUM) this.#queue.shift();
    this.send(endpoint);
  }

  protected override classRequest({ request, value, requestType }: SetupPacket, data: Uint8Array): Answer {
    if ((requestType & 0x60) !== 0x20) return 'stall';
    switch (request) {
      case classRequest.getReport: return this.#last;
      case classRequest.getIdle: return Uint8Array.of(this.#idle);
      case classRequest.getProtocol: return Uint8Array.of(this.#protocol);
      case classRequest.setIdle: this.#idle = value >> 8; return new Uint8Array(0);
      case classRequest.setProtocol: this.#protocol = value & 1; return new Uint8Array(0);
      case classRequest.setReport: this.output(data); return new Uint8Array(0);
      default: return 'stall';
    }
  }

  /** A report of the host, such as a keyboard's lights. */
  protected output(_report: Uint8Array): void {}

  protected override classDescriptor(type: number): Uint8Array | null {
    const { reportDescriptor } = this.#description;
    return type === hidType.report ? reportDescriptor : type === hidType.hid ? hidDescriptor(reportDescriptor.length) : null;
  }

  protected override receive(_endpoint: number, _data: Uint8Array, done: (taken: boolean) => void): void {
    done(false);
  }

  protected override produce(at: number): Answer | null {
    return at === endpoint ? this.#queue.shift() ?? null : 'stall';
  }
}

function hidDescriptor(reportLength: number): Uint8Array {
  return Uint8Array.of(9, hidType.hid, 0x11, 0x01, 0, 1, hidType.report, reportLength & 0xff, reportLength >> 8);
}

/** Places on the screen go from 0 to this in both directions. */
const TABLET_MAXIMUM = 0x7fff;

/** Three buttons, padding; X and Y absolute in 16 bits; a wheel. */
const tabletReport = Uint8Array.of(
  0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00,
  0x05, 0x09, 0x19, 0x01, 0x29, 0x03, 0x15, 0x00, 0x25, 0x01, 0x95, 0x03, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x05, 0x81, 0x01,
  0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xff, 0x7f, 0x35, 0x00, 0x46, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02,
  0x05, 0x01, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x35, 0x00, 0x45, 0x00, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06,
  0xc0, 0xc0,
);

export class UsbTablet extends HidDevice {
  constructor(name: string) {
    super(name, { product: 0x0001, name: 'Vanderpool USB Tablet', protocol: 0, reportDescriptor: tabletReport, reportBytes: 6 });
  }

  /**
   * Moves the pointer.
   * @param x from the left, @param y from the top, 0 to TABLET_MAXIMUM
   * @param buttons left, right, middle as bits, @param wheel steps away from the person
   */
  setPointer(x: number, y: number, buttons: number, wheel = 0): void {
    const place = (value: number): number => Math.max(0, Math.min(TABLET_MAXIMUM, Math.round(value)));
    const [left, top] = [place(x), place(y)];
    this.report(Uint8Array.of(buttons & 7, left & 0xff, left >> 8, top & 0xff, top >> 8, Math.max(-127, Math.min(127, wheel)) & 0xff));
  }
}

/** The keyboard of the boot protocol: modifiers, then up to six keys; five lights. */
const keyboardReport = Uint8Array.of(
  0x05, 0x01, 0x09, 0x06, 0xa1, 0x01,
  0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01,
  0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01,
  0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x26, 0xff, 0x00, 0x05, 0x07, 0x19, 0x00, 0x2a, 0xff, 0x00, 0x81, 0x00,
  0xc0,
);
const keysAtOnce = 6;
const firstModifier = 0xe0;
const rollOver = 0x01;

export class UsbKeyboard extends HidDevice {
  #modifiers = 0;
  #keys: number[] = [];
  /** As the host has set them: bits for Num, Caps, Scroll Lock, Compose, Kana. */
  lights = 0;

  constructor(name: string) {
    super(name, { product: 0x0002, name: 'Vanderpool USB Keyboard', protocol: 1, reportDescriptor: keyboardReport, reportBytes: 8 });
  }

  override reset(): void {
    super.reset();
    this.#modifiers = this.lights = 0;
    this.#keys = [];
  }

  override saveState(): DeviceState {
    return { ...super.saveState(), modifiers: this.#modifiers, keys: [...this.#keys], lights: this.lights };
  }

  protected override checkState(reader: StateReader): () => void {
    const restore = super.checkState(reader);
    const [modifiers, keys, lights] = [reader.uint('modifiers', 8), reader.uints('keys', 8, 256, false), reader.uint('lights', 8)];
    return () => {
      restore();
      this.#modifiers = modifiers;
      this.#keys = keys;
      this.lights = lights;
    };
  }

  /** @param place the browser's name of the key's place (KeyboardEvent.code) */
  setKey(place: string, down: boolean): void {
    const usage = hidUsage(place);
    if (usage === undefined) return;
    if (usage >= firstModifier) {
      const bit = 1 << (usage - firstModifier);
      this.#modifiers = down ? this.#modifiers | bit : this.#modifiers & ~bit;
    } else {
      this.#keys = this.#keys.filter(key => key !== usage);
      if (down) this.#keys.push(usage);
    }
    const keys = this.#keys.length > keysAtOnce ? Array.from({ length: keysAtOnce }, () => rollOver) : this.#keys;
    this.report(Uint8Array.of(this.#modifiers, 0, ...keys, ...Array.from({ length: keysAtOnce - keys.length }, () => 0)));
  }

  protected override output(report: Uint8Array): void {
    this.lights = (report[0] ?? 0) & 0x1f;
  }
}
