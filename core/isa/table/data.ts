/** Data movement, stack, conditional moves and sets, string instructions. */
import type { Definition, Ops } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { GS, SEGMENTS, SEGMENT_SIZE, SEG_SELECTOR } from '../../cpu/layout.ts';

const mov: Definition = o => o.write(0, o.src(1));
const movZeroExtend: Definition = o => o.write(0, o.zeroExtend(o.src(1), o.width(0)));
const movSignExtend: Definition = o => o.write(0, o.signExtend(o.src(1), o.width(0)));

const xchg: Definition = o => {
  const a = o.src(0);
  const b = o.src(1);
  o.write(0, b);
  o.write(1, a);
};
/** XCHG with memory: the register is written after the store can no longer fault. */
const xchgMemory: Definition = o => {
  if (!o.isMemory(0)) {
    xchg(o);
    return;
  }
  const b = o.src(1);
  const old = o.modify(o.operandLinear(o.width(0) / 8, true), o.width(0));
  o.commit(old, b);
  o.write(1, old);
};

/** Pushes at operand size; PUSH of a segment register writes its selector zero-extended. */
const push: Definition = o => o.push(o.src(0));
const pop: Definition = o => {
  const value = o.top(o.opSize);
  o.popped(o.opSize / 8);
  o.write(0, value);
};
/** POP to memory: the address is computed with the stack pointer already moved (SDM 2B, POP), but a fault must leave it. */
const popMemory: Definition = o => {
  if (!o.isMemory(0)) {
    pop(o);
    return;
  }
  const value = o.top(o.opSize);
  o.popMemory(value);
};

const segmentNumber = (o: Ops): ReturnType<Ops['const']> => o.shrU(o.sub(o.slotAddress('G'), o.const(32, SEGMENTS)), o.const(32, 5));
const selectorOf = (o: Ops, segment: number): ReturnType<Ops['const']> => o.state(SEGMENTS + segment * SEGMENT_SIZE + SEG_SELECTOR, 16);

const pushSegment = (segment: number): Definition => o => o.push(o.zeroExtend(selectorOf(o, segment), o.opSize));
const popSegment = (segment: number): Definition => o => o.instruction('popSegment', [o.const(32, segment), o.const(32, o.opSize / 8)]);
const loadFar = (segment: number): Definition => o => {
  const width = o.opSize;
  const bytes = width / 8;
  const offset = o.effectiveAddress();
  const linear = o.linear('segment', offset, bytes + 2, false);
  const pointer = o.load(linear, width);
  const selector = o.load(o.add(linear, o.const(64, bytes)), 16);
  o.instruction('loadFarPointer', [o.const(32, segment), o.zeroExtend(selector, 32), o.slotAddress('G'), o.zeroExtend(pointer, 64), o.const(32, bytes)]);
};

/** String instructions: `helper(size, addressSize, segment of the source, rep)`. */
const string = (helper: string, byte: boolean): Definition => o => {
  const size = byte ? 1 : o.opSize / 8;
  o.instruction(helper, [o.const(32, size), o.const(32, o.form.addressSize / 8), o.fact('aux', 32), o.const(32, o.form.repeat)]);
};
const STRING = 'rep addr string';

const conditionalMove = (code: number): Definition => o => {
  const value = o.src(1);
  o.write(0, o.select(o.condition(code), value, o.src(0)));
};

const CONDITIONS = [...Array(16).keys()];

export const dataRows: readonly RowSpec[] = [
  row('88', 'MOV', 'Eb,Gb', 'hot', mov), row('89', 'MOV', 'Ev,Gv', 'hot', mov),
  row('8A', 'MOV', 'Gb,Eb', 'hot', mov), row('8B', 'MOV', 'Gv,Ev', 'hot', mov),
  row('A0', 'MOV', 'AL,Ob', '', o => o.write(0, o.load(o.linear('segment', o.immediate(64), 1, false), 8))),
  row('A1', 'MOV', 'rAX,Ov', '', o => o.write(0, o.load(o.linear('segment', o.immediate(64), o.opSize / 8, false), o.opSize))),
  row('A2', 'MOV', 'Ob,AL', '', o => o.store(o.linear('segment', o.immediate(64), 1, true), o.src(1))),
  row('A3', 'MOV', 'Ov,rAX', '', o => o.store(o.linear('segment', o.immediate(64), o.opSize / 8, true), o.src(1))),
  row('B0+r', 'MOV', 'Zb,Ib', 'hot', mov), row('B8+r', 'MOV', 'Zv,Iv', 'hot', mov),
  row('C6 /0', 'MOV', 'Eb,Ib', 'hot', mov), row('C7 /0', 'MOV', 'Ev,Iz', 'hot', mov),
  row('8D', 'LEA', 'Gv,M', 'mem hot', o => o.write(0, o.resize(o.effectiveAddress(), o.opSize))),
  row('0F B6', 'MOVZX', 'Gv,Eb', 'hot', movZeroExtend), row('0F B7', 'MOVZX', 'Gv,Ew', 'hot', movZeroExtend),
  row('0F BE', 'MOVSX', 'Gv,Eb', 'hot', movSignExtend), row('0F BF', 'MOVSX', 'Gv,Ew', 'hot', movSignExtend),
  row('63', 'MOVSXD', 'Gv,Ed', 'o64 hot', o => {
    // With a 16-bit operand size the source has 16 bits, too.
    if (o.opSize === 16 && o.isMemory(1)) o.write(0, o.load(o.operandLinear(2, false), 16));
    else o.write(0, o.opSize === 64 ? o.signExtend(o.src(1), 64) : o.resize(o.src(1), o.opSize));
  }),
  row('63', 'ARPL', 'Ew,Gw', 'i64 prot', o => {
    const a = o.src(0);
    const wanted = o.and(o.src(1), o.const(16, 3));
    const raised = o.ltU(o.and(a, o.const(16, 3)), wanted);
    // Processors write only a selector that changes.
    o.when(raised, () => o.write(0, o.or(o.and(a, o.const(16, 0xfffc)), wanted)));
    o.instruction('setZero', [o.zeroExtend(raised, 32)]);
  }),
  row('86', 'XCHG', 'Eb,Gb', 'lock', xchgMemory), row('87', 'XCHG', 'Ev,Gv', 'lock', xchgMemory),
  row('90', 'NOP', '', 'hot norexb', () => {}),
  row('90+r', 'XCHG', 'Zv,rAX', '', xchg),
  row('D7', 'XLAT', '', 'addr', o => {
    const offset = o.wrapAddress(o.add(o.reg(3, 64), o.zeroExtend(o.reg(0, 8), 64)));
    o.setSlot(0, o.load(o.linear('segment', offset, 1, false), 8));
  }),
  ...CONDITIONS.map(code => row(`0F ${(0x40 + code).toString(16)}`, 'CMOV', 'Gv,Ev', [2, 3, 4, 5].includes(code) ? 'hot' : '', conditionalMove(code))),
  ...CONDITIONS.map(code => row(`0F ${(0x90 + code).toString(16)}`, 'SET', 'Eb', [2, 4, 5, 7].includes(code) ? 'hot' : '', o => o.write(0, o.zeroExtend(o.condition(code), 8)))),

  row('50+r', 'PUSH', 'Zv', 'd64 hot', push), row('58+r', 'POP', 'Zv', 'd64 hot', pop),
  row('FF /6', 'PUSH', 'Ev', 'd64 hot', push), row('8F /0', 'POP', 'Ev', 'd64', popMemory),
  row('68', 'PUSH', 'Iz', 'd64', push), row('6A', 'PUSH', 'Ibs', 'd64', push),
  row('06', 'PUSH ES', '', 'i64 size', pushSegment(0)), row('0E', 'PUSH CS', '', 'i64 size', pushSegment(1)),
  row('16', 'PUSH SS', '', 'i64 size', pushSegment(2)), row('1E', 'PUSH DS', '', 'i64 size', pushSegment(3)),
  row('0F A0', 'PUSH FS', '', 'd64 size', pushSegment(4)), row('0F A8', 'PUSH GS', '', 'd64 size', pushSegment(5)),
  row('07', 'POP ES', '', 'i64 size', popSegment(0)), row('17', 'POP SS', '', 'i64 size', popSegment(2)), row('1F', 'POP DS', '', 'i64 size', popSegment(3)),
  row('0F A1', 'POP FS', '', 'd64 size', popSegment(4)), row('0F A9', 'POP GS', '', 'd64 size', popSegment(5)),
  row('60', 'PUSHA', '', 'i64 size', o => o.instruction('pusha', [o.const(32, o.opSize / 8)])),
  row('61', 'POPA', '', 'i64 size', o => o.instruction('popa', [o.const(32, o.opSize / 8)])),
  row('9C', 'PUSHF', '', 'd64 size', o => {
    o.instruction('checkPushFlags', [o.const(32, o.opSize / 8)]);
    o.push(o.resize(o.call('pushFlagsImage', 64, [o.const(32, o.opSize / 8)]), o.opSize));
  }),
  row('9D', 'POPF', '', 'd64 size', o => o.instruction('popFlagsStack', [o.const(32, o.opSize / 8)])),
  row('C8', 'ENTER', 'Iw,Ib', 'd64 size', o => o.instruction('enter', [o.immediate(32), o.fact('aux', 32), o.const(32, o.opSize / 8)])),
  row('C9', 'LEAVE', '', 'd64 size hot', o => o.leave()),

  row('8C', 'MOV', 'Ev,Sw', '', o => {
    // ModRM.reg 6 and 7 name no segment register.
    o.when(o.ltU(o.const(32, SEGMENTS + GS * SEGMENT_SIZE), o.slotAddress('G')), () => o.raise(6));
    const selector = o.load16AtSlot('G', SEG_SELECTOR);
    if (o.isMemory(0)) o.store(o.operandLinear(2, true), selector);
    else o.write(0, o.zeroExtend(selector, o.opSize));
  }),
  row('8E', 'MOV', 'Sw,Ew', '', o => {
    o.instruction('checkSegmentNumber', [segmentNumber(o)]);
    const selector = o.zeroExtend(o.src(1), 32);
    o.instruction('loadSegmentChecked', [segmentNumber(o), selector]);
  }),
  row('C4', 'LES', 'Gv,Mp', 'mem i64', loadFar(0)), row('C5', 'LDS', 'Gv,Mp', 'mem i64', loadFar(3)),
  row('0F B2', 'LSS', 'Gv,Mp', 'mem', loadFar(2)), row('0F B4', 'LFS', 'Gv,Mp', 'mem', loadFar(4)), row('0F B5', 'LGS', 'Gv,Mp', 'mem', loadFar(5)),

  row('A4', 'MOVS', '', STRING, string('movs', true)), row('A5', 'MOVS', '', `${STRING} size`, string('movs', false)),
  row('A6', 'CMPS', '', STRING, string('cmps', true)), row('A7', 'CMPS', '', `${STRING} size`, string('cmps', false)),
  row('AA', 'STOS', '', STRING, string('stos', true)), row('AB', 'STOS', '', `${STRING} size`, string('stos', false)),
  row('AC', 'LODS', '', STRING, string('lods', true)), row('AD', 'LODS', '', `${STRING} size`, string('lods', false)),
  row('AE', 'SCAS', '', STRING, string('scas', true)), row('AF', 'SCAS', '', `${STRING} size`, string('scas', false)),
  row('6C', 'INS', '', STRING, string('ins', true)), row('6D', 'INS', '', `${STRING} size`, string('ins', false)),
  row('6E', 'OUTS', '', STRING, string('outs', true)), row('6F', 'OUTS', '', `${STRING} size`, string('outs', false)),
  row('NP 0F C3', 'MOVNTI', 'Ey,Gy', 'mem', mov),
];

