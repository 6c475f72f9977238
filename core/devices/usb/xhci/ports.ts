/** Ports of the root hub: what is plugged in, and what software has been told of it. @xhci 4.19, 5.4.8 */

import { PORTS_USB2, linkState, portBit, portChanges, portKept } from './registers.ts';
import type { StateReader } from '../../../platform/state.ts';
import type { UsbDevice, UsbSpeed } from '../device.ts';

/** Protocol speed IDs. @xhci 7.2.2.1.1 */
const speedIds: Readonly<Record<UsbSpeed, number>> = { full: 1, low: 2, high: 3, super: 4 };
const stateShift = 5;
const speedShift = 10;
const stateMask = 15 << stateShift;

export class RootPort {
  /** What is plugged in. */
  device: UsbDevice | null = null;
  /** Told when a change bit rises. */
  readonly #changed: () => void;
  /** USB 3 ports train by themselves; USB 2 ports wait for a reset. */
  readonly #super: boolean;
  #register: number = portBit.power;

  /** @param number from 1 on */
  constructor(number: number, changed: () => void) {
    this.#super = number > PORTS_USB2;
    this.#changed = changed;
    this.reset();
  }

  takes(speed: UsbSpeed): boolean {
    return (speed === 'super') === this.#super;
  }

  /** Whether its device may be talked to. */
  get enabled(): boolean {
    return (this.#register & portBit.enabled) !== 0;
  }

  /** The controller's reset: what is plugged in is found anew. */
  reset(): void {
    this.#register = portBit.power;
    this.#setState(linkState.detect);
    if (this.device !== null) this.#connect(this.device);
  }

  plug(device: UsbDevice): void {
    this.device = device;
    if ((this.#register & portBit.power) !== 0) this.#connect(device);
  }

  unplug(): void {
    this.device = null;
    this.#disconnect();
  }

  read(): number {
    return this.#register >>> 0;
  }

  write(value: number): void {
    const cleared = value & portChanges;
    this.#register = (this.#register & ~cleared & ~portKept) | (value & portKept);
    if ((value & portBit.power) === 0) return this.#powerOff();
    if ((this.#register & portBit.power) === 0) {
      this.#register |= portBit.power;
      if (this.device !== null) this.#connect(this.device);
    }
    const warm = this.#super && (value & portBit.warmReset) !== 0;
    if ((value & portBit.reset) !== 0 || warm) return this.#resetDevice(warm);
    // Writing one disables.
    if ((value & portBit.enabled) !== 0 && this.enabled) {
      this.#register &= ~portBit.enabled;
      this.#setState(linkState.disabled);
    }
    if ((value & portBit.linkWrite) !== 0) this.#moveTo((value & stateMask) >>> stateShift);
  }

  save(): number {
    return this.#register >>> 0;
  }

  static check(reader: StateReader): number {
    return reader.uint('register', 32);
  }

  load(register: number): void {
    this.#register = register | 0;
  }

  #connect(device: UsbDevice): void {
    this.#register = (this.#register & ~(15 << speedShift)) | portBit.connected | (speedIds[device.speed] << speedShift);
    if (this.#super) this.#register |= portBit.enabled;
    this.#setState(this.#super ? linkState.u0 : linkState.polling);
    this.#raise(portBit.connectChange);
  }

  #disconnect(): void {
    if ((this.#register & portBit.connected) === 0) return;
    this.#register &= ~(portBit.connected | portBit.enabled | (15 << speedShift));
    this.#setState(linkState.detect);
    this.#raise(portBit.connectChange);
  }

  #powerOff(): void {
    this.#register &= ~(portBit.power | portBit.connected | portBit.enabled | (15 << speedShift));
    this.#setState(linkState.disabled);
  }

  /** Done at once: software sees the reset's end. */
  #resetDevice(warm: boolean): void {
    if (this.device === null) return;
    this.#register |= portBit.enabled;
    this.#setState(linkState.u0);
    this.#raise(portBit.resetChange | (warm ? portBit.warmResetChange : 0));
  }

  /** Suspending and resuming; what a link does by itself in between is over at once. */
  #moveTo(state: number): void {
    if (this.device === null || !this.enabled) {
      if (this.#super && state === linkState.detect) this.#setState(linkState.detect);
      return;
    }
    if (state !== linkState.u0 && state !== linkState.u3 && state !== linkState.resume) return;
    const before = (this.#register & stateMask) >>> stateShift;
    this.#setState(state);
    if (state === linkState.u0 && before !== linkState.u0) this.#raise(portBit.linkChange);
  }

  #setState(state: number): void {
    this.#register = (this.#register & ~stateMask) | (state << stateShift);
  }

  #raise(bits: number): void {
    const rising = bits & ~this.#register;
    this.#register |= bits;
    if (rising !== 0) this.#changed();
  }
}
