/** A PCI Express root port with a hot-plug slot: a bridge to a bus for one card, which comes and goes while the machine runs. @pcie 6.7, 7.5.1.3, 7.5.3 */

import { BridgeWindows, bridgeRegisters } from './bridgeWindows.ts';
import { Msi } from './messages.ts';
import { PciBus } from './host.ts';
import { PciFunction } from './function.ts';
import { StateReader } from '../state.ts';
import { capabilityId, expressCapability, expressRegister, expressType } from './capabilities.ts';
import type { AccessSize, DeviceState } from '../device.ts';
import type { ConfigRegister } from './configSpace.ts';
import type { PciBridgeFunction, PciWiring } from './host.ts';

/** Slot capabilities: attention button, power controller, both indicators, surprise removal, hot-plug; commands complete at once. */
const slotCapabilities = 0x0004_007b;
const slotNumberShift = 19;
const slotControl = {
  attentionButton: 0x0001, presence: 0x0008, hotPlugInterrupt: 0x0020, powerOff: 0x0400, linkState: 0x1000, writable: 0x17ff, indicatorsOff: 0x03c0,
} as const;
const slotStatus = { attentionButton: 0x0001, presenceChanged: 0x0008, present: 0x0040, linkStateChanged: 0x0100, clearable: 0x011f } as const;
/** Events of the slot status, and the bits of the slot control that let them interrupt. */
const events = [
  [slotStatus.attentionButton, slotControl.attentionButton], [slotStatus.presenceChanged, slotControl.presence], [slotStatus.linkStateChanged, slotControl.linkState],
] as const;
const linkControl = { disable: 0x0010, writable: 0x00d3 } as const;
/** One lane at 2.5 GT/s that reports whether it is up. */
const linkCapabilities = 0x0010_0c11;
const linkActive = 0x2000;
const bridgeControl = { offset: 0x3e, secondaryReset: 0x0040, writable: 0x0fff } as const;
const slotImplemented = 0x0100;

/** Access control services: requests between ports go through the root, so each slot is isolated from the others. @pcie 7.7.8 */
const accessControl: readonly ConfigRegister[] = [
  { offset: 0x100, size: 4, value: 0x0001_000d }, { offset: 0x104, size: 2, value: 0x001f }, { offset: 0x106, size: 2, writable: 0x001f },
];

function slotRegisters(number: number): readonly ConfigRegister[] {
  return [
    { offset: expressRegister.linkCapabilities, size: 4, value: linkCapabilities | (number << 24) },
    { offset: expressRegister.linkControl, size: 2, writable: linkControl.writable }, { offset: expressRegister.linkStatus, size: 2, value: 0x0011 },
    { offset: expressRegister.slotCapabilities, size: 4, value: slotCapabilities | (number << slotNumberShift) },
    { offset: expressRegister.slotControl, size: 2, value: slotControl.indicatorsOff, writable: slotControl.writable },
    { offset: expressRegister.slotStatus, size: 2, writeOneToClear: slotStatus.clearable },
    { offset: expressRegister.rootControl, size: 2, writable: 0x001f },
  ];
}

export interface RootPortOptions {
  /** Number of the slot, as people know it: from 1 on. */
  readonly slot: number;
  /** Device and function number on bus 0. */
  readonly place: number;
  readonly wiring: PciWiring;
  /** Called when the guest has let the card go that `release` asked for. */
  readonly onRelease: (card: PciFunction) => void;
}

/** The component's name in saved states. */
export function rootPortName(slot: number): string {
  return `root-port-${slot}`;
}

export class RootPort extends PciFunction implements PciBridgeFunction {
  override readonly version: number = 1;
  readonly slotNumber: number;
  readonly bus: PciBus;
  private readonly onRelease: (card: PciFunction) => void;
  private readonly windows: BridgeWindows;
  private readonly express: number;
  private card: PciFunction | null = null;
  /** The link is up: the card answers. */
  private up = false;
  /** The guest has been asked to let the card go. */
  private releasing = false;
  private interrupting = false;

  constructor({ slot, place, wiring, onRelease }: RootPortOptions) {
    const identity = { vendor: 0x8086, device: 0x3420, classCode: 0x060400, revision: 2, multifunction: true, interruptPin: 1 + (place & 3) };
    super(rootPortName(slot), identity, {
      headerType: 1, msi: new Msi(1), capabilities: [expressCapability(expressType.rootPort, slotRegisters(slot), slotImplemented)],
    });
    this.config.define([...bridgeRegisters, { offset: bridgeControl.offset, size: 2, writable: bridgeControl.writable }, ...accessControl]);
    this.express = this.capabilityOffset(capabilityId.express);
    this.config.allowLive(this.express + expressRegister.slotStatus, 2, slotStatus.present);
    this.config.allowLive(this.express + expressRegister.linkStatus, 2, linkActive);
    this.slotNumber = slot;
    this.onRelease = onRelease;
    this.windows = new BridgeWindows(this.config, wiring.map);
    const behind: PciWiring = { ...wiring, map: (...range) => this.windows.map(...range) };
    // The pins of a card rotate as those of any device behind a bridge. @pci-bridge 9.1
    this.bus = new PciBus(behind, () => this.windows.secondary, (device, pin) => ({ slot: place >> 3, pin: (device + pin) & 3 }));
  }

  get cards(): readonly PciFunction[] {
    return this.card === null ? [] : [this.card];
  }

  leadsTo(bus: number): boolean {
    return this.up && this.windows.leadsTo(bus);
  }

  /** Puts a card into the empty slot. @throws Error when there is one */
  insert(card: PciFunction): void {
    if (this.card !== null) throw new Error(`slot ${this.slotNumber} holds ${this.card.name}`);
    this.card = card;
    this.releasing = false;
    this.follow();
    // Where power is off somebody has to ask for it: systems do not let presence alone interrupt.
    this.raise(slotStatus.presenceChanged | (this.powered ? 0 : slotStatus.attentionButton));
  }

  /** Presses the attention button: a guest that heeds it lets the card go within some seconds. What has no power is let go at once. */
  release(): void {
    if (this.card === null) return;
    if (!this.powered) return this.letGo();
    this.releasing = true;
    this.raise(slotStatus.attentionButton);
  }

  /** Pulls the card out without asking. Returns it; null: the slot was empty. */
  remove(): PciFunction | null {
    const { card } = this;
    if (card === null) return null;
    this.card = null;
    this.releasing = false;
    this.follow();
    card.reset();
    this.raise(slotStatus.presenceChanged);
    return card;
  }

  override writeConfig(offset: number, size: AccessSize, value: number): void {
    const inReset = this.inReset;
    super.writeConfig(offset, size, value);
    this.windows.follow();
    if (this.inReset && !inReset && this.up) this.card?.reset();
    this.follow();
    if (this.releasing && !this.powered) this.letGo();
    this.interrupt();
  }

  override reset(): void {
    super.reset();
    this.releasing = false;
    this.windows.follow();
    this.follow();
    // A machine starts with its cards in their slots: nothing of that is news.
    this.config.set(this.express + expressRegister.slotStatus, 2, this.card === null ? 0 : slotStatus.present);
    this.interrupting = false;
  }

  override saveState(): DeviceState {
    return { ...super.saveState(), releasing: this.releasing };
  }

  protected override checkState(reader: StateReader): () => void {
    const restore = super.checkState(reader);
    const releasing = reader.boolean('releasing');
    return () => {
      restore();
      this.releasing = releasing && this.card !== null;
      const status = this.config.read(this.express + expressRegister.slotStatus, 2);
      // What waits has been told of.
      this.interrupting = true;
      this.windows.follow();
      this.follow();
      this.config.set(this.express + expressRegister.slotStatus, 2, (status & ~slotStatus.present) | (this.card === null ? 0 : slotStatus.present));
      this.interrupting = this.pending;
      this.setInterrupt(this.interrupting);
    };
  }

  private get powered(): boolean {
    return (this.config.read(this.express + expressRegister.slotControl, 2) & slotControl.powerOff) === 0;
  }

  private get inReset(): boolean {
    return (this.config.read(bridgeControl.offset, 2) & bridgeControl.secondaryReset) !== 0;
  }

  private letGo(): void {
    const card = this.remove();
    if (card !== null) this.onRelease(card);
  }

  /** The link follows card, power and the disable bit. */
  private follow(): void {
    const disabled = (this.config.read(this.express + expressRegister.linkControl, 2) & linkControl.disable) !== 0;
    const up = this.card !== null && this.powered && !disabled;
    const status = this.express + expressRegister.slotStatus;
    this.config.set(status, 2, (this.config.read(status, 2) & ~slotStatus.present) | (this.card === null ? 0 : slotStatus.present));
    const link = this.express + expressRegister.linkStatus;
    this.config.set(link, 2, (this.config.read(link, 2) & ~linkActive) | (up ? linkActive : 0));
    if (up === this.up) return;
    this.up = up;
    this.bus.unplug(0);
    if (up && this.card !== null) {
      this.card.reset();
      this.bus.plug(0, this.card);
    }
    this.raise(slotStatus.linkStateChanged);
  }

  private raise(event: number): void {
    const status = this.express + expressRegister.slotStatus;
    this.config.set(status, 2, this.config.read(status, 2) | event);
    this.interrupt();
  }

  /** Whether an event waits that may interrupt. */
  private get pending(): boolean {
    const control = this.config.read(this.express + expressRegister.slotControl, 2);
    const status = this.config.read(this.express + expressRegister.slotStatus, 2);
    return (control & slotControl.hotPlugInterrupt) !== 0 && events.some(([event, enable]) => (status & event) !== 0 && (control & enable) !== 0);
  }

  /** The line is the level of what waits; a message goes out when something begins to wait. */
  private interrupt(): void {
    const { pending } = this;
    const begins = pending && !this.interrupting;
    this.interrupting = pending;
    this.setInterrupt(pending);
    if (begins) this.signal(0);
  }
}
