/** Invalidation: the descriptors of the queue, and the two command registers that came before it. @vtd 6.5 */

import { bits, field } from './fields.ts';
import type { InterruptCache } from './interruptRemapping.ts';
import type { PageSelection, RemappingCaches } from './caches.ts';
import type { RemappingMemory } from './memory.ts';

/** Device TLBs by requester ID. */
export interface DeviceTlbs {
  /** Forgets pages in the device's TLB: `pages` from `page`, of one PASID or of all. False when no device answers: the request times out. */
  invalidate(source: number, pasid: number | null, page: number, pages: number): boolean;
}

export interface InvalidationTargets {
  readonly memory: RemappingMemory;
  readonly caches: RemappingCaches;
  readonly interrupts: InterruptCache;
  readonly devices: DeviceTlbs;
  /** A wait descriptor asks for an interrupt. */
  completed(): void;
  /** A device did not answer. */
  timedOut(source: number): void;
}

/** Why a descriptor is refused: values of IQERCD_REG. @vtd 11.4.9.8 */
export const queueError = { none: 0, tail: 1, fetch: 2, type: 3, reserved: 4, width: 5 } as const;

interface DescriptorRow {
  readonly name: string;
  /** Bits that must be clear, of a 128-bit descriptor. */
  readonly reserved: bigint;
  readonly scalable?: boolean;
  /** Returns a `queueError`. */
  readonly run: (value: bigint, targets: InvalidationTargets) => number;
}

const everyPage = 2 ** 52;
const granularity = { global: 1, domain: 2, selective: 3 } as const;
const pasidGranularity = { domain: 0, pasid: 1, global: 3 } as const;
const tlbGranularity = { pasid: 2, page: 3 } as const;

/** The type and its extension, bits 3:0 and 11:9: no other bit is part of it. */
const typeBits = bits(0, 3) | bits(9, 11);

/** Bits that the listed runs leave over. */
function allBut(...runs: readonly (readonly [low: number, high: number])[]): bigint {
  return runs.reduce((rest, [low, high]) => rest & ~bits(low, high), bits(0, 127) & ~typeBits);
}

/** Pages that an address with a mask names: 2^mask of them, from an address rounded down. */
function masked(page: number, mask: number): { page: number; pages: number } {
  const pages = 2 ** mask;
  return { page: page - (page % pages), pages };
}

/** With S set the lowest clear bit of the address from bit 12 tells the size: none clear, everything. */
function sized(address: bigint, size: boolean): { page: number; pages: number } {
  const page = field(address, 12, 52);
  if (!size) return { page, pages: 1 };
  let pages = 2;
  for (let index = 12; index < 64; index++, pages *= 2) {
    if (((address >> BigInt(index)) & 1n) === 0n) return { page: page - (page % pages), pages };
  }
  return { page: 0, pages: everyPage };
}

export function invalidateContexts(caches: RemappingCaches, kind: number, source: number, ignore: number): boolean {
  if (kind < granularity.global || kind > granularity.selective) return false;
  // A context entry of any domain may be one of this domain's: forgetting more is allowed.
  if (kind === granularity.selective) caches.dropContexts(source, ignore);
  else caches.dropContexts();
  return true;
}

export function invalidatePages(caches: RemappingCaches, kind: number, domain: number, address: bigint, mask: number): boolean {
  if (kind < granularity.global || kind > granularity.selective) return false;
  if (kind === granularity.global) caches.dropPages();
  else caches.dropPages(kind === granularity.domain ? { domain } : { domain, ...masked(field(address, 12, 52), mask) });
  return true;
}

/** Function bits that a function mask ignores. */
const functionMasks = [0, 4, 6, 7] as const;

export function ignoredBits(mask: number): number {
  return functionMasks[mask & 3] ?? 0;
}

const done = (accepted: boolean): number => (accepted ? queueError.none : queueError.reserved);

export const descriptors: ReadonlyMap<number, DescriptorRow> = new Map<number, DescriptorRow>([
  [1, {
    name: 'context-cache invalidate', reserved: allBut([4, 5], [16, 31], [32, 47], [48, 49]),
    run: (value, { caches }) => done(invalidateContexts(caches, field(value, 4, 2), field(value, 32, 16), ignoredBits(field(value, 48, 2)))),
  }],
  [2, {
    name: 'IOTLB invalidate', reserved: allBut([4, 7], [16, 31], [64, 70], [76, 127]),
    run: (value, { caches }) => done(invalidatePages(caches, field(value, 4, 2), field(value, 16, 16), value >> 64n, field(value, 64, 6))),
  }],
  [3, {
    name: 'device-TLB invalidate', reserved: allBut([12, 15], [16, 20], [32, 47], [48, 63], [64, 64], [76, 127]),
    run: (value, targets) => invalidateDevice(targets, field(value, 32, 16), null, value >> 64n, field(value, 64, 1) === 1),
  }],
  [4, {
    name: 'interrupt entry cache invalidate', reserved: allBut([4, 4], [27, 31], [32, 47]),
    run: (value, { interrupts }) => invalidateInterrupts(interrupts, field(value, 4, 1) === 0, field(value, 32, 16), field(value, 27, 5)),
  }],
  [5, { name: 'wait', reserved: allBut([4, 7], [32, 63], [66, 127]), run: wait }],
  [6, {
    name: 'PASID-based IOTLB invalidate', scalable: true, reserved: allBut([4, 5], [16, 31], [32, 51], [64, 70], [76, 127]),
    run: (value, { caches }) => invalidatePasidPages(caches, value),
  }],
  [7, {
    name: 'PASID-cache invalidate', scalable: true, reserved: allBut([4, 5], [16, 31], [32, 51]),
    run: (value, { caches }) => invalidatePasids(caches, field(value, 4, 2), field(value, 16, 16), field(value, 32, 20)),
  }],
  [8, {
    name: 'PASID-based device-TLB invalidate', scalable: true, reserved: allBut([4, 8], [12, 15], [16, 31], [32, 51], [52, 63], [64, 64], [75, 127]),
    run: (value, targets) => (
      invalidateDevice(targets, field(value, 16, 16), field(value, 64, 1) === 1 ? null : field(value, 32, 20), value >> 64n, field(value, 75, 1) === 1)
    ),
  }],
]);

export function descriptorType(value: bigint): number {
  return field(value, 0, 4) | (field(value, 9, 3) << 4);
}

/** Carries out a descriptor. Returns a `queueError`. */
export function runDescriptor(value: bigint, wide: boolean, scalable: boolean, targets: InvalidationTargets): number {
  const row = descriptors.get(descriptorType(value));
  if (row === undefined || (row.scalable === true && !scalable)) return queueError.type;
  const beyond = wide ? value >> 128n : 0n;
  if ((value & row.reserved) !== 0n || beyond !== 0n) return queueError.reserved;
  return row.run(value, targets);
}

function invalidateDevice({ devices, timedOut }: InvalidationTargets, source: number, pasid: number | null, address: bigint, size: boolean): number {
  const { page, pages } = sized(address, size);
  if (!devices.invalidate(source, pasid, page, pages)) timedOut(source);
  return queueError.none;
}

function invalidateInterrupts(cache: InterruptCache, global: boolean, index: number, mask: number): number {
  if (global || 2 ** mask > cache.size) cache.clear();
  else for (let at = index - (index % 2 ** mask), left = 2 ** mask; left > 0; left--, at++) cache.delete(at);
  return queueError.none;
}

function invalidatePasids(caches: RemappingCaches, kind: number, domain: number, pasid: number): number {
  if (kind === pasidGranularity.global) caches.dropPasids();
  else if (kind === pasidGranularity.domain) caches.dropPasids(domain);
  else if (kind === pasidGranularity.pasid) caches.dropPasids(domain, pasid);
  else return queueError.reserved;
  return queueError.none;
}

function invalidatePasidPages(caches: RemappingCaches, value: bigint): number {
  const selection: PageSelection = { domain: field(value, 16, 16), pasid: field(value, 32, 20) };
  const kind = field(value, 4, 2);
  if (kind === tlbGranularity.pasid) caches.dropPages(selection);
  else if (kind === tlbGranularity.page) caches.dropPages({ ...selection, ...masked(field(value, 76, 52), field(value, 64, 6)) });
  else return queueError.reserved;
  return queueError.none;
}

/** Everything before it is done: says so in memory, by an interrupt, or both. @vtd 6.5.2.8 */
function wait(value: bigint, { memory, completed }: InvalidationTargets): number {
  if (field(value, 5, 1) === 1) memory.writeDword(field(value, 66, 62) * 4, field(value, 32, 32));
  if (field(value, 4, 1) === 1) completed();
  return queueError.none;
}
