/**
 * The reference tier: runs the instructions of a `Processor` one at a time over the same memory, each by evaluating its definition
 * instead of running its emitted code. For tests: it checks the emitter and the interpreter, not the definitions
 * (the native processor does: docs/testing.md).
 */
import { DecodeFault, Decoder, NeedMoreBytes } from '../isa/decoder.ts';
import type { CodeSize, Decoded } from '../isa/decoder.ts';
import type { Program } from '../isa/ir.ts';
import { invalidRow, rows } from '../isa/table/index.ts';
import { buildProgram, formOf } from './forms.ts';
import { CODE_SIZE, EXIT_REASON, FAULT, FAULT_EXIT, INSTRUCTIONS, NEXT_RIP, RAM_BASE, RIP, STEP_REASON } from './layout.ts';
import type { Processor } from './processor.ts';
import { Evaluation, STATUS } from './referenceEvaluator.ts';

const SIZES: readonly CodeSize[] = [16, 32, 64];
const PAGE_SIZE = 4096;
const NO_ADDRESS = 0xffffffff;
const GENERAL_PROTECTION = 13;

export class ReferenceProcessor {
  private readonly cpu: Processor;
  private readonly decoder = new Decoder(rows, invalidRow);
  private readonly programs = new Map<number, Program>();

  constructor(cpu: Processor) {
    this.cpu = cpu;
  }

  /** Runs one instruction, or delivers what it raised. Returns the basic exit reason of a VM exit, 0 when there was none. */
  step(): number {
    const { cpu } = this;
    const { view } = cpu;
    const stepping = view.getUint32(STEP_REASON, true) !== 0;
    if (stepping && cpu.call('beginStep') !== 0) return this.deliver();
    const decoded = this.decode();
    if (!decoded) return this.deliver();
    const rip = view.getBigUint64(RIP, true);
    const status = new Evaluation(cpu, decoded, rip).run(this.program(decoded));
    switch (status) {
      case STATUS.fault:
        view.setBigUint64(RIP, rip, true);
        return this.deliver();
      case STATUS.exit: return this.leave();
      case STATUS.sync: view.setBigUint64(RIP, view.getBigUint64(NEXT_RIP, true), true); break;
      case STATUS.ok: view.setBigUint64(RIP, BigInt.asUintN(64, rip + BigInt(decoded.length)), true); break;
      default: break;
    }
    view.setBigUint64(INSTRUCTIONS, view.getBigUint64(INSTRUCTIONS, true) + 1n, true);
    return stepping && cpu.call('singleStep') === STATUS.exit ? this.leave() : 0;
  }

  private get codeSize(): CodeSize {
    return SIZES[this.cpu.view.getUint32(CODE_SIZE, true)]!;
  }

  /** The instruction at CS:RIP; null when a fault is pending. */
  private decode(): Decoded | null {
    const { cpu } = this;
    const first = cpu.call('fetchAddress', 0) >>> 0;
    if (first === NO_ADDRESS) return null;
    const here = PAGE_SIZE - (first & (PAGE_SIZE - 1));
    const bytes = cpu.bytes.slice(RAM_BASE + first, RAM_BASE + first + Math.min(here, 16) + 16);
    try {
      try {
        return this.decoder.decode(bytes, 0, Math.min(here, 16), this.codeSize);
      } catch (error) {
        if (!(error instanceof NeedMoreBytes)) throw error;
        const next = cpu.call('fetchAddress', here) >>> 0;
        if (next === NO_ADDRESS) return null;
        bytes.set(cpu.bytes.subarray(RAM_BASE + next, RAM_BASE + next + 16), here);
        return this.decoder.decode(bytes, 0, here + 16, this.codeSize);
      }
    } catch (error) {
      if (!(error instanceof DecodeFault)) throw error;
      cpu.call('raiseError', GENERAL_PROTECTION, 0);
      return null;
    }
  }

  private program(decoded: Decoded): Program {
    const shape = formOf(decoded, this.codeSize);
    let program = this.programs.get(shape.key);
    if (!program) {
      program = buildProgram(decoded, shape, this.codeSize);
      this.programs.set(shape.key, program);
    }
    return program;
  }

  private deliver(): number {
    const { cpu } = this;
    if (cpu.view.getUint32(FAULT, true) === FAULT_EXIT || cpu.call('deliverPending') === STATUS.exit) return this.leave();
    return 0;
  }

  private leave(): number {
    this.cpu.view.setUint32(FAULT, 0, true);
    return this.cpu.view.getUint32(EXIT_REASON, true);
  }
}
