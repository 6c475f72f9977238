/** Forms that have no case in the interpreter's switch: functions in a table. */
import type { FunctionType, FunctionWriter } from '../../wasm/writer.ts';
import { ModuleWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import type { Program } from '../../isa/ir.ts';
import { Emitter } from '../emitter.ts';
import type { HelperSignatures } from '../helpers.ts';
import { RAM_BASE, RIP } from '../layout.ts';
import { R_DISPLACEMENT, R_IMMEDIATE, STATUS_FAULT, STATUS_JUMP } from '../record.ts';
import { LocalPool, recordTarget } from './forms.ts';

/** Their type, which is that of regions too. */
export const COLD: FunctionType = { parameters: [I32, I64, I32], results: [I32] };

/**
 * Imports the processor's memory and function table; returns the index of a helper by name, which is imported on first use. The memory is declared as large as
 * all that lies below guest RAM, so that V8 checks no access to a known address there.
 */
export function importProcessor(module: ModuleWriter, signatures: HelperSignatures): (name: string) => number {
  module.importMemory('host', 'memory', RAM_BASE >>> 16);
  module.importTable('host', 'cold');
  const indexes = new Map<string, number>();
  return name => {
    const known = indexes.get(name);
    if (known !== undefined) return known;
    const signature = signatures.get(name);
    if (!signature) throw new Error(`no helper named ${name}`);
    const index = module.importFunction('helpers', name, signature);
    indexes.set(name, index);
    return index;
  };
}

/** A module with one function per cold form, (record, RIP of the page, look-aside base) → STATUS, that puts them into the table from an index on. */
export function buildForms(programs: readonly Program[], signatures: HelperSignatures, first: number): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  const helper = importProcessor(module, signatures);
  for (const program of programs) {
    const { code } = module.function(COLD);
    const status = code.local(I32);
    const jumpTarget = code.local(I64);
    const fault = code.block();
    const leave = (value: number): void => {
      code.i32Const(value);
      code.return();
    };
    const target = recordTarget(code, { record: 0, pageRip: 1, tlb: 2 }, new LocalPool(code), {
      faultLabel: () => fault,
      status(): void {
        code.tee(status);
        code.if();
        code.get(status);
        code.return();
        code.end();
      },
      jump(): void {
        code.set(jumpTarget);
        code.i32Const(0);
        code.get(jumpTarget);
        code.memory(op.i64Store, RIP);
        leave(STATUS_JUMP);
      },
      branch(): void {
        code.i32Const(0);
        branchTarget(code, 0, 1);
        code.memory(op.i64Store, RIP);
        leave(STATUS_JUMP);
      },
    }, helper);
    new Emitter(target).program(program);
    leave(0);
    code.end();
    leave(STATUS_FAULT);
    code.op(op.unreachable);
  }
  module.fillTable(first);
  return module.finish();
}

/** Pushes the absolute RIP of a direct branch: page + displacement, wrapped by the mask in R_IMMEDIATE. */
export function branchTarget(code: FunctionWriter, record: number, pageRip: number): void {
  code.get(pageRip);
  code.get(record);
  code.memory(op.i64Load, R_DISPLACEMENT);
  code.op(op.i64Add);
  code.get(record);
  code.memory(op.i64Load, R_IMMEDIATE);
  code.op(op.i64And);
}
