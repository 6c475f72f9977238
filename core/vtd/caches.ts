/** What the unit remembers of the tables in memory. Replaceable, never saved: a unit with empty caches answers the same. @vtd 6.2 */

import type { PasidContext, TlbEntry, Translation } from './stage.ts';

/** Which page-table translations an invalidation names. */
export interface PageSelection {
  readonly domain: number;
  readonly pasid?: number;
  /** First page, and how many: a power of two. */
  readonly page?: number;
  readonly pages?: number;
}

export interface RemappingCaches {
  context(source: number): Translation | PasidContext | undefined;
  putContext(source: number, entry: Translation | PasidContext): void;
  /** Forgets context entries, and the PASID entries found through them, whose source agrees with `source` outside of `ignore`: all by default. */
  dropContexts(source?: number, ignore?: number): void;

  pasid(source: number, pasid: number): Translation | undefined;
  putPasid(source: number, pasid: number, entry: Translation): void;
  dropPasids(domain?: number, pasid?: number): void;

  page(view: Translation, privileged: boolean, page: number): TlbEntry | undefined;
  putPage(view: Translation, privileged: boolean, page: number, entry: TlbEntry): void;
  dropPages(selection?: PageSelection): void;
}

/** The runs a translation can have, in pages. */
const runs = [1, 512, 512 * 512] as const;

/** The run of pages that was asked for last. */
interface LastPage {
  readonly view: Translation;
  readonly privileged: boolean;
  readonly first: number;
  readonly end: number;
  readonly entry: TlbEntry;
}

/** Translations of one domain and PASID: a map for each length of run. */
type PageMaps = readonly Map<number, TlbEntry>[];

export class Caches implements RemappingCaches {
  /** How often a page was found, and how often it took a walk. */
  hits = 0;
  misses = 0;
  private readonly contexts = new Map<number, Translation | PasidContext>();
  private readonly pasids = new Map<number, Translation>();
  private readonly domains = new Map<number, Map<number, PageMaps>>();
  private size = 0;
  private last: LastPage | null = null;
  private readonly capacity: number;

  constructor(capacity = 8192) {
    this.capacity = capacity;
  }

  context(source: number): Translation | PasidContext | undefined {
    return this.contexts.get(source);
  }

  putContext(source: number, entry: Translation | PasidContext): void {
    this.contexts.set(source, entry);
  }

  dropContexts(source = 0, ignore = 0xffff): void {
    const named = (other: number): boolean => ((other ^ source) & ~ignore) === 0;
    for (const other of this.contexts.keys()) if (named(other)) this.contexts.delete(other);
    for (const key of this.pasids.keys()) if (named(Math.floor(key / 2 ** 20))) this.pasids.delete(key);
  }

  pasid(source: number, pasid: number): Translation | undefined {
    return this.pasids.get(source * 2 ** 20 + pasid);
  }

  putPasid(source: number, pasid: number, entry: Translation): void {
    if (this.pasids.size >= this.capacity) this.pasids.clear();
    this.pasids.set(source * 2 ** 20 + pasid, entry);
  }

  dropPasids(domain?: number, pasid?: number): void {
    for (const [key, entry] of this.pasids) {
      if ((domain === undefined || entry.domain === domain) && (pasid === undefined || entry.pasid === pasid)) this.pasids.delete(key);
    }
  }

  page(view: Translation, privileged: boolean, page: number): TlbEntry | undefined {
    // Requests come in runs: the last answer is tried first.
    const { last } = this;
    if (last !== null && page >= last.first && page < last.end && last.view === view && last.privileged === privileged) {
      this.hits++;
      return last.entry;
    }
    const maps = this.domains.get(view.domain)?.get(viewKey(view, privileged));
    if (maps !== undefined) {
      for (let size = 0; size < runs.length; size++) {
        const map = maps[size];
        if (map === undefined || map.size === 0) continue;
        const run = runs[size] ?? 1;
        const first = page - (page % run);
        const found = map.get(first);
        if (found !== undefined) {
          this.hits++;
          this.last = { view, privileged, first, end: first + run, entry: found };
          return found;
        }
      }
    }
    this.misses++;
    return undefined;
  }

  putPage(view: Translation, privileged: boolean, page: number, entry: TlbEntry): void {
    this.last = null;
    if (this.size >= this.capacity) this.dropPages();
    let domain = this.domains.get(view.domain);
    if (domain === undefined) this.domains.set(view.domain, (domain = new Map()));
    const key = viewKey(view, privileged);
    let maps = domain.get(key);
    if (maps === undefined) domain.set(key, (maps = runs.map(() => new Map<number, TlbEntry>())));
    const map = maps[runs.findIndex(run => run === entry.pages)];
    if (map === undefined) return;
    const before = map.size;
    map.set(page - (page % entry.pages), entry);
    this.size += map.size - before;
  }

  dropPages(selection?: PageSelection): void {
    this.last = null;
    if (selection === undefined) {
      this.domains.clear();
      this.size = 0;
      return;
    }
    const domain = this.domains.get(selection.domain);
    if (domain === undefined) return;
    for (const [key, maps] of domain) {
      if (selection.pasid !== undefined && (key >> 1) !== selection.pasid) continue;
      for (const [size, map] of maps.entries()) this.size -= dropRun(map, runs[size] ?? 1, selection);
    }
  }
}

/** Legacy mode and each PASID see pages of their own; so do user and supervisor requests. */
function viewKey(view: Translation, privileged: boolean): number {
  return view.pasid * 2 + (privileged ? 1 : 0);
}

/** Forgets what overlaps the selected pages; returns how many entries that were. */
function dropRun(map: Map<number, TlbEntry>, run: number, { page, pages = 1 }: PageSelection): number {
  const before = map.size;
  if (page === undefined) map.clear();
  else if (pages < map.size) for (let at = page - (page % run); at < page + pages; at += run) map.delete(at);
  else for (const at of map.keys()) if (at < page + pages && at + run > page) map.delete(at);
  return before - map.size;
}
