/** The slots of a machine, each with room for one card: root ports of bus 0. Those for cards are functions of device 28, one for each assigned device is a device from 16 on. */

import { ContractError } from '../contract/errors.ts';
import { DEVICES_MAXIMUM, HOT_PLUG_SLOTS } from '../contract/limits.ts';
import { RootPort, rootPortName } from '../platform/pci/rootPort.ts';
import { deviceFunction } from '../platform/pci/host.ts';
import type { PciFunction } from '../platform/pci/function.ts';
import type { PciHost } from '../platform/pci/host.ts';

const cardPorts = 28;
const assignedPorts = 16;

/** Device and function number of a slot's root port. */
function placeOf(slot: number): { readonly device: number; readonly fn: number } {
  return slot <= HOT_PLUG_SLOTS ? { device: cardPorts, fn: slot - 1 } : { device: assignedPorts + slot - HOT_PLUG_SLOTS - 1, fn: 0 };
}

/** How many slots the machine has that a state was saved of: one that started with devices of the host has more. */
export function savedSlots(state: unknown): number {
  const names = new Set(Object.keys(typeof state === 'object' && state !== null ? state : {}));
  let slots = HOT_PLUG_SLOTS;
  while (slots < HOT_PLUG_SLOTS + DEVICES_MAXIMUM && names.has(rootPortName(slots + 1))) slots += 1;
  return slots;
}

export class HotPlugSlots {
  private readonly ports: readonly RootPort[];

  /**
   * @param cards in their slots from the start, by the slot's number
   * @param least so many slots, or as many as the cards take
   * @param onRelease told when a card that `release` asked for is out
   */
  constructor(pci: PciHost, cards: ReadonlyMap<number, PciFunction>, onRelease: (slot: number, card: PciFunction) => void, least = HOT_PLUG_SLOTS) {
    this.ports = Array.from({ length: Math.max(least, ...cards.keys()) }, (_, index) => {
      const slot = index + 1;
      const { device, fn } = placeOf(slot);
      const place = deviceFunction(device, fn);
      const port = new RootPort({ slot, place, wiring: pci.wiring, onRelease: card => onRelease(slot, card) });
      pci.plug(place, port);
      const card = cards.get(slot);
      if (card !== undefined) port.insert(card);
      // A card that was there at power-on is no event.
      port.reset();
      return port;
    });
  }

  get count(): number {
    return this.ports.length;
  }

  /** Puts a card into a slot. @throws ContractError when there is no such slot, or a card in it */
  plug(slot: number, card: PciFunction): void {
    const port = this.port(slot);
    const [present] = port.cards;
    if (present !== undefined) throw new ContractError('wrong-state', `Slot ${slot} holds ${present.name}.`, 'Unplug that first, or choose another slot.', 'slot');
    port.insert(card);
  }

  /** Asks the guest to let the card in a slot go. @throws ContractError when there is none */
  release(slot: number): void {
    this.occupied(slot).release();
  }

  /** Pulls the card out of a slot, whatever the guest does with it. @throws ContractError when there is none */
  remove(slot: number): void {
    this.occupied(slot).remove();
  }

  /** The card in a slot, or null. */
  card(slot: number): PciFunction | null {
    return this.ports[slot - 1]?.cards[0] ?? null;
  }

  /** The requester ID of the card in a slot: the guest numbers the buses. */
  requester(slot: number): number {
    return this.port(slot).bus.number << 8;
  }

  /** Device and function number of a slot's root port as firmware writes them: `1c`, `1c,1`. */
  static firmwareName(slot: number): string {
    const { device, fn } = placeOf(slot);
    return `${device.toString(16)}${fn === 0 ? '' : `,${fn.toString(16)}`}`;
  }

  private occupied(slot: number): RootPort {
    const port = this.port(slot);
    if (port.cards.length === 0) throw new ContractError('wrong-state', `Slot ${slot} is empty.`, 'See what the slots hold with `vanderpool vm show`.', 'slot');
    return port;
  }

  private port(slot: number): RootPort {
    const port = this.ports[slot - 1];
    if (port === undefined) throw new ContractError('bad-field', `There is no slot ${slot}.`, `Slots are 1 to ${this.ports.length}.`, 'slot');
    return port;
  }
}
