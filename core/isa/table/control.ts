/** Control transfer, interrupts, I/O and system instructions. */
import { privileged } from '../prechecks.ts';
import type { V } from '../ir.ts';
import type { Definition, Ops } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { PRIMARY_PAUSE, SECONDARY_PAUSE_LOOP } from '../../vmx/control-bits.ts';
import { ACTIVE_PRIMARY, ACTIVE_SECONDARY, ARGUMENTS, CR0, GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT, LDTR, ROOT_PRIMARY, SEGMENTS, SEGMENT_SIZE, SEG_SELECTOR, TR } from '../../cpu/layout.ts';

const CONDITIONS = [...Array(16).keys()];

/** The target of a direct near branch outside 64-bit code, truncated by a 16-bit operand size. */
const directTarget = (o: Ops): V => o.resize(o.truncate(o.fact('target', 32), o.opSize === 16 ? 16 : 32), 32);

/** Before a direct near branch does anything: outside 64-bit code its target must lie in CS. */
const checkDirect: Definition = o => {
  if (!o.long) o.checkTarget(directTarget(o));
};
/** A direct near branch whose target was checked; in 32-bit code with a 16-bit operand size EIP is truncated, which only the computed jump does. */
const go: Definition = o => {
  if (!o.long && o.opSize === 16 && o.form.codeSize === 32) o.jump(directTarget(o));
  else o.branch();
};
const branch: Definition = o => {
  checkDirect(o);
  go(o);
};
const conditionalBranch = (code: number): Definition => o => o.when(o.condition(code), () => branch(o));

const nearCall: Definition = o => {
  checkDirect(o);
  o.push(o.fact('nextRip', o.opSize));
  go(o);
};
/** The target must be in CS or canonical before anything is pushed. */
const nearCallIndirect: Definition = o => {
  const target = o.src(0);
  o.checkTarget(target);
  o.push(o.fact('nextRip', o.opSize));
  o.jump(target);
};
const nearReturn = (withImmediate: boolean): Definition => o => {
  const target = o.top(o.opSize);
  o.checkTarget(target);
  o.popped(o.opSize / 8);
  if (withImmediate) o.addStackPointer(o.immediate(16));
  o.jump(target);
};
const loop = (code: number | null): Definition => o => {
  const width = o.form.addressSize;
  const count = o.sub(o.reg(1, width), o.const(width, 1));
  const taken = o.ne(o.clean(count), o.const(width, 0));
  const condition = code === null ? taken : o.and(taken, o.condition(code));
  if (!o.long) o.when(condition, () => checkDirect(o));
  o.setReg(1, count);
  o.when(condition, () => go(o));
};

const farPointer = (helper: 'farJump' | 'farCall'): Definition => o => {
  const bytes = o.opSize / 8;
  const linear = o.linear('segment', o.effectiveAddress(), bytes + 2, false);
  const offset = o.load(linear, o.opSize);
  const selector = o.load(o.add(linear, o.const(64, bytes)), 16);
  o.instruction(helper, [o.zeroExtend(selector, 32), o.zeroExtend(offset, 64), o.const(32, bytes)]);
};
const farDirect = (helper: 'farJump' | 'farCall'): Definition => o =>
  o.instruction(helper, [o.fact('aux', 32), o.zeroExtend(o.immediate(o.opSize), 64), o.const(32, o.opSize / 8)]);

const call = (helper: string): Definition => o => o.instruction(helper);
const sized = (helper: string): Definition => o => o.instruction(helper, [o.const(32, o.opSize / 8)]);
const nothing: Definition = () => {};

const portImmediate = (helper: 'portIn' | 'portOut', size: 'byte' | 'full'): Definition => o =>
  o.instruction(helper, [o.and(o.immediate(32), o.const(32, 0xff)), o.const(32, size === 'byte' ? 1 : Math.min(4, o.opSize / 8)), o.const(32, 1)]);
const portDx = (helper: 'portIn' | 'portOut', size: 'byte' | 'full'): Definition => o =>
  o.instruction(helper, [o.zeroExtend(o.reg(2, 16), 32), o.const(32, size === 'byte' ? 1 : Math.min(4, o.opSize / 8)), o.const(32, 0)]);

/** SLDT and STR: the selector, zero-extended to a register, 16 bits to memory. */
const storeSelector = (segment: number): Definition => o => {
  o.instruction('descriptorStoreExit', [o.const(32, 1)]);
  const selector = o.state(SEGMENTS + segment * SEGMENT_SIZE + SEG_SELECTOR, 16);
  if (o.isMemory(0)) o.store(o.operandLinear(2, true), selector);
  else o.write(0, o.zeroExtend(selector, o.opSize));
};
const storeTable = (base: number, limit: number): Definition => o => {
  o.instruction('descriptorStoreExit', [o.const(32, 0)]);
  const bytes = o.long ? 8 : 4;
  const linear = o.linear('segment', o.effectiveAddress(), bytes + 2, true);
  o.instruction('checkStore', [linear, o.const(32, bytes + 2)]);
  o.store(linear, o.truncate(o.state(limit, 32), 16));
  const at = o.add(linear, o.const(64, 2));
  if (o.long) o.store(at, o.state(base, 64));
  else o.store(at, o.state(base, 32));
};
const loadTable = (helper: 'lgdt' | 'lidt'): Definition => o => {
  o.instruction('descriptorTableExit', [o.const(32, 0)]);
  const bytes = o.long ? 8 : 4;
  const linear = o.linear('segment', o.effectiveAddress(), bytes + 2, false);
  const limit = o.load(linear, 16);
  const base = o.load(o.add(linear, o.const(64, 2)), o.long ? 64 : 32);
  o.instruction(helper, [o.zeroExtend(limit, 32), o.zeroExtend(base, 64), o.const(32, o.long ? 8 : o.opSize / 8)]);
};
const loadSelector = (helper: 'lldt' | 'ltr'): Definition => o => {
  o.instruction('descriptorTableExit', [o.const(32, 1)]);
  o.instruction(helper, [o.zeroExtend(o.src(0), 32)]);
};
const selectorQuery = (helper: 'lar' | 'lsl'): Definition => o => {
  const selector = o.zeroExtend(o.src(1), 32);
  o.instruction(helper, [selector]);
  const value = o.state(ARGUMENTS, 64);
  o.when(o.zero(), () => o.write(0, o.resize(value, o.opSize)));
};

/** CR0, CR2, CR3, CR4, CR8; DR0 to DR7: bits by number. */
const CONTROL_REGISTERS = 0x11d;
const DEBUG_REGISTERS = 0xff;

/** MOV of a control or debug register: #UD for one that does not exist comes before the check of the privilege. */
function registerExists(o: Ops, existing: number): void {
  const bit = o.and(o.shrU(o.const(32, existing), o.slotAddressNumber('G')), o.const(32, 1));
  o.when(o.isZero(bit), () => o.raise(6));
  privileged(o);
}

const invlpg: Definition = o => o.instruction('invlpg', [o.unsegmentedLinear()]);
/** A hint, unless root mode or a nested guest's hypervisor wants to hear of it. */
const pause: Definition = o => {
  const primary = o.or(o.state(ACTIVE_PRIMARY, 32), o.state(ROOT_PRIMARY, 32));
  const wanted = o.or(o.and(primary, o.const(32, PRIMARY_PAUSE)), o.and(o.state(ACTIVE_SECONDARY, 32), o.const(32, SECONDARY_PAUSE_LOOP)));
  o.when(o.ne(wanted, o.const(32, 0)), () => o.instruction('pause'));
};
const clflush: Definition = o => {
  o.load(o.operandLinear(1, false), 8);
};

export const controlRows: readonly RowSpec[] = [
  ...CONDITIONS.map(code => row((0x70 + code).toString(16), 'J', 'Jb', 'f64 relative hot size', conditionalBranch(code))),
  ...CONDITIONS.map(code => row(`0F ${(0x80 + code).toString(16)}`, 'J', 'Jz', 'f64 relative hot size', conditionalBranch(code))),
  row('EB', 'JMP', 'Jb', 'f64 relative ends hot size', branch), row('E9', 'JMP', 'Jz', 'f64 relative ends hot size', branch),
  row('E8', 'CALL', 'Jz', 'f64 relative ends hot size', nearCall),
  row('FF /2', 'CALL', 'Ev', 'f64 ends hot', nearCallIndirect), row('FF /4', 'JMP', 'Ev', 'f64 ends hot', o => {
    const target = o.src(0);
    o.checkTarget(target);
    o.jump(target);
  }),
  row('C3', 'RET', '', 'f64 ends hot size', nearReturn(false)), row('C2', 'RET', 'Iw', 'f64 ends size', nearReturn(true)),
  row('E0', 'LOOPNE', 'Jb', 'f64 relative addr size', loop(5)), row('E1', 'LOOPE', 'Jb', 'f64 relative addr size', loop(4)), row('E2', 'LOOP', 'Jb', 'f64 relative addr size', loop(null)),
  row('E3', 'JCXZ', 'Jb', 'f64 relative addr size', o => o.when(o.isZero(o.reg(1, o.form.addressSize)), () => branch(o))),
  row('EA', 'JMPF', 'Ap', 'i64 ends', farDirect('farJump')), row('9A', 'CALLF', 'Ap', 'i64 ends', farDirect('farCall')),
  row('FF /5', 'JMPF', 'Mp', 'mem ends', farPointer('farJump')), row('FF /3', 'CALLF', 'Mp', 'mem ends', farPointer('farCall')),
  row('CA', 'RETF', 'Iw', 'ends size', o => o.instruction('farReturn', [o.and(o.immediate(32), o.const(32, 0xffff)), o.const(32, o.opSize / 8)])),
  row('CB', 'RETF', '', 'ends size', o => o.instruction('farReturn', [o.const(32, 0), o.const(32, o.opSize / 8)])),
  row('CF', 'IRET', '', 'ends size', sized('iret')),
  row('CC', 'INT3', '', 'ends', call('int3')), row('CD', 'INT', 'Ib', 'ends', o => o.instruction('interrupt', [o.and(o.immediate(32), o.const(32, 0xff))])),
  row('CE', 'INTO', '', 'i64', call('into')), row('F1', 'INT1', '', 'ends', call('int1')),
  row('62', 'BOUND', 'Gv,Ma', 'mem i64', o => {
    const index = o.signExtend(o.src(0), 32);
    const bytes = o.opSize / 8;
    const offset = o.effectiveAddress();
    const bound = (at: V): V => o.signExtend(o.load(o.linear('segment', at, bytes, false), o.opSize), 32);
    const lower = bound(offset);
    // As Intel's processors have it, the upper bound is not looked at when the lower one is violated.
    o.when(o.ltS(index, lower), () => o.raise(5));
    const upper = bound(o.add(offset, o.const(64, bytes)));
    o.when(o.ltS(upper, index), () => o.raise(5));
  }),
  row('0F 05', 'SYSCALL', '', 'o64 ends', call('syscall'), { feature: 'syscall' }), row('0F 07', 'SYSRET', '', 'o64 cpl0 ends size', sized('sysret'), { feature: 'syscall' }),
  row('0F 34', 'SYSENTER', '', 'ends', call('sysenter'), { feature: 'sep' }), row('0F 35', 'SYSEXIT', '', 'cpl0 ends size', sized('sysexit'), { feature: 'sep' }),

  row('E4', 'IN', 'AL,Ib', '', portImmediate('portIn', 'byte')), row('E5', 'IN', 'rAX,Ib', '', portImmediate('portIn', 'full')),
  row('E6', 'OUT', 'Ib,AL', '', portImmediate('portOut', 'byte')), row('E7', 'OUT', 'Ib,rAX', '', portImmediate('portOut', 'full')),
  row('EC', 'IN', 'AL,DX', '', portDx('portIn', 'byte')), row('ED', 'IN', 'rAX,DX', '', portDx('portIn', 'full')),
  row('EE', 'OUT', 'DX,AL', '', portDx('portOut', 'byte')), row('EF', 'OUT', 'DX,rAX', '', portDx('portOut', 'full')),

  row('FA', 'CLI', '', '', call('cli')), row('FB', 'STI', '', '', call('sti')),
  row('F4', 'HLT', '', 'cpl0', call('hlt')),
  row('9B', 'FWAIT', '', '', call('fwait')),
  row('F3 90', 'PAUSE', '', 'hot', pause),
  row('0F 0B', 'UD2', '', 'ends', o => o.raise(6)), row('0F B9', 'UD1', 'Gv,Ev', 'ends', o => o.raise(6)), row('0F FF', 'UD0', 'Gv,Ev', 'ends', o => o.raise(6)),
  row('0F 1F', 'NOP', 'Ev', 'hot modrm nomem', nothing),
  ...['18', '19', '1A', '1B', '1C', '1D', '1E', '0D'].map(byte => row(`0F ${byte}`, 'NOP', 'Ev', 'modrm nomem', nothing)),
  row('0F A2', 'CPUID', '', '', call('cpuid')),
  row('0F 31', 'RDTSC', '', '', call('rdtsc'), { feature: 'tsc' }), row('0F 01 =F9', 'RDTSCP', '', 'modrm', call('rdtscp'), { feature: 'rdtscp' }),
  row('F3 0F C7 /7', 'RDPID', 'Rq', 'reg', o => o.instruction('readProcessorId', [o.slotAddress('E')]), { feature: 'rdpid' }),
  row('0F 33', 'RDPMC', '', '', call('rdpmc')),
  row('0F C7 /6', 'RDRAND', 'Ev', 'reg', o => { o.instruction('rdrand', [o.slotAddress('E'), o.const(32, o.opSize / 8), o.const(32, 0)]); }, { feature: 'rdrand' }),
  row('0F C7 /7', 'RDSEED', 'Ev', 'reg', o => { o.instruction('rdrand', [o.slotAddress('E'), o.const(32, o.opSize / 8), o.const(32, 1)]); }, { feature: 'rdseed' }),

  row('0F 00 /0', 'SLDT', 'Ev', 'prot', storeSelector(LDTR)), row('0F 00 /1', 'STR', 'Ev', 'prot', storeSelector(TR)),
  row('0F 00 /2', 'LLDT', 'Ew', 'prot cpl0', loadSelector('lldt')),
  row('0F 00 /3', 'LTR', 'Ew', 'prot cpl0', loadSelector('ltr')),
  row('0F 00 /4', 'VERR', 'Ew', 'prot', o => o.instruction('verr', [o.zeroExtend(o.src(0), 32)])),
  row('0F 00 /5', 'VERW', 'Ew', 'prot', o => o.instruction('verw', [o.zeroExtend(o.src(0), 32)])),
  row('0F 02', 'LAR', 'Gv,Ew', 'prot', selectorQuery('lar')), row('0F 03', 'LSL', 'Gv,Ew', 'prot', selectorQuery('lsl')),
  row('0F 01 /0', 'SGDT', 'M', 'mem', storeTable(GDTR_BASE, GDTR_LIMIT)), row('0F 01 /1', 'SIDT', 'M', 'mem', storeTable(IDTR_BASE, IDTR_LIMIT)),
  row('0F 01 /2', 'LGDT', 'M', 'mem cpl0 size', loadTable('lgdt')), row('0F 01 /3', 'LIDT', 'M', 'mem cpl0 size', loadTable('lidt')),
  row('0F 01 /4', 'SMSW', 'Ev', '', o => {
    o.instruction('umipCheck');
    const value = o.call('visibleCr0', 64, [o.state(CR0, 64)]);
    if (o.isMemory(0)) o.store(o.operandLinear(2, true), o.truncate(value, 16));
    else o.write(0, o.resize(value, o.opSize));
  }),
  row('0F 01 /6', 'LMSW', 'Ew', 'cpl0', o => {
    const value = o.zeroExtend(o.src(0), 32);
    const linear = o.isMemory(0) ? o.operandLinear(2, false) : o.const(64, 0);
    o.instruction('lmsw', [value, o.const(32, o.isMemory(0) ? 1 : 0), linear]);
  }),
  row('0F 01 /7', 'INVLPG', 'M', 'mem cpl0', invlpg),
  row('0F 01 =F8', 'SWAPGS', '', 'o64 cpl0 modrm', call('swapgs')),
  row('NP 0F 01 =D0', 'XGETBV', '', 'modrm', call('xgetbv'), { feature: 'xsave' }), row('NP 0F 01 =D1', 'XSETBV', '', 'cpl0 modrm', call('xsetbv'), { feature: 'xsave' }),
  row('NP 0F 01 =EE', 'RDPKRU', '', 'modrm', call('rdpkru'), { feature: 'pku' }), row('NP 0F 01 =EF', 'WRPKRU', '', 'modrm', call('wrpkru'), { feature: 'pku' }),
  row('NP 0F 01 =CA', 'CLAC', '', 'ud3 modrm', call('clac'), { feature: 'smap' }), row('NP 0F 01 =CB', 'STAC', '', 'ud3 modrm', call('stac'), { feature: 'smap' }),
  row('0F 01 =C8', 'MONITOR', '', 'ud3 modrm', call('monitor')), row('0F 01 =C9', 'MWAIT', '', 'ud3 modrm', call('mwait')),
  row('0F 06', 'CLTS', '', 'cpl0', call('clts')),
  row('0F 08', 'INVD', '', 'cpl0', call('invd')), row('0F 09', 'WBINVD', '', 'cpl0', call('wbinvd')),
  row('0F 20', 'MOV', 'Rq,Cq', 'reg anymod f64', o => {
    registerExists(o, CONTROL_REGISTERS);
    o.instruction('controlRegisterExit', [o.slotAddressNumber('G'), o.const(32, 1), o.slotAddress('E'), o.const(64, 0)]);
    o.instruction('movFromCr', [o.slotAddressNumber('G')]);
    const value = o.state(ARGUMENTS, 64);
    if (o.long) o.setSlot('E', value);
    else o.setSlot('E', o.truncate(value, 32));
  }),
  row('0F 22', 'MOV', 'Cq,Rq', 'reg anymod f64 ends', o => {
    registerExists(o, CONTROL_REGISTERS);
    const value = o.long ? o.slot('E', 64) : o.zeroExtend(o.slot('E', 32), 64);
    o.instruction('controlRegisterExit', [o.slotAddressNumber('G'), o.const(32, 0), o.slotAddress('E'), value]);
    o.instruction('movToCr', [o.slotAddressNumber('G'), value]);
  }),
  row('0F 21', 'MOV', 'Rq,Dq', 'reg anymod f64', o => {
    registerExists(o, DEBUG_REGISTERS);
    o.instruction('debugRegisterExit', [o.slotAddressNumber('G'), o.const(32, 1), o.slotAddress('E')]);
    o.instruction('movFromDr', [o.slotAddressNumber('G')]);
    const value = o.state(ARGUMENTS, 64);
    if (o.long) o.setSlot('E', value);
    else o.setSlot('E', o.truncate(value, 32));
  }),
  row('0F 23', 'MOV', 'Dq,Rq', 'reg anymod f64 ends', o => {
    registerExists(o, DEBUG_REGISTERS);
    const value = o.long ? o.slot('E', 64) : o.zeroExtend(o.slot('E', 32), 64);
    o.instruction('debugRegisterExit', [o.slotAddressNumber('G'), o.const(32, 0), o.slotAddress('E')]);
    o.instruction('movToDr', [o.slotAddressNumber('G'), value]);
  }),
  row('0F 30', 'WRMSR', '', 'cpl0', call('wrmsr')), row('0F 32', 'RDMSR', '', 'cpl0', call('rdmsr')),
  row('66 0F 38 82', 'INVPCID', 'Gy,M', 'mem cpl0 f64', o => {
    o.instruction('invpcidExit');
    const type = o.long ? o.slot('G', 64) : o.zeroExtend(o.slot('G', 32), 64);
    o.instruction('invpcid', [type, o.operandLinear(16, false)]);
  }, { feature: 'invpcid' }),
  row('NP 0F AE /7', 'CLFLUSH', 'M', 'mem', clflush, { feature: 'clfsh' }), row('66 0F AE /7', 'CLFLUSHOPT', 'M', 'mem', clflush, { feature: 'clflushopt' }), row('66 0F AE /6', 'CLWB', 'M', 'mem', clflush, { feature: 'clwb' }),
  row('NP 0F AE /5', 'LFENCE', '', 'reg modrm', nothing), row('NP 0F AE /6', 'MFENCE', '', 'reg modrm', nothing), row('NP 0F AE /7', 'SFENCE', '', 'reg modrm', nothing),
  ...['rdfsbase', 'rdgsbase', 'wrfsbase', 'wrgsbase'].map((name, i) => row(`F3 0F AE /${i}`, name.toUpperCase(), 'Ry', 'o64 reg', o => {
    o.instruction('fsgsbase', [o.const(32, i), o.slotAddress('E'), o.const(32, o.form.rexW ? 8 : 4)]);
  }, { feature: 'fsgsbase' })),
];
