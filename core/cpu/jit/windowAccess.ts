/**
 * Memory accesses of regions. Each base register has a window: the entry of the look-aside table that its last access hit, at an address
 * that is known when the code is made, so that a hit costs an addition and a comparison. The stack pointer's window hits nearly always; for
 * other registers there is the table, alone or behind the window.
 */
import type { Decoded } from '../../isa/decoder.ts';
import type { Node } from '../../isa/ir.ts';
import { I32, op, v } from '../../wasm/opcodes.ts';
import { storeOp } from '../widths.ts';
import { hostAddress, tableMiss } from '../tableAccess.ts';
import type { AccessContext, MemoryAccess } from '../tableAccess.ts';
import {
  STATE, TLB_READ, TLB_WRITE, WINDOWS, WINDOW_ABSOLUTE, WINDOW_ANY, WINDOW_RIP, WINDOW_SEGMENT, WINDOW_SIZE, WINDOW_STACK, WINDOW_WRITE, ZERO,
} from '../layout.ts';
import type { RangeAccess } from './ranges.ts';
import { slotOffset } from './registers.ts';

export interface RegionAccessContext extends AccessContext {
  /** Number of the window of an address. */
  windowOf(address: Node): number;
  /** Whether registers other than the stack pointer look through windows first: worth it in code that runs long. */
  readonly windows: boolean;
  /** The range that an access shares with others of its block, when there is one. */
  rangeOf(address: Node): RangeAccess | undefined;
  /** A local (i32) that is free until the block ends. */
  keep(): number;
  /** Index of the region. */
  readonly index: number;
  /** Leaves the region at the current instruction, which has done nothing yet, when the STATUS on the wasm stack is not OK. */
  leaveUnlessOk(): void;
}

export function windowAccess(context: RegionAccessContext): MemoryAccess {
  const { code, tlb } = context;

  /** Makes a window current. */
  const open = (write: boolean, window: number, linear: number, bytes: number): void => {
    code.get(linear);
    code.i32Const(window | (bytes << 24));
    code.call(context.helper(write ? 'openWrite' : 'openRead'));
    context.leaveUnlessOk();
  };

  const windowMiss = (window: number, linear: number, bytes: number): void => {
    code.get(tlb);
    code.memory(op.i64Load, window);
    code.get(linear);
    code.op(op.i64Add);
    code.i64Const(4096 - bytes);
    code.op(op.i64GtU);
  };

  /** Checks a range at its first access and keeps the host address of its first byte. */
  const openRange = ({ range, offset }: RangeAccess, number: number, linear: number, bytes: number, write: boolean): void => {
    const window = WINDOWS + number * WINDOW_SIZE + (range.write ? WINDOW_WRITE : 0);
    const below = offset - range.low;
    const span = range.high - range.low;
    code.get(tlb);
    code.memory(op.i64Load, window);
    code.get(linear);
    code.op(op.i64Add);
    if (below !== 0) {
      code.i64Const(below);
      code.op(op.i64Sub);
    }
    code.i64Const(4096 - span);
    code.op(op.i64GtU);
    code.ifUnlikely();
    code.get(linear);
    code.i32Const(window | (bytes << 24));
    code.i32Const(below | ((span - 1) << 8) | (write ? 1 << 16 : 0) | (range.write ? 1 << 17 : 0));
    code.i32Const(context.index);
    code.call(context.helper('openRange'));
    context.leaveUnlessOk();
    code.end();
    hostAddress(code, linear, tlb, window + 8);
    if (below !== 0) {
      code.i32Const(below);
      code.op(op.i32Sub);
    }
    range.host = context.keep();
    code.set(range.host);
  };

  /** Pushes the host address of an access, less the offset that is returned. */
  const reach = (write: boolean, address: Node, linear: () => number, bytes: number): number => {
    const shared = context.rangeOf(address);
    if (!shared) {
      point(write, address, linear(), bytes);
      return 0;
    }
    const { range, offset } = shared;
    if (range.host < 0) openRange(shared, context.windowOf(address), linear(), bytes, write);
    code.get(range.host);
    return offset - range.low;
  };

  /** Pushes the host address of an access of its own. */
  const point = (write: boolean, address: Node, linear: number, bytes: number): void => {
    const number = context.windowOf(address);
    const table = write ? TLB_WRITE : TLB_READ;
    const place = (slot: number): number => WINDOWS + slot * WINDOW_SIZE + (write ? WINDOW_WRITE : 0);
    if (number === WINDOW_STACK) {
      windowMiss(place(number), linear, bytes);
      code.ifUnlikely();
      open(write, place(number), linear, bytes);
      code.end();
      hostAddress(code, linear, tlb, place(number) + 8);
    } else if (context.windows) {
      const window = place(number);
      const entry = context.take(I32);
      windowMiss(window, linear, bytes);
      code.ifUnlikely();
      tableMiss(context, table, linear, entry, bytes);
      code.ifUnlikely();
      open(write, window, linear, bytes);
      code.else();
      code.get(tlb);
      code.get(entry);
      code.simdMemory(v.load, table);
      code.simdMemory(v.store, window);
      code.end();
      code.end();
      hostAddress(code, linear, tlb, window + 8);
    } else {
      const entry = context.take(I32);
      tableMiss(context, table, linear, entry, bytes);
      code.ifUnlikely();
      open(write, place(WINDOW_ANY), linear, bytes);
      // The window's addend, where the entry's would be.
      code.get(tlb);
      code.i32Const(place(WINDOW_ANY) - table);
      code.op(op.i32Add);
      code.set(entry);
      code.end();
      hostAddress(code, linear, entry, table + 8);
    }
  };

  return {
    valueTwice: false,
    read: (address, linear, bytes) => reach(false, address, linear, bytes),
    store(address, linear, bytes, wide, value) {
      const offset = reach(true, address, linear, bytes);
      value();
      storeOp(code, bytes, offset, wide);
    },
    modify(address, linear, bytes) {
      const pointer = context.take(I32);
      const offset = reach(true, address, linear, bytes);
      if (offset !== 0) {
        code.i32Const(offset);
        code.op(op.i32Add);
      }
      code.set(pointer);
      return pointer;
    },
    finish: () => undefined,
  };
}

/** The window of an access: that of the register its address starts from. */
export function windowOf(decoded: Decoded, address: Node): number {
  const walk = (node: Node): number => {
    switch (node.kind) {
      case 'slot': {
        const offset = slotOffset(decoded, node.slot);
        if (node.slot === 'segment' && offset !== ZERO - STATE) return WINDOW_SEGMENT;
        return offset < WINDOW_ABSOLUTE * 8 ? offset >> 3 : -1;
      }
      case 'fact': return node.fact === 'target' || node.fact === 'nextRip' ? WINDOW_RIP : -1;
      case 'binary': {
        const a = walk(node.a);
        const b = walk(node.b);
        return b === WINDOW_SEGMENT || a < 0 ? b : a;
      }
      case 'zeroExtend': case 'truncate': return walk(node.a);
      case 'segment': return walk(node.offset);
      default: return -1;
    }
  };
  const found = walk(address);
  return found < 0 ? WINDOW_ABSOLUTE : found;
}
