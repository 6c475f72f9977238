/**
 * What of a Linux guest's memory its kernel has allocated in slabs, and what is its cache of files, by its descriptors of pages (struct page). As for
 * processes (processOwners.ts), where a field lies follows from what it holds.
 */
import { find } from './linuxMemory.ts';
import type { AddressOf, LinuxMemory } from './linuxMemory.ts';
import { LinuxFiles } from './linuxFiles.ts';

/** A 64-bit kernel aligns the descriptors of pages to so many bytes. */
const DESCRIPTOR_BYTES = 64n;
/** The words of a descriptor, behind its flags, that may say what the page is used for. */
const USES = [8n, 16n, 24n, 32n, 40n];
/** In such a word: the page is a part of a larger one, whose descriptor is at the other bits. */
const IS_PART = 1n;
const PARTS_AT = 8n;
const CACHE_BYTES = 1024;
const CACHES_MAXIMUM = 4096;
const NAME_BYTES = 64;

/** @param addressOf where a symbol of the kernel is; null: it is not among them */
export function pageOwners(memory: LinuxMemory, addressOf: AddressOf): (page: number) => string | null {
  const caches = slabCaches(memory, addressOf);
  const files = new LinuxFiles(memory, addressOf);
  const base = memory.wordAt(addressOf('vmemmap_base'));
  const descriptorOf = (page: number): bigint => {
    const own = base + BigInt(page) * DESCRIPTOR_BYTES;
    const head = memory.word(own + PARTS_AT);
    return (head & IS_PART) === 0n ? own : head & ~IS_PART;
  };
  const slabOf = (descriptor: bigint): string | undefined => USES.map((at) => caches.get(memory.word(descriptor + at))).find((name) => name !== undefined);
  // Descriptors are where they are believed to be when that of a structure of the kernel's says so.
  const [known = 0n] = files.systems;
  const page = memory.page(known);
  if (page === null || slabOf(descriptorOf(page)) === undefined) return () => null;
  return (asked) => {
    const descriptor = descriptorOf(asked);
    const slab = slabOf(descriptor);
    if (slab !== undefined) return `slab ${slab}`;
    return USES.map((at) => files.nameOf(memory.word(descriptor + at))).find((name) => name !== null) ?? null;
  };
}

/** Names of the caches of slabs by their addresses. The cache of caches shows where in a cache their list runs through it. */
function slabCaches(memory: LinuxMemory, addressOf: AddressOf): ReadonlyMap<bigint, string> {
  const links = memory.list(addressOf('slab_caches'), CACHES_MAXIMUM);
  const first = memory.wordAt(addressOf('kmem_cache'));
  const linked = new Set(links);
  const link = find(CACHE_BYTES, (offset) => linked.has(first + offset));
  const name = link === null ? null : find(CACHE_BYTES, (offset) => memory.text(memory.word(first + offset), NAME_BYTES) === 'kmem_cache');
  if (link === null || name === null) return new Map();
  return new Map(links.map((at) => [at - link, memory.text(memory.word(at - link + name), NAME_BYTES)]));
}
