/** Makes tapes: emits a form's program with whatever is open taken down as a step or, where the code itself depends on it, asked about. */
import type { Fact, Node, Program, Slot, Width } from '../../isa/ir.ts';
import { Emitter } from '../emitter.ts';
import type { Target } from '../target.ts';
import { STATE } from '../layout.ts';
import type { MemoryAccess } from '../tableAccess.ts';
import { I32 } from '../../wasm/opcodes.ts';
import type { ValueType } from '../../wasm/writer.ts';
import { ACCESS_OFFSET, TapeWriter, openNumber, slotNumber, step } from './tape.ts';
import type { Question, Tape, Variant } from './tape.ts';

export const FACTS = ['immediate', 'displacement', 'scale', 'length', 'rip', 'nextRip', 'target', 'aux'] as const satisfies readonly Fact[];
const NOTHING_KNOWN = 0;

/** What tapes are made from, and where they are kept. */
export interface Recorded {
  readonly program: Program;
  variants: Variant | null;
  /** How many tapes there are. */
  tapes: number;
}

/** Tapes of a form that are kept. The script of guests.md makes eight of one form at most; a guest that makes more, on purpose, makes them be forgotten. */
const TAPE_LIMIT = 32;

/** Makes the tape of a form for the answers that `ask` gives, and adds it to those of the form. */
export function record(form: Recorded, ask: (question: Question) => boolean): Tape {
  const recorder = new Recorder(ask);
  new Emitter(recorder).program(form.program);
  const tape = recorder.tape();
  if (++form.tapes > TAPE_LIMIT) {
    form.variants = null;
    form.tapes = 1;
  }
  form.variants = recorder.addTo(form.variants, tape);
  return tape;
}

class Recorder implements Target {
  readonly code = new TapeWriter();
  private readonly asked: { readonly question: Question; readonly answer: boolean }[] = [];
  private readonly answers = new Map<string, boolean>();
  private readonly ask: (question: Question) => boolean;
  private locals = 0;
  private readonly addresses: Node[] = [];
  private readonly helpers: string[] = [];
  /** What the program itself has written to F_AUX: undefined before, NOTHING_KNOWN when it is not known. */
  private flagsFrom: number | undefined;
  /** The same as the tape says it so far. */
  private notedFlags: number | undefined;

  constructor(ask: (question: Question) => boolean) {
    this.ask = ask;
  }

  tape(): Tape {
    this.settleFlags();
    return { ...this.code.take(), addresses: this.addresses, helpers: this.helpers };
  }

  /** Puts the tape where the answers lead that it was made for. */
  addTo(root: Variant | null, tape: Tape): Variant {
    const known: Variant[] = [];
    for (let at = root; at?.question; at = this.asked[known.length - 1]!.answer ? at.yes : at.no) known.push(at);
    let variant: Variant = { question: null, tape, yes: null, no: null };
    for (let i = this.asked.length - 1; i >= 0; i--) {
      const { question, answer } = this.asked[i]!;
      const parent: Variant = known[i] ?? { question, tape: null, yes: null, no: null };
      if (answer) parent.yes = variant;
      else parent.no = variant;
      variant = parent;
    }
    return variant;
  }

  private answer(question: Question): boolean {
    const key = question.about === 'address' ? `address ${this.addresses.length}` : JSON.stringify(question);
    const known = this.answers.get(key);
    if (known !== undefined) return known;
    const answer = this.ask(question);
    this.answers.set(key, answer);
    this.asked.push({ question, answer });
    return answer;
  }

  // ---- operands ---------------------------------------------------------------------------------------------------------------------

  slotBase(slot: Slot): number {
    this.code.i32Const(0);
    return typeof slot === 'number' ? STATE + slot : openNumber(-slotNumber(slot), STATE);
  }

  readSlot(slot: Slot, width: Width, at: number): void {
    this.code.note(step.readSlot, slotNumber(slot), width, at);
  }

  writeSlot(slot: Slot, width: Width, value: () => void): void {
    this.code.note(step.beginSlot, slotNumber(slot), width);
    value();
    this.code.note(step.endSlot, slotNumber(slot), width);
  }

  readState(offset: number, width: Width, signed: boolean): void {
    this.code.note(step.readState, offset, width, signed ? 1 : 0);
  }

  writeState(offset: number, bytes: number, wide: boolean, value: () => void): void {
    this.code.note(step.beginState, offset, bytes);
    value();
    this.code.note(step.endState, offset, bytes, wide ? 1 : 0);
  }

  fact(fact: Fact, width: Width): void {
    this.code.note(step.fact, FACTS.indexOf(fact), width);
  }

  isZero(node: Node): boolean {
    if (node.kind === 'slot') return this.answer({ about: 'zeroSlot', slot: slotNumber(node.slot) });
    if (node.kind !== 'fact') return false;
    if (node.fact === 'displacement') return this.answer({ about: 'zeroDisplacement' });
    return node.fact === 'scale' && this.answer({ about: 'zeroScale' });
  }

  readonly isKnown = (offset: number, value: number): boolean => this.answer({ about: 'known', offset, value });

  plain(segment: Slot, write: boolean): boolean {
    return this.answer({ about: 'plain', slot: slotNumber(segment), write });
  }

  condition(code: number): boolean {
    const { flagsFrom: from } = this;
    if (from === NOTHING_KNOWN || !this.answer({ about: 'condition', code, from })) return false;
    this.settleFlags();
    this.code.note(step.condition, code);
    return true;
  }

  noteFlags(aux: number | undefined): void {
    this.flagsFrom = aux ?? NOTHING_KNOWN;
  }

  /** Before a step that makes use of where the flags are from, and at the end. */
  private settleFlags(): void {
    if (this.flagsFrom !== this.notedFlags) this.code.note(step.noteFlags, this.flagsFrom ?? NOTHING_KNOWN);
    this.notedFlags = this.flagsFrom;
  }

  allocate(type: ValueType): number {
    this.code.note(step.take, type);
    return this.locals++;
  }

  /** All are released when the instruction ends. */
  release(): void {
    return;
  }

  helper(name: string): number {
    const known = this.helpers.indexOf(name);
    return known >= 0 ? known : this.helpers.push(name) - 1;
  }

  // ---- memory -----------------------------------------------------------------------------------------------------------------------

  memory(take: (type: ValueType) => number): MemoryAccess {
    const { code } = this;
    return {
      valueTwice: false,
      read: (address, linear, bytes) => {
        code.note(step.read, ...this.access(address, linear, bytes));
        return openNumber(ACCESS_OFFSET, 0);
      },
      store: (address, linear, bytes, wide, value) => {
        code.note(step.beginStore, ...this.access(address, linear, bytes));
        value();
        code.note(step.endStore, bytes, wide ? 1 : 0);
      },
      modify: (address, linear, bytes) => {
        const pointer = take(I32);
        code.note(step.modify, ...this.access(address, linear, bytes), pointer);
        return pointer;
      },
      finish: () => undefined,
    };
  }

  /** Computes an address where that is wanted; returns the arguments of the step. */
  private access(address: Node, linear: () => number, bytes: number): readonly [address: number, bytes: number, linear: number] {
    const needed = this.answer({ about: 'address', address, before: [...this.addresses] });
    this.addresses.push(address);
    const number = this.addresses.length - 1;
    return [number, bytes, needed ? linear() : -1];
  }

  // ---- ends -------------------------------------------------------------------------------------------------------------------------

  stepInstead(): void {
    this.code.note(step.stepInstead);
  }

  fault(): void {
    this.code.note(step.fault);
  }

  faultIf(): void {
    this.code.note(step.faultIf);
  }

  spill(): void {
    this.code.note(step.spill);
  }

  status(): void {
    this.flagsFrom = NOTHING_KNOWN;
    this.notedFlags = NOTHING_KNOWN;
    this.code.note(step.status);
  }

  jump(): void {
    this.settleFlags();
    this.code.note(step.jump);
  }

  branch(): void {
    this.settleFlags();
    this.code.note(step.branch);
  }
}
