/** The registers that GDB sees, in its order, and the target description that tells it so; everything derives from the rows. */
import type { Processor } from '../cpu/processor.ts';
import {
  ARGUMENTS, CR0, CR2, CR3, CR4, CR4_ALLOWED, CR8, CS, DS, EFER, ES, FAULT, FCS, FCW, FDP, FDS, FIP, FOP, FS, FSW, FTAGS, GDTR_BASE, GDTR_LIMIT, GPR, GS, IDTR_BASE, IDTR_LIMIT, MSR_KERNEL_GS_BASE, MSR_LSTAR,
  MXCSR, RIP, SEGMENTS, SEGMENT_SIZE, SEG_BASE, SEG_SELECTOR, SS, TR, X87, XMM,
} from '../cpu/layout.ts';
import { isCanonical } from '../vmx/view.ts';

/** What helpers return (core/cpu/assembly/status.ts). */
const STATUS_FAULTED = 1;

export type Architecture = 'amd64' | 'i386';

/** A register: how GDB names and types it, and where its bytes are. */
export interface RegisterRow {
  readonly name: string;
  readonly bits: number;
  readonly type: string;
  readonly feature: string;
  read(cpu: Processor, bytes: Uint8Array): void;
  /** False when the register cannot be changed from outside, or cannot hold the value. The vCPU is selected; `apic` is its own. */
  write(cpu: Processor, bytes: Uint8Array, apic: TaskPriority): boolean;
}

/** What CR8 is a part of. */
export interface TaskPriority {
  writeCr8(value: number): void;
}

const CORE = 'org.gnu.gdb.i386.core';
const SSE = 'org.gnu.gdb.i386.sse';
const SEGMENT_BASES = 'org.gnu.gdb.i386.segments';
const SYSTEM = 'org.vanderpool.system';

/** GDB's order of the general registers, by the encoding's numbers. */
const GENERAL_ORDER = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15] as const;
const GENERAL_64 = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
const GENERAL_32 = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'] as const;
const POINTERS: Readonly<Record<string, string>> = { rsp: 'data_ptr', rbp: 'data_ptr', esp: 'data_ptr', ebp: 'data_ptr' };
const SEGMENT_ORDER: readonly (readonly [string, number])[] = [['cs', CS], ['ss', SS], ['ds', DS], ['es', ES], ['fs', FS], ['gs', GS]];

/** A register that is bytes of the state; a wider register of the state is cut. */
function stored(name: string, bits: number, at: number, feature: string, type = `int${bits}`, stateBits = bits): RegisterRow {
  const size = bits / 8;
  return {
    name, bits, type, feature,
    read: (cpu, bytes) => bytes.set(cpu.bytes.subarray(at, at + size)),
    write: (cpu, bytes) => {
      cpu.bytes.fill(0, at, at + stateBits / 8);
      cpu.bytes.set(bytes.subarray(0, size), at);
      return true;
    },
  };
}

/** A register of 32 bits that is computed. `write` answers whether the register can hold the value. */
function computed(name: string, feature: string, value: (cpu: Processor) => number, write: (cpu: Processor, value: number) => boolean, type = 'int32'): RegisterRow {
  return {
    name, bits: 32, type, feature,
    read: (cpu, bytes) => new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, value(cpu), true),
    write: (cpu, bytes) => write(cpu, new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)),
  };
}

/** Calls what an instruction does, with its checks; its fault is not the guest's. */
function withoutFault(cpu: Processor, helper: string, ...values: readonly (number | bigint)[]): boolean {
  const done = cpu.call(helper, ...values) !== STATUS_FAULTED;
  cpu.view.setUint32(FAULT, 0, true);
  return done;
}

/** The value of any MSR, or null when there is none. */
export function readMsr(cpu: Processor, index: number): bigint | null {
  return withoutFault(cpu, 'readMsr', index) ? cpu.view.getBigUint64(ARGUMENTS, true) : null;
}

/** False when there is no such MSR, or it cannot hold the value. */
export function writeMsr(cpu: Processor, index: number, value: bigint): boolean {
  return withoutFault(cpu, 'writeMsr', index, value);
}

/** A segment register is loaded with its descriptor, as MOV does and, for CS, a far jump to the next instruction. */
const selector = (name: string, segment: number): RegisterRow => computed(
  name, CORE, ({ view }) => view.getUint16(SEGMENTS + segment * SEGMENT_SIZE + SEG_SELECTOR, true),
  (cpu, value) => value <= 0xffff && (segment === CS ? withoutFault(cpu, 'loadCodeSegment', value) : withoutFault(cpu, 'loadSegment', segment, value)),
);

/** RFLAGS: the status flags have a form of their own in the state, and VM, IOPL and the like belong to the mode: only what POPF may change is written. */
const POPF_BITS = 0x244fd5n;
const eflags = computed('eflags', CORE, (cpu) => Number(cpu.call('readFlags')), (cpu, value) => {
  cpu.call('writeFlags', BigInt(value), POPF_BITS);
  return true;
}, 'i386_eflags');

/** R0 to R7 in the order of the stack. @sdm 1 8.1.2 */
function x87Registers(): RegisterRow[] {
  const place = (cpu: Processor, i: number): number => X87 + ((((cpu.view.getUint16(FSW, true) >> 11) & 7) + i) & 7) * 16;
  return Array.from({ length: 8 }, (_, i): RegisterRow => ({
    name: `st${i}`, bits: 80, type: 'i387_ext', feature: CORE,
    read: (cpu, bytes) => bytes.set(cpu.bytes.subarray(place(cpu, i), place(cpu, i) + 10)),
    write: (cpu, bytes) => {
      cpu.bytes.set(bytes.subarray(0, 10), place(cpu, i));
      return true;
    },
  }));
}

/** The tag word of 2 bits a register: empty is 3; what is not empty is called valid. */
function tagWord(view: DataView): number {
  const tags = view.getUint8(FTAGS);
  let word = 0;
  for (let i = 0; i < 8; i++) if (!((tags >> i) & 1)) word |= 3 << (i * 2);
  return word;
}

/** What is not empty in a tag word. */
function fullTags(word: number): number {
  let tags = 0;
  for (let i = 0; i < 8; i++) if (((word >> (i * 2)) & 3) !== 3) tags |= 1 << i;
  return tags;
}

/** After a change: whether an exception is pending follows from status and control word. */
function settleX87(cpu: Processor, control = cpu.view.getUint16(FCW, true)): boolean {
  cpu.call('loadControl', control);
  return true;
}

/** Control, status, tags and the last instruction's pointers. @sdm 1 8.1 */
const X87_ROWS: readonly (readonly [name: string, read: (view: DataView) => number, bits: number, write: (view: DataView, value: number) => void])[] = [
  ['fstat', (view) => view.getUint16(FSW, true), 16, (view, value) => view.setUint16(FSW, value, true)],
  ['ftag', tagWord, 16, (view, value) => view.setUint8(FTAGS, fullTags(value))],
  ['fiseg', (view) => view.getUint16(FCS, true), 16, (view, value) => view.setUint16(FCS, value, true)],
  ['fioff', (view) => view.getUint32(FIP, true), 32, (view, value) => view.setBigUint64(FIP, BigInt(value), true)],
  ['foseg', (view) => view.getUint16(FDS, true), 16, (view, value) => view.setUint16(FDS, value, true)],
  ['fooff', (view) => view.getUint32(FDP, true), 32, (view, value) => view.setBigUint64(FDP, BigInt(value), true)],
  ['fop', (view) => view.getUint16(FOP, true), 11, (view, value) => view.setUint16(FOP, value, true)],
];

const x87Control: readonly RegisterRow[] = [
  computed('fctrl', CORE, ({ view }) => view.getUint16(FCW, true), (cpu, value) => value <= 0xffff && settleX87(cpu, value)),
  ...X87_ROWS.map(([name, read, bits, write]) => computed(name, CORE, ({ view }) => read(view), (cpu, value) => {
    if (value >= 2 ** bits) return false;
    write(cpu.view, value);
    return settleX87(cpu);
  })),
];

const sse = (count: number): RegisterRow[] => [
  ...Array.from({ length: count }, (_, i) => stored(`xmm${i}`, 128, XMM + i * 16, SSE, 'vec128')), computed('mxcsr', SSE, ({ view }) => view.getUint32(MXCSR, true), (cpu, value) => withoutFault(cpu, 'ldmxcsr', value), 'i386_mxcsr'),
];

type SystemWrite = (cpu: Processor, value: bigint, apic: TaskPriority) => boolean;

/** Lets the processor change a register as the instruction would that does. */
const asInstruction = (helper: string, register: number): SystemWrite => (cpu, value) => withoutFault(cpu, helper, register, value);

/** The local APIC has the task priority, and gives it to the processor before each VM entry. */
const writeCr8: SystemWrite = (cpu, value, apic) => {
  if (!asInstruction('movToCr', 8)(cpu, value, apic)) return false;
  apic.writeCr8(cpu.view.getUint32(CR8, true));
  return true;
};

/** A linear address that the processor holds. */
const asBase = (at: number): SystemWrite => ({ view }, value) => {
  if (!isCanonical(value, view.getBigUint64(CR4_ALLOWED, true))) return false;
  view.setBigUint64(at, value, true);
  return true;
};

const asLimit = (at: number): SystemWrite => ({ view }, value) => {
  if (value > 0xffffn) return false;
  view.setUint32(at, Number(value), true);
  return true;
};

/** What belongs to the mode that the processor is in. The register, where it is, and how it changes. */
const SYSTEM_ROWS: readonly (readonly [name: string, at: number, write: SystemWrite])[] = [
  ...([[0, CR0], [2, CR2], [3, CR3], [4, CR4]] as const).map(([number, at]) => [`cr${number}`, at, asInstruction('movToCr', number)] as const),
  ['cr8', CR8, writeCr8],
  ...([['efer', EFER, 0xc0000080], ['k_gs_base', MSR_KERNEL_GS_BASE, 0xc0000102], ['lstar', MSR_LSTAR, 0xc0000082]] as const).map(([name, at, index]) => [name, at, asInstruction('writeMsr', index)] as const),
  ...([['gdt_base', GDTR_BASE], ['idt_base', IDTR_BASE], ['tr_base', SEGMENTS + TR * SEGMENT_SIZE + SEG_BASE]] as const).map(([name, at]) => [name, at, asBase(at)] as const),
];
const BASE_ROWS: typeof SYSTEM_ROWS = ([['fs_base', FS], ['gs_base', GS]] as const).map(([name, segment]) => {
  const at = SEGMENTS + segment * SEGMENT_SIZE + SEG_BASE;
  return [name, at, asBase(at)] as const;
});
const LIMIT_ROWS: typeof SYSTEM_ROWS = [['gdt_limit', GDTR_LIMIT, asLimit(GDTR_LIMIT)], ['idt_limit', IDTR_LIMIT, asLimit(IDTR_LIMIT)]];

const checked = (feature: string, width: 32 | 64) => ([name, at, write]: (typeof SYSTEM_ROWS)[number]): RegisterRow => ({
  ...stored(name, width, at, feature),
  write: (cpu, bytes, apic) => {
    const value = new DataView(bytes.buffer, bytes.byteOffset);
    return write(cpu, width === 64 ? value.getBigUint64(0, true) : BigInt(value.getUint32(0, true)), apic);
  },
});

function general(architecture: Architecture): RegisterRow[] {
  const wide = architecture === 'amd64';
  const names: readonly string[] = wide ? GENERAL_64 : GENERAL_32;
  const order = wide ? GENERAL_ORDER : [0, 1, 2, 3, 4, 5, 6, 7];
  const bits = wide ? 64 : 32;
  return order.map((number) => {
    const name = names[number] ?? '';
    return stored(name, bits, GPR + number * 8, CORE, POINTERS[name] ?? `int${bits}`, 64);
  });
}

function rowsFor(architecture: Architecture): readonly RegisterRow[] {
  const wide = architecture === 'amd64';
  const pointer = stored(wide ? 'rip' : 'eip', wide ? 64 : 32, RIP, CORE, 'code_ptr', 64);
  const segments = SEGMENT_ORDER.map(([name, segment]) => selector(name, segment));
  return [
    ...general(architecture), pointer, eflags, ...segments, ...x87Registers(), ...x87Control, ...sse(wide ? 16 : 8),
    ...(wide ? BASE_ROWS.map(checked(SEGMENT_BASES, 64)) : []), ...SYSTEM_ROWS.map(checked(SYSTEM, wide ? 64 : 32)), ...LIMIT_ROWS.map(checked(SYSTEM, 32)),
  ];
}

/** Registers by GDB's numbers. */
export const REGISTER_SETS: Readonly<Record<Architecture, readonly RegisterRow[]>> = { amd64: rowsFor('amd64'), i386: rowsFor('i386') };

const ARCHITECTURE_NAMES: Readonly<Record<Architecture, string>> = { amd64: 'i386:x86-64', i386: 'i386' };

/** Types that features define themselves. */
const EFLAGS_BITS: readonly (readonly [string, number])[] = [
  ['CF', 0], ['PF', 2], ['AF', 4], ['ZF', 6], ['SF', 7], ['TF', 8], ['IF', 9], ['DF', 10], ['OF', 11], ['NT', 14], ['RF', 16], ['VM', 17], ['AC', 18], ['VIF', 19],
  ['VIP', 20], ['ID', 21],
];
const MXCSR_BITS: readonly (readonly [string, number])[] = [
  ['IE', 0], ['DE', 1], ['ZE', 2], ['OE', 3], ['UE', 4], ['PE', 5], ['DAZ', 6], ['IM', 7], ['DM', 8], ['ZM', 9], ['OM', 10], ['UM', 11], ['PM', 12], ['FZ', 15],
];

function flagsType(id: string, bits: readonly (readonly [string, number])[]): string {
  return `<flags id="${id}" size="4">${bits.map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`).join('')}</flags>`;
}

const VECTORS: readonly (readonly [string, string, number])[] = [
  ['v4f', 'ieee_single', 4], ['v2d', 'ieee_double', 2], ['v16i8', 'int8', 16], ['v8i16', 'int16', 8], ['v4i32', 'int32', 4], ['v2i64', 'int64', 2],
];
const VECTOR_FIELDS: readonly (readonly [string, string])[] = [
  ['v4_float', 'v4f'], ['v2_double', 'v2d'], ['v16_int8', 'v16i8'], ['v8_int16', 'v8i16'], ['v4_int32', 'v4i32'], ['v2_int64', 'v2i64'], ['uint128', 'uint128'],
];

const TYPES: Readonly<Record<string, string>> = {
  [CORE]: flagsType('i386_eflags', EFLAGS_BITS),
  [SSE]: `${VECTORS.map(([id, type, count]) => `<vector id="${id}" type="${type}" count="${count}"/>`).join('')}<union id="vec128">${
    VECTOR_FIELDS.map(([name, type]) => `<field name="${name}" type="${type}"/>`).join('')}</union>${flagsType('i386_mxcsr', MXCSR_BITS)}`,
};

/** The target description, in GDB's format. */
export function targetDescription(architecture: Architecture): string {
  const rows = REGISTER_SETS[architecture];
  const features = [...new Set(rows.map(({ feature }) => feature))].map((feature) => {
    const registers = rows.map((row, number) => ({ ...row, number })).filter((row) => row.feature === feature)
      .map(({ name, bits, type, number }) => `<reg name="${name}" bitsize="${bits}" type="${type}" regnum="${number}"/>`);
    return `<feature name="${feature}">${TYPES[feature] ?? ''}${registers.join('')}</feature>`;
  });
  return `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>${ARCHITECTURE_NAMES[architecture]}</architecture>${features.join('')}</target>`;
}
