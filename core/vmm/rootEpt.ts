/**
 * Root mode's EPT: which guest-physical pages lie in linear memory, this machine's host-physical memory, and what the guest may do with them. It is
 * built of the SDM's entries, below guest RAM, where no guest-physical address leads. A PDE maps 2 MiB until one of their pages differs; then it
 * names their page table. Accesses to what is not mapped exit to root mode: those to devices, and to pages that are still in a snapshot.
 * PAGE_KIND is what the processor has cached of it. @sdm 3C 29.3
 */
import { PAGE_KIND, PAGE_MMIO, PAGE_RAM, PAGE_ROM, RAM_BASE, ROOT_EPT, ROOT_EPT_ABSENT, ROOT_EPT_TABLES } from '../cpu/layout.ts';

export type PageKind = typeof PAGE_MMIO | typeof PAGE_RAM | typeof PAGE_ROM;

/** One entry on the way of an address. */
export interface RootEptStep {
  readonly level: 'PML4E' | 'PDPTE' | 'PDE' | 'PTE';
  /** Its address in linear memory. */
  readonly at: number;
  readonly entry: number;
}

const PAGE = 4096;
/** Entries of a structure, hence pages of a PDE. */
const ENTRIES = 512;
const ENTRY_BYTES = 8;
const PDPT = ROOT_EPT + PAGE;
const DIRECTORIES = PDPT + PAGE;
const DIRECTORY_COUNT = 4;
/** The page table that a PDE names, or would name. */
const tableOf = (pde: number): number => ROOT_EPT_TABLES + pde * PAGE;

const READ = 1;
const WRITE = 2;
const EXECUTE = 4;
const RIGHTS = READ | WRITE | EXECUTE;
const WRITE_BACK = 6 << 3;
const LARGE = 0x80;
const FRAME = 0xfffff000;
/** What a leaf says beside the address. */
const LEAVES: Readonly<Record<PageKind, number>> = {
  [PAGE_MMIO]: 0, [PAGE_RAM]: READ | WRITE | EXECUTE | WRITE_BACK, [PAGE_ROM]: READ | EXECUTE | WRITE_BACK,
};

/** The PTE of a page; with `large` the PDE that maps it and those behind it. */
function leaf(page: number, kind: PageKind, large = 0): number {
  return kind === PAGE_MMIO ? 0 : (((RAM_BASE + page * PAGE) | LEAVES[kind] | large) >>> 0);
}

export class RootEpt {
  /** Linear memory by words: the upper ones of entries are zero. */
  readonly #words: Uint32Array;
  readonly #cache: Uint8Array;

  /** Nothing is mapped. */
  constructor(memory: WebAssembly.Memory) {
    this.#words = new Uint32Array(memory.buffer);
    this.#cache = new Uint8Array(memory.buffer, PAGE_KIND, DIRECTORY_COUNT * ENTRIES * ENTRIES);
    this.#set(ROOT_EPT, 0, PDPT | RIGHTS);
    for (let i = 0; i < DIRECTORY_COUNT; i++) this.#set(PDPT, i, (DIRECTORIES + i * PAGE) | RIGHTS);
  }

  /** Makes the pages of a range what `kind` says. What look-aside tables hold of them is for the caller to drop. */
  map(gpa: number, bytes: number, kind: PageKind): void {
    const first = Math.floor(gpa / PAGE);
    const end = Math.ceil((gpa + bytes) / PAGE);
    for (let page = first; page < end;) {
      const whole = page % ENTRIES === 0 && page + ENTRIES <= end;
      if (whole) this.#set(DIRECTORIES, page / ENTRIES, leaf(page, kind, LARGE));
      else this.#set(this.#split(page), page % ENTRIES, leaf(page, kind));
      page += whole ? ENTRIES : 1;
    }
    this.#cache.fill(0, first, end);
  }

  /** A page of RAM whose content is elsewhere: the next access exits. */
  withhold(page: number): void {
    this.#set(this.#split(page), page % ENTRIES, ROOT_EPT_ABSENT);
    this.#cache[page] = 0;
  }

  /** The content is there. */
  supply(page: number): void {
    this.#set(this.#split(page), page % ENTRIES, leaf(page, PAGE_RAM));
  }

  withheld(page: number): boolean {
    return this.#leafOf(page) === ROOT_EPT_ABSENT;
  }

  /** What a page is; one that is withheld is RAM. Nothing above 4 GiB is mapped. */
  kindOf(page: number): PageKind {
    const entry = this.#leafOf(page);
    if (entry & WRITE || entry === ROOT_EPT_ABSENT) return PAGE_RAM;
    return entry & READ ? PAGE_ROM : PAGE_MMIO;
  }

  /** R, W and X of a page, bits 2:0. */
  rightsOf(page: number): number {
    return this.#leafOf(page) & RIGHTS;
  }

  /** The entries on the way of an address, down to one that maps it or is not present. */
  walk(gpa: number): readonly RootEptStep[] {
    const page = Math.floor(gpa / PAGE);
    const pde = Math.floor(page / ENTRIES);
    const pdpte = Math.floor(pde / ENTRIES);
    const way: readonly (readonly [RootEptStep['level'], table: number, index: number])[] = [
      ['PML4E', ROOT_EPT, Math.floor(pdpte / ENTRIES)], ['PDPTE', PDPT, pdpte], ['PDE', DIRECTORIES, pde], ['PTE', tableOf(pde), page % ENTRIES],
    ];
    const steps: RootEptStep[] = [];
    for (const [level, table, index] of way) {
      const entry = this.#get(table, index);
      steps.push({ level, at: table + index * ENTRY_BYTES, entry });
      if (!(entry & RIGHTS) || entry & LARGE) break;
    }
    return steps;
  }

  #get(table: number, index: number): number {
    return this.#words[(table + index * ENTRY_BYTES) >>> 2] ?? 0;
  }

  #set(table: number, index: number, entry: number): void {
    this.#words[(table + index * ENTRY_BYTES) >>> 2] = entry;
  }

  #leafOf(page: number): number {
    const pde = this.#get(DIRECTORIES, page >>> 9);
    return pde & LARGE || !(pde & RIGHTS) ? pde : this.#get(pde & FRAME, page % ENTRIES);
  }

  /** The page table of a page, made of the PDE when there is none. */
  #split(page: number): number {
    const index = page >>> 9;
    const pde = this.#get(DIRECTORIES, index);
    const table = tableOf(index);
    if (pde & RIGHTS && !(pde & LARGE)) return table;
    const kind = this.kindOf(page);
    for (let i = 0; i < ENTRIES; i++) this.#set(table, i, leaf(index * ENTRIES + i, kind));
    this.#set(DIRECTORIES, index, table | RIGHTS);
    return table;
  }
}
