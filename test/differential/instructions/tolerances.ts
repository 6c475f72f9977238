/** Outcomes in which processors may differ, or this host's manufacturer does, and what is then not compared. */
import type { Row } from '../../../core/isa/rows.ts';
import type { Maker } from '../maker.ts';
import { hostMaker } from '../maker.ts';
import type { Case, Outcome } from './layout.ts';
import { LOCAL_SEGMENTS, USER_CS, localSegment } from './layout.ts';

export interface Tolerance {
  /** Whose processors; of all when there is none. */
  readonly on?: Maker;
  readonly reason: string;
  readonly applies: (row: Row, item: Case, ours: Outcome, native: Outcome) => boolean;
  /** Nothing is compared. */
  readonly all?: true;
  /** RFLAGS bits. */
  readonly flags?: number;
  /** Bits of the x87 status word. */
  readonly status?: number;
  /** The address and error code of a page fault. */
  readonly address?: true;
  /** x87 registers, tags and status word. */
  readonly x87?: true;
  readonly mxcsr?: true;
  /** Upper halves of RCX, RSI and RDI. */
  readonly upperHalves?: true;
  /** Elements of XMM registers, of so many bytes, that are NaNs in both. */
  readonly nans?: 4 | 8;
  /** x87 registers may differ by one in the last place. */
  readonly lastPlace?: true;
  /** Bytes of the memory operand, from and to, that are not compared. */
  readonly operand?: readonly [number, number];
  /** What was written. */
  readonly memory?: true;
  /** One byte of memory may differ in these bits. */
  readonly oneByte?: number;
}

const STATUS_FLAGS = 0x8d5;
const C1 = 0x200;
const faults = (outcome: Outcome): boolean => outcome.vector !== 1 && outcome.vector !== 3;
const named = (row: Row, names: readonly string[]): boolean => names.includes(row.name);
/** The bytes in front of an opcode that begins with 0F. */
const prefixes = (item: Case): Uint8Array => item.code.subarray(0, item.code.indexOf(0x0f));
/** Whether the operand size of such an instruction is 16 bits, unless REX.W says otherwise. */
const is16 = (item: Case): boolean => prefixes(item).includes(0x66) === (item.codeSize !== 16);
/** Whether a far transfer has changed between 64-bit and other code. */
const changesMode = (item: Case, after: Outcome): boolean => (item.codeSize === 64) !== (after.selectors[0] === USER_CS);
/** Whether the stack lies elsewhere in 64-bit mode than outside it. */
const stackDependsOnMode = (item: Case): boolean => localSegment(item.selector('ss')) !== undefined || item.gpr(4) > 0xffff_ffffn;
const TRANSCENDENTAL = ['F2XM1', 'FYL2X', 'FPTAN', 'FPATAN', 'FYL2XP1', 'FSINCOS', 'FSIN', 'FCOS'];
/** With operands of 10 bytes and more. */
const LARGE = ['FXSAVE', 'FXRSTOR', 'FNSAVE', 'FRSTOR', 'FLDENV', 'FNSTENV', 'FLD', 'FSTP', 'FBLD', 'FBSTP'];
const TO_MMX = ['CVTPS2PI', 'CVTTPS2PI', 'CVTPD2PI', 'CVTTPD2PI'];

/** Shift count of SHLD and SHRD. */
function doubleShiftCount(row: Row, item: Case): number {
  return (row.operands.endsWith('CL') ? Number(item.gpr(1) & 0x1fn) : item.code[item.code.length - 1]! & 0x1f);
}

export const TOLERANCES: readonly Tolerance[] = [
  {
    reason: 'SHLD and SHRD of 16 bits by more than 16: result and flags are undefined',
    applies: (row, item) => named(row, ['SHLD', 'SHRD']) && is16(item) && doubleShiftCount(row, item) > 16, all: true,
  },
  {
    on: 'AMD',
    reason: 'a repeated CMPS or SCAS that ends between two iterations: Intel restores the flags, AMD leaves those of the last comparison',
    applies: (row, item, ours, native) => named(row, ['CMPS', 'SCAS']) && (faults(native) || (item.stepped && ours.rip === item.rip)), flags: STATUS_FLAGS,
  },
  {
    on: 'AMD',
    reason: 'CMPS: Intel reads the element at DI first, AMD that at SI',
    applies: (row, _item, ours, native) => row.name === 'CMPS' && faults(ours) && faults(native), all: true,
  },
  {
    on: 'AMD',
    reason: 'a repeated string instruction with 32-bit addresses: Intel clears the upper halves of its registers before the first element',
    applies: (row, item, ours) => named(row, ['MOVS', 'STOS', 'LODS', 'CMPS', 'SCAS']) && item.codeSize === 64 && item.code.includes(0x67)
      && [1, 6, 7].some(i => ours.gpr[i] === (item.gpr(i) & 0xffff_ffffn)), upperHalves: true,
  },
  {
    on: 'AMD',
    reason: 'a store from an MMX register that faults: Intel has set TOP to 0, AMD has not',
    applies: (row, _item, ours, native) => named(row, ['MOVD', 'MOVQ', 'MOVNTQ']) && row.has.mmx && faults(ours) && ours.vector === native.vector, x87: true,
  },
  {
    on: 'AMD',
    reason: 'an x87 store that an unmasked exception withholds: Intel does not look at the address, AMD finds its fault first',
    applies: (row, _item, ours, native) => row.has.x87 && !faults(ours) && (ours.fx[2]! & 0x80) !== 0 && [12, 13, 14].includes(native.vector), all: true,
  },
  {
    on: 'AMD',
    reason: 'a store of 80 bits whose end faults: Intel has written the first 64, AMD nothing',
    applies: (row, _item, ours, native) => named(row, ['FSTP', 'FBSTP']) && faults(ours) && faults(native), memory: true,
  },
  {
    on: 'AMD',
    reason: 'POP of a segment register, RETF, IRET: Intel reads no more than the selector, AMD the whole slot',
    applies: (row, _item, _ours, native) => (row.name.startsWith('POP ') || named(row, ['RETF', 'IRET'])) && [12, 14].includes(native.vector), all: true,
  },
  {
    on: 'AMD',
    reason: 'MOVSXD with a 16-bit operand size: Intel reads 16 bits, AMD 32',
    applies: (row, item, _ours, native) => row.name === 'MOVSXD' && item.code.includes(0x66) && faults(native), all: true,
  },
  {
    on: 'AMD',
    reason: 'DPPS: Intel adds the elements in an order of its own for each, AMD in the same; which of several NaNs is the result differs',
    applies: row => row.name === 'DPPS', nans: 4,
  },
  { on: 'AMD', reason: 'DPPD: as DPPS', applies: row => row.name === 'DPPD', nans: 8 },
  {
    on: 'Intel',
    reason: 'a near CALL whose target is refused: the manual checks it first, Intel has pushed',
    applies: (row, _item, ours, native) => row.name === 'CALL' && ours.vector === 13 && native.vector === 13, memory: true,
  },
  {
    on: 'Intel',
    reason: 'RETF from a 16-bit stack to 64-bit code: where return address and parameters together exceed 64 KiB, Intel adds their sum modulo 64 KiB',
    applies: (row, item, ours) => row.name === 'RETF' && localSegment(item.selector('ss'))?.wide === false && changesMode(item, ours)
      && item.code.at(-1) === 0xff && item.code.at(-2)! >= 0xf8, all: true,
  },
  {
    on: 'AMD',
    reason: 'far transfers to 32-bit code with a 64-bit operand size: Intel takes the lower half of the offset, AMD checks the whole',
    applies: (row, item, ours, native) => named(row, ['RETF', 'IRET', 'JMPF', 'CALLF']) && item.codeSize === 64 && changesMode(item, ours) && native.vector === 13, all: true,
  },
  {
    on: 'AMD',
    reason: 'FSCALE of a denormal by 0, its FPREM by infinity, underflow unmasked: Intel leaves the operand as it is, AMD reports the underflow',
    applies: (row, item) => named(row, ['FSCALE', 'FPREM', 'FPREM1']) && (item.fx[0]! & 0x10) === 0 && item.fx.subarray(32, 42).some(byte => byte !== 0)
      && (item.fx[41]! & 0x7f) === 0 && item.fx[40] === 0, x87: true,
  },
  {
    on: 'AMD',
    reason: 'BOUND: Intel does not read the upper bound when the lower one is violated',
    applies: (row, _item, ours, native) => row.name === 'BOUND' && ours.vector === 5 && [12, 13, 14].includes(native.vector), all: true,
  },
  {
    reason: 'IRET that sets AC: where the host is itself a virtual machine, its kernel may not get the signal through',
    applies: (row, _item, _ours, native) => row.name === 'IRET' && native.failure !== undefined, all: true,
  },
  {
    reason: 'a fault in PUSHA or POPA: which elements were done before, and which is touched first, is not defined',
    applies: (row, _item, ours, native) => named(row, ['PUSHA', 'POPA']) && faults(native) && faults(ours), all: true,
  },
  {
    reason: 'MASKMOVQ and MASKMOVDQU: whether bytes that are masked out fault, and whether a fault finds the x87 state changed, depends on the processor',
    applies: (row, _item, ours, native) => row.name.startsWith('MASKMOV') && (faults(native) || faults(ours)), all: true,
  },
  {
    reason: 'conversions to MMX that raise #XM: whether the x87 state has changed is not defined',
    applies: (row, _item, ours, native) => named(row, TO_MMX) && faults(native) && native.vector === ours.vector, x87: true,
  },
  {
    reason: 'CVTPI2PS from memory: the manual enters MMX mode, processors do not look at a pending x87 exception',
    applies: (row, _item, ours) => row.name === 'CVTPI2PS' && ours.vector === 16, all: true,
  },
  {
    reason: 'CVTPI2PS from memory: the manual enters MMX mode, processors leave the x87 state alone',
    applies: (row, item) => row.name === 'CVTPI2PS' && item.code[item.code.indexOf(0x0f) + 2]! < 0xc0, x87: true,
  },
  {
    reason: 'FCOMI and its like: the manual clears C1, processors keep it',
    applies: (row, item, _ours, native) => /^FU?COMIP?$/.test(row.name) && ((item.fx[3]! ^ native.fx[3]!) & (C1 >> 8)) === 0, status: C1,
  },
  {
    reason: 'transcendental functions: the manual allows an error of one in the last place, and C1 is the rounding of each maker\'s own algorithm',
    applies: row => named(row, TRANSCENDENTAL), status: C1, lastPlace: true,
  },
  {
    reason: 'operands of many bytes: whether an address that is not canonical or a page is found first is not defined',
    applies: (row, _item, ours, native) => named(row, LARGE) && [12, 13, 14].includes(ours.vector) && [12, 13, 14].includes(native.vector) && ours.vector !== native.vector,
    all: true,
  },
  {
    reason: 'an address that is neither aligned nor canonical: #SS or #GP',
    applies: (_row, item, ours, native) => item.codeSize === 64 && ours.vector === 13 && native.vector === 12, all: true,
  },
  {
    reason: 'an operand that is neither aligned nor within the stack segment: #SS or #GP',
    applies: (row, item, ours, native) => item.codeSize !== 64 && row.has.sse && ours.vector === 12 && native.vector === 13, all: true,
  },
  {
    reason: 'a far CALL that faults: the manual checks the target first, processors have pushed',
    applies: (row, _item, ours, native) => row.name === 'CALLF' && faults(ours) && faults(native), memory: true,
  },
  {
    reason: 'a far CALL whose target is refused: processors find a fault of the push first',
    applies: (row, _item, ours, native) => row.name === 'CALLF' && ours.vector === 13 && [12, 14].includes(native.vector), all: true,
  },
  {
    reason: 'a far CALL between 64-bit and other code: processors push to the stack as the target\'s mode sees it, with its base and width',
    applies: (row, item, ours, native) => row.name === 'CALLF' && stackDependsOnMode(item) && (changesMode(item, ours) || changesMode(item, native)), all: true,
  },
  {
    reason: 'a far CALL to 32-bit code with RSP beyond 4 GiB: processors push at the new width, and so fault elsewhere',
    applies: (row, item, ours, native) => row.name === 'CALLF' && stackDependsOnMode(item) && ours.vector === 14 && native.vector === 14, address: true,
  },
  {
    reason: 'a far CALL to 32-bit code with RSP not canonical: processors push at the new width, and find what is wrong with the target',
    applies: (row, item, ours, native) => row.name === 'CALLF' && item.codeSize === 64 && stackDependsOnMode(item) && ours.vector === 12 && native.vector === 13, all: true,
  },
  {
    reason: 'a far CALL from a 16-bit stack to 64-bit code: the host\'s kernel does not get the signal through',
    applies: (row, item, _ours, native) => row.name === 'CALLF' && native.failure !== undefined && localSegment(item.selector('ss'))?.wide === false, all: true,
  },
  {
    reason: 'a far pointer across the upper end of a segment that grows down to 4 GiB may fault or wrap (SDM 3A 6.3)',
    applies: (row, item, ours, native) => row.letters.includes('Mp') && item.codeSize !== 64 && ours.vector === 13 && native.vector === 14
      && LOCAL_SEGMENTS.some(({ kind, wide, base }) => kind === 'expandDown' && wide && base - 6n < native.address && native.address <= base), all: true,
  },
  {
    on: 'AMD',
    reason: 'MXCSR.MM (bit 17) is AMD\'s, reserved in the manual',
    applies: (row, _item, ours, native) => named(row, ['LDMXCSR', 'FXRSTOR']) && ours.vector === 13 && !faults(native), all: true,
  },
  {
    reason: 'operands of many bytes: which byte of an unmapped page is touched first is not defined',
    applies: row => named(row, [...LARGE, 'IRET', 'RETF', 'ENTER', 'CMPXCHG16B', 'BOUND']), address: true,
  },
  { on: 'AMD', reason: 'FXSAVE: AMD has MXCSR.MM, which shows in MXCSR_MASK', applies: row => row.name === 'FXSAVE', oneByte: 2 },
  {
    on: 'AMD',
    reason: 'FNSTENV, FNSAVE: AMD keeps the last instruction\'s pointers only with an exception pending',
    applies: row => named(row, ['FNSTENV', 'FNSAVE']), operand: [6, 28],
  },
  {
    on: 'AMD',
    reason: 'RETF and IRET: AMD reads the outer stack before it checks the selector',
    applies: (row, _item, ours, native) => named(row, ['RETF', 'IRET']) && (native.vector === 14 || native.vector === 12) && ours.vector === 13, all: true,
  },
  {
    on: 'AMD',
    reason: 'IRET: the manual checks SS before RIP, AMD the other way round: #GP(0) of RIP against a fault of SS',
    applies: (row, _item, ours, native) => row.name === 'IRET' && native.vector === 13 && native.error === 0 && [12, 13].includes(ours.vector) && ours.error !== 0, all: true,
  },
  {
    reason: 'indirect CALL: whether the target or the stack is checked first is not the same',
    applies: (row, _item, ours, native) => row.name === 'CALL' && ours.vector === 13 && (native.vector === 14 || native.vector === 12), all: true,
  },
  {
    reason: 'an access across the end of a segment of 4 GiB may fault or wrap (SDM 3A 6.3)',
    applies: (_row, item, ours, native) => item.codeSize !== 64 && ours.vector === 14 && (native.vector === 13 || native.vector === 12) && (ours.address < 0x1000n || ours.address > 0xffff_f000n), all: true,
  },
  {
    on: 'AMD',
    reason: 'BOUND across the end of a segment of 4 GiB: AMD reads one bound after the other, and finds the page of the first missing before the second leaves the segment (SDM 3A 6.3)',
    applies: (row, item, ours, native) => row.name === 'BOUND' && item.codeSize !== 64 && (ours.vector === 13 || ours.vector === 12) && native.vector === 14 && (native.address & 0xfffn) > 0xff8n, all: true,
  },
  {
    on: 'AMD',
    reason: 'SHA instructions: the manual wants their memory operands aligned, AMD does not',
    applies: (row, _item, ours) => row.name.startsWith('SHA') && ours.vector === 13, all: true,
  },
  {
    on: 'AMD',
    reason: 'FS and GS in 64-bit code: AMD wants the offset canonical too, Intel the linear address alone',
    applies: (_row, item, ours, native) => item.codeSize === 64 && ours.vector === 14 && native.vector === 13 && item.code.some(byte => byte === 0x64 || byte === 0x65), all: true,
  },
  {
    reason: 'selector 78H: Linux keeps the number of the CPU there, we have nothing',
    applies: (_row, _item, _ours, native) => native.selectors.some(selector => selector >> 3 === 0xf), all: true,
  },
  {
    reason: 'undefined encodings that reach into an unmapped page or beyond CS: how far they are fetched depends on the processor',
    applies: (row, _item, ours, native) => named(row, ['UD', 'UD0', 'UD1']) && [13, 14].some(vector => [ours.vector, native.vector].includes(vector)), all: true,
  },
];

/** The tolerances that a case meets. */
export function tolerancesOf(row: Row, item: Case, ours: Outcome, native: Outcome): Tolerance[] {
  return TOLERANCES.filter(({ on, applies }) => (on === undefined || on === hostMaker) && applies(row, item, ours, native));
}
