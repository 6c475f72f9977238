/** The core thread's part in snapshots of RAM: which pages one needs, keeping those that are about to change, fetching those that are not there yet. */
import {
  HISTORY_CLEAN, HISTORY_PENDING, HISTORY_WRITTEN, PAGE_HISTORY, PAGE_RAM, RAM_BASE,
} from '../cpu/layout.ts';
import type { Processor } from '../cpu/processor.ts';
import { CHUNK_BYTES } from '../snapshot/segment.ts';
import type { GuestMemory } from '../snapshot/guestMemory.ts';
import { PageMap } from '../snapshot/pageMap.ts';
import type { PageSource } from '../snapshot/pageSource.ts';
import type { PreserveRing } from '../snapshot/preserve.ts';

const ZEROS = Buffer.alloc(CHUNK_BYTES);
/** Pages that are looked at together where most stay as they are: a restore passes over those at once. Memory is whole blocks (1 MiB). */
const BLOCK_PAGES = 256;
const ALL_CLEAN = Buffer.alloc(BLOCK_PAGES, HISTORY_CLEAN);
/** Pages that chipset registers switch between RAM, ROM and MMIO: they are there from the start. */
const SWITCHED_PAGES = 0x100000 / CHUNK_BYTES;

export class Pager {
  readonly #cpu: Processor;
  readonly #ring: PreserveRing | null;
  readonly #pages: number;
  #source: PageSource | null = null;
  /** Pages below this one are there. */
  #filled = 0;
  /** The map that was decoded last: the one that the machine goes back to is often what the next restore starts from. */
  #decoded: { readonly bytes: Uint8Array; readonly map: PageMap } | null = null;

  constructor(cpu: Processor, ring: PreserveRing | null) {
    this.#cpu = cpu;
    this.#ring = ring;
    this.#pages = cpu.ram.length / CHUNK_BYTES;
  }

  get memory(): GuestMemory {
    const { ram, memory } = this.#cpu;
    // Shared by construction.
    return { buffer: memory.buffer as unknown as SharedArrayBuffer, ram: RAM_BASE, bytes: ram.length, history: PAGE_HISTORY };
  }

  /** @param bytes an encoded map of all of RAM @throws MapError */
  mapOf(bytes: Uint8Array): PageMap {
    if (this.#decoded === null || Buffer.compare(this.#decoded.bytes, bytes) !== 0) this.#decoded = { bytes, map: PageMap.decode(bytes, this.#pages) };
    return this.#decoded.map;
  }

  /** RAM is being filled anew: no snapshot has any of it. What one in the making still needs is kept first. */
  forget(): void {
    const { bytes, ept } = this.#cpu;
    for (let page = 0; page < this.#pages; page += 1) {
      if (bytes[PAGE_HISTORY + page] === HISTORY_PENDING) this.preserve(page);
      if (ept.withheld(page)) ept.supply(page);
    }
    this.#history.fill(HISTORY_WRITTEN);
    this.#drop();
  }

  /** Begins a snapshot: the numbers of the pages that the last one does not have. Until each is copied, the guest's writes preserve it. */
  begin(): Uint32Array<ArrayBuffer> {
    const history = this.#history;
    const pages = new Uint32Array(this.#pages);
    let count = 0;
    for (let page = 0; page < this.#pages; page += 1) {
      if (history[page] === HISTORY_CLEAN) continue;
      // After a snapshot that failed, all pages are wanted again: also those that are still in the one before.
      if (this.#cpu.ept.withheld(page)) this.fetch(page);
      history[page] = HISTORY_PENDING;
      pages[count] = page;
      count += 1;
    }
    this.#cpu.call('flushBanks');
    return pages.slice(0, count);
  }

  /** The page is about to be written while a snapshot needs it. */
  preserve(page: number): void {
    const mine = Atomics.compareExchange(this.#history, page, HISTORY_PENDING, HISTORY_WRITTEN) === HISTORY_PENDING;
    if (mine) this.#ring?.put(page, this.#content(page));
    else this.#history[page] = HISTORY_WRITTEN;
  }

  /**
   * RAM goes over to the pages of a snapshot, each fetched when it is first needed. What was not written since the snapshot of `from`, and
   * lies in the same place in both, stays: RAM that is all zeros goes over from an empty map.
   * @param untouched all of RAM is zeros
   * @throws SegmentError
   */
  restore(source: PageSource, from: PageMap, untouched: boolean): void {
    const { ept, ram } = this.#cpu;
    const history = this.#history;
    this.#drop();
    this.#source = source;
    this.#filled = 0;
    for (let page = 0; page < this.#pages; page += 1) {
      if (page % BLOCK_PAGES === 0 && ALL_CLEAN.equals(history.subarray(page, page + BLOCK_PAGES)) && from.sameBlock(source.map, page, BLOCK_PAGES)) {
        page += BLOCK_PAGES - 1;
        continue;
      }
      if (history[page] === HISTORY_CLEAN && from.samePlace(source.map, page)) continue;
      history[page] = HISTORY_CLEAN;
      if (page < SWITCHED_PAGES || ept.kindOf(page) !== PAGE_RAM) ram.set(source.read(page), page * CHUNK_BYTES);
      else if ((source.map.segments[page] ?? 0) !== 0) ept.withhold(page);
      else {
        // The host gives memory to what is written, and to look at it costs time: most of it was never anything but zeros.
        if (!untouched && !ZEROS.equals(this.#content(page))) this.#content(page).fill(0);
        if (ept.withheld(page)) ept.supply(page);
      }
    }
    this.#cpu.call('flushAll');
  }

  /** The page is needed now; its neighbours come along. @throws SegmentError */
  fetch(page: number): void {
    const { ept, ram } = this.#cpu;
    this.#source?.readAround(page, (other, content) => {
      if (!ept.withheld(other)) return;
      ram.set(content, other * CHUNK_BYTES);
      ept.supply(other);
    });
  }

  /** Fetches what is still missing, for about so long; true when everything is there. @throws SegmentError */
  fill(milliseconds: number): boolean {
    if (!this.#source) return true;
    const { ept } = this.#cpu;
    const end = performance.now() + milliseconds;
    for (; this.#filled < this.#pages; this.#filled += 1) {
      if (!ept.withheld(this.#filled)) continue;
      if (performance.now() >= end) return false;
      this.fetch(this.#filled);
    }
    this.#drop();
    return true;
  }

  get #history(): Uint8Array {
    return this.#cpu.bytes.subarray(PAGE_HISTORY, PAGE_HISTORY + this.#pages);
  }

  #content(page: number): Uint8Array {
    return this.#cpu.ram.subarray(page * CHUNK_BYTES, (page + 1) * CHUNK_BYTES);
  }

  #drop(): void {
    this.#source?.close();
    this.#source = null;
  }
}
