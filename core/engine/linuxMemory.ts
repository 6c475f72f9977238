/** The memory of a saved Linux guest by the addresses of its kernel: what its page tables and the saved registers say. Nothing of it is believed. */
import * as z from 'zod';

const PAGE_BYTES = 4096;
const EFER_LMA = 1n << 10n;
const CR4_LA57 = 1n << 12n;
const PRESENT = 1n;
const LARGE = 1n << 7n;
const ADDRESS = 0xffff_ffff_ff000n;
const INDEX_BITS = 9n;

/** Registers of a saved processor that say where its kernel is. */
const registers = z.object({ cr3: z.string(), cr4: z.string(), efer: z.string(), lstar: z.string() });

/** An entry of a paging structure that is present. */
interface Entry {
  readonly level: number;
  /** Guest-physical page that it leads to. */
  readonly page: number;
  /** It maps a page, of 4 KiB at level 1. */
  readonly maps: boolean;
}

/** Where a symbol of the kernel is; null: it is not among those that are known. */
export type AddressOf = (name: string) => bigint | null;

export class LinuxMemory {
  /** Where SYSCALL leads. */
  readonly syscallEntry: bigint;
  /** Levels of page tables: 4 or 5. */
  readonly levels: number;
  #root: number;
  readonly #read: (page: number) => Uint8Array;
  readonly #pages = new Map<number, DataView>();

  private constructor({ cr3, cr4, lstar }: z.infer<typeof registers>, read: (page: number) => Uint8Array) {
    this.syscallEntry = BigInt(lstar);
    this.levels = BigInt(cr4) & CR4_LA57 ? 5 : 4;
    this.#root = pageOf(BigInt(cr3));
    this.#read = read;
  }

  /**
   * Null: the machine was off, or not in 64-bit mode.
   * @param state states by component
   * @param read content of a guest-physical page
   */
  static of(state: unknown, read: (page: number) => Uint8Array): LinuxMemory | null {
    const saved = registers.safeParse((state as Record<string, unknown> | null)?.['vcpu 0']).data;
    return saved && (BigInt(saved.efer) & EFER_LMA) !== 0n ? new LinuxMemory(saved, read) : null;
  }

  /** Page of its uppermost paging structure. */
  get root(): number {
    return this.#root;
  }

  /**
   * A kernel that isolates page tables has a pair of them for each process: a program's, without the kernel, stand behind the kernel's own.
   * @param linear address in the kernel
   */
  reach(linear: bigint): void {
    if (this.page(linear) === null) this.#root &= ~1;
  }

  /** The guest-physical page of a linear address; null: it is not mapped. @sdm 3A 4.5 */
  page(linear: bigint): number | null {
    for (let table = this.#root, level = this.levels; level > 0; level -= 1) {
      const shift = 12n + BigInt(level - 1) * INDEX_BITS;
      const entry = this.entry(table, level, Number((linear >> shift) & 511n));
      if (entry === null) return null;
      if (entry.maps) return entry.page + Number((linear & ((1n << shift) - 1n)) >> 12n);
      table = entry.page;
    }
    return null;
  }

  /** Whether a page is an uppermost paging structure of this kernel: its last entry, of the kernel's own image, is in all of them. */
  hasKernel(table: number): boolean {
    const [one, other] = [this.entry(table, this.levels, 511), this.entry(this.#root, this.levels, 511)];
    return one !== null && one.page === other?.page;
  }

  /** Null: not present. @param table page of a paging structure of a level, 1 to 5 */
  entry(table: number, level: number, index: number): Entry | null {
    const entry = this.#view(table).getBigUint64(index * 8, true);
    if ((entry & PRESENT) === 0n) return null;
    const maps = level === 1 || (level <= 3 && (entry & LARGE) !== 0n);
    const size = maps ? 1n << (12n + BigInt(level - 1) * INDEX_BITS) : 1n;
    return { level, page: pageOf(entry & ~(size - 1n)), maps };
  }

  /** A word of eight bytes, aligned; 0: nothing is mapped there. */
  word(linear: bigint): bigint {
    const page = this.page(linear);
    return page === null ? 0n : this.#view(page).getBigUint64(Number(linear & 0xff8n), true);
  }

  /** The same of a variable; 0: it is not known. */
  wordAt(address: bigint | null): bigint {
    return address === null ? 0n : this.word(address);
  }

  /** The links of a list of the kernel's, without its head; none where it is not linked both ways, or longer than `maximum`. */
  list(head: bigint | null, maximum: number): readonly bigint[] {
    const links: bigint[] = [];
    if (head === null) return links;
    for (let before = head, link = this.word(head); link !== head; before = link, link = this.word(link)) {
      if (links.length === maximum || this.word(link + 8n) !== before) return [];
      links.push(link);
    }
    return links;
  }

  /** A text that ends with a zero, of printable ASCII; empty: there is none. */
  text(linear: bigint, maximum: number): string {
    let text = '';
    for (let at = linear; text.length < maximum; at += 1n) {
      const page = this.page(at);
      const byte = page === null ? 0 : this.#view(page).getUint8(Number(at & 0xfffn));
      if (byte === 0) return text;
      if (byte < 0x20 || byte > 0x7e) return '';
      text += String.fromCharCode(byte);
    }
    return '';
  }

  #view(page: number): DataView {
    const known = this.#pages.get(page);
    if (known) return known;
    const content = this.#read(page);
    const view = new DataView(content.buffer, content.byteOffset, PAGE_BYTES);
    this.#pages.set(page, view);
    return view;
  }
}

/** The offset of a field in a structure of so many bytes, a multiple of eight, that holds what it should. */
export function find(bytes: number, holds: (offset: bigint) => boolean): bigint | null {
  for (let offset = 0n; offset < bytes; offset += 8n) if (holds(offset)) return offset;
  return null;
}

function pageOf(entry: bigint): number {
  return Number((entry & ADDRESS) >> 12n);
}
