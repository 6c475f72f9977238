/** Regions from earlier runs: finds those that are of the code that the guest has now, and keeps what this run compiles. */
import { RAM_BASE } from '../layout.ts';
import { DESCRIPTOR_SHARED } from '../record.ts';
import type { RegionBlock, RegionPage } from './discover.ts';
import { nativeCode } from './nativeCode.ts';
import type { NativeCode } from './nativeCode.ts';
import { CODE_64, descriptorOf } from './regionTable.ts';
import type { MadeFor } from './transition.ts';
import { MovingAddresses, codeOf, distanceMoved } from './translation.ts';
import type { Translation, Translations } from './translation.ts';

const PAGE_SIZE = 4096;
/** Blocks that are remembered as met. */
const TRIES_LIMIT = 100_000;
const NOTHING_MOVES = { moving: new Int32Array(0), staying: new Int32Array(0) };
export interface KeptHost {
  readonly memory: WebAssembly.Memory;
  /** Guest-physical address of the instruction byte at RIP + delta; 0xffffffff when it cannot be fetched. */
  pageAddress(delta: number): number;
  tableFor(gpa: number): number;
  markDecoded(descriptor: number, from: number, to: number): void;
}

/** A translation that fits the guest's code. */
export interface FoundRegion {
  readonly translation: Translation;
  readonly module: WebAssembly.Module;
  /** Bytes of the module. */
  readonly bytes: number;
  /** How far the kernel's addresses have moved. */
  readonly moved: number;
  readonly foreign: ReadonlyMap<number, RegionPage>;
}

/** A region that this run has compiled. */
export interface MadeRegion {
  readonly translation: Translation;
  readonly module: WebAssembly.Module;
  /** The function that it exports. */
  readonly run: () => void;
  readonly wasm: Uint8Array;
}

/** What is noted of a region while it is compiled. */
export interface Draft {
  /** Null: none of its addresses move. */
  readonly moving: MovingAddresses | null;
  finish(facts: Pick<Translation, 'size' | 'plain' | 'stackSize' | 'user' | 'entry' | 'large' | 'instructions'> & { readonly holds: ReadonlySet<number>; readonly apart: ReadonlySet<number>; readonly jumps: readonly number[]; readonly branches: readonly number[] }): Translation;
}

export class KeptRegions {
  private readonly host: KeptHost;
  private readonly translations: Translations;
  private readonly native: NativeCode;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  /** How often a block that may begin a region has been met. */
  private readonly tries = new Map<number, number>();

  /** Null where V8 gives no machine code. */
  static of(host: KeptHost, translations: Translations): KeptRegions | null {
    const native = nativeCode();
    return native && new KeptRegions(host, translations, native);
  }

  private constructor(host: KeptHost, translations: Translations, native: NativeCode) {
    this.host = host;
    this.translations = translations;
    this.native = native;
    this.bytes = new Uint8Array(host.memory.buffer);
    this.view = new DataView(host.memory.buffer);
  }

  /** Whether there is a translation whose entry may be at a guest-physical address. */
  mayBegin(gpa: number, size: number): boolean {
    if (this.translations.at(size, gpa & (PAGE_SIZE - 1)).length === 0) return false;
    const key = gpa * 4 + size;
    if (this.tries.size > TRIES_LIMIT) this.tries.clear();
    const tries = (this.tries.get(key) ?? 0) + 1;
    this.tries.set(key, tries);
    // What does not fit may do so later: other pages are mapped, a kernel has mended its code. Less and less likely, though.
    return (tries & (tries - 1)) === 0;
  }

  /** The region that begins at RIP, at a guest-physical address; null when none fits. Its code counts as decoded from then on. */
  find(gpa: number, size: number, table: number, now: MadeFor): FoundRegion | null {
    const pages = new Map<number, RegionPage | null>([[0, { host: (RAM_BASE + (gpa & ~(PAGE_SIZE - 1))) >>> 0, table }]]);
    const pageAt = (number: number): RegionPage | null => {
      let page = pages.get(number);
      if (page === undefined) {
        const address = this.host.pageAddress(number * PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));
        page = address === 0xffffffff ? null : { host: (RAM_BASE + (address & ~(PAGE_SIZE - 1))) >>> 0, table: 0 };
        pages.set(number, page);
      }
      return page;
    };
    for (const translation of this.translations.at(size, gpa & (PAGE_SIZE - 1))) {
      if (translation.user !== now.user || (size !== CODE_64 && (translation.plain !== now.plain || translation.stackSize !== now.stackSize))) continue;
      const moved = distanceMoved(translation, this.bytes, this.view, pageAt);
      if (moved === null) continue;
      const foreign = this.prepare(translation, pageAt);
      const taken = foreign && this.take(translation);
      if (taken) return { translation, ...taken, moved, foreign };
    }
    return null;
  }

  /** Its machine code; null when that cannot be had. */
  private take(translation: Translation): Pick<FoundRegion, 'module' | 'bytes'> | null {
    const compiled = this.translations.use(translation);
    const module = compiled && this.native.deserialize(compiled.code, compiled.wasm);
    if (module) return { module, bytes: compiled.wasm.length };
    this.translations.forget(translation);
    return null;
  }

  /** The guest's writes to the code are seen from now on. Returns the pages beside the entry's, null when there is no room. */
  private prepare({ runs, foreign }: Translation, pageAt: (number: number) => RegionPage | null): ReadonlyMap<number, RegionPage> | null {
    const others = new Map<number, RegionPage>();
    for (const number of foreign) {
      const page = pageAt(number);
      const table = page ? this.host.tableFor(page.host - RAM_BASE) : 0;
      if (!page || table === 0) return null;
      others.set(number, { host: page.host, table });
      this.view.setUint32(this.descriptorOf(page) + DESCRIPTOR_SHARED, 1, true);
    }
    for (let i = 0; i < runs.length; i += 2) {
      const offset = runs[i]!;
      const from = offset & (PAGE_SIZE - 1);
      this.host.markDecoded(this.descriptorOf(pageAt(Math.floor(offset / PAGE_SIZE))!), from, from + runs[i + 1]!);
    }
    return others;
  }

  private descriptorOf({ host }: RegionPage): number {
    return descriptorOf(this.view, host - RAM_BASE);
  }

  /** Begins to take down a region of blocks, whose entry's page is at a place in memory; `kernel`: of a 64-bit kernel. */
  draft(blocks: readonly RegionBlock[], pages: ReadonlyMap<number, RegionPage>, entryPage: number, kernel: boolean): Draft {
    const hostOf = (offset: number): number => {
      const number = Math.floor(offset / PAGE_SIZE);
      return (number === 0 ? entryPage >>> 0 : pages.get(number)!.host) + (offset & (PAGE_SIZE - 1));
    };
    const moving = kernel ? new MovingAddresses(this.bytes, hostOf) : null;
    // Now, not when it is kept: the guest's code may be another by then.
    const code = codeOf(blocks, this.bytes, hostOf);
    return {
      moving,
      finish: ({ holds, apart, jumps, branches, ...facts }) => ({
        ...facts, ...code, ...(moving?.offsets ?? NOTHING_MOVES), foreign: Int32Array.from(pages.keys()), holds: Int32Array.from(holds), apart: Int32Array.from(apart), jumps: Int32Array.from(jumps),
        branches: Int32Array.from(branches),
        compiled: null, age: 0,
      }),
    };
  }

  /** Has V8 optimise a region. */
  optimise({ run }: MadeRegion): void {
    this.native.optimise(run);
  }

  /** Keeps what V8 has made of a region, if it has optimised it and there is room; `gone`: nothing leads to it any more. Returns whether it is kept. */
  keep({ translation, module, run, wasm }: MadeRegion, gone = false): boolean {
    if (!this.translations.hasRoom(gone) || !this.native.isOptimised(run)) return false;
    translation.compiled = { wasm, code: this.native.serialize(module) };
    this.translations.keep(translation);
    return true;
  }
}
