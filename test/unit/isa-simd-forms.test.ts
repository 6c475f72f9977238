import { describe, expect, it } from 'vitest';
import { operandKinds, parseRows } from '../../core/isa/rows.ts';
import type { Row } from '../../core/isa/rows.ts';
import type { Form } from '../../core/isa/values.ts';
import { Ops } from '../../core/isa/ops.ts';
import type { Program } from '../../core/isa/ir.ts';
import { withPrechecks } from '../../core/isa/prechecks.ts';
import { simdRows } from '../../core/isa/table/simd.ts';
import { buildForms } from '../../core/cpu/interpreter/coldForms.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';

const rows = parseRows(simdRows);

/** Every form that the decoder can make of a row: code sizes, operand sizes, addressing. */
function forms(row: Row): Form[] {
  const out: Form[] = [];
  for (const codeSize of [16, 32, 64] as const) {
    if (codeSize === 64 ? row.has.i64 : row.has.o64) continue;
    const mode = codeSize === 64 ? 'long' : 'legacy';
    const opSizes = !row.sized ? [32] as const : codeSize === 64 ? [16, 32, 64] as const : [16, 32] as const;
    const memories = !row.hasModrm || row.modrm >= 0 || row.has.reg ? [false] : row.has.mem ? [true] : [false, true];
    for (const opSize of opSizes) for (const memory of memories) for (const rexW of codeSize === 64 ? [false, true] : [false]) {
      for (const addressing of !memory ? ['full'] as const : codeSize === 64 ? ['full', 'base', 'rip'] as const : ['full', 'base'] as const) {
        const operands = operandKinds(row, { opSize, rexW, memory, mode });
        out.push({ operands, opSize, addressSize: codeSize, memory, mode, codeSize, repeat: 0, addressing, rexW });
      }
    }
  }
  return out;
}

describe('rows of the vector and x87 instructions', () => {
  it('each give valid WebAssembly in every form', () => {
    const { signatures } = instantiate();
    const programs: Program[] = rows.flatMap(row => forms(row).map(form => Ops.build(form, withPrechecks(row))));
    expect(programs.length).toBeGreaterThan(2000);
    expect(WebAssembly.validate(buildForms(programs, signatures, 0))).toBe(true);
  });

  it('ask for the state that they use', () => {
    const unchecked = rows.filter(row => row.letters.some(letter => /^[VWU][a-z]/.test(letter)) && !row.has.sse).map(row => row.name);
    expect(unchecked).toEqual([]);
    const uncheckedMmx = rows.filter(row => row.letters.some(letter => /^[PN][a-z]/.test(letter)) && !row.has.mmx).map(row => row.name);
    expect(uncheckedMmx).toEqual([]);
  });
});
