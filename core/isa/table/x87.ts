/**
 * The x87 escape opcodes D8 to DF (SDM 2D, A.5.2) as names and operand sizes; their meaning is in core/cpu/assembly/x87*.ts. The record's
 * aux field holds the ModRM byte, which the opcode register FOP keeps, and the segment number above it.
 */
import type { Definition, Ops } from '../ops.ts';
import type { V } from '../ir.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';

/** Bytes of the protected-mode environment (FLDENV) and of the whole state (FSAVE) by operand size. */
const environmentBytes = (o: Ops): number => (o.opSize === 16 ? 14 : 28);
const stateBytes = (o: Ops): number => (o.opSize === 16 ? 94 : 108);

type Bytes = number | ((o: Ops) => number);

/** ESC opcode, ModRM.reg, name, bytes accessed, whether they are written. */
const memoryForms: readonly (readonly [number, number, string, Bytes, boolean])[] = [
  ...['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'].flatMap((name, i) => [
    [0, i, name, 4, false], [4, i, name, 8, false], [2, i, name.replace('F', 'FI'), 4, false], [6, i, name.replace('F', 'FI'), 2, false],
  ] as const),
  [1, 0, 'FLD', 4, false], [1, 2, 'FST', 4, true], [1, 3, 'FSTP', 4, true], [1, 4, 'FLDENV', environmentBytes, false],
  [1, 5, 'FLDCW', 2, false], [1, 6, 'FNSTENV', environmentBytes, true], [1, 7, 'FNSTCW', 2, true],
  [3, 0, 'FILD', 4, false], [3, 1, 'FISTTP', 4, true], [3, 2, 'FIST', 4, true], [3, 3, 'FISTP', 4, true], [3, 5, 'FLD', 10, false],
  [3, 7, 'FSTP', 10, true],
  [5, 0, 'FLD', 8, false], [5, 1, 'FISTTP', 8, true], [5, 2, 'FST', 8, true], [5, 3, 'FSTP', 8, true], [5, 4, 'FRSTOR', stateBytes, false],
  [5, 6, 'FNSAVE', stateBytes, true], [5, 7, 'FNSTSW', 2, true],
  [7, 0, 'FILD', 2, false], [7, 1, 'FISTTP', 2, true], [7, 2, 'FIST', 2, true], [7, 3, 'FISTP', 2, true], [7, 4, 'FBLD', 10, false],
  [7, 5, 'FILD', 8, false], [7, 6, 'FBSTP', 10, true], [7, 7, 'FISTP', 8, true],
];

/** ESC opcode and ModRM.reg: a stack register in ModRM.rm. */
const stackForms: readonly (readonly [number, number, string])[] = [
  ...['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'].map((name, i) => [0, i, name] as const),
  [1, 0, 'FLD'], [1, 1, 'FXCH'], [2, 0, 'FCMOVB'], [2, 1, 'FCMOVE'], [2, 2, 'FCMOVBE'], [2, 3, 'FCMOVU'],
  [3, 0, 'FCMOVNB'], [3, 1, 'FCMOVNE'], [3, 2, 'FCMOVNBE'], [3, 3, 'FCMOVNU'], [3, 5, 'FUCOMI'], [3, 6, 'FCOMI'],
  [4, 0, 'FADD'], [4, 1, 'FMUL'], [4, 4, 'FSUBR'], [4, 5, 'FSUB'], [4, 6, 'FDIVR'], [4, 7, 'FDIV'],
  [5, 0, 'FFREE'], [5, 2, 'FST'], [5, 3, 'FSTP'], [5, 4, 'FUCOM'], [5, 5, 'FUCOMP'],
  [6, 0, 'FADDP'], [6, 1, 'FMULP'], [6, 4, 'FSUBRP'], [6, 5, 'FSUBP'], [6, 6, 'FDIVRP'], [6, 7, 'FDIVP'],
  [7, 5, 'FUCOMIP'], [7, 6, 'FCOMIP'],
];

/** ESC opcode and whole ModRM byte. */
const fixedForms: readonly (readonly [number, number, string])[] = [
  [1, 0xd0, 'FNOP'], [1, 0xe0, 'FCHS'], [1, 0xe1, 'FABS'], [1, 0xe4, 'FTST'], [1, 0xe5, 'FXAM'],
  ...['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ'].map((name, i) => [1, 0xe8 + i, name] as const),
  ...['F2XM1', 'FYL2X', 'FPTAN', 'FPATAN', 'FXTRACT', 'FPREM1', 'FDECSTP', 'FINCSTP'].map((name, i) => [1, 0xf0 + i, name] as const),
  ...['FPREM', 'FYL2XP1', 'FSQRT', 'FSINCOS', 'FRNDINT', 'FSCALE', 'FSIN', 'FCOS'].map((name, i) => [1, 0xf8 + i, name] as const),
  [2, 0xe9, 'FUCOMPP'], [3, 0xe2, 'FNCLEX'], [3, 0xe3, 'FNINIT'], [6, 0xd9, 'FCOMPP'], [7, 0xe0, 'FNSTSW'],
];

const modrm = (o: Ops): V => o.and(o.fact('aux', 32), o.const(32, 0xff));

/** Control instructions that do not wait for a pending exception. */
const NO_WAIT: readonly string[] = ['FNSTENV', 'FNSTCW', 'FNSAVE', 'FNSTSW'];

const memoryForm = (opcode: number, reg: number, name: string, bytes: Bytes, write: boolean): Definition => o => {
  // A pending exception comes before faults of the operand's segment.
  if (!o.long && !NO_WAIT.includes(name)) o.instruction('fwait');
  const offset = o.effectiveAddress();
  const operation = o.or(o.shl(modrm(o), o.const(32, 8)), o.const(32, reg));
  const segment = o.shrU(o.fact('aux', 32), o.const(32, 8));
  const run = (linear: V): void => o.instruction('x87Memory', [o.const(32, opcode), operation, linear, offset, segment, o.const(32, o.opSize / 8)]);
  // Of 80 bits that are stored Intel's processors look at the last 16 when the first 64 are written.
  const first = (size: number): number => (write && size === 10 ? 8 : size);
  const access = (): void => run(o.linear('segment', offset, first(typeof bytes === 'number' ? bytes : bytes(o)), write));
  // In 64-bit code the address is checked with the access; elsewhere a value that is not stored must not meet the segment's limits.
  if (o.long || !write || NO_WAIT.includes(name)) {
    access();
    return;
  }
  const withheld = o.call('x87Withholds', 32, [o.const(32, opcode), o.const(32, reg)]);
  o.when(withheld, () => run(o.const(64, 0)));
  o.when(o.isZero(withheld), access);
};
const registerForm = (opcode: number): Definition => o => o.instruction('x87Register', [o.const(32, opcode), modrm(o)]);

const hex = (opcode: number): string => (0xd8 + opcode).toString(16).toUpperCase();
const x87 = { feature: 'fpu' };

export const x87Rows: readonly RowSpec[] = [
  ...memoryForms.map(([opcode, reg, name, bytes, write]) =>
    row(`${hex(opcode)} /${reg}`, name, 'M', typeof bytes === 'number' ? 'x87 mem' : 'x87 mem size', memoryForm(opcode, reg, name, bytes, write), x87)),
  ...stackForms.map(([opcode, reg, name]) => row(`${hex(opcode)} /${reg}`, name, '', 'x87 reg modrm', registerForm(opcode), x87)),
  ...fixedForms.map(([opcode, whole, name]) => row(`${hex(opcode)} =${whole.toString(16)}`, name, '', 'x87', registerForm(opcode), x87)),
  // Aliases that the manual does not list, and encodings that it reserves: the helper tells them apart.
  ...[...Array(8).keys()].map(opcode => row(hex(opcode), 'ESC', '', 'x87 reg modrm', registerForm(opcode), x87)),
];
