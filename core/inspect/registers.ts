/** Every register of the processor with its bits by name. */
import type { InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  ACTIVITY, CODE_SIZE, CPL, CR0, CR2, CR3, CR4, CR8, DR0, DR6, DR7, EFER, FCW, FSW, FTAGS, GDTR_BASE, GDTR_LIMIT, GPR, IDTR_BASE, IDTR_LIMIT, INTERRUPTIBILITY,
  MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_PAT, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC_AUX, MXCSR, PKRU,
  RIP, SEGMENTS, SEGMENT_SIZE, SEG_ACCESS, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, X87, XCR0, XMM,
} from '../cpu/layout.ts';
import { bitNames, hex, section, wideHex } from './tables.ts';
import type { BitRow } from './tables.ts';

export const GENERAL_REGISTERS = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'] as const;
const SEGMENT_NAMES = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'];

/** @sdm 1 3.4.3 */
const RFLAGS_BITS: readonly BitRow[] = [
  [0, 'CF'], [2, 'PF'], [4, 'AF'], [6, 'ZF'], [7, 'SF'], [8, 'TF'], [9, 'IF'], [10, 'DF'], [11, 'OF'], [14, 'NT'], [16, 'RF'], [17, 'VM'], [18, 'AC'],
  [19, 'VIF'], [20, 'VIP'], [21, 'ID'],
];
/** @sdm 3A 2.5 */
const CR0_BITS: readonly BitRow[] = [
  [0, 'PE'], [1, 'MP'], [2, 'EM'], [3, 'TS'], [4, 'ET'], [5, 'NE'], [16, 'WP'], [18, 'AM'], [29, 'NW'], [30, 'CD'], [31, 'PG'],
];
const CR4_BITS: readonly BitRow[] = [
  [0, 'VME'], [1, 'PVI'], [2, 'TSD'], [3, 'DE'], [4, 'PSE'], [5, 'PAE'], [6, 'MCE'], [7, 'PGE'], [8, 'PCE'], [9, 'OSFXSR'], [10, 'OSXMMEXCPT'], [11, 'UMIP'],
  [12, 'LA57'], [13, 'VMXE'], [14, 'SMXE'], [16, 'FSGSBASE'], [17, 'PCIDE'], [18, 'OSXSAVE'], [20, 'SMEP'], [21, 'SMAP'], [22, 'PKE'], [23, 'CET'],
];
/** @sdm 4 table 2-2, IA32_EFER */
const EFER_BITS: readonly BitRow[] = [[0, 'SCE'], [8, 'LME'], [10, 'LMA'], [11, 'NXE']];
const XCR0_BITS: readonly BitRow[] = [[0, 'x87'], [1, 'SSE'], [2, 'AVX'], [9, 'PKRU']];
/** @sdm 3B 18.2.3 */
const DR6_BITS: readonly BitRow[] = [[0, 'B0'], [1, 'B1'], [2, 'B2'], [3, 'B3'], [13, 'BD'], [14, 'BS'], [15, 'BT']];
const DR7_BITS: readonly BitRow[] = [
  [0, 'L0'], [1, 'G0'], [2, 'L1'], [3, 'G1'], [4, 'L2'], [5, 'G2'], [6, 'L3'], [7, 'G3'], [8, 'LE'], [9, 'GE'], [13, 'GD'],
];
const INTERRUPTIBILITY_BITS: readonly BitRow[] = [[0, 'blocking by STI'], [1, 'blocking by MOV SS'], [2, 'blocking by SMI'], [3, 'blocking by NMI']];
const ACTIVITIES = ['active', 'HLT', 'shutdown', 'wait-for-SIPI'];
const CODE_SIZES = ['16-bit code', '32-bit code', '64-bit code'];

interface RegisterRow {
  readonly name: string;
  readonly at: number;
  readonly bits?: readonly BitRow[];
}

const CONTROL: readonly RegisterRow[] = [
  { name: 'CR0', at: CR0, bits: CR0_BITS }, { name: 'CR2', at: CR2 }, { name: 'CR3', at: CR3 }, { name: 'CR4', at: CR4, bits: CR4_BITS }, { name: 'CR8', at: CR8 },
  { name: 'IA32_EFER', at: EFER, bits: EFER_BITS }, { name: 'XCR0', at: XCR0, bits: XCR0_BITS },
  { name: 'DR0', at: DR0 }, { name: 'DR1', at: DR0 + 8 }, { name: 'DR2', at: DR0 + 16 }, { name: 'DR3', at: DR0 + 24 },
  { name: 'DR6', at: DR6, bits: DR6_BITS }, { name: 'DR7', at: DR7, bits: DR7_BITS },
];

const MSRS: readonly RegisterRow[] = [
  { name: 'IA32_STAR', at: MSR_STAR }, { name: 'IA32_LSTAR', at: MSR_LSTAR }, { name: 'IA32_CSTAR', at: MSR_CSTAR },
  { name: 'IA32_FMASK', at: MSR_SFMASK, bits: RFLAGS_BITS }, { name: 'IA32_KERNEL_GS_BASE', at: MSR_KERNEL_GS_BASE },
  { name: 'IA32_SYSENTER_CS', at: MSR_SYSENTER_CS }, { name: 'IA32_SYSENTER_ESP', at: MSR_SYSENTER_ESP }, { name: 'IA32_SYSENTER_EIP', at: MSR_SYSENTER_EIP },
  { name: 'IA32_PAT', at: MSR_PAT }, { name: 'IA32_TSC_AUX', at: MSR_TSC_AUX },
];

/** RFLAGS with the status flags, which the processor keeps in another form. */
export function flagsOf(cpu: Processor): bigint {
  // The helper returns 64 bits.
  return cpu.call('readFlags') as unknown as bigint;
}

export function registerSections(cpu: Processor): InspectSection[] {
  const { view } = cpu;
  const wide = (at: number): bigint => view.getBigUint64(at, true);
  const word = (at: number): number => view.getUint32(at, true);
  const rowOf = ({ name, at, bits }: RegisterRow): string[] => [name, wideHex(wide(at)), bits ? bitNames(wide(at), bits) : ''];
  const flags = flagsOf(cpu);
  const general = [
    ...GENERAL_REGISTERS.map((name, i) => [name, wideHex(wide(GPR + i * 8)), '']),
    ['RIP', wideHex(wide(RIP)), CODE_SIZES[word(CODE_SIZE)] ?? ''],
    ['RFLAGS', wideHex(flags), `${bitNames(flags, RFLAGS_BITS)} IOPL ${(flags >> 12n) & 3n}`.trim()],
    ['CPL', String(word(CPL)), ''],
    ['Activity', ACTIVITIES[word(ACTIVITY)] ?? hex(word(ACTIVITY)), bitNames(BigInt(word(INTERRUPTIBILITY)), INTERRUPTIBILITY_BITS)],
  ];
  const segments = SEGMENT_NAMES.map((name, i) => {
    const at = SEGMENTS + i * SEGMENT_SIZE;
    return [name, hex(view.getUint16(at + SEG_SELECTOR, true)), wideHex(wide(at + SEG_BASE)), hex(word(at + SEG_LIMIT)), hex(word(at + SEG_ACCESS)), accessText(word(at + SEG_ACCESS))];
  });
  const tables = [['GDTR', '', wideHex(wide(GDTR_BASE)), hex(word(GDTR_LIMIT)), '', ''], ['IDTR', '', wideHex(wide(IDTR_BASE)), hex(word(IDTR_LIMIT)), '', '']];
  return [
    section('General registers', ['Register', 'Value', 'Meaning'], general),
    section('Segments and tables', ['Register', 'Selector', 'Base', 'Limit', 'Access rights', 'Meaning'], [...segments, ...tables]),
    section('Control and debug registers', ['Register', 'Value', 'Bits set'], CONTROL.map(rowOf)),
    section('Model-specific registers', ['Register', 'Value', 'Bits set'], [...MSRS.map(rowOf), ['PKRU', hex(word(PKRU)), '']]),
  ];
}

const CODE_TYPES = ['execute', 'execute read', 'conforming', 'conforming read'];
const DATA_TYPES = ['read', 'read write', 'read, expands down', 'read write, expands down'];
const SYSTEM_TYPES: Readonly<Record<number, string>> = { 1: '16-bit TSS', 2: 'LDT', 3: 'busy 16-bit TSS', 9: 'TSS', 11: 'busy TSS' };
const ACCESS_BITS: readonly BitRow[] = [[7, 'present'], [13, '64-bit'], [14, '32-bit'], [15, '4 KiB units']];

/** Access rights in the VMCS's format. @sdm 3C table 25-2 */
function accessText(access: number): string {
  if (access & 0x10000) return 'unusable';
  const kind = access & 0x10 ? (access & 8 ? `code ${CODE_TYPES[(access >> 1) & 3]}` : `data ${DATA_TYPES[(access >> 1) & 3]}`) : (SYSTEM_TYPES[access & 15] ?? '');
  return `${kind}, DPL ${(access >> 5) & 3}, ${bitNames(BigInt(access), ACCESS_BITS)}`;
}

/** @sdm 1 8.1, 10.2 */
export function vectorSections({ view }: Processor): InspectSection[] {
  const top = (view.getUint16(FSW, true) >> 11) & 7;
  const tags = view.getUint8(FTAGS);
  const stack = Array.from({ length: 8 }, (_, i) => {
    const physical = (top + i) & 7;
    const at = X87 + physical * 16;
    const image = `0x${view.getUint16(at + 8, true).toString(16).padStart(4, '0')}${view.getBigUint64(at, true).toString(16).padStart(16, '0')}`;
    return [`ST${i}`, image, (tags >> physical) & 1 ? '' : 'empty'];
  });
  const vectors = Array.from({ length: 16 }, (_, i) => {
    const digits = (at: number): string => view.getBigUint64(at, true).toString(16).padStart(16, '0');
    return [`XMM${i}`, `0x${digits(XMM + i * 16 + 8)}${digits(XMM + i * 16)}`];
  });
  return [
    section('x87', ['Register', 'Value', 'Tag'], [
      ...stack, ['FCW', hex(view.getUint16(FCW, true)), ''], ['FSW', hex(view.getUint16(FSW, true)), `TOP ${top}`],
    ]),
    section('SSE', ['Register', 'Value'], [...vectors, ['MXCSR', hex(view.getUint32(MXCSR, true))]]),
  ];
}
