/**
 * VM entry: the selected vCPU runs until it exits. What can run for long is the interpreter's loop and its regions; what needs all the checks
 * of STEP_REASON is stepped.
 */
import type { DebugUnit } from './debug.ts';
import type { EntryBudget } from './entryBudget.ts';
import { exitReason } from './host.ts';
import type { InterpreterCode } from './interpreter/code.ts';
import { RUN_BUDGET, RUN_EXIT, RUN_REGION, RUN_STEP, RUN_SYNC } from './interpreter/runLoop.ts';
import type { JitManager } from './jit/manager.ts';
import {
  ACTIVITY, BUDGET, CODE_PAGE_RIP, CODE_SIZE, CR8, CS, ENTRY_INTR_INFO, EXIT_DEBUGGER, EXIT_LENGTH, EXIT_OWED, EXIT_REASON, FAULT, INIT_BLOCKED, INSTRUCTIONS, INTERRUPT_WINDOW,
  NEXT_RIP, NMI_WINDOW, NON_ROOT, REGION_ENTRY, RIP, ROOT_CR8, ROOT_PREEMPTION_TIMER, SEGMENTS, SEGMENT_SIZE, SEG_BASE, STEP_REASON, TIME_UP,
} from './layout.ts';
import type { Translator } from './translator.ts';

/** What helpers return (core/cpu/assembly/status.ts). */
export const STATUS_OK = 0;
export const STATUS_EXIT = 3;

/** Helpers that are called at every VM entry or exit. */
export type FrequentHelpers = Readonly<Record<'endInstruction' | 'injectEvent' | 'interruptible' | 'nmiBlocked', () => number>>;

export interface EntryParts {
  readonly view: DataView;
  readonly interpreter: InterpreterCode;
  readonly translator: Translator;
  readonly jit: JitManager | null;
  readonly debug: DebugUnit;
  readonly budget: EntryBudget;
  /** VM entries end at places that follow from the guest alone. */
  readonly exact: boolean;
  readonly frequent: FrequentHelpers;
  /** The address of what runs, for a sample. */
  readonly sampleAddress: (delta: number) => number;
  /** Calls a helper by name. */
  readonly call: (name: string, ...args: number[]) => number;
}

export class VmEntry {
  readonly #parts: EntryParts;
  #observer: (() => void) | null = null;

  constructor(parts: EntryParts) {
    this.#parts = parts;
  }

  /** Calls somebody as often as can be, between instructions: wherever the interpreter jumps and a region ends. */
  observe(observer: (() => void) | null): void {
    this.#observer = observer;
    this.#parts.budget.most = observer ? 1 : Infinity;
  }

  /** Runs at most about so many instructions; returns the basic exit reason (`Processor.enter`). */
  run(instructions: number): number {
    const { view, interpreter, debug, budget, exact, frequent } = this.#parts;
    if (!this.isOwed && injectionPending(view) && frequent.injectEvent() === STATUS_EXIT) return this.#leave();
    view.setUint32(ROOT_PREEMPTION_TIMER, instructions, true);
    budget.begin(instructions);
    for (;;) {
      if (this.isOwed) {
        this.isOwed = false;
        return this.#leave();
      }
      if (interpreter.full) this.#forgetForms();
      const long = view.getUint32(CODE_SIZE, true) === 2;
      const alone = debug.active && debug.before(linearRip(view));
      if (debug.stop) return EXIT_DEBUGGER;
      const stepping = alone || view.getUint32(STEP_REASON, true) !== 0;
      const ran = stepping ? this.#step(long) : interpreter.run(long)(0);
      const code = ran === RUN_STEP ? this.#step(long) : ran;
      this.#observer?.();
      if (code === RUN_EXIT) {
        if (view.getUint32(EXIT_REASON, true) !== EXIT_DEBUGGER) return this.#leave();
        view.setUint32(FAULT, 0, true);
        debug.again();
        continue;
      }
      if (debug.active) debug.after();
      if (debug.stop) return EXIT_DEBUGGER;
      if ((code === RUN_BUDGET || code === RUN_REGION) && code === ran && !stepping) {
        if (!budget.tail) this.#sample(code);
        if (!budget.next()) return exitReason.preemptionTimer;
        if (exact) continue;
      }
      // A region has left one instruction to the interpreter: where that happens must not be seen.
      if (exact && ran === RUN_STEP && view.getUint32(STEP_REASON, true) === 0) continue;
      if (view.getUint32(INIT_BLOCKED, true) !== 0) return exitReason.preemptionTimer;
      if (view.getUint32(NON_ROOT, true) !== 0 && this.exitToHypervisor('boundary')) continue;
      if (view.getUint32(ACTIVITY, true) !== 0) return exitReason.preemptionTimer;
      // NMIs come before maskable interrupts. @sdm 3C 26.2
      if (view.getUint32(NMI_WINDOW, true) & 1 && frequent.nmiBlocked() === 0) return exitReason.nmiWindow;
      if (view.getUint32(INTERRUPT_WINDOW, true) & 1 && frequent.interruptible() !== 0) return exitReason.interruptWindow;
      const cr8 = view.getUint32(CR8, true);
      if (cr8 !== view.getUint32(ROOT_CR8, true)) {
        view.setUint32(ROOT_CR8, cr8, true);
        return exitReason.controlRegister;
      }
      if (view.getUint32(TIME_UP, true) !== 0) {
        view.setUint32(TIME_UP, 0, true);
        return exitReason.preemptionTimer;
      }
      if (view.getInt32(BUDGET, true) <= 0 && !budget.next()) return exitReason.preemptionTimer;
    }
  }

  /** A part of the budget has run out: the JIT looks at what was running. */
  #sample(code: number): void {
    const { view, jit, budget, sampleAddress } = this.#parts;
    if (!jit) return;
    const { samples } = budget;
    if (code === RUN_REGION) budget.looked(jit.sampleRegion(view.getUint32(REGION_ENTRY, true), samples) ? 'settled' : 'unsettled');
    else if (budget.overrun) {
      jit.counters.samplesInRegions += samples;
      budget.looked('none');
    } else jit.counters.samplesInterpreted++;
    // What comes after a region counts too: a block between two regions would otherwise never be seen.
    jit.sample(sampleAddress(0) >>> 0);
  }

  #leave(): number {
    const { view } = this.#parts;
    view.setUint32(FAULT, 0, true);
    view.setUint32(EXIT_LENGTH, view.getUint32(NEXT_RIP, true) - view.getUint32(RIP, true), true);
    return view.getUint32(EXIT_REASON, true);
  }

  /** One instruction with all the checks of STEP_REASON: breakpoints before it, traps and the end of shadows after it. */
  #step(long: boolean): number {
    const { view, interpreter, translator, debug, call } = this.#parts;
    const remaining = view.getBigInt64(BUDGET, true);
    if (call('beginStep') !== 0) return this.#deliver();
    const gpa = call('fetchAddress', 0) >>> 0;
    let record = gpa === 0xffffffff ? 0 : translator.decodeStep(gpa);
    if (interpreter.full) {
      this.#forgetForms();
      record = translator.decodeStep(gpa);
    }
    if (record === 0) return this.#deliver();
    // `run` takes RIP of the page from the state: it starts in the middle of a page.
    view.setBigUint64(CODE_PAGE_RIP, BigInt.asUintN(64, view.getBigUint64(RIP, true) - BigInt(gpa & 4095)), true);
    const before = view.getBigUint64(INSTRUCTIONS, true);
    // So that it comes back even when the instruction faults.
    view.setBigInt64(BUDGET, 0n, true);
    debug.setStepping(true);
    const code = interpreter.run(long)(record);
    debug.setStepping(false);
    const done = view.getBigUint64(INSTRUCTIONS, true) !== before;
    view.setBigInt64(BUDGET, remaining - 1n, true);
    if (code === RUN_EXIT) return code;
    // It delivers its own traps; 3 is a triple fault on the way.
    if (call('endStep', done ? 1 : 0) === STATUS_EXIT) return RUN_EXIT;
    return code;
  }

  #forgetForms(): void {
    const { interpreter, translator, jit, call } = this.#parts;
    interpreter.forgetForms();
    translator.forgetOperations();
    if (jit) jit.evict();
    else call('dropAllCode');
  }

  #deliver(): number {
    const { call } = this.#parts;
    return call('deliverPending') === STATUS_EXIT || call('endStep', 0) === STATUS_EXIT ? RUN_EXIT : RUN_SYNC;
  }

  /** An exit happened while root mode completed an instruction (a trap that could not be delivered): the next entry reports it. */
  get isOwed(): boolean {
    return this.#parts.view.getUint32(EXIT_OWED, true) !== 0;
  }

  set isOwed(owed: boolean) {
    this.#parts.view.setUint32(EXIT_OWED, owed ? 1 : 0, true);
  }

  /** Carries out an exit of a nested guest to its hypervisor (a helper of core/cpu/assembly/vm-events.ts). True when there was one. */
  exitToHypervisor(helper: string, ...args: number[]): boolean {
    const status = this.#parts.call(helper, ...args);
    if (status === STATUS_EXIT) this.isOwed = true;
    return status !== STATUS_OK;
  }
}

/** Linear address of the next instruction. */
export function linearRip(view: DataView): bigint {
  const rip = view.getBigUint64(RIP, true);
  if (view.getUint32(CODE_SIZE, true) === 2) return rip;
  return (rip + view.getBigUint64(SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE, true)) & 0xffffffffn;
}

/** Whether an event waits for the next VM entry. */
export function injectionPending(view: DataView): boolean {
  return (view.getUint32(ENTRY_INTR_INFO, true) & 0x80000000) !== 0;
}
