/**
 * Memory accesses of regions. Each base register has a window: the entry of the look-aside table that its last access hit, at an address
 * that is known when the code is made, so that a hit costs an addition and a comparison. The stack pointer's window hits nearly always; for
 * other registers there is the table, alone or behind the window.
 */
import type { Decoded } from '../../isa/decoder.ts';
import type { Node } from '../../isa/ir.ts';
import { I32, op, v } from '../../wasm/opcodes.ts';
import { storeOp } from '../emitter.ts';
import { hostAddress, tableMiss } from '../tableAccess.ts';
import type { AccessContext, MemoryAccess } from '../tableAccess.ts';
import {
  STATE, TLB_READ, TLB_WRITE, WINDOWS, WINDOW_ABSOLUTE, WINDOW_ANY, WINDOW_RIP, WINDOW_SEGMENT, WINDOW_SIZE, WINDOW_STACK, WINDOW_WRITE, ZERO,
} from '../layout.ts';
import { slotOffset } from './registers.ts';

export interface RegionAccessContext extends AccessContext {
  /** Number of the window of an address. */
  windowOf(address: Node): number;
  /** Whether registers other than the stack pointer look through windows first: worth it in code that runs long. */
  readonly windows: boolean;
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

  /** Pushes the host address of an access. */
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
    read(address, linear, bytes) {
      point(false, address, linear, bytes);
    },
    store(address, linear, bytes, wide, value) {
      point(true, address, linear, bytes);
      value();
      storeOp(code, bytes, 0, wide);
    },
    modify(address, linear, bytes) {
      const pointer = context.take(I32);
      point(true, address, linear, bytes);
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
