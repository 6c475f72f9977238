/** Shifts, rotates, bit tests and scans, BMI. */
import type { Definition, Ops } from '../ops.ts';
import type { V } from '../ir.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { AF, CF, OF, PF, SF } from '../flags.ts';
import { ARGUMENTS, F_PARITY } from '../../cpu/layout.ts';

type Shift = (o: Ops, a: V, count: V) => V;

/** The shift count: masked to 5 bits, or 6 for 64-bit operands, as a 32-bit value. */
function countOf(o: Ops, operand: number, width: number): V {
  return o.and(o.zeroExtend(o.src(operand), 32), o.const(32, width === 64 ? 63 : 31));
}

const bit0 = (o: Ops, v: V): V => o.and(v.width < 32 ? o.zeroExtend(v, 32) : v, o.const(v.width === 64 ? 64 : 32, 1));

const shl: Shift = (o, a, count) => {
  const w = a.width;
  const wide = o.shl(o.resize(a, 64), count);
  const r = o.resize(wide, w);
  o.when(o.ne(count, o.const(32, 0)), () => {
    o.flagsResult(r);
    o.setShiftedOut(w === 64 ? o.shl(a, o.sub(count, o.const(32, 1))) : o.shl(wide, o.const(32, 63 - w)));
  });
  return r;
};
const shr: Shift = (o, a, count) => {
  const source = o.clean(a);
  const r = o.shrU(source, count);
  o.when(o.ne(count, o.const(32, 0)), () => {
    o.flagsResult(r);
    o.setCarryOverflow(bit0(o, o.shrU(source, o.sub(count, o.const(32, 1)))), a);
  });
  return r;
};
const sar: Shift = (o, a, count) => {
  const source = a.width === 64 ? a : o.signExtend(a, 32);
  const wide = o.shrS(source, count);
  const r = o.resize(wide, a.width);
  o.when(o.ne(count, o.const(32, 0)), () => {
    o.flagsResult(r);
    o.setCarryOnly(bit0(o, o.shrS(source, o.sub(count, o.const(32, 1)))));
  });
  return r;
};

function rotated(o: Ops, a: V, count: V, left: boolean): V {
  if (a.width >= 32) return left ? o.rotl(a, count) : o.rotr(a, count);
  const w = a.width;
  const source = o.zeroExtend(a, 32);
  const c = o.and(count, o.const(32, w - 1));
  const rest = o.and(o.sub(o.const(32, w), c), o.const(32, w - 1));
  const high = o.shl(source, left ? c : rest);
  const low = o.shrU(source, left ? rest : c);
  return o.truncate(o.or(high, low), w);
}

const rol: Shift = (o, a, count) => {
  const r = rotated(o, a, count, true);
  o.when(o.ne(count, o.const(32, 0)), () => o.flagsRotated(r, true));
  return r;
};
const ror: Shift = (o, a, count) => {
  const r = rotated(o, a, count, false);
  o.when(o.ne(count, o.const(32, 0)), () => o.flagsRotated(r, false));
  return r;
};
/** RCL and RCR: rotation through CF over width + 1 bits, by a helper that leaves the new CF and OF in ARGUMENTS. */
const throughCarry = (helper: string): Shift => (o, a, count) => {
  const w = a.width;
  const wide = o.call(helper, 64, [o.zeroExtend(a, 64), count, o.const(32, w), o.resize(o.carry(), 32)]);
  const carry = o.state(ARGUMENTS, 64);
  const overflow = o.state(ARGUMENTS + 8, 64);
  o.when(o.ne(count, o.const(32, 0)), () => o.replaceCarryOverflow(carry, overflow));
  return o.truncate(wide, w);
};

const SHIFTS: readonly { name: string; shift: Shift; undefinedFlags: number; flags: string }[] = [
  { name: 'ROL', shift: rol, undefinedFlags: OF, flags: 'hot' }, { name: 'ROR', shift: ror, undefinedFlags: OF, flags: 'hot' },
  { name: 'RCL', shift: throughCarry('rotateCarryLeft'), undefinedFlags: OF, flags: '' },
  { name: 'RCR', shift: throughCarry('rotateCarryRight'), undefinedFlags: OF, flags: '' },
  { name: 'SHL', shift: shl, undefinedFlags: OF | AF | CF, flags: 'hot' }, { name: 'SHR', shift: shr, undefinedFlags: OF | AF | CF, flags: 'hot' },
  { name: 'SAL', shift: shl, undefinedFlags: OF | AF | CF, flags: '' }, { name: 'SAR', shift: sar, undefinedFlags: OF | AF | CF, flags: 'hot' },
];

function shiftRows(): RowSpec[] {
  return SHIFTS.flatMap(({ name, shift, undefinedFlags, flags }, i) => {
    const define: Definition = o => {
      const count = countOf(o, 1, o.width(0));
      o.update(0, a => shift(o, a, count));
    };
    const extra = { undefinedFlags };
    return [
      row(`C0 /${i}`, name, 'Eb,Ib', '', define, extra), row(`C1 /${i}`, name, 'Ev,Ib', flags, define, extra),
      row(`D0 /${i}`, name, 'Eb,1', '', define, extra), row(`D1 /${i}`, name, 'Ev,1', flags, define, extra),
      row(`D2 /${i}`, name, 'Eb,CL', '', define, extra), row(`D3 /${i}`, name, 'Ev,CL', flags, define, extra),
    ];
  });
}

const doubleShift = (left: boolean): Definition => o => {
  const count = countOf(o, 2, o.width(0));
  const b = o.src(1);
  o.update(0, a => {
    const w = a.width;
    let r: V;
    let carry: V;
    if (w === 64) {
      const back = o.and(o.sub(o.const(32, 64), count), o.const(32, 63));
      const nonzero = o.ne(count, o.const(32, 0));
      r = left ? o.or(o.shl(a, count), o.shrU(b, back)) : o.or(o.shrU(a, count), o.shl(b, back));
      r = o.select(nonzero, r, a);
      carry = left ? bit0(o, o.shrU(a, back)) : bit0(o, o.shrU(a, o.sub(count, o.const(32, 1))));
    } else if (w === 32) {
      const joined = left
        ? o.or(o.shl(o.zeroExtend(a, 64), o.const(32, 32)), o.zeroExtend(b, 64))
        : o.or(o.shl(o.zeroExtend(b, 64), o.const(32, 32)), o.zeroExtend(a, 64));
      if (left) {
        r = o.truncate(o.shrU(o.shl(joined, count), o.const(32, 32)), 32);
        carry = bit0(o, o.shrU(joined, o.sub(o.const(32, 64), count)));
      } else {
        r = o.truncate(o.shrU(joined, count), 32);
        carry = bit0(o, o.shrU(joined, o.sub(count, o.const(32, 1))));
      }
    } else {
      // 16 bits: counts above 16 are undefined; the source is taken as repeating behind the destination.
      const a64 = o.zeroExtend(a, 64);
      const b64 = o.zeroExtend(b, 64);
      const joined = left
        ? o.or(o.or(o.shl(a64, o.const(32, 32)), o.shl(b64, o.const(32, 16))), a64)
        : o.or(o.or(o.shl(a64, o.const(32, 32)), o.shl(b64, o.const(32, 16))), a64);
      if (left) {
        r = o.truncate(o.shrU(o.shl(joined, count), o.const(32, 32)), 16);
        carry = bit0(o, o.shrU(joined, o.sub(o.const(32, 48), count)));
      } else {
        r = o.truncate(o.shrU(joined, count), 16);
        carry = bit0(o, o.shrU(joined, o.sub(count, o.const(32, 1))));
      }
    }
    o.when(o.ne(count, o.const(32, 0)), () => {
      o.flagsResult(r);
      o.setCarryOverflow(carry, o.xor(a, r));
    });
    return r;
  });
};

type BitChange = (o: Ops, a: V, mask: V) => V | null;
const BIT_TESTS: readonly { name: string; change: BitChange }[] = [
  { name: 'BT', change: () => null },
  { name: 'BTS', change: (o, a, mask) => o.or(a, mask) },
  { name: 'BTR', change: (o, a, mask) => o.and(a, o.not(mask)) },
  { name: 'BTC', change: (o, a, mask) => o.xor(a, mask) },
];

/** The bit string in memory is addressed by a signed bit offset when the offset is in a register. */
const bitTest = (change: BitChange, registerOffset: boolean): Definition => o => {
  const width = o.opSize;
  const raw = o.src(1);
  const bitNumber = o.and(o.resize(raw, 32), o.const(32, width - 1));
  const writes = change(o, o.const(width, 0), o.const(width, 0)) !== null;
  const test = (a: V): V => {
    const source = width === 16 ? o.zeroExtend(a, 32) : a;
    o.setCarryOnly(bit0(o, o.shrU(source, bitNumber)));
    const mask = o.resize(o.shl(o.const(width === 64 ? 64 : 32, 1), bitNumber), width);
    return change(o, a, mask) ?? a;
  };
  if (!o.isMemory(0)) {
    const r = test(o.src(0));
    if (writes) o.write(0, r);
    return;
  }
  const bytes = width / 8;
  let offset = o.effectiveAddress();
  if (registerOffset) {
    const words = o.shrS(o.signExtend(raw, 64), o.const(32, width === 16 ? 4 : width === 32 ? 5 : 6));
    offset = o.wrapAddress(o.add(offset, o.mul(words, o.const(64, bytes))));
  }
  const linear = o.linear('segment', offset, bytes, writes);
  if (!writes) test(o.load(linear, width));
  else {
    const old = o.modify(linear, width);
    o.commit(old, test(old));
  }
};

const BT_UNDEFINED = { undefinedFlags: OF | SF | AF | PF };

const bitScan = (forward: boolean): Definition => o => {
  const a = o.src(1);
  const zero = o.isZero(a.width < 32 ? o.zeroExtend(a, 32) : a);
  const w = a.width;
  const r = forward ? o.unary('ctz', a) : o.sub(o.const(w, w - 1), o.unary('clz', a));
  o.flagsResult(o.select(zero, o.const(w, 0), o.const(w, 1)));
  o.when(o.isZero(zero), () => o.write(0, r));
};
const countZeros = (trailing: boolean): Definition => o => {
  const a = o.src(1);
  const r = o.unary(trailing ? 'ctz' : 'clz', a);
  o.flagsResult(r);
  o.setCarryOnly(o.isZero(a.width < 32 ? o.zeroExtend(a, 32) : a));
  o.write(0, r);
};
const SCAN = { undefinedFlags: CF | OF | SF | AF | PF };
const COUNT = { undefinedFlags: OF | SF | AF | PF };

export const bitRows: readonly RowSpec[] = [
  ...shiftRows(),
  row('0F A4', 'SHLD', 'Ev,Gv,Ib', '', doubleShift(true), { undefinedFlags: OF | AF }),
  row('0F A5', 'SHLD', 'Ev,Gv,CL', '', doubleShift(true), { undefinedFlags: OF | AF }),
  row('0F AC', 'SHRD', 'Ev,Gv,Ib', '', doubleShift(false), { undefinedFlags: OF | AF }),
  row('0F AD', 'SHRD', 'Ev,Gv,CL', '', doubleShift(false), { undefinedFlags: OF | AF }),
  ...BIT_TESTS.flatMap(({ name, change }, i) => [
    row(`0F ${(0xa3 + i * 8).toString(16)}`, name, 'Ev,Gv', i ? 'lock' : '', bitTest(change, true), BT_UNDEFINED),
    row(`0F BA /${4 + i}`, name, 'Ev,Ib', i ? 'lock' : '', bitTest(change, false), BT_UNDEFINED),
  ]),
  row('0F BC', 'BSF', 'Gv,Ev', '', bitScan(true), SCAN), row('0F BD', 'BSR', 'Gv,Ev', '', bitScan(false), SCAN),
  row('F3 0F BC', 'TZCNT', 'Gv,Ev', '', countZeros(true), { ...COUNT, feature: 'bmi1' }),
  row('F3 0F BD', 'LZCNT', 'Gv,Ev', '', countZeros(false), { ...COUNT, feature: 'lzcnt' }),
  row('F3 0F B8', 'POPCNT', 'Gv,Ev', '', o => {
    const a = o.src(1);
    const r = o.unary('popcnt', a);
    const zero = o.isZero(a.width < 32 ? o.zeroExtend(a, 32) : a);
    // ZF as the source says, every other flag clear: PF too, which a zero result would set.
    o.flagsLogic(o.select(zero, o.const(32, 0), o.const(32, 1)));
    o.setState(F_PARITY, o.zeroExtend(zero, 32));
    o.write(0, r);
  }, { feature: 'popcnt' }),
  row('0F C8+r', 'BSWAP', 'Zv', '', o => {
    if (o.opSize === 16) {
      // Undefined for 16-bit operands; processors clear them.
      o.write(0, o.const(16, 0));
      return;
    }
    o.write(0, byteSwap(o, o.src(0)));
  }),
  row('0F 38 F0', 'MOVBE', 'Gv,Ev', 'mem norep', o => o.write(0, byteSwap(o, o.src(1))), { feature: 'movbe' }),
  row('0F 38 F1', 'MOVBE', 'Ev,Gv', 'mem norep', o => o.write(0, byteSwap(o, o.src(1))), { feature: 'movbe' }),
];

/** Reverses the bytes of a 16-, 32- or 64-bit value. */
export function byteSwap(o: Ops, a: V): V {
  if (a.width === 16) {
    const wide = o.zeroExtend(a, 32);
    return o.truncate(o.or(o.shl(wide, o.const(32, 8)), o.shrU(wide, o.const(32, 8))), 16);
  }
  const w = a.width as 32 | 64;
  const c = (n: number): V => o.const(32, n);
  const mask = (pattern: number): V => o.const(w, pattern, pattern);
  let r = o.or(o.and(o.shrU(a, c(8)), mask(0x00ff00ff)), o.shl(o.and(a, mask(0x00ff00ff)), c(8)));
  if (w === 32) return o.rotl(r, c(16));
  r = o.or(o.and(o.shrU(r, c(16)), mask(0x0000ffff)), o.shl(o.and(r, mask(0x0000ffff)), c(16)));
  return o.rotl(r, c(32));
}

