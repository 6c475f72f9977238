/** From a requester ID and a PASID to the page tables: root, context and PASID entries. @vtd 3.4 */

import { bit, bits, field } from './fields.ts';
import { directoryEntry, legacyContext, pasidEntry, pasidType, reserved, rootHalf, scalableContext, translationType } from './entries.ts';
import { fault } from './faults.ts';
import { readWide } from './memory.ts';
import { secondLevels } from './capabilities.ts';
import type { Fault } from './faults.ts';
import type { FieldRow } from './fields.ts';
import type { PasidContext, Translation } from './stage.ts';
import type { RemappingMemory } from './memory.ts';
import type { WalkTrace } from './trace.ts';

/** What a look-up works with. */
export interface Lookup {
  readonly memory: RemappingMemory;
  readonly hostAddressBits: number;
  /** Bits of a page-table entry's address that the platform does not have. */
  readonly beyondHost: bigint;
  readonly trace?: WalkTrace;
}

const pageBytes = 4096;

const plain: Omit<Translation, 'mode' | 'domain' | 'faultDisabled' | 'deviceTlb'> = {
  kind: 'translation', scalable: false, pasid: -1, first: 0, firstLevels: 0, second: 0, secondLevels: 0, secondAccessed: false, execute: false, supervisor: false,
  writeProtect: false, noExecute: false, supervisorExecute: false,
};

function get(value: bigint, [low, width]: FieldRow): number {
  return field(value, low, width);
}

function table(value: bigint, row: FieldRow): number {
  return get(value, row) * pageBytes;
}

/** Reserved bits of a row of fields, and of the pointers at the given places, which go up to bit 63. */
function hasReserved(value: bigint, mask: bigint, lookup: Lookup, addressAt: readonly number[]): boolean {
  if ((value & mask) !== 0n) return true;
  return addressAt.some(low => ((value >> BigInt(low)) & bits(lookup.hostAddressBits, 63)) !== 0n);
}

/** @vtd 3.4.2 */
export function legacyTranslation(lookup: Lookup, root: number, source: number): Translation | Fault {
  const { memory, trace } = lookup;
  const rootAddress = root + (source >>> 8) * 16;
  const rootValue = readWide(memory, rootAddress, 2);
  trace?.({ table: 'root', address: rootAddress, value: rootValue });
  if (rootValue === null) return fault('rootUnreachable');
  if (!bit(rootValue, 0)) return fault('rootNotPresent');
  if (hasReserved(rootValue, reserved.rootHalf | bits(64, 127), lookup, [0])) return fault('rootReserved');
  const address = table(rootValue, rootHalf.table) + (source & 0xff) * 16;
  const entry = readWide(memory, address, 2);
  trace?.({ table: 'context', address, value: entry });
  if (entry === null) return fault('contextUnreachable');
  const faultDisabled = get(entry, legacyContext.faultDisable) !== 0;
  if (!bit(entry, 0)) return fault('contextNotPresent', faultDisabled);
  if (hasReserved(entry, reserved.legacyContext, lookup, [0])) return fault('contextReserved', faultDisabled);
  const type = get(entry, legacyContext.type);
  const levels = secondLevels.get(get(entry, legacyContext.width));
  if (type > translationType.passThrough || levels === undefined) return fault('contextInvalid', faultDisabled);
  return {
    ...plain, mode: type === translationType.passThrough ? 'pass-through' : 'second', domain: get(entry, legacyContext.domain), faultDisabled,
    deviceTlb: type === translationType.deviceTlb, second: table(entry, legacyContext.table), secondLevels: levels,
  };
}

/** @vtd 3.4.3 */
export function pasidContext(lookup: Lookup, root: number, source: number): PasidContext | Fault {
  const { memory, trace } = lookup;
  const upper = (source & 0x80) !== 0;
  const rootAddress = root + (source >>> 8) * 16 + (upper ? 8 : 0);
  const half = memory.read(rootAddress);
  trace?.({ table: 'root', address: rootAddress, value: half });
  if (half === null) return fault('scalableRootUnreachable');
  if (!bit(half, 0)) return fault('scalableRootNotPresent');
  if (hasReserved(half, reserved.rootHalf, lookup, [0])) return fault('scalableRootReserved');
  const address = table(half, rootHalf.table) + (source & 0x7f) * 32;
  const entry = readWide(memory, address, 4);
  trace?.({ table: 'context', address, value: entry });
  if (entry === null) return fault('scalableContextUnreachable');
  const faultDisabled = get(entry, scalableContext.faultDisable) !== 0;
  if (!bit(entry, 0)) return fault('scalableContextNotPresent', faultDisabled);
  if (hasReserved(entry, reserved.scalableContext, lookup, [0])) return fault('scalableContextReserved', faultDisabled);
  return {
    kind: 'pasid-context', faultDisabled, deviceTlb: get(entry, scalableContext.deviceTlb) !== 0, pasidEnabled: get(entry, scalableContext.pasid) !== 0,
    directory: table(entry, scalableContext.directory), pasids: 2 ** (get(entry, scalableContext.directorySize) + 7 + 6),
    ridPasid: get(entry, scalableContext.ridPasid), ridPrivilege: get(entry, scalableContext.ridPrivilege) !== 0,
  };
}

export function pasidTranslation(lookup: Lookup, context: PasidContext, pasid: number): Translation | Fault {
  const { memory, trace } = lookup;
  let faultDisabled = context.faultDisabled;
  if (pasid >= context.pasids) return fault('pasidTooLarge', faultDisabled);
  const directoryAddress = context.directory + (pasid >>> 6) * 8;
  const directory = memory.read(directoryAddress);
  trace?.({ table: 'PASID directory', address: directoryAddress, value: directory });
  if (directory === null) return fault('directoryUnreachable', faultDisabled);
  faultDisabled ||= get(directory, directoryEntry.faultDisable) !== 0;
  if (!bit(directory, 0)) return fault('directoryNotPresent', faultDisabled);
  if (hasReserved(directory, reserved.directoryEntry, lookup, [0])) return fault('directoryReserved', faultDisabled);
  const address = table(directory, directoryEntry.table) + (pasid & 63) * 64;
  const entry = readWide(memory, address, 8);
  trace?.({ table: 'PASID table', address, value: entry });
  if (entry === null) return fault('pasidUnreachable', faultDisabled);
  faultDisabled ||= get(entry, pasidEntry.faultDisable) !== 0;
  if (!bit(entry, 0)) return fault('pasidNotPresent', faultDisabled);
  if (hasReserved(entry, reserved.pasidEntry, lookup, [0, 128])) return fault('pasidReserved', faultDisabled);
  return decodePasidEntry(entry, context, pasid, faultDisabled) ?? fault('pasidInvalid', faultDisabled);
}

const modes: ReadonlyMap<number, Translation['mode']> = new Map([
  [pasidType.first, 'first'], [pasidType.second, 'second'], [pasidType.nested, 'nested'], [pasidType.passThrough, 'pass-through'],
]);

/** Null for a translation type or a width that does not exist. */
function decodePasidEntry(entry: bigint, context: PasidContext, pasid: number, faultDisabled: boolean): Translation | null {
  const flag = (row: FieldRow): boolean => get(entry, row) !== 0;
  const mode = modes.get(get(entry, pasidEntry.type));
  if (mode === undefined) return null;
  const usesFirst = mode === 'first' || mode === 'nested';
  const usesSecond = mode === 'second' || mode === 'nested';
  const levels = secondLevels.get(get(entry, pasidEntry.width));
  const firstMode = get(entry, pasidEntry.firstMode);
  if ((usesSecond && levels === undefined) || (usesFirst && firstMode > 1)) return null;
  return {
    kind: 'translation', mode, scalable: true, domain: get(entry, pasidEntry.domain), pasid, faultDisabled, deviceTlb: context.deviceTlb,
    first: usesFirst ? table(entry, pasidEntry.first) : 0, firstLevels: usesFirst ? 4 + firstMode : 0,
    second: usesSecond ? table(entry, pasidEntry.second) : 0, secondLevels: usesSecond ? (levels ?? 0) : 0, secondAccessed: flag(pasidEntry.secondAccessed),
    execute: flag(pasidEntry.execute), supervisor: flag(pasidEntry.supervisor), writeProtect: flag(pasidEntry.writeProtect),
    noExecute: flag(pasidEntry.noExecute), supervisorExecute: flag(pasidEntry.supervisorExecute),
  };
}
