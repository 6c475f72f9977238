/** The page walks: second stage, first stage, and the first stage through the second. @vtd 3.6, 3.7, 3.8 */

import { bit, bits, field } from './fields.ts';
import { fault } from './faults.ts';
import { allow, needed } from './stage.ts';
import type { DmaRequest, TlbEntry, Translation } from './stage.ts';
import type { Fault, FaultName } from './faults.ts';
import type { Lookup } from './structures.ts';
import type { RemappingMemory } from './memory.ts';

const pageBytes = 4096;
const indexBits = 9;

/** Pages that an entry of a level covers. */
function runOf(level: number): number {
  return 2 ** (indexBits * (level - 1));
}

function indexAt(page: number, level: number): number {
  return Math.floor(page / runOf(level)) % 2 ** indexBits;
}

/** Bits 12 and up of an entry as a page. */
function pageOf(entry: bigint, hostAddressBits: number): number {
  return field(entry, 12, hostAddressBits - 12);
}

/** Low address bits that a large page's entry must leave clear, above those with a meaning. */
function largePageBits(level: number, from: number): bigint {
  return bits(from, 12 + indexBits * (level - 1) - 1);
}

// ---- Second stage -------------------------------------------------------------------------------------------------

const second = { read: 0, write: 1, large: 7, accessed: 8, dirty: 9, snoop: 11 } as const;
/** Reserved whatever the level: bits 11 and 62 have a meaning in the entry of a page alone. */
const secondReservedTable = (1n << 11n) | (1n << 62n);

interface SecondFaults {
  readonly beyond: FaultName;
  readonly top: FaultName;
  readonly unreachable: FaultName;
  readonly reserved: FaultName;
  readonly absentRead: FaultName;
  readonly absentWrite: FaultName;
  readonly read: FaultName;
  readonly write: FaultName;
}

const legacyFaults: SecondFaults = {
  beyond: 'addressBeyondWidth', top: 'pageTableUnreachable', unreachable: 'pageTableUnreachable', reserved: 'pageReserved',
  absentRead: 'readNotPermitted', absentWrite: 'writeNotPermitted', read: 'readNotPermitted', write: 'writeNotPermitted',
};
const scalableFaults: SecondFaults = {
  beyond: 'beyondSecondWidth', top: 'secondTopUnreachable', unreachable: 'secondUnreachable', reserved: 'secondReserved',
  absentRead: 'secondNotPresent', absentWrite: 'secondNotPresent', read: 'scalableReadNotPermitted', write: 'scalableWriteNotPermitted',
};

export interface Walked extends TlbEntry {
  readonly kind: 'page';
}

/** The second stage alone. Sets accessed and dirty bits when it succeeds. */
export function walkSecond(lookup: Lookup, view: Translation, page: number, wants: number): Walked | Fault {
  const { memory, hostAddressBits, trace } = lookup;
  const faults = view.scalable ? scalableFaults : legacyFaults;
  const refuse = (reason: FaultName): Fault => fault(reason, view.faultDisabled);
  const write = (wants & allow.write) !== 0;
  if (page >= runOf(view.secondLevels + 1)) return refuse(faults.beyond);
  let table = view.second;
  let allows: number = allow.read | allow.write | allow.execute;
  /** Flags are set in the entries when the whole walk has succeeded. */
  const visited: number[] = [];
  for (let level = view.secondLevels; ; level--) {
    const address = table + indexAt(page, level) * 8;
    const value = memory.read(address);
    trace?.({ table: `second stage ${level}`, address, value });
    if (value === null) return refuse(level === view.secondLevels ? faults.top : faults.unreachable);
    const present = field(value, second.read, 2);
    if (present === 0) return refuse(write ? faults.absentWrite : faults.absentRead);
    const leaf = level === 1 || (level <= 3 && bit(value, second.large));
    if ((value & secondReserved(lookup, level, leaf)) !== 0n) return refuse(faults.reserved);
    allows &= present | allow.execute;
    if (((wants & ~allow.execute) & ~allows) !== 0) return refuse(write ? faults.write : faults.read);
    visited.push(address);
    if (!leaf) {
      table = pageOf(value, hostAddressBits) * pageBytes;
      continue;
    }
    const dirty = !view.secondAccessed || write || bit(value, second.dirty);
    if (view.secondAccessed) setFlags(memory, visited, second.accessed, write ? second.dirty : null);
    return { kind: 'page', pages: runOf(level), target: pageOf(value, hostAddressBits), allows: dirty ? allows : allows & ~allow.write };
  }
}

function secondReserved({ beyondHost }: Lookup, level: number, leaf: boolean): bigint {
  if (!leaf) return beyondHost | secondReservedTable | (level > 3 ? 1n << BigInt(second.large) : 0n);
  return beyondHost | (level > 1 ? largePageBits(level, 12) : 0n);
}

function setFlags(memory: RemappingMemory, visited: readonly number[], accessed: number, dirty: number | null): void {
  visited.forEach((address, index) => {
    const last = index === visited.length - 1;
    addFlags(memory, address, (1n << BigInt(accessed)) | (last && dirty !== null ? 1n << BigInt(dirty) : 0n));
  });
}

/** One entry may have been gone through at several levels, so it is read again. */
function addFlags(memory: RemappingMemory, address: number, flags: bigint): void {
  const value = memory.read(address);
  if (value !== null && (value & flags) !== flags) memory.write(address, value | flags);
}

// ---- First stage --------------------------------------------------------------------------------------------------

const first = { present: 0, write: 1, user: 2, accessed: 5, dirty: 6, large: 7, noExecute: 63 } as const;

/** Sign-extended from the top bit of the table's width. */
function isCanonical(page: number, levels: number): boolean {
  const half = runOf(levels + 1) / 2;
  return page < half || page >= 2 ** 52 - half;
}

/** A first-stage entry that a walk went through, by its address in front of the second stage. */
interface FirstEntry {
  readonly guestAddress: number;
  readonly value: bigint;
}

/** Where an entry of a first-stage table lies in host memory: through the second stage when that is nested. */
function entryAddress(lookup: Lookup, view: Translation, address: number, write: boolean, top: boolean): number | Fault {
  if (view.mode !== 'nested') return address;
  const page = Math.floor(address / pageBytes);
  const found = walkSecond(lookup, view, page, write ? allow.read | allow.write : allow.read);
  if (found.kind === 'page') return (found.target + (page % found.pages)) * pageBytes + (address % pageBytes);
  const denied: Partial<Record<FaultName, FaultName>> = {
    beyondSecondWidth: 'firstBeyondWidth', scalableReadNotPermitted: top ? 'firstTopNotReadable' : 'firstNotReadable', scalableWriteNotPermitted: 'firstNotWritable',
  };
  return fault(denied[found.reason] ?? found.reason, view.faultDisabled);
}

/** The first stage, and the second for what it leads to when nested. */
export function walkFirst(lookup: Lookup, view: Translation, request: DmaRequest): Walked | Fault {
  const { memory, hostAddressBits, trace } = lookup;
  const { page } = request;
  const refuse = (reason: FaultName): Fault => fault(reason, view.faultDisabled);
  if (!isCanonical(page, view.firstLevels)) return refuse('notCanonical');
  let table = view.first;
  let write = true;
  let user = true;
  let execute = true;
  const visited: FirstEntry[] = [];
  for (let level = view.firstLevels; ; level--) {
    const top = level === view.firstLevels;
    const guestAddress = table + indexAt(page, level) * 8;
    const address = entryAddress(lookup, view, guestAddress, false, top);
    if (typeof address !== 'number') return address;
    const value = memory.read(address);
    trace?.({ table: `first stage ${level}`, address, value });
    if (value === null) return refuse(top ? 'firstTopUnreachable' : 'firstUnreachable');
    if (!bit(value, first.present)) return refuse('firstNotPresent');
    const leaf = level === 1 || (level <= 3 && bit(value, first.large));
    if ((value & firstReserved(lookup, view, level, leaf)) !== 0n) return refuse('firstReserved');
    write &&= bit(value, first.write);
    user &&= bit(value, first.user);
    execute &&= !bit(value, first.noExecute);
    visited.push({ guestAddress, value });
    if (!leaf) {
      table = pageOf(value, hostAddressBits) * pageBytes;
      continue;
    }
    if (!user && !request.privileged) return refuse('userNotPermitted');
    const allows = firstAllows(view, request.privileged, write, user, execute);
    const missing = needed(request) & ~allows;
    if (missing !== 0) return refuse((missing & allow.execute) !== 0 ? 'executeNotPermitted' : 'scalableWriteNotPermitted');
    const target = pageOf(value & ~largePageBits(level, 12), hostAddressBits);
    return finishFirst(lookup, view, request, { kind: 'page', pages: runOf(level), target, allows }, visited);
  }
}

function firstReserved({ beyondHost }: Lookup, view: Translation, level: number, leaf: boolean): bigint {
  const large = !leaf && level > 3 ? 1n << BigInt(first.large) : 0n;
  // Bit 12 of a large page's entry is its memory type.
  return beyondHost | large | (leaf && level > 1 ? largePageBits(level, 13) : 0n) | (view.noExecute ? 0n : 1n << BigInt(first.noExecute));
}

/** What the accumulated rights allow a user or supervisor request. @vtd 3.6.1 */
function firstAllows(view: Translation, privileged: boolean, write: boolean, user: boolean, execute: boolean): number {
  const writes = write || (privileged && !view.writeProtect);
  const executes = execute && !(privileged && user && view.supervisorExecute);
  return allow.read | (writes ? allow.write : 0) | (executes ? allow.execute : 0);
}

/** The page that the first stage leads to, through the second stage when nested; then the flags. */
function finishFirst(lookup: Lookup, view: Translation, request: DmaRequest, leaf: Walked, visited: readonly FirstEntry[]): Walked | Fault {
  let result = leaf;
  if (view.mode === 'nested') {
    const guestPage = leaf.target + (request.page % leaf.pages);
    const behind = walkSecond(lookup, view, guestPage, needed(request));
    if (behind.kind === 'fault') return behind;
    const pages = Math.min(leaf.pages, behind.pages);
    const target = behind.target + (guestPage % behind.pages);
    result = { kind: 'page', pages, target: target - (request.page % pages), allows: leaf.allows & behind.allows };
  }
  const last = visited.length - 1;
  for (const [index, { guestAddress, value }] of visited.entries()) {
    const flags = (1n << BigInt(first.accessed)) | (index === last && request.write ? 1n << BigInt(first.dirty) : 0n);
    if ((value & flags) === flags) continue;
    const address = entryAddress(lookup, view, guestAddress, true, index === 0);
    if (typeof address !== 'number') return address;
    addFlags(lookup.memory, address, flags);
  }
  const dirty = request.write || bit(visited[last]?.value ?? 0n, first.dirty);
  return dirty ? result : { ...result, allows: result.allows & ~allow.write };
}
