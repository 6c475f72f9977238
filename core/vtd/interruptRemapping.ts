/** Interrupt remapping: from a message a device writes to the one that the local APICs get. @vtd 5 */

import { field, unpack } from './fields.ts';
import { fault } from './faults.ts';
import { interruptEntry, postedControl, postedEntry, reserved, sourceValidation } from './entries.ts';
import { readWide } from './memory.ts';
import type { Fault } from './faults.ts';
import type { InterruptMessage } from '../platform/interrupts.ts';
import type { RemappingMemory } from './memory.ts';

/** The latched table: IRTA_REG as software wrote it before it set the table pointer. */
export interface InterruptTable {
  readonly address: number;
  /** Entries: a power of two. */
  readonly entries: number;
  readonly extended: boolean;
}

export function interruptTable(irta: bigint): InterruptTable {
  return { address: field(irta, 12, 52) * 4096, entries: 2 ** (field(irta, 0, 4) + 1), extended: field(irta, 11, 1) === 1 };
}

export type InterruptOutcome =
  | { readonly kind: 'deliver'; readonly message: InterruptMessage }
  /** Noted in a posted-interrupt descriptor; `message` tells its owner, unless he has been told or does not want to be. */
  | { readonly kind: 'posted'; readonly message: InterruptMessage | null }
  | (Fault & { readonly index: number });

/** Entries that were read, by index. Replaceable and never saved, as the DMA caches are. */
export type InterruptCache = Map<number, bigint>;

/** Bit 4 of a message's address: it names an entry of the table. */
export function isRemappable(address: number): boolean {
  return (address & 0x10) !== 0;
}

/** The entry that a remappable message names, or null when it has reserved bits. @vtd 5.1.2.2 */
function indexOf(address: number, data: number): number | null {
  const handle = ((address >>> 5) & 0x7fff) | ((address & 4) << 13);
  if (data >>> 16 !== 0) return null;
  return (address & 8) === 0 ? handle : handle + (data & 0xffff);
}

export class InterruptRemapping {
  private readonly memory: RemappingMemory;
  private readonly hostAddressBits: number;
  readonly cache: InterruptCache = new Map();

  constructor(memory: RemappingMemory, hostAddressBits: number) {
    this.memory = memory;
    this.hostAddressBits = hostAddressBits;
  }

  /** A remappable message of `source`. */
  remap(table: InterruptTable, source: number, address: number, data: number): InterruptOutcome {
    const index = indexOf(address, data);
    if (index === null) return { ...fault('interruptReserved'), index: 0 };
    if (index >= table.entries) return { ...fault('interruptIndex'), index };
    const entry = this.cache.get(index) ?? readWide(this.memory, table.address + index * 16, 2);
    if (entry === null) return { ...fault('interruptUnreachable'), index };
    const refused = refuseEntry(entry, source, this.hostAddressBits);
    if (refused !== null) return { ...refused, index };
    this.cache.set(index, entry);
    if (field(entry, ...interruptEntry.posted) === 0) return { kind: 'deliver', message: messageOf(entry, table.extended) };
    return this.post(entry, table.extended, index);
  }

  /** Sets the vector's bit in the posted-interrupt descriptor. @vtd 5.2.3 */
  private post(entry: bigint, extended: boolean, index: number): InterruptOutcome {
    const { memory } = this;
    const { vector, urgent, descriptorLow, descriptorHigh, faultDisable } = unpack(postedEntry, entry);
    const address = descriptorHigh * 2 ** 32 + descriptorLow * 64;
    const requests = memory.read(address + (vector >>> 6) * 8);
    const control = memory.read(address + 32);
    if (requests === null || control === null) return { ...fault('postedUnreachable', faultDisable === 1), index };
    if ((control & reserved.postedControl) !== 0n) return { ...fault('postedReserved', faultDisable === 1), index };
    memory.write(address + (vector >>> 6) * 8, requests | (1n << BigInt(vector & 63)));
    const { outstanding, suppress, vector: notification, destination } = unpack(postedControl, control);
    if (outstanding === 1 || (suppress === 1 && urgent === 0)) return { kind: 'posted', message: null };
    memory.write(address + 32, control | 1n);
    return { kind: 'posted', message: { mode: 0, vector: notification, level: false, logical: false, ...destinationOf(destination, extended) } };
  }
}

/** Why an entry cannot be used for a request of `source`; null when it can. @vtd 5.1.4, 7.1.3 */
function refuseEntry(entry: bigint, source: number, hostAddressBits: number): Fault | null {
  const { present, faultDisable, posted, source: owner, sourceQualifier, validation } = unpack(interruptEntry, entry);
  const disabled = faultDisable === 1;
  if (present === 0) return fault('interruptNotPresent', disabled);
  const beyond = posted === 1 && field(entry, 96, 32) >= 2 ** (hostAddressBits - 32);
  const unused = posted === 1 ? reserved.postedEntry : reserved.interruptEntry;
  if ((entry & unused) !== 0n || validation > sourceValidation.bus || beyond) return fault('interruptEntryReserved', disabled);
  return isOwner(source, owner, sourceQualifier, validation) ? null : fault('interruptSource', disabled);
}

/** Function bits that a requester ID may differ in, by the qualifier. */
const ignoredFunctionBits = [0, 4, 6, 7] as const;

function isOwner(source: number, owner: number, qualifier: number, validation: number): boolean {
  if (validation === sourceValidation.none) return true;
  if (validation === sourceValidation.requester) return ((source ^ owner) & ~(ignoredFunctionBits[qualifier] ?? 0)) === 0;
  const bus = source >>> 8;
  return bus >= owner >>> 8 && bus <= (owner & 0xff);
}

function messageOf(entry: bigint, extended: boolean): InterruptMessage {
  const { logical, level, mode, vector, destination } = unpack(interruptEntry, entry);
  return { mode, vector, level: level === 1, logical: logical === 1, ...destinationOf(destination, extended) };
}

/** xAPIC destinations stand in bits 15:8. */
function destinationOf(destination: number, extended: boolean): Pick<InterruptMessage, 'destination' | 'wide'> {
  return extended ? { destination, wide: true } : { destination: (destination >>> 8) & 0xff, wide: false };
}
