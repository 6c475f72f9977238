/** What differs between two states of a VM: configuration by key, registers and devices by field, memory by page. */
import { DIFFERENCES_MAXIMUM } from '../contract/snapshot.ts';
import type { FieldDifference, MemoryDifference, SnapshotDifference } from '../contract/snapshot.ts';
import type { VmConfig } from '../contract/vm.ts';
import type { PageMap } from '../snapshot/pageMap.ts';
import { CHUNK_BYTES } from '../snapshot/segment.ts';
import type { OwnerOf } from './kernelOwners.ts';

/** One side of a comparison. */
export interface ComparedState {
  readonly config: VmConfig;
  /** States by component; null when the machine is off. */
  readonly state: unknown;
  readonly map: PageMap;
}

/** The hash of a page's content, for pages that lie in different places and may still be the same. */
export type PageHash = (map: PageMap, page: number) => Uint8Array;

export function compareStates(before: ComparedState, after: ComparedState, hashOf: PageHash, ownerOf: OwnerOf = () => null): Omit<SnapshotDifference, 'disks'> {
  const memory: MemoryDifference[] = [];
  let memoryBytes = 0;
  for (const page of differentPages(before.map, after.map, hashOf)) {
    memoryBytes += CHUNK_BYTES;
    const last = memory.at(-1);
    const owner = ownerOf(page);
    if (last && last.address + last.bytes === page * CHUNK_BYTES && last.owner === owner) memory[memory.length - 1] = { ...last, bytes: last.bytes + CHUNK_BYTES };
    else if (memory.length < DIFFERENCES_MAXIMUM) memory.push({ address: page * CHUNK_BYTES, bytes: CHUNK_BYTES, owner });
  }
  return { configuration: compareFields(before.config, after.config), state: compareFields(before.state, after.state), memory, memoryBytes };
}

function* differentPages(before: PageMap, after: PageMap, hashOf: PageHash): Generator<number> {
  const pages = Math.max(before.pages, after.pages);
  for (let page = 0; page < pages; page += 1) {
    if (page < before.pages && page < after.pages && before.samePlace(after, page)) continue;
    const [one, other] = [before.segments[page] ?? 0, after.segments[page] ?? 0];
    if (one === 0 && other === 0) continue;
    if (one !== 0 && other !== 0 && Buffer.compare(hashOf(before, page), hashOf(after, page)) === 0) continue;
    yield page;
  }
}

/** Leaves of two trees of plain data, by their paths. */
export function compareFields(before: unknown, after: unknown): FieldDifference[] {
  const [one, other] = [leaves(before), leaves(after)];
  const names = [...new Set([...one.keys(), ...other.keys()])].toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  return names.filter((name) => one.get(name) !== other.get(name)).slice(0, DIFFERENCES_MAXIMUM)
    .map((field) => ({ field, before: one.get(field) ?? null, after: other.get(field) ?? null }));
}

/** Longer texts, such as the memory of a display, are compared by their beginnings only. */
const TEXT_MAXIMUM = 200;

function leaves(value: unknown): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (path: string, node: unknown): void => {
    if (typeof node === 'object' && node !== null) {
      for (const [key, inner] of Object.entries(node)) visit(path === '' ? key : `${path}.${key}`, inner);
    } else if (node !== undefined && path !== '') found.set(path, String(node).slice(0, TEXT_MAXIMUM));
  };
  visit('', value);
  return found;
}
