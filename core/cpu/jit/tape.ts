/**
 * The code of an instruction form with everything left open that differs from one instruction to the next: bytes that are always the same, and
 * steps between them that are carried out with the operands of an instruction (player.ts). Making a tape takes as long as emitting the code of
 * an instruction in full, playing it a fraction of that; in a guest's hot code there are some hundred instructions to a form.
 *
 * Locals on a tape are numbered from 0 on, in the order in which they are taken.
 */
import type { Node, Slot } from '../../isa/ir.ts';
import type { ValueType } from '../../wasm/writer.ts';
import { FunctionWriter } from '../../wasm/writer.ts';

/** Steps, with their arguments. */
export const step = {
  /** Bytes of the tape: first, behind the last. */
  bytes: 0,
  /** A local that is free until the instruction ends: its type. */
  take: 1,
  get: 2, set: 3, tee: 4,
  if: 5, ifUnlikely: 6, end: 7,
  /** A helper: index of its name. */
  call: 8,
  /** Opcode, and an open number. */
  memory: 9, simdMemory: 10,
  /** An open number. */
  constant: 11,
  /** Slot, width, byte in the slot. */
  readSlot: 12,
  /** Around the value that is written: slot, width. */
  beginSlot: 13, endSlot: 14,
  /** Offset, width, signed. */
  readState: 15,
  /** Around the value that is written: offset, bytes; behind it, whether the value is an i64, too. */
  beginState: 16, endState: 17,
  /** Index of the fact, width. */
  fact: 18,
  condition: 19,
  /** Index of the address, bytes, the local that holds the address where that is wanted, else -1. */
  read: 20, beginStore: 21,
  /** Bytes, whether the value is an i64. */
  endStore: 22,
  /** As `read`, and the local that takes the pointer. */
  modify: 23,
  noteFlags: 24,
  stepInstead: 25, fault: 26, faultIf: 27, spill: 28, status: 29, jump: 30, branch: 31,
} as const;

/** Slots as numbers: those that differ from instruction to instruction are negative, others offsets from STATE. */
const OPEN_SLOTS: Readonly<Record<Exclude<Slot, number>, number>> = { G: -1, E: -2, base: -2, index: -3, segment: -4, V: -5 };

export function slotNumber(slot: Slot): number {
  return typeof slot === 'number' ? slot : OPEN_SLOTS[slot];
}

/** Numbers that are known when the tape is played are above all others: what they start from, and what is added to it. */
const OPEN = 2 ** 33;
/** Start of an open number: the offset that an access leaves to the instruction that carries it out. Others are those of slots, negated. */
export const ACCESS_OFFSET = 8;

export function openNumber(start: number, plus: number): number {
  return start * OPEN + plus;
}

/** What makes the code of a form differ in more than its operands: asked before a tape is chosen. */
export type Question =
  /** Whether a slot stands for no register. */
  | { readonly about: 'zeroSlot'; readonly slot: number }
  | { readonly about: 'zeroDisplacement' | 'zeroScale' }
  /** Whether a segment is the whole linear address space. */
  | { readonly about: 'plain'; readonly slot: number; readonly write: boolean }
  /** Whether a field of the processor state is known to hold a value. */
  | { readonly about: 'known'; readonly offset: number; readonly value: number }
  /** Whether a condition code is one comparison; `from`: what the instruction has written to F_AUX before. */
  | { readonly about: 'condition'; readonly code: number; readonly from: number | undefined }
  /** Whether an access needs its address; `before`: addresses of the instruction's accesses before it. */
  | { readonly about: 'address'; readonly address: Node; readonly before: readonly Node[] };

export interface Tape {
  readonly steps: readonly number[];
  readonly bytes: Uint8Array;
  readonly addresses: readonly Node[];
  readonly helpers: readonly string[];
}

/** The tapes of a form: a tree of questions, with tapes for leaves. */
export interface Variant {
  readonly question: Question | null;
  readonly tape: Tape | null;
  yes: Variant | null;
  no: Variant | null;
}

/** The tape for the answers that `ask` gives, null when it has not been made yet. */
export function findTape(root: Variant | null, ask: (question: Question) => boolean): Tape | null {
  let at = root;
  while (at?.question) at = ask(at.question) ? at.yes : at.no;
  return at && at.tape;
}

/** Takes down instructions: as bytes where they are always the same. */
export class TapeWriter extends FunctionWriter {
  readonly steps: number[] = [];
  private noted = 0;

  constructor() {
    super(0);
  }

  note(kind: number, ...args: readonly number[]): void {
    this.flush();
    this.accessEnd = -1;
    this.steps.push(kind, ...args);
  }

  private flush(): void {
    if (this.length > this.noted) this.steps.push(step.bytes, this.noted, this.length);
    this.noted = this.length;
  }

  take(): { readonly steps: readonly number[]; readonly bytes: Uint8Array } {
    this.flush();
    return { steps: this.steps, bytes: this.finish() };
  }

  override i32Const(value: number): void {
    if (value < OPEN) super.i32Const(value);
    else this.note(step.constant, Math.floor(value / OPEN), value % OPEN);
  }

  override memory(code: number, offset: number): void {
    if (offset < OPEN) super.memory(code, offset);
    else this.note(step.memory, code, Math.floor(offset / OPEN), offset % OPEN);
  }

  override simdMemory(code: number, offset: number): void {
    if (offset < OPEN) super.simdMemory(code, offset);
    else this.note(step.simdMemory, code, Math.floor(offset / OPEN), offset % OPEN);
  }

  override get(local: number): void {
    this.note(step.get, local);
  }

  override set(local: number): void {
    this.note(step.set, local);
  }

  override tee(local: number): void {
    this.note(step.tee, local);
  }

  override call(index: number): void {
    this.note(step.call, index);
  }

  override if(): number {
    this.note(step.if);
    return 0;
  }

  override ifUnlikely(): number {
    this.note(step.ifUnlikely);
    return 0;
  }

  override end(): void {
    this.note(step.end);
  }

  override local(_type: ValueType): number {
    throw new Error('a tape takes its locals from its target');
  }
}
