/** From the trace's ring to exits that people read. */
import type { ExitRecord, NamedValue } from '../contract/exits.ts';
import { RECORD, RECORD_BYTES } from './exitTrace.ts';
import { EXIT_INFORMATION, KINDS, ROOT_KINDS, vmcsValues } from './vmcsFields.ts';
import { decodeQualification, exitReasonName } from './exitReasons.ts';

const REGISTERS = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'];
const SYSTEM_REGISTERS: readonly (readonly [string, number])[] = [
  ['RIP', RECORD.rip], ['RFLAGS', RECORD.flags], ['CR0', RECORD.cr0], ['CR3', RECORD.cr3], ['CR4', RECORD.cr4], ['IA32_EFER', RECORD.efer],
];
const EPT_VIOLATION = 48;
const EPT_MISCONFIGURATION = 49;
const INVLPG = 14;
const EXTERNAL_INTERRUPT = 1;
/** Exits that save a guest-linear address. @sdm 3C 28.2.1 */
const WITH_LINEAR = new Set([EPT_VIOLATION, INVLPG, 46, 47]);
/** Exits by the execution of an instruction: its length is valid. @sdm 3C 28.2.5 */
const WITHOUT_INSTRUCTION = new Set([0, EXTERNAL_INTERRUPT, 2, 3, 4, 7, 8, 33, 34, 37, 41, 43, EPT_VIOLATION, EPT_MISCONFIGURATION, 52, 62]);

/** Which fields are shown, by level. */
const KINDS_OF_LEVEL: Readonly<Record<number, typeof KINDS>> = { 1: ROOT_KINDS, 2: KINDS };

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/**
 * Decodes what ExitTrace.take returned. `epochMs` is performance.timeOrigin of the thread that traced; `vmcsOf` gives the VMCS of an exit where it
 * is kept.
 */
export function decodeExits(records: Uint8Array, epochMs: number, vmcsOf: (sequence: number) => Uint8Array | null = () => null): ExitRecord[] {
  const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
  return Array.from({ length: Math.floor(records.length / RECORD_BYTES) }, (_, i) => decodeExit(view, i * RECORD_BYTES, epochMs, vmcsOf));
}

function decodeExit(view: DataView, at: number, epochMs: number, vmcsOf: (sequence: number) => Uint8Array | null): ExitRecord {
  const wide = (offset: number): bigint => view.getBigUint64(at + offset, true);
  const word = (offset: number): number => view.getUint32(at + offset, true);
  const reason = view.getUint16(at + RECORD.reason, true);
  const level = view.getUint8(at + RECORD.level);
  const qualification = wide(RECORD.qualification);
  const ns = view.getFloat64(at + RECORD.ns, true);
  const registers = [
    ...REGISTERS.map((name, i) => ({ name, value: hex(wide(RECORD.registers + i * 8)) })),
    ...SYSTEM_REGISTERS.map(([name, offset]) => ({ name, value: hex(wide(offset)) })),
    { name: 'CPL', value: String(word(RECORD.cpl)) },
  ];
  const fields = decodeQualification(reason, qualification);
  const vmcs = vmcsOf(word(RECORD.sequence));
  return {
    sequence: word(RECORD.sequence), at: epochMs + view.getFloat64(at + RECORD.at, true), ns: ns < 0 ? null : ns,
    vcpu: view.getUint8(at + RECORD.vcpu), level, reason, name: exitReasonName(reason),
    summary: summarise(reason, fields, wide(RECORD.registers + 8), wide(RECORD.physical)), rip: hex(wide(RECORD.rip)),
    qualification: hex(qualification), fields, vmcs: (vmcs && vmcsValues(vmcs, KINDS_OF_LEVEL[level]!)) ?? exitFields(reason, wide, word).map(value => ({ group: EXIT_INFORMATION, ...value })), registers,
  };
}

/** The VM-exit information fields that the exit has filled. @sdm 3C 25.9 */
function exitFields(reason: number, wide: (offset: number) => bigint, word: (offset: number) => number): NamedValue[] {
  const fields: NamedValue[] = [{ name: 'Exit reason', value: hex(reason) }, { name: 'Exit qualification', value: hex(wide(RECORD.qualification)) }];
  if (reason === EPT_VIOLATION || reason === EPT_MISCONFIGURATION) fields.push({ name: 'Guest-physical address', value: hex(wide(RECORD.physical)) });
  if (WITH_LINEAR.has(reason)) fields.push({ name: 'Guest-linear address', value: hex(wide(RECORD.linear)) });
  if (!WITHOUT_INSTRUCTION.has(reason)) {
    fields.push({ name: 'VM-exit instruction length', value: String(word(RECORD.length)) });
    if (word(RECORD.information) !== 0) fields.push({ name: 'VM-exit instruction information', value: hex(word(RECORD.information)) });
  }
  if (word(RECORD.vectoring) & 0x80000000) fields.push({ name: 'IDT-vectoring information', value: hex(word(RECORD.vectoring)) });
  return fields;
}

function summarise(reason: number, fields: readonly NamedValue[], rcx: bigint, physical: bigint): string {
  const field = (name: string): string => fields.find((candidate) => candidate.name === name)?.value ?? '';
  switch (exitReasonName(reason)) {
    case 'io-instruction': return `${field('direction')}${field('string') === 'yes' ? 'S' : ''} port ${field('port')}, ${field('size')}`;
    case 'ept-violation': return `${field('write') === 'yes' ? 'write' : field('fetch') === 'yes' ? 'fetch' : 'read'} at ${hex(physical)}`;
    case 'ept-misconfiguration': return `at ${hex(physical)}`;
    case 'rdmsr': case 'wrmsr': return `MSR ${hex(rcx & 0xffffffffn)}`;
    case 'control-register': return `${field('access')} ${field('register')}`;
    case 'mov-dr': return `${field('direction')} ${field('register')}`;
    case 'apic-access': return `${field('access')} at ${field('offset')}`;
    default: return '';
  }
}
