/** The x87 escape opcodes D8 to DF: the helpers of core/cpu/assembly/x87.ts hold their semantics. */
import type { Definition } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';

/** Bytes of the memory operand by opcode (D8 + row) and ModRM.reg; negative: written. 'e' and 's': environment and whole state. */
const OPERANDS: readonly (readonly (number | 'le' | 'se' | 'ls' | 'ss')[])[] = [
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, 1, -4, -4, 'le', 2, 'se', -2],
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, -4, -4, -4, 1, 10, 1, -10],
  [8, 8, 8, 8, 8, 8, 8, 8],
  [8, -8, -8, -8, 'ls', 1, 'ss', -2],
  [2, 2, 2, 2, 2, 2, 2, 2],
  [2, -2, -2, -2, 10, 8, -10, -8],
];

const memoryForm = (opcode: number, digit: number): Definition => o => {
  const operand = OPERANDS[opcode]![digit]!;
  const wide = o.opSize !== 16;
  const bytes = typeof operand === 'number' ? Math.abs(operand) : operand.endsWith('e') ? (wide ? 28 : 14) : (wide ? 108 : 94);
  const write = typeof operand === 'number' ? operand < 0 : operand.startsWith('s');
  const offset = o.effectiveAddress();
  const linear = o.linear('segment', offset, bytes, write);
  o.instruction('x87Memory', [o.const(32, opcode), o.const(32, digit), linear, offset, o.fact('aux', 32), o.const(32, o.opSize / 8)]);
};

export const x87Rows: readonly RowSpec[] = OPERANDS.flatMap((digits, opcode) => {
  const byte = (0xd8 + opcode).toString(16).toUpperCase();
  return [
    ...digits.map((_, digit) => row(`${byte} /${digit}`, 'x87', 'M', 'mem size string', memoryForm(opcode, digit))),
    row(byte, 'x87', '', 'reg modrm auxmodrm', o => o.instruction('x87Register', [o.const(32, opcode), o.fact('aux', 32)])),
  ];
});
