/** What differs between the functions that instructions are emitted into: operands in a predecoded record (the interpreter) or left open (regions). */
import type { Fact, Node, Slot, Width } from '../isa/ir.ts';
import type { FunctionWriter, ValueType } from '../wasm/writer.ts';
import type { MemoryAccess } from './tableAccess.ts';

/** Whether a field of the processor state is known to hold a value. */
export type IsKnown = (offset: number, value: number) => boolean;

/** What the surrounding function provides. */
export interface Target {
  readonly code: FunctionWriter;
  /** How it reaches memory; `take` allocates locals that are free until the instruction ends. */
  memory(take: (type: ValueType) => number): MemoryAccess;
  /** Pushes the address operand of a register's place in memory and returns the memarg offset to use with it. */
  slotBase(slot: Slot): number;
  /** Set when every register is current in memory at all times: a register's address then stands for its value. */
  readonly registersInMemory?: true;
  /** Pushes a register's value. */
  readSlot(slot: Slot, width: Width, at: number): void;
  /** Writes a register; `value` pushes what is written. A 32-bit write to a general register clears its upper half. */
  writeSlot(slot: Slot, width: Width, value: () => void): void;
  /** Pushes a field of the processor state. */
  readState(offset: number, width: Width, signed: boolean): void;
  writeState(offset: number, bytes: number, wide: boolean, value: () => void): void;
  /** Pushes whether a condition code holds, where that takes less than the general way; else pushes nothing. */
  condition?(code: number): boolean;
  /** Where the flags are from, when that is known after an instruction: the constant that was written to F_AUX. */
  noteFlags?(aux: number | undefined): void;
  fact(fact: Fact, width: Width): void;
  /** Whether a fact or register is known to be zero when the code is made. */
  isZero?(node: Node): boolean;
  /** Whether a field of the processor state is known to hold a value when the code is made. */
  readonly isKnown?: IsKnown;
  /** Whether a segment is known to be the whole linear address space, for reads or for writes. */
  plain?(segment: Slot, write: boolean): boolean;
  /** Index of an imported helper. */
  helper(name: string): number;
  /**
   * Leaves before the instruction, which has changed nothing, for the interpreter to carry it out: in place of code for what hardly ever
   * happens, faults that an instruction raises itself among them.
   */
  stepInstead?(): void;
  /** Leaves the instruction: a helper or slow path has left a fault or exit pending. */
  fault(): void;
  /** The same when the truth value on the wasm stack is nonzero. */
  faultIf(): void;
  /** Spills RIP and NEXT_RIP for an instruction helper. */
  spill(): void;
  /** Emits the handling of the STATUS on the wasm stack; falls through when it is OK. */
  status(): void;
  /** The target is on the wasm stack (i64). */
  jump(): void;
  branch(): void;
  allocate(type: ValueType): number;
  release(type: ValueType, local: number): void;
}
