/** Integer arithmetic and logic (SDM 2A to 2D). */
import type { Definition, Ops } from '../ops.ts';
import type { V } from '../ir.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { AF, ALL_FLAGS, CF, OF, PF, SF } from '../flags.ts';
import { EFLAGS } from '../../cpu/layout.ts';

type Compute = (o: Ops, a: V, b: V) => V;

const add: Compute = (o, a, b) => {
  const r = o.add(a, b);
  o.flagsAdd(a, b, r);
  return r;
};
const sub: Compute = (o, a, b) => {
  const r = o.sub(a, b);
  o.flagsSub(a, b, r);
  return r;
};
const adc: Compute = (o, a, b) => {
  const r = o.add(o.add(a, b), o.resize(o.carry(), a.width));
  o.flagsAddCarry(a, b, r);
  return r;
};
const sbb: Compute = (o, a, b) => {
  const r = o.sub(o.sub(a, b), o.resize(o.carry(), a.width));
  o.flagsSubBorrow(a, b, r);
  return r;
};
const logic = (op: 'and' | 'or' | 'xor'): Compute => (o, a, b) => {
  const r = o.binary(op, a, b);
  o.flagsLogic(r);
  return r;
};

const twoOperands = (compute: Compute): Definition => o => {
  const b = o.src(1);
  o.update(0, a => compute(o, a, b));
};
/** CMP and TEST: no write-back. */
const compare = (compute: Compute): Definition => o => {
  const a = o.src(0);
  compute(o, a, o.src(1));
};

interface AluRow {
  readonly name: string;
  readonly define: Definition;
  readonly flags: string;
  readonly undefinedFlags: number;
}

const ALU: readonly AluRow[] = [
  { name: 'ADD', define: twoOperands(add), flags: 'lock hot', undefinedFlags: 0 },
  { name: 'OR', define: twoOperands(logic('or')), flags: 'lock hot', undefinedFlags: AF },
  { name: 'ADC', define: twoOperands(adc), flags: 'lock', undefinedFlags: 0 },
  { name: 'SBB', define: twoOperands(sbb), flags: 'lock', undefinedFlags: 0 },
  { name: 'AND', define: twoOperands(logic('and')), flags: 'lock hot', undefinedFlags: AF },
  { name: 'SUB', define: twoOperands(sub), flags: 'lock hot', undefinedFlags: 0 },
  { name: 'XOR', define: twoOperands(logic('xor')), flags: 'lock hot', undefinedFlags: AF },
  { name: 'CMP', define: compare(sub), flags: 'hot', undefinedFlags: 0 },
];

function aluRows(): RowSpec[] {
  return ALU.flatMap(({ name, define, flags, undefinedFlags }, i) => {
    const extra = { undefinedFlags };
    const plain = flags.replace('lock', '');
    const hex = (n: number): string => (i * 8 + n).toString(16).padStart(2, '0');
    return [
      row(hex(0), name, 'Eb,Gb', flags, define, extra),
      row(hex(1), name, 'Ev,Gv', flags, define, extra),
      row(hex(2), name, 'Gb,Eb', plain, define, extra),
      row(hex(3), name, 'Gv,Ev', plain, define, extra),
      row(hex(4), name, 'AL,Ib', plain, define, extra),
      row(hex(5), name, 'rAX,Iz', plain, define, extra),
      row(`80 /${i}`, name, 'Eb,Ib', flags, define, extra),
      row(`82 /${i}`, name, 'Eb,Ib', flags.replace('hot', '') + ' i64', define, extra),
      row(`81 /${i}`, name, 'Ev,Iz', flags, define, extra),
      row(`83 /${i}`, name, 'Ev,Ibs', flags, define, extra),
    ];
  });
}

const inc: Definition = o => o.update(0, a => {
  const r = o.add(a, o.const(a.width, 1));
  o.flagsInc(a, r);
  return r;
});
const dec: Definition = o => o.update(0, a => {
  const r = o.sub(a, o.const(a.width, 1));
  o.flagsDec(a, r);
  return r;
});
const not: Definition = o => o.update(0, a => o.not(a));
const neg: Definition = o => o.update(0, a => {
  const zero = o.const(a.width, 0);
  const r = o.sub(zero, a);
  o.flagsSub(zero, a, r);
  return r;
});

/** CF = OF = whether the upper half carries information; the other flags are undefined and follow the low half. */
function multiplyFlags(o: Ops, low: V, significant: V): void {
  o.flagsResult(low);
  o.setCarryAndOverflow(significant);
}

const multiplyAccumulator = (signed: boolean): Definition => o => {
  const b = o.src(0);
  const w = b.width;
  const extend = (v: V, to: 32 | 64): V => (signed ? o.signExtend(v, to) : o.zeroExtend(v, to));
  if (w === 8) {
    const product = o.mul(extend(o.reg(0, 8), 32), extend(b, 32));
    const low = o.truncate(product, 8);
    const significant = o.ne(product, extend(low, 32));
    o.setReg(0, o.truncate(product, 16));
    multiplyFlags(o, low, significant);
  } else if (w === 16 || w === 32) {
    const product = o.mul(extend(o.reg(0, w), 64), extend(b, 64));
    const low = o.truncate(product, w);
    const significant = o.ne(product, extend(low, 64));
    o.setReg(0, low);
    o.setReg(2, o.truncate(o.shrU(product, o.const(32, w)), w));
    multiplyFlags(o, low, significant);
  } else {
    const a = o.reg(0, 64);
    const high = signed ? o.multiplyHighSigned(a, b) : o.multiplyHigh(a, b);
    const low = o.mul(a, b);
    const significant = signed ? o.ne(high, o.shrS(low, o.const(32, 63))) : o.ne(high, o.const(64, 0));
    o.setReg(0, low);
    o.setReg(2, high);
    multiplyFlags(o, low, significant);
  }
};

function multiplyTruncated(o: Ops, a: V, b: V): V {
  const w = a.width;
  if (w === 64) {
    const low = o.mul(a, b);
    const high = o.multiplyHighSigned(a, b);
    multiplyFlags(o, low, o.ne(high, o.shrS(low, o.const(32, 63))));
    return low;
  }
  const product = o.mul(o.signExtend(a, 64), o.signExtend(b, 64));
  const low = o.truncate(product, w);
  multiplyFlags(o, low, o.ne(product, o.signExtend(low, 64)));
  return low;
}

const divide = (signed: boolean): Definition => o => {
  const b = o.src(0);
  const helper = `${signed ? 'divideSigned' : 'divide'}${b.width}`;
  o.instruction(helper, [b.width === 64 ? b : o.zeroExtend(b, 32)]);
};

const xadd: Definition = o => {
  const b = o.src(1);
  if (o.isMemory(0)) {
    o.update(0, a => {
      const r = add(o, a, b);
      o.write(1, a);
      return r;
    });
  } else {
    const a = o.src(0);
    const r = add(o, a, b);
    o.write(1, a);
    o.write(0, r);
  }
};

const cmpxchg: Definition = o => {
  const b = o.src(1);
  const width = o.width(0);
  if (width === 1 || width === 128) throw new Error('CMPXCHG width');
  const accumulator = o.reg(0, width);
  if (o.isMemory(0)) {
    const old = o.modify(o.operandLinear(width / 8, true), width);
    const equal = o.eq(accumulator, old);
    const difference = o.sub(accumulator, old);
    o.commit(old, o.select(equal, b, old));
    o.flagsSub(accumulator, old, difference);
    o.when(o.isZero(equal), () => o.setReg(0, old));
  } else {
    const old = o.src(0);
    const equal = o.eq(accumulator, old);
    o.flagsSub(accumulator, old, o.sub(accumulator, old));
    o.when(equal, () => o.write(0, b), () => o.setReg(0, old));
  }
};

const bcd = (helper: string, operand = false): Definition => o => {
  o.instruction(helper, operand ? [o.immediate(32)] : []);
};

/** ADCX, ADOX: carry chains through CF or OF alone. */
const addCarryOnly = (overflow: boolean): Definition => o => {
  const b = o.src(1);
  const a = o.src(0);
  const carryIn = overflow ? o.condition(0) : o.carry();
  const r = o.add(o.add(a, b), o.resize(carryIn, a.width));
  const carries = o.or(o.and(a, b), o.and(o.or(a, b), o.not(r)));
  const carryOut = o.shrU(carries, o.const(32, a.width - 1));
  if (overflow) o.setOverflow(o.ne(carryOut, o.const(carryOut.width, 0)));
  else o.setCarry(carryOut);
  o.write(0, r);
};

const testDefinition: Definition = compare(logic('and'));
const testExtra = { undefinedFlags: AF };
const multiplyExtra = { undefinedFlags: SF | AF | PF | 0x40 };

export const arithmeticRows: readonly RowSpec[] = [
  ...aluRows(),
  row('40+r', 'INC', 'Zv', 'i64 hot', inc), row('48+r', 'DEC', 'Zv', 'i64 hot', dec),
  row('FE /0', 'INC', 'Eb', 'lock', inc), row('FE /1', 'DEC', 'Eb', 'lock', dec),
  row('FF /0', 'INC', 'Ev', 'lock hot', inc), row('FF /1', 'DEC', 'Ev', 'lock hot', dec),
  row('84', 'TEST', 'Eb,Gb', 'hot', testDefinition, testExtra), row('85', 'TEST', 'Ev,Gv', 'hot', testDefinition, testExtra),
  row('A8', 'TEST', 'AL,Ib', 'hot', testDefinition, testExtra), row('A9', 'TEST', 'rAX,Iz', 'hot', testDefinition, testExtra),
  row('F6 /0', 'TEST', 'Eb,Ib', 'hot', testDefinition, testExtra), row('F6 /1', 'TEST', 'Eb,Ib', '', testDefinition, testExtra),
  row('F7 /0', 'TEST', 'Ev,Iz', 'hot', testDefinition, testExtra), row('F7 /1', 'TEST', 'Ev,Iz', '', testDefinition, testExtra),
  row('F6 /2', 'NOT', 'Eb', 'lock', not), row('F7 /2', 'NOT', 'Ev', 'lock hot', not),
  row('F6 /3', 'NEG', 'Eb', 'lock', neg), row('F7 /3', 'NEG', 'Ev', 'lock hot', neg),
  row('F6 /4', 'MUL', 'Eb', '', multiplyAccumulator(false), multiplyExtra), row('F7 /4', 'MUL', 'Ev', '', multiplyAccumulator(false), multiplyExtra),
  row('F6 /5', 'IMUL', 'Eb', '', multiplyAccumulator(true), multiplyExtra), row('F7 /5', 'IMUL', 'Ev', '', multiplyAccumulator(true), multiplyExtra),
  row('F6 /6', 'DIV', 'Eb', '', divide(false), { undefinedFlags: ALL_FLAGS }), row('F7 /6', 'DIV', 'Ev', '', divide(false), { undefinedFlags: ALL_FLAGS }),
  row('F6 /7', 'IDIV', 'Eb', '', divide(true), { undefinedFlags: ALL_FLAGS }), row('F7 /7', 'IDIV', 'Ev', '', divide(true), { undefinedFlags: ALL_FLAGS }),
  row('0F AF', 'IMUL', 'Gv,Ev', 'hot', o => {
    const b = o.src(1);
    o.update(0, a => multiplyTruncated(o, a, b));
  }, multiplyExtra),
  row('69', 'IMUL', 'Gv,Ev,Iz', '', o => o.write(0, multiplyTruncated(o, o.src(1), o.src(2))), multiplyExtra),
  row('6B', 'IMUL', 'Gv,Ev,Ibs', '', o => o.write(0, multiplyTruncated(o, o.src(1), o.src(2))), multiplyExtra),
  row('0F C0', 'XADD', 'Eb,Gb', 'lock', xadd), row('0F C1', 'XADD', 'Ev,Gv', 'lock', xadd),
  row('0F B0', 'CMPXCHG', 'Eb,Gb', 'lock', cmpxchg), row('0F B1', 'CMPXCHG', 'Ev,Gv', 'lock', cmpxchg),
  row('W0 0F C7 /1', 'CMPXCHG8B', 'M', 'lock mem', o => o.instruction('cmpxchg8b', [o.operandLinear(8, true)])),
  row('W1 0F C7 /1', 'CMPXCHG16B', 'M', 'lock mem', o => o.instruction('cmpxchg16b', [o.operandLinear(16, true)]), { feature: 'cmpxchg16b' }),
  row('27', 'DAA', '', 'i64', bcd('daa'), { undefinedFlags: OF }), row('2F', 'DAS', '', 'i64', bcd('das'), { undefinedFlags: OF }),
  row('37', 'AAA', '', 'i64', bcd('aaa'), { undefinedFlags: OF | SF | PF | 0x40 }), row('3F', 'AAS', '', 'i64', bcd('aas'), { undefinedFlags: OF | SF | PF | 0x40 }),
  row('D4', 'AAM', 'Ib', 'i64', bcd('aam', true), { undefinedFlags: OF | AF | CF }), row('D5', 'AAD', 'Ib', 'i64', bcd('aad', true), { undefinedFlags: OF | AF | CF }),
  row('66 0F 38 F6', 'ADCX', 'Gy,Ey', '', addCarryOnly(false), { feature: 'adx' }),
  row('F3 0F 38 F6', 'ADOX', 'Gy,Ey', '', addCarryOnly(true), { feature: 'adx' }),
  row('98', 'CBW', '', 'size hot', o => {
    const half = (o.opSize / 2) as 8 | 16 | 32;
    o.setReg(0, o.signExtend(o.reg(0, half), o.opSize));
  }),
  row('99', 'CWD', '', 'size hot', o => {
    const a = o.signExtend(o.reg(0, o.opSize), o.opSize === 64 ? 64 : 32);
    o.setReg(2, o.resize(o.shrS(a, o.const(32, o.opSize === 64 ? 63 : 31)), o.opSize));
  }),
  row('9E', 'SAHF', '', '', o => o.instruction('storeAhFlags')),
  row('9F', 'LAHF', '', '', o => o.setSlot(1, o.truncate(o.call('readFlags', 64, []), 8))),
  row('F5', 'CMC', '', '', o => o.setCarry(o.isZero(o.carry()))),
  row('F8', 'CLC', '', '', o => o.setCarry(o.const(64, 0))),
  row('F9', 'STC', '', '', o => o.setCarry(o.const(64, 1))),
  row('FC', 'CLD', '', '', o => o.setState(EFLAGS, o.and(o.state(EFLAGS, 32), o.const(32, ~0x400)))),
  row('FD', 'STD', '', '', o => o.setState(EFLAGS, o.or(o.state(EFLAGS, 32), o.const(32, 0x400)))),
  row('D6', 'SALC', '', 'i64', o => o.setSlot(0, o.negate(o.resize(o.carry(), 8)))),
];

