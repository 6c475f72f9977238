/**
 * What an instruction needs before it does anything: mode, privilege and availability of the x87, MMX and SSE state. The rows say it
 * as flags (core/isa/rows.ts); this is the one place that turns the flags into code.
 */
import type { Definition, Ops } from './ops.ts';
import type { Row } from './rows.ts';
import { CPL, CR0, CR4, FSW, REAL_SEGMENTS } from '../cpu/layout.ts';

const CR0_EM = 1 << 2;
const CR0_TS = 1 << 3;
const CR4_OSFXSR = 1 << 9;
const CR4_OSXSAVE = 1 << 18;
/** FSW.ES: an unmasked x87 exception is pending. */
const FSW_ES = 1 << 7;

const UD = 6;
const NM = 7;
const GP = 13;

/**
 * The row's definition behind the checks that its flags ask for. In order: #UD outside protected mode (`prot`), #UD (`ud3`) or #GP(0)
 * (`cpl0`) unless CPL is 0, then availability (`x87`, `mmx`, `sse`, `xsave`). A row without such flags keeps its definition unchanged.
 * `available`: who runs the definition has made sure that the x87 and SSE state may be used (`UNAVAILABLE`).
 */
export function withPrechecks(row: Pick<Row, 'has' | 'define'>, available = false): Definition {
  const checks: Definition[] = [];
  if (row.has.prot) checks.push(protectedMode);
  if (row.has.ud3) checks.push(o => o.when(someBit(o, o.state(CPL, 32)), () => o.raise(UD)));
  if (row.has.cpl0) checks.push(privileged);
  if (row.has.sse && !available) checks.push(sse);
  if (row.has.mmx) checks.push(mmx);
  if (row.has.x87 && !available) checks.push(x87);
  if (row.has.xsave) checks.push(xsave);
  if (checks.length === 0) return row.define;
  return o => {
    for (const check of checks) check(o);
    row.define(o);
  };
}

/** The bits of CR0, and those of CR4 when they are clear, that keep an instruction with these flags from running. @sdm 3A 13.1 */
export const UNAVAILABLE = { x87: { cr0: CR0_EM | CR0_TS, cr4Clear: 0 }, sse: { cr0: CR0_EM | CR0_TS, cr4Clear: CR4_OSFXSR } } as const;

const bits = (o: Ops, register: number, mask: number): ReturnType<Ops['and']> => o.and(o.state(register, 32), o.const(32, mask));
const someBit = (o: Ops, value: ReturnType<Ops['and']>): ReturnType<Ops['and']> => o.ne(value, o.const(32, 0));

/** Not recognised in real and virtual-8086 mode. */
const protectedMode: Definition = o => o.when(someBit(o, o.state(REAL_SEGMENTS, 32)), () => o.raise(UD));

/** #GP(0) unless CPL is 0; for definitions that raise #UD before it. */
export const privileged: Definition = o => o.when(someBit(o, o.state(CPL, 32)), () => o.raise(GP, o.const(32, 0)));

/** @sdm 3A 2.5, table 13-1: #NM when the x87 unit is emulated or its state belongs to another task. */
const x87: Definition = o => o.when(someBit(o, bits(o, CR0, CR0_EM | CR0_TS)), () => o.raise(NM));

/** @sdm 3A 12.1: as for SSE without CR4.OSFXSR; then a pending x87 exception is reported: #MF, or FERR# when CR0.NE = 0. */
const mmx: Definition = o => {
  o.when(someBit(o, bits(o, CR0, CR0_EM | CR0_TS)), () => {
    o.when(someBit(o, bits(o, CR0, CR0_EM)), () => o.raise(UD));
    o.raise(NM);
  });
  o.when(someBit(o, o.and(o.zeroExtend(o.state(FSW, 16), 32), o.const(32, FSW_ES))), () => o.instruction('pendingException'));
};

/** @sdm 3A 13.1, table 13-1: one test on the way through, the reason sorted out behind it. */
const sse: Definition = o => {
  const noFxsr = o.and(o.not(o.state(CR4, 32)), o.const(32, CR4_OSFXSR));
  o.when(someBit(o, o.or(bits(o, CR0, CR0_EM | CR0_TS), noFxsr)), () => {
    const undefinedHere = o.or(bits(o, CR0, CR0_EM), o.and(o.not(o.state(CR4, 32)), o.const(32, CR4_OSFXSR)));
    o.when(someBit(o, undefinedHere), () => o.raise(UD));
    o.raise(NM);
  });
};

/** @sdm 1 13.3 */
const xsave: Definition = o => {
  o.when(o.isZero(bits(o, CR4, CR4_OSXSAVE)), () => o.raise(UD));
  o.when(someBit(o, bits(o, CR0, CR0_TS)), () => o.raise(NM));
};
