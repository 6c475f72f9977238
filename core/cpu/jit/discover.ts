/**
 * Finds the basic blocks of a region: code reachable from an entry by direct branches and calls that has been decoded before, across
 * pages. A callee is compiled into the caller's region once for each call site (its own context), so that its return is a branch.
 *
 * Offsets are relative to the first byte of the entry's page and may lie outside it.
 */
import type { Instruction } from './instructions.ts';

/** How large a region may become. V8's optimising compiler stays fast below about 64 blocks. */
export interface RegionLimits {
  readonly blocks: number;
  readonly instructions: number;
  /** Calls inside calls that are followed. */
  readonly callDepth: number;
}

/** How far from the entry's page code is followed, in bytes: block keys have this much room. */
const REACH = 0x400000;
const KEY_RANGE = 2 * REACH;
/** Other pages that a region may lie on: each is checked at every entry. */
export const PAGE_LIMIT = 6;

const PAGE_SIZE = 4096;

/** Offset that a block's key stands for. */
export function keyOffset(key: number): number {
  return key % KEY_RANGE - REACH;
}

export interface RegionInstruction extends Instruction {
  readonly offset: number;
}

export interface RegionBlock {
  readonly key: number;
  readonly instructions: RegionInstruction[];
  /** Offset at which control goes on behind the block. */
  end: number;
  /** Keys of successors, -1 when they are not in the region: of the direct branch or call, of falling through, of the return. */
  taken: number;
  next: number;
  returns: number;
  /** The block ends at `end` because the interpreter must go on there, or because nothing behind it is known. */
  bail: boolean;
}

/** A page of the region: where its bytes are, and its record table. */
export interface RegionPage {
  readonly host: number;
  readonly table: number;
}

export interface Region {
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, RegionBlock>;
  /** Pages beside the entry's, by number relative to it. */
  readonly foreign: ReadonlyMap<number, RegionPage>;
}

export interface DiscoverySource {
  /** The instruction at an offset of a page, null where the interpreter must go on. */
  instruction(page: RegionPage, offset: number): Instruction | null;
  /** A page by number relative to the entry's, when code on it has been decoded; else null. */
  page(number: number): RegionPage | null;
  /** Whether a debugger looks at an offset of every page: the interpreter must stop there. */
  isMarked(offset: number): boolean;
  /** Whether an instruction has been decoded at an offset of a page. */
  isDecoded(page: RegionPage, offset: number): boolean;
  /** Whether a branch or call to an offset of a page has been seen to be taken: what has not is left out. */
  isTaken(page: RegionPage, offset: number): boolean;
}

interface Context {
  readonly depth: number;
  /** Key of the block behind the call; -1 in the outermost context. */
  readonly returns: number;
}

class Discovery {
  private readonly source: DiscoverySource;
  private readonly limits: RegionLimits;
  private readonly pages = new Map<number, RegionPage | null>();
  private readonly decoded = new Map<number, RegionInstruction | null>();
  private readonly contexts: Context[] = [{ depth: 0, returns: -1 }];
  /** Context of the callee by key of the call instruction. */
  private readonly callees = new Map<number, number>();
  private readonly visited = new Set<number>();
  private readonly leaders = new Set<number>();
  private readonly queue: number[] = [];

  constructor(source: DiscoverySource, limits: RegionLimits) {
    this.source = source;
    this.limits = limits;
  }

  run(entryOffset: number): Region {
    const entry = this.key(0, entryOffset);
    this.lead(entry);
    for (let i = 0; i < this.queue.length && this.visited.size < this.limits.instructions; i++) this.walk(this.queue[i]!);
    const blocks = new Map<number, RegionBlock>();
    for (const key of this.queue) {
      const block = this.visited.has(key) ? this.form(key) : null;
      if (block) blocks.set(key, block);
    }
    const foreign = new Map<number, RegionPage>();
    for (const [number, page] of this.pages) if (page && number !== 0) foreign.set(number, page);
    return { entry, blocks, foreign };
  }

  private key(context: number, offset: number): number {
    return context * KEY_RANGE + offset + REACH;
  }

  private contextOf(key: number): number {
    return Math.floor(key / KEY_RANGE);
  }

  private lead(key: number): boolean {
    if (this.leaders.has(key)) return true;
    if (this.leaders.size >= this.limits.blocks) return false;
    this.leaders.add(key);
    this.queue.push(key);
    return true;
  }

  private page(number: number): RegionPage | null {
    const known = this.pages.get(number);
    if (known !== undefined) return known;
    const full = [...this.pages.values()].filter(page => page !== null).length > PAGE_LIMIT;
    const page = full ? null : this.source.page(number);
    this.pages.set(number, page);
    return page;
  }

  /** Whether code at an offset may join the region: it has run, or at least been decoded, before. */
  private known(offset: number): boolean {
    if (Math.abs(offset) > REACH - PAGE_SIZE) return false;
    const page = this.page(Math.floor(offset / PAGE_SIZE));
    return page !== null && this.source.isDecoded(page, offset & (PAGE_SIZE - 1));
  }

  /** Whether the target of a branch may join: what is behind a jump is as likely to run as the jump. */
  private taken(offset: number, always: boolean): boolean {
    if (!this.known(offset)) return false;
    const page = this.page(Math.floor(offset / PAGE_SIZE))!;
    return always || this.source.isTaken(page, offset & (PAGE_SIZE - 1));
  }

  private instruction(offset: number): RegionInstruction | null {
    const known = this.decoded.get(offset);
    if (known !== undefined) return known;
    const found = this.decode(offset);
    this.decoded.set(offset, found);
    return found;
  }

  private decode(offset: number): RegionInstruction | null {
    const page = this.page(Math.floor(offset / PAGE_SIZE));
    if (!page || this.source.isMarked(offset & (PAGE_SIZE - 1))) return null;
    const found = this.source.instruction(page, offset & (PAGE_SIZE - 1));
    return found && { offset, decoded: found.decoded, program: found.program, callsHelper: found.callsHelper };
  }

  /** Follows a block to its end and queues its successors. */
  private walk(start: number): void {
    const context = this.contextOf(start);
    let at = keyOffset(start);
    while (this.visited.size < this.limits.instructions) {
      const key = this.key(context, at);
      if (this.visited.has(key)) return;
      const instruction = this.instruction(at);
      if (!instruction) return;
      this.visited.add(key);
      const { row, displacement, length } = instruction.decoded;
      const next = at + length;
      if (row.name === 'CALL' && row.has.relative) {
        this.enterCall(context, key, at + displacement, next);
        return;
      }
      if (row.has.relative) {
        if (this.taken(at + displacement, row.has.ends)) this.lead(this.key(context, at + displacement));
        if (!row.has.ends && this.known(next)) this.lead(this.key(context, next));
        return;
      }
      if (row.has.ends) return;
      at = next;
    }
  }

  private enterCall(context: number, callSite: number, target: number, next: number): void {
    const { depth } = this.contexts[context]!;
    if (depth >= this.limits.callDepth || !this.taken(target, false) || !this.known(next) || this.leaders.size + 2 > this.limits.blocks) return;
    const returns = this.key(context, next);
    const callee = this.contexts.push({ depth: depth + 1, returns }) - 1;
    this.callees.set(callSite, callee);
    this.lead(this.key(callee, target));
    this.lead(returns);
  }

  private inRegion(key: number): number {
    return this.leaders.has(key) && this.visited.has(key) ? key : -1;
  }

  private form(start: number): RegionBlock {
    const context = this.contextOf(start);
    const block: RegionBlock = { key: start, instructions: [], end: keyOffset(start), taken: -1, next: -1, returns: -1, bail: false };
    for (;;) {
      const at = block.end;
      const key = this.key(context, at);
      if (block.instructions.length > 0 && this.leaders.has(key)) {
        block.next = this.inRegion(key);
        return block;
      }
      const instruction = this.visited.has(key) ? this.instruction(at) : null;
      if (!instruction) {
        block.bail = true;
        return block;
      }
      block.instructions.push(instruction);
      const { row, displacement, length } = instruction.decoded;
      block.end = at + length;
      if (row.name === 'CALL' && row.has.relative) {
        const callee = this.callees.get(key);
        if (callee !== undefined) block.taken = this.inRegion(this.key(callee, at + displacement));
        return block;
      }
      if (row.has.relative) {
        block.taken = this.inRegion(this.key(context, at + displacement));
        if (!row.has.ends) block.next = this.inRegion(this.key(context, block.end));
        return block;
      }
      if (row.has.ends) {
        if (row.name === 'RET') block.returns = this.inRegion(this.contexts[context]!.returns);
        return block;
      }
    }
  }
}

/** The region that begins at an offset of its page; without blocks when the entry itself must be interpreted. */
export function discover(entryOffset: number, source: DiscoverySource, limits: RegionLimits): Region {
  return new Discovery(source, limits).run(entryOffset);
}
