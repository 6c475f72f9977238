/**
 * Memory accesses of regions. Each base register has a window: what the entry of the look-aside table says that its last access hit, at an address
 * that is known when the code is made, so that a hit costs two subtractions and a comparison. The stack pointer's window hits nearly always; for
 * other registers there is the table, alone or behind the window.
 */
import type { Decoded } from '../../isa/decoder.ts';
import type { Node } from '../../isa/ir.ts';
import { I32, op } from '../../wasm/opcodes.ts';
import type { FunctionWriter } from '../../wasm/writer.ts';
import { entryOf, hostAddress, tableMiss } from '../tableAccess.ts';
import type { AccessContext } from '../tableAccess.ts';
import {
  STATE, TLB_READ, TLB_WRITE, WINDOWS, WINDOWS_USER, WINDOW_ABSOLUTE, WINDOW_ANY, WINDOW_RIP, WINDOW_SEGMENT, WINDOW_SIZE, WINDOW_STACK, WINDOW_WRITE, ZERO,
} from '../layout.ts';
import type { RangeAccess } from './ranges.ts';
import { slotOffset } from './registers.ts';
import { slotNumber } from './tape.ts';
import { INDEX } from './transition.ts';

export interface RegionAccessContext extends AccessContext {
  /** Whether the code is that of CPL 3. */
  readonly user: boolean;
  /** Whether registers other than the stack pointer look through windows first: worth it in code that runs long. */
  readonly windows: boolean;
  /** A local (i32) that is free until the block ends. */
  keep(): number;
  /** Leaves the region at the current instruction, which has done nothing yet, when the STATUS on the wasm stack is not OK. */
  leaveUnlessOk(): void;
}

/** An access of an instruction. */
export interface Access {
  readonly write: boolean;
  readonly bytes: number;
  /** Number of the window of its address. */
  readonly window: number;
  /** Local with its linear address; -1 when a range that has been checked holds it. */
  readonly linear: number;
  /** The range that it shares with others of its block, when there is one. */
  readonly shared: RangeAccess | undefined;
}

export class WindowAccess {
  private readonly context: RegionAccessContext;

  constructor(context: RegionAccessContext) {
    this.context = context;
  }

  /** Pushes the host address of an access, less the offset that is returned. */
  reach(access: Access): number {
    const { shared } = access;
    if (!shared || shared.range.apart) {
      this.point(access);
      return 0;
    }
    const { range, offset } = shared;
    if (range.host < 0) this.openRange(shared, access);
    this.context.code.get(range.host);
    return offset - range.low;
  }

  /**
   * Takes a truth value; what follows is for the case that it is not 0, which is rare. Baseline code lets both arms of an `if` end with locals where the first one has
   * them: a call in that one would leave all of them in memory.
   */
  private ifMissed(): void {
    const { code } = this.context;
    if (this.context.windows) {
      code.ifUnlikely();
      return;
    }
    code.op(op.i32Eqz);
    code.ifLikely();
    code.else();
  }

  /** Makes a window current by a helper. */
  private open({ write, linear, bytes }: Access, window: number): void {
    const { code } = this.context;
    code.get(linear);
    code.i32Const(window | (bytes << 24));
    code.call(this.context.helper(write ? 'openWrite' : 'openRead'));
    this.context.leaveUnlessOk();
  }

  /**
   * Makes sure that a window is for the page of an address: from the table, whose entry becomes the window's, or else by `help`.
   * @param table -1: `help` at once
   */
  private look(window: number, table: number, linear: number, bytes: number, below: number, help: () => void): void {
    const { code } = this.context;
    code.get(linear);
    code.i32Const(0);
    code.memory(op.i64Load, window);
    code.op(op.i64Sub);
    outside(code, bytes, below);
    this.ifMissed();
    if (table < 0) help();
    else {
      const entry = this.context.take(I32);
      entryOf(this.context, linear, entry);
      code.get(linear);
      code.get(entry);
      code.memory(op.i64Load, table);
      code.op(op.i64Add);
      outside(code, bytes, below);
      code.ifUnlikely();
      help();
      code.else();
      code.i32Const(0);
      code.i64Const(0);
      code.get(entry);
      code.memory(op.i64Load, table);
      code.op(op.i64Sub);
      code.memory(op.i64Store, window);
      code.i32Const(0);
      code.i32Const(0);
      code.get(entry);
      code.memory(op.i32Load, table + 8);
      code.op(op.i32Sub);
      code.memory(op.i32Store, window + 8);
      code.end();
    }
    code.end();
  }

  /** Pushes the host address that an address in a window's page stands for. */
  private hostAt(window: number, linear: number): void {
    const { code } = this.context;
    code.get(linear);
    code.op(op.i32WrapI64);
    code.i32Const(0);
    code.memory(op.i32Load, window + 8);
    code.op(op.i32Sub);
  }

  /** Checks a range at its first access and keeps the host address of its first byte. */
  private openRange({ range, offset }: RangeAccess, { write, bytes, window: number, linear }: Access): void {
    const { code, user, windows } = this.context;
    const window = windowPlace(number, range.write, user);
    const below = offset - range.low;
    const span = range.high - range.low;
    this.look(window, windows ? range.write ? TLB_WRITE : TLB_READ : -1, linear, span, below, () => {
      code.get(linear);
      code.i32Const(window | (bytes << 24));
      code.i32Const(below | ((span - 1) << 8) | (write ? 1 << 16 : 0) | (range.write ? 1 << 17 : 0));
      code.get(INDEX);
      code.i32Const(range.at);
      code.call(this.context.helper('openRange'));
      this.context.leaveUnlessOk();
    });
    this.hostAt(window, linear);
    if (below !== 0) {
      code.i32Const(-below);
      code.op(op.i32Add);
    }
    range.host = this.context.keep();
    code.set(range.host);
  }

  /** Pushes the host address of an access of its own. */
  private point(access: Access): void {
    const { user, windows } = this.context;
    const { write, window: number, linear, bytes } = access;
    const table = write ? TLB_WRITE : TLB_READ;
    if (!windows && number !== WINDOW_STACK) {
      this.pointInTable(access, table);
      return;
    }
    const window = windowPlace(number, write, user);
    this.look(window, windows ? table : -1, linear, bytes, 0, () => { this.open(access, window); });
    this.hostAt(window, linear);
  }

  private pointInTable(access: Access, table: number): void {
    const { code } = this.context;
    const { write, linear, bytes } = access;
    const any = windowPlace(WINDOW_ANY, write, this.context.user);
    const entry = this.context.take(I32);
    tableMiss(this.context, table, linear, entry, bytes);
    this.ifMissed();
    this.open(access, any);
    // The window's addend, where the entry's would be.
    code.i32Const(any - table);
    code.set(entry);
    code.end();
    hostAddress(code, linear, entry, table + 8);
  }
}

/** Takes how far from the beginning of a page an access is; pushes a truth value: nonzero where bytes, of which `below` come before it, are not all in the page. */
function outside(code: FunctionWriter, bytes: number, below: number): void {
  if (below !== 0) {
    code.i64Const(-below);
    code.op(op.i64Add);
  }
  code.i64Const(4096 - bytes);
  code.op(op.i64GtU);
}

function windowPlace(number: number, write: boolean, user: boolean): number {
  return (user ? WINDOWS_USER : WINDOWS) + number * WINDOW_SIZE + (write ? WINDOW_WRITE : 0);
}

/** The window of an access: that of the register its address starts from. */
export function windowOf(decoded: Decoded, address: Node): number {
  const found = registerOf(decoded, address);
  return found < 0 ? WINDOW_ABSOLUTE : found;
}

function registerOf(decoded: Decoded, node: Node): number {
  switch (node.kind) {
    case 'slot': {
      const offset = slotOffset(decoded, slotNumber(node.slot));
      if (node.slot === 'segment' && offset !== ZERO - STATE) return WINDOW_SEGMENT;
      return offset < WINDOW_ABSOLUTE * 8 ? offset >> 3 : -1;
    }
    case 'fact': return node.fact === 'target' || node.fact === 'nextRip' ? WINDOW_RIP : -1;
    case 'binary': {
      const a = registerOf(decoded, node.a);
      const b = registerOf(decoded, node.b);
      return b === WINDOW_SEGMENT || a < 0 ? b : a;
    }
    case 'zeroExtend': case 'truncate': return registerOf(decoded, node.a);
    case 'segment': return registerOf(decoded, node.offset);
    default: return -1;
  }
}
