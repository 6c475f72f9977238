/**
 * Finds the basic blocks of a region: code reachable from an entry by direct branches and calls that has been decoded before, across
 * pages. A callee is compiled into the caller's region once for each call site (its own context), so that its return is a branch.
 *
 * Offsets are relative to the first byte of the entry's page and may lie outside it.
 */
import type { Instruction } from './instructions.ts';
import { REGION_TARGETS_EACH } from '../layout.ts';

/** How large a region may become. V8's optimising compiler stays fast below about 64 blocks. */
export interface RegionLimits {
  readonly blocks: number;
  readonly instructions: number;
  /** Calls inside calls that are followed. */
  readonly callDepth: number;
  /** Whether what is likely to run most comes first, not what is fewest branches away. */
  readonly weighed: boolean;
}

/** How far from the entry's page code is followed, in bytes: block keys have this much room. */
const REACH = 0x400000;
const KEY_RANGE = 2 * REACH;
/** Other pages that a region may lie on: each is checked at every entry. */
export const PAGE_LIMIT = 6;

const PAGE_SIZE = 4096;
const INSTRUCTION_MAXIMUM = 15;
/** Of a branch of which it is not known which way it goes. */
const EVEN = 0.5;
/** How often code runs for each time that the region is entered, at least, which is taken in though another region has it. */
const OWN = 0.5;
/** Instructions that end a block and may go to an address which is computed. */
const COMPUTED: ReadonlySet<string> = new Set(['JMP', 'CALL']);

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
  /** Keys of successors, -1 when they are not in the region: of the direct branch or call, of falling through, of where a return or an
   *  indirect jump or call is likely to go. */
  taken: number;
  next: number;
  likely: number;
  /** The block ends at `end` because the interpreter or another region goes on there, or because nothing behind it is known. */
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
  /** The instruction that begins at an offset of a page and ends on the next one; null likewise. */
  across(page: RegionPage, offset: number, next: RegionPage): Instruction | null;
  /** A page by number relative to the entry's, when code on it has been decoded; else null. */
  page(number: number): RegionPage | null;
  /** Whether a debugger looks at an offset of every page: the interpreter must stop there. */
  isMarked(offset: number): boolean;
  /** Whether an instruction has been decoded at an offset of a page. */
  isDecoded(page: RegionPage, offset: number): boolean;
  /** Whether a branch or call to an offset of a page has been seen to be taken: what has not is left out. */
  isTaken(page: RegionPage, offset: number): boolean;
  /** Whether another region begins on a page, at an offset relative to the entry's page, that this one leaves what follows to. */
  isEntry(page: RegionPage, offset: number): boolean;
  /** How large the share of the times is in which the conditional branch at an offset of a page is taken; null where that is not known. */
  odds(page: RegionPage, offset: number): number | null;
  /** Where the indirect jump or call at an offset of a page has gone most of the time, relative to the entry's page; null where that is not known. */
  likelyTarget(page: RegionPage, offset: number): number | null;
}

interface Context {
  readonly depth: number;
  /** Key of the block behind the call; -1 in the outermost context. */
  readonly returns: number;
}

/** An offset in a context, as far as it has been followed. */
interface Place {
  readonly key: number;
  /** Begins a block. */
  leader: boolean;
  /** Of a block that is to be followed: how often it is likely to run for each time that the region is entered. */
  weight: number;
  /** Part of the region, once it has been followed. */
  instruction: RegionInstruction | null;
  /** Behind it in its block. */
  following: Place | null;
  /** Of a call that is followed: the callee's context; else -1. */
  callee: number;
  /** Of an indirect branch that is followed: where to; else -1. */
  likely: number;
}

class Discovery {
  private readonly source: DiscoverySource;
  private readonly limits: RegionLimits;
  /** Pages that were asked for, null where no code of theirs has been decoded; by number relative to the entry's. */
  private readonly pages = new Map<number, RegionPage | null>();
  /** Those that have code of the region. */
  private readonly used = new Set<number>();
  /** The page that was asked for last: most questions are about the same. */
  private lastNumber = NaN;
  private lastPage: RegionPage | null = null;
  private readonly contexts: Context[] = [{ depth: 0, returns: -1 }];
  private readonly places = new Map<number, Place>();
  private instructions = 0;
  /** Where blocks begin, in the order in which they were found. */
  private readonly leaders: Place[] = [];
  /** Those of them that have not been followed yet, and how many have. */
  private readonly waiting: Place[] = [];
  private blocks = 0;

  constructor(source: DiscoverySource, limits: RegionLimits) {
    this.source = source;
    this.limits = limits;
  }

  run(entryOffset: number): Region {
    const entry = this.key(0, entryOffset);
    this.lead(entry, 1);
    while (this.waiting.length > 0 && this.blocks < this.limits.blocks && this.instructions < this.limits.instructions) this.walk(this.heaviest());
    const blocks = new Map<number, RegionBlock>();
    for (const place of this.leaders) if (place.instruction) blocks.set(place.key, this.form(place));
    const foreign = new Map<number, RegionPage>();
    for (const number of this.used) if (number !== 0) foreign.set(number, this.pages.get(number)!);
    return { entry, blocks, foreign };
  }

  private key(context: number, offset: number): number {
    return context * KEY_RANGE + offset + REACH;
  }

  private contextOf(key: number): number {
    return Math.floor(key / KEY_RANGE);
  }

  private place(key: number): Place {
    let place = this.places.get(key);
    if (!place) this.places.set(key, place = { key, leader: false, weight: 0, instruction: null, following: null, callee: -1, likely: -1 });
    return place;
  }

  /**
   * Whether the region ends where a key leads: another one begins there, which holds what follows. What runs most is compiled in all the same: two
   * regions that leave for one another in a loop cost more than twice the code. So is a callee, as a return to its caller costs more than its code.
   */
  private endsAt(key: number, weight: number): boolean {
    const entry = this.leaders[0];
    if (this.limits.weighed && weight >= OWN) return false;
    if (!entry || key === entry.key || this.contextOf(key) !== 0) return false;
    const offset = keyOffset(key);
    const page = this.pageOf(offset);
    return page !== null && this.source.isEntry(page, offset);
  }

  private lead(key: number, weight: number): void {
    const place = this.place(key);
    // A small region knows nothing of odds: what is fewest branches away comes first.
    place.weight = this.limits.weighed ? place.weight + weight : 1;
    if (place.leader || this.blocks >= this.limits.blocks || this.endsAt(key, place.weight)) return;
    place.leader = true;
    this.leaders.push(place);
    // A block that was followed already is two from now on.
    if (place.instruction) this.blocks++;
    else this.waiting.push(place);
  }

  /** The block that is to be followed next: of those that are as likely to run, the one that was found first. */
  private heaviest(): Place {
    const { waiting } = this;
    let best = 0;
    for (let i = 1; i < waiting.length; i++) if (waiting[i]!.weight > waiting[best]!.weight) best = i;
    this.blocks++;
    return waiting.splice(best, 1)[0]!;
  }

  private page(number: number): RegionPage | null {
    if (number === this.lastNumber) return this.lastPage;
    let page = this.pages.get(number);
    if (page === undefined) this.pages.set(number, page = this.source.page(number));
    this.lastNumber = number;
    this.lastPage = page;
    return page;
  }

  private pageOf(offset: number): RegionPage | null {
    return this.page(Math.floor(offset / PAGE_SIZE));
  }

  /** The page of an offset whose code joins the region; null when there are too many. */
  private use(offset: number): RegionPage | null {
    const page = this.pageOf(offset);
    const number = Math.floor(offset / PAGE_SIZE);
    if (!page || this.used.has(number)) return page;
    if (this.used.size > PAGE_LIMIT) return null;
    this.used.add(number);
    return page;
  }

  /** Whether code at an offset may join the region: it has run, or at least been decoded, before. */
  private known(offset: number): boolean {
    if (Math.abs(offset) > REACH - PAGE_SIZE) return false;
    const page = this.pageOf(offset);
    return page !== null && this.source.isDecoded(page, offset & (PAGE_SIZE - 1));
  }

  /** Whether the target of a branch may join: what is behind a jump is as likely to run as the jump. */
  private taken(offset: number, always: boolean): boolean {
    if (!this.known(offset)) return false;
    const page = this.pageOf(offset)!;
    return always || this.source.isTaken(page, offset & (PAGE_SIZE - 1));
  }

  private instruction(offset: number): RegionInstruction | null {
    const page = this.source.isMarked(offset & (PAGE_SIZE - 1)) ? null : this.use(offset);
    if (!page) return null;
    const found = this.source.instruction(page, offset & (PAGE_SIZE - 1)) ?? this.across(page, offset);
    return found && { offset, decoded: found.decoded, form: found.form };
  }

  /** The instruction at an offset, if it is one that goes on on the next page. */
  private across(page: RegionPage, offset: number): Instruction | null {
    const behind = offset + INSTRUCTION_MAXIMUM - 1;
    const next = Math.floor(behind / PAGE_SIZE) === Math.floor(offset / PAGE_SIZE) ? null : this.pageOf(behind);
    const found = next && this.source.across(page, offset & (PAGE_SIZE - 1), next);
    return found && this.use(behind) ? found : null;
  }

  /** Follows a block to its end and queues its successors. */
  private walk(leader: Place): void {
    const context = this.contextOf(leader.key);
    const { weight } = leader;
    let at = keyOffset(leader.key);
    for (let place = leader; this.instructions < this.limits.instructions && !place.instruction;) {
      const instruction = this.instruction(at);
      if (!instruction) return;
      place.instruction = instruction;
      this.instructions++;
      const { row, displacement, length } = instruction.decoded;
      const next = at + length;
      if (row.has.relative) {
        if (row.name === 'CALL') this.enterCall(context, place, at + displacement, next, false, weight);
        else {
          const taken = this.taken(at + displacement, row.has.ends);
          const passed = !row.has.ends && this.known(next);
          const odds = row.has.ends ? 1 : this.source.odds(this.pageOf(at)!, at & (PAGE_SIZE - 1)) ?? (taken && passed ? EVEN : taken ? 1 : 0);
          if (taken) this.lead(this.key(context, at + displacement), weight * odds);
          // A loop is left in the end, however often it goes round.
          if (passed) this.lead(this.key(context, next), weight * (displacement > 0 || odds === 1 ? 1 - odds : 1));
        }
        return;
      }
      if (row.has.ends) {
        this.enterLikely(context, place, at, next, weight);
        return;
      }
      at = next;
      if (this.endsAt(this.key(context, at), weight)) return;
      place = place.following = this.place(this.key(context, at));
    }
  }

  /**
   * Follows an indirect jump or call to where it is likely to go. Without that its region ends there, and so it does at each return to a caller on
   * the way back, as nothing is known of those. (Returns from calls outside the region go too many ways to be followed.)
   */
  private enterLikely(context: number, place: Place, at: number, next: number, weight: number): void {
    const { name } = place.instruction!.decoded.row;
    if (!COMPUTED.has(name)) return;
    const target = this.source.likelyTarget(this.pageOf(at)!, at & (PAGE_SIZE - 1));
    if (target === null || !this.known(target)) return;
    if (name === 'CALL') {
      this.enterCall(context, place, target, next, true, weight);
      if (place.callee >= 0) place.likely = this.key(place.callee, target);
    } else this.lead(place.likely = this.key(context, target), weight);
  }

  private enterCall(context: number, callSite: Place, target: number, next: number, always: boolean, weight: number): void {
    const { depth } = this.contexts[context]!;
    if (depth >= this.limits.callDepth || !this.taken(target, always) || !this.known(next) || this.blocks + 2 > this.limits.blocks) return;
    const returns = this.key(context, next);
    callSite.callee = this.contexts.push({ depth: depth + 1, returns }) - 1;
    this.lead(this.key(callSite.callee, target), weight);
    this.lead(returns, weight);
  }

  private inRegion(key: number): number {
    const place = this.places.get(key);
    return place?.leader && place.instruction ? key : -1;
  }

  private form(leader: Place): RegionBlock {
    const context = this.contextOf(leader.key);
    const block: RegionBlock = { key: leader.key, instructions: [], end: keyOffset(leader.key), taken: -1, next: -1, likely: -1, bail: false };
    for (let place: Place | null = leader; place?.instruction; place = place.following) {
      if (place.leader && place !== leader) {
        block.next = place.key;
        return block;
      }
      const { instruction } = place;
      block.instructions.push(instruction);
      const { offset, decoded: { row, displacement, length } } = instruction;
      block.end = offset + length;
      if (row.has.relative) {
        if (row.name !== 'CALL') block.taken = this.inRegion(this.key(context, offset + displacement));
        else if (place.callee >= 0) block.taken = this.inRegion(this.key(place.callee, offset + displacement));
        if (!row.has.ends) block.next = this.inRegion(this.key(context, block.end));
        return block;
      }
      if (row.has.ends) {
        const { returns } = this.contexts[context]!;
        block.likely = this.inRegion(row.name === 'RET' && returns >= 0 ? returns : place.likely);
        return block;
      }
    }
    block.bail = true;
    return block;
  }
}

/** A region's instructions that lie on two pages: the number of the second one, and how many of their bytes that has. */
export function tails(region: Region): readonly { readonly page: number; readonly bytes: number }[] {
  return [...region.blocks.values()].flatMap(({ instructions }) => instructions.flatMap(({ offset, decoded: { length } }) => {
    const bytes = (offset & (PAGE_SIZE - 1)) + length - PAGE_SIZE;
    return bytes > 0 ? [{ page: Math.floor(offset / PAGE_SIZE) + 1, bytes }] : [];
  }));
}

/** Offsets of a region's instructions, but for those in callees. */
export function outermost(region: Region): ReadonlySet<number> {
  const offsets = new Set<number>();
  for (const { key, instructions } of region.blocks.values()) if (key < KEY_RANGE) for (const { offset } of instructions) offsets.add(offset);
  return offsets;
}

/** Blocks of a region that end with an indirect jump or call, by key: the place among the region's targets where it is noted where that goes. There is room for a few. */
export function targetPlaces(region: Region): ReadonlyMap<number, number> {
  const places = new Map<number, number>();
  for (const { key, instructions } of region.blocks.values()) {
    const { row } = instructions.at(-1)!.decoded;
    if (places.size < REGION_TARGETS_EACH && COMPUTED.has(row.name) && row.has.ends && !row.has.relative) places.set(key, places.size);
  }
  return places;
}

/** The region that begins at an offset of its page; without blocks when the entry itself must be interpreted. */
export function discover(entryOffset: number, source: DiscoverySource, limits: RegionLimits): Region {
  return new Discovery(source, limits).run(entryOffset);
}
