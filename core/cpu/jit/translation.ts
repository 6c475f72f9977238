/**
 * Regions as they are kept from one run of a machine to the next: the guest code that each was made from, its WebAssembly, and V8's machine code. What depends
 * on the process (records, indexes, record tables) is no part of a region's code (transition.ts).
 */
import { GS } from '../layout.ts';
import type { RegionBlock, RegionInstruction, RegionPage } from './discover.ts';
import type { MadeFor } from './transition.ts';

const PAGE_SIZE = 4096;

/** A module, and V8's machine code for it. */
export interface Compiled {
  readonly wasm: Uint8Array;
  readonly code: ArrayBuffer;
}

/** Offsets are relative to the first byte of the entry's page. */
export interface Translation extends MadeFor {
  /** CODE_SIZE. */
  readonly size: number;
  readonly entry: number;
  readonly large: boolean;
  readonly instructions: number;
  /** The guest code: runs of it as offset and length, and all their bytes. */
  readonly runs: Int32Array;
  readonly bytes: Uint8Array;
  /** Offsets of fields of 32 bits that hold addresses in the kernel, and of those that hold how far it is from there to what stays (`MovingAddresses`). */
  readonly moving: Int32Array;
  readonly staying: Int32Array;
  /** Numbers of its pages beside the entry's, and RegionEntry's `holds` and `apart`. */
  readonly foreign: Int32Array;
  readonly holds: Int32Array;
  /** A small region's indirect jumps and calls, whose targets are noted (targetPlaces). */
  readonly jumps: Int32Array;
  /** The branches that a small region counts (countedBranches). */
  readonly branches: Int32Array;
  readonly apart: Int32Array;
  /** Null: not in memory, or not known yet. */
  compiled: Compiled | null;
  /** Runs of the machine since it was last of use. */
  age: number;
}

/** Bytes of machine code that one run adds; of code that is gone, as a kernel's is that only boots, what is added first. */
const LIMIT = 32 << 20;
const GONE_LIMIT = 8 << 20;

/** Where the top 2 GiB end in which a 64-bit kernel's addresses lie, as the upper half of the text's first GiB: fields of 32 bits that are sign-extended. */
const KERNEL_LOW = -0x80000000;
const KERNEL_HIGH = -0x40000000;
/** What is a multiple of this is a mask rather than an address. */
const ROUND = 1 << 16;

function mayMove(low: number): boolean {
  return low >= KERNEL_LOW && low < KERNEL_HIGH && low % ROUND !== 0;
}

/**
 * The addresses in a kernel's code. Linux chooses where it lies anew at each boot, and adds the distance to each of them. What is found from GS, each processor's own
 * data, is at addresses that stay, so that the distance is taken off those that are relative to RIP. A region that is kept adds a distance too, which is 0 in the
 * run that makes it.
 */
export class MovingAddresses {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly hostOf: (offset: number) => number;
  private readonly moved = new Set<number>();
  private readonly stayed = new Set<number>();

  /** @param hostOf where an offset of the region lies in memory */
  constructor(bytes: Uint8Array, hostOf: (offset: number) => number) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.hostOf = hostOf;
  }

  /** Whether an operand of an instruction, a number of 64 bits, is an address that moves. */
  moves({ offset, decoded: { length } }: RegionInstruction, operand: 'immediate' | 'displacement', low: number, high: number): boolean {
    if (high !== -1 || !mayMove(low)) return false;
    const at = (field: number): boolean => field > 0 && this.wordAt(offset + field) === low;
    // Immediates come last, of 4 or 8 bytes; a displacement has one of up to 4 behind it.
    const fields = (operand === 'immediate' ? [length - 4, length - 8] : [length - 4, length - 5, length - 6, length - 8]).filter(at);
    if (fields.length !== 1) return false;
    this.moved.add(offset + fields[0]!);
    return true;
  }

  /** Whether the address of an instruction's operand, which is relative to RIP, is one that stays. */
  stays({ offset, decoded: { length, ripRelative, segmentNumber, displacement } }: RegionInstruction): boolean {
    if (!ripRelative || segmentNumber !== GS) return false;
    const fields = [length - 4, length - 5, length - 6, length - 8].filter(field => field > 0 && this.wordAt(offset + field) === displacement - length);
    // Where it cannot be told which bytes are the address, the instruction is compared as it is.
    if (fields.length !== 1) return false;
    this.stayed.add(offset + fields[0]!);
    return true;
  }

  /** The signed word at an offset; null where it lies on two pages, so that it is compared as it is. */
  private wordAt(offset: number): number | null {
    return (offset & (PAGE_SIZE - 1)) > PAGE_SIZE - 4 ? null : this.view.getInt32(this.hostOf(offset), true);
  }

  get offsets(): Pick<Translation, 'moving' | 'staying'> {
    return { moving: Int32Array.from(this.moved).sort(), staying: Int32Array.from(this.stayed).sort() };
  }
}

/** The guest code of blocks: runs, and their bytes. */
export function codeOf(blocks: readonly RegionBlock[], bytes: Uint8Array, hostOf: (offset: number) => number): Pick<Translation, 'runs' | 'bytes'> {
  const ends = new Map<number, number>();
  const note = (from: number, to: number): void => void ends.set(from, Math.max(ends.get(from) ?? to, to));
  for (const { instructions } of blocks) {
    for (const { offset, decoded: { length } } of instructions) {
      const end = offset + length;
      const page = (offset | (PAGE_SIZE - 1)) + 1;
      note(offset, Math.min(end, page));
      if (end > page) note(page, end);
    }
  }
  const offsets = [...ends.keys()].sort((a, b) => a - b);
  const runs: number[] = [];
  for (const offset of offsets) {
    const end = ends.get(offset)!;
    const last = runs.length - 2;
    // Instructions may overlap, where code jumps into the middle of one.
    const joins = last >= 0 && offset <= runs[last]! + runs[last + 1]! && (offset & (PAGE_SIZE - 1)) !== 0;
    if (joins) runs[last + 1] = Math.max(runs[last + 1]!, end - runs[last]!);
    else runs.push(offset, end - offset);
  }
  let total = 0;
  for (let i = 1; i < runs.length; i += 2) total += runs[i]!;
  const code = new Uint8Array(total);
  for (let i = 0, to = 0; i < runs.length; to += runs[i + 1]!, i += 2) {
    const host = hostOf(runs[i]!);
    code.set(bytes.subarray(host, host + runs[i + 1]!), to);
  }
  return { runs: Int32Array.from(runs), bytes: code };
}

/**
 * Compares the guest's code with a translation's. Returns how far the kernel's addresses have moved, null where it is other code.
 * @param pageAt where a page of the region is in memory, by its number; null: it is not mapped
 */
export function distanceMoved({ runs, bytes, moving, staying }: Translation, memory: Uint8Array, view: DataView, pageAt: (number: number) => RegionPage | null): number | null {
  let moved: number | null = null;
  let nextMoving = 0;
  let nextStaying = 0;
  const expected = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0, from = 0; i < runs.length; i += 2) {
    const offset = runs[i]!;
    const page = pageAt(Math.floor(offset / PAGE_SIZE));
    if (!page) return null;
    const host = page.host + (offset & (PAGE_SIZE - 1));
    const length = runs[i + 1]!;
    for (let at = 0; at < length;) {
      const moves = moving[nextMoving] === offset + at;
      if (moves || staying[nextStaying] === offset + at) {
        const now = view.getInt32(host + at, true);
        const difference = now - expected.getInt32(from + at, true);
        const distance = moves ? difference : -difference;
        if ((moves && !mayMove(now)) || (moved !== null && distance !== moved)) return null;
        if (moves) nextMoving++;
        else nextStaying++;
        moved = distance;
        at += 4;
      } else {
        if (memory[host + at] !== bytes[from + at]) return null;
        at++;
      }
    }
    from += length;
  }
  return nextMoving === moving.length && nextStaying === staying.length ? moved ?? 0 : null;
}

/** Translations that are there from runs before, and those that this one adds. */
export class Translations {
  private readonly places = new Map<number, Translation[]>();
  /** What was of use in this run. */
  private readonly used = new Set<Translation>();
  private readonly load: (translation: Translation) => Compiled | null;
  /** Bytes in memory that this run has added. */
  private bytes = 0;

  /** @param load fetches what a translation that was given was compiled to, null when it cannot be had */
  constructor(given: readonly Translation[] = [], load: (translation: Translation) => Compiled | null = () => null) {
    for (const translation of given) this.add(translation);
    this.load = load;
  }

  private add(translation: Translation): void {
    const place = placeOf(translation.size, translation.entry);
    const known = this.places.get(place);
    // Large ones first: they hold what small ones do.
    if (!known) this.places.set(place, [translation]);
    else if (translation.large) known.unshift(translation);
    else known.push(translation);
  }

  /** Those whose entry is at an offset in its page. */
  at(size: number, entry: number): readonly Translation[] {
    return this.places.get(placeOf(size, entry)) ?? [];
  }

  /** What one that fits was compiled to; null when it cannot be had: then it is forgotten. */
  use(translation: Translation): Compiled | null {
    const compiled = translation.compiled ?? this.load(translation);
    if (!compiled) {
      this.forget(translation);
      return null;
    }
    translation.age = 0;
    this.used.add(translation);
    return compiled;
  }

  forget(translation: Translation): void {
    this.used.delete(translation);
    const place = placeOf(translation.size, translation.entry);
    this.places.set(place, this.at(translation.size, translation.entry).filter(other => other !== translation));
  }

  /** Whether a translation of this run may still be added: a guest that changes its code without end would fill the memory. `gone`: its code is not there any more. */
  hasRoom(gone: boolean): boolean {
    return this.bytes < (gone ? GONE_LIMIT : LIMIT);
  }

  /** Adds a translation of this run, whose machine code is there; it takes the place of one of the same code. */
  keep(translation: Translation): void {
    this.bytes += translation.compiled?.code.byteLength ?? 0;
    for (const other of this.at(translation.size, translation.entry)) if (isLike(other, translation)) this.forget(other);
    this.add(translation);
    this.used.add(translation);
  }

  /** All, those first that were of use. */
  list(): readonly Translation[] {
    const others = [...this.places.values()].flat().filter(translation => !this.used.has(translation));
    return [...this.used, ...others.sort((a, b) => a.age - b.age)];
  }
}

function placeOf(size: number, entry: number): number {
  return size * PAGE_SIZE + entry;
}

/** Whether two that begin at the same place are of the same code, as far as the run of the entry tells. */
function isLike(a: Translation, b: Translation): boolean {
  const runs = [a, b].map(({ runs, bytes, entry }) => {
    for (let i = 0, from = 0; i < runs.length; from += runs[i + 1]!, i += 2) {
      if (entry >= runs[i]! && entry < runs[i]! + runs[i + 1]!) return bytes.subarray(from + entry - runs[i]!, from + runs[i + 1]!);
    }
    return bytes;
  });
  const length = Math.min(runs[0]!.length, runs[1]!.length, 32);
  return a.large === b.large && a.user === b.user && a.plain === b.plain && a.stackSize === b.stackSize && Buffer.compare(runs[0]!.subarray(0, length), runs[1]!.subarray(0, length)) === 0;
}
