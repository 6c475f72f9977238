/** Every control that is offered, by what it changes: what is observed without it and with it. */
import { describe, expect, it } from 'vitest';
import type { Assembler } from '../../../core/isa/assembler.ts';
import { absolute, dword, offsetOf, register as r } from '../../../core/isa/registers.ts';
import * as L from '../../../core/cpu/layout.ts';
import { CONTROLS } from '../../../core/vmx/controls.ts';
import type { ControlWord } from '../../../core/vmx/controls.ts';
import * as C from '../../../core/vmx/control-bits.ts';
import * as F from '../../../core/vmx/fields.ts';
import { fieldOffset } from '../../../core/vmx/vmcs.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../../helpers/cpu-wasm.ts';
import { EPT, IDT, hypervisorImage } from '../../helpers/hypervisor.ts';
import type { Fields } from '../../helpers/hypervisor.ts';
import { runToEnd, smallMachine } from '../../helpers/small-guest.ts';

interface Row {
  readonly control: string;
  readonly without: number | string;
  readonly with: number | string;
}

// ---- helpers of the processor, in a nested guest --------------------------------------------------------------------------------
type Words = Partial<Record<'pin' | 'primary' | 'secondary', number>>;
interface Nested extends Row {
  readonly word: 'pin' | 'primary' | 'secondary';
  readonly bit: number;
  /** Controls that are on in both cases. */
  readonly also?: Words;
  readonly fields?: readonly (readonly [number, number | bigint])[];
  readonly act: (cpu: CpuWasm) => number | string;
}

const PAGE = 0x600000;
const TABLES = 0x10000;
const LOG = 0x12000;
const VIRTUAL = 0x13000;
const ACTIVE = { pin: L.ACTIVE_PIN, primary: L.ACTIVE_PRIMARY, secondary: L.ACTIVE_SECONDARY } as const;
const CR0_FIXED = L.VMX_CAPABILITIES + 6 * 8;

/** A processor in VMX non-root operation. */
function nested({ word, bit, also = {}, fields = [] }: Nested, on: boolean): CpuWasm {
  const cpu = instantiate();
  cpu.write32(L.VMX_OPERATION, 1);
  cpu.write32(L.NON_ROOT, 1);
  cpu.write64(CR0_FIXED, 0x80000021n);
  for (const [name, address] of Object.entries(ACTIVE)) cpu.write32(address, (also[name as keyof Words] ?? 0) >>> 0);
  if (on) cpu.write32(ACTIVE[word], (cpu.read32(ACTIVE[word]) | (1 << bit)) >>> 0);
  for (const [field, value] of fields) cpu.write64(L.VMCS + fieldOffset(field), BigInt(value));
  // EPT: one page of 1 GiB.
  cpu.write64(L.RAM_BASE + TABLES, BigInt(TABLES + 0x1000 + 7));
  cpu.write64(L.RAM_BASE + TABLES + 0x1000, 0xb7n);
  return cpu;
}

/** How an instruction of the nested guest ends: `ok`, `exit REASON` to its hypervisor, `root`, or `fault VECTOR`. */
function outcome(cpu: CpuWasm): string {
  const fault = cpu.read32(L.FAULT);
  if (fault === 0) return 'ok';
  if (fault === L.FAULT_VM_EXIT) return `exit ${cpu.read32(L.VMCS + fieldOffset(F.EXIT_REASON_FIELD))}`;
  return fault === L.FAULT_EXIT ? 'root' : `fault ${fault & 0xff}`;
}

const ends = (helper: string, ...args: (number | bigint)[]) => (cpu: CpuWasm): string => {
  cpu.call(helper, ...args);
  return outcome(cpu);
};
const says = (helper: string, ...args: (number | bigint)[]) => (cpu: CpuWasm): number => cpu.call(helper, ...args);
/** Sets up the state, then acts. */
const given = (writes: readonly (readonly [number, number])[], act: (cpu: CpuWasm) => number | string) => (cpu: CpuWasm): number | string => {
  for (const [at, value] of writes) cpu.write32(at, value);
  return act(cpu);
};
/** Acts, then looks at a word of the state. */
const leaves = (address: number, helper: string, ...args: (number | bigint)[]) => (cpu: CpuWasm): number => {
  cpu.call(helper, ...args);
  return cpu.read32(address);
};
const RCX = L.GPR + 8;
const EPT_ON: Words = { secondary: C.SECONDARY_EPT };
const EPT_FIELDS: Nested['fields'] = [[F.EPT_POINTER, TABLES | 0x5e], [F.PML_ADDRESS, LOG], [F.PML_INDEX, 511]];
const APIC_FIELDS: Nested['fields'] = [[F.APIC_ACCESS_ADDRESS, PAGE], [F.VIRTUAL_APIC_ADDRESS, VIRTUAL], [F.GUEST_INTERRUPT_STATUS, 0x51]];

const NESTED: readonly Nested[] = [
  { word: 'pin', bit: 0, control: 'external-interrupt exiting', without: 0, with: 1, act: says('interruptExits') },
  { word: 'pin', bit: 3, control: 'NMI exiting', without: 0, with: 1, act: says('nmiExits') },
  { word: 'pin', bit: 5, control: 'virtual NMIs', without: 1, with: 0, act: given([[L.INTERRUPTIBILITY, 8]], says('nmiBlocked')) },
  { word: 'pin', bit: 6, control: 'activate VMX-preemption timer', without: 0, with: 10, act: given([[L.PREEMPTION_DEADLINE, 320]], says('preemptionTimerLeft')) },
  {
    word: 'pin', bit: 7, control: 'process posted interrupts', without: 0, with: 1, act: says('postedInterrupts', 0x61),
    fields: [[F.POSTED_INTERRUPT_NOTIFICATION_VECTOR, 0x61], [F.POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, LOG], [F.VIRTUAL_APIC_ADDRESS, VIRTUAL]],
  },

  { word: 'primary', bit: 2, control: 'interrupt-window exiting', without: 0, with: L.WINDOW_NESTED, act: leaves(L.INTERRUPT_WINDOW, 'restoreWindows') },
  { word: 'primary', bit: 3, control: 'use TSC offsetting', without: 0, with: 0x500, act: leaves(L.GPR, 'rdtsc'), fields: [[F.TSC_OFFSET_FIELD, 0x500]] },
  { word: 'primary', bit: 7, control: 'HLT exiting', without: 'root', with: 'exit 12', act: ends('hlt') },
  { word: 'primary', bit: 9, control: 'INVLPG exiting', without: 'ok', with: 'exit 14', act: ends('invlpg', 0x1000n) },
  { word: 'primary', bit: 10, control: 'MWAIT exiting', without: 'root', with: 'exit 36', act: ends('mwait') },
  { word: 'primary', bit: 11, control: 'RDPMC exiting', without: 'fault 13', with: 'exit 15', act: ends('rdpmc') },
  { word: 'primary', bit: 12, control: 'RDTSC exiting', without: 'ok', with: 'exit 16', act: ends('rdtsc') },
  { word: 'primary', bit: 15, control: 'CR3-load exiting', without: 'ok', with: 'exit 28', act: ends('controlRegisterExit', 3, 0, L.GPR, 0x5000n) },
  { word: 'primary', bit: 16, control: 'CR3-store exiting', without: 'ok', with: 'exit 28', act: ends('controlRegisterExit', 3, 1, L.GPR, 0n) },
  { word: 'primary', bit: 19, control: 'CR8-load exiting', without: 'ok', with: 'exit 28', act: ends('controlRegisterExit', 8, 0, L.GPR, 1n) },
  { word: 'primary', bit: 20, control: 'CR8-store exiting', without: 'ok', with: 'exit 28', act: ends('controlRegisterExit', 8, 1, L.GPR, 0n) },
  {
    word: 'primary', bit: 21, control: 'use TPR shadow', without: 3, with: 7, fields: APIC_FIELDS,
    act: given([[L.CR8, 3], [L.RAM_BASE + VIRTUAL + 0x80, 0x70]], leaves(L.ARGUMENTS, 'movFromCr', 8)),
  },
  { word: 'primary', bit: 22, control: 'NMI-window exiting', without: 0, with: L.WINDOW_NESTED, act: leaves(L.NMI_WINDOW, 'restoreWindows') },
  { word: 'primary', bit: 23, control: 'MOV-DR exiting', without: 'ok', with: 'exit 29', act: ends('debugRegisterExit', 0, 0, L.GPR) },
  { word: 'primary', bit: 24, control: 'unconditional I/O exiting', without: 'ok', with: 'exit 30', act: ends('portExit', 0x80, 1, 0n) },
  { word: 'primary', bit: 25, control: 'use I/O bitmaps', without: 'exit 30', with: 'ok', also: { primary: C.PRIMARY_UNCONDITIONAL_IO }, act: ends('portExit', 0x80, 1, 0n), fields: [[F.IO_BITMAP_A, PAGE]] },
  { word: 'primary', bit: 27, control: 'monitor trap flag', without: 0, with: 32, act: given([], leaves(L.STEP_REASON, 'updateStepReason')) },
  { word: 'primary', bit: 28, control: 'use MSR bitmaps', without: 1, with: 0, act: says('msrExits', 0x10, 0), fields: [[F.MSR_BITMAPS, PAGE]] },
  { word: 'primary', bit: 29, control: 'MONITOR exiting', without: 'ok', with: 'exit 39', act: ends('monitor') },
  { word: 'primary', bit: 30, control: 'PAUSE exiting', without: 'ok', with: 'exit 40', act: ends('pause') },

  { word: 'secondary', bit: 0, control: 'virtualize APIC accesses', without: 'ok', with: 'exit 44', fields: APIC_FIELDS, act: ends('slowRead', BigInt(PAGE), 4) },
  { word: 'secondary', bit: 1, control: 'enable EPT', without: 'ok', with: 'exit 48', fields: [[F.EPT_POINTER, PAGE | 0x1e]], act: ends('slowRead', BigInt(PAGE), 4) },
  { word: 'secondary', bit: 2, control: 'descriptor-table exiting', without: 'ok', with: 'exit 46', act: ends('descriptorTableExit', 0) },
  { word: 'secondary', bit: 3, control: 'enable RDTSCP', without: 'fault 6', with: 'ok', act: ends('rdtscp') },
  {
    word: 'secondary', bit: 4, control: 'virtualize x2APIC mode', without: 'root', with: 'ok', also: { primary: C.PRIMARY_MSR_BITMAPS | C.PRIMARY_TPR_SHADOW }, fields: [...APIC_FIELDS, [F.MSR_BITMAPS, PAGE]],
    act: given([[RCX, 0x808]], ends('rdmsr')),
  },
  { word: 'secondary', bit: 6, control: 'WBINVD exiting', without: 'ok', with: 'exit 54', act: ends('wbinvd') },
  { word: 'secondary', bit: 7, control: 'unrestricted guest', without: 'fault 13', with: 'ok', act: ends('movToCr', 0, 0x30n) },
  {
    word: 'secondary', bit: 8, control: 'APIC-register virtualization', without: 'exit 44', with: 'ok', also: { primary: C.PRIMARY_TPR_SHADOW, secondary: C.SECONDARY_APIC_ACCESSES }, fields: APIC_FIELDS,
    act: ends('slowRead', BigInt(PAGE + 0x20), 4),
  },
  {
    word: 'secondary', bit: 9, control: 'virtual-interrupt delivery', without: 0, with: L.WINDOW_VIRTUAL_INTERRUPT, also: { primary: C.PRIMARY_TPR_SHADOW }, fields: APIC_FIELDS,
    act: leaves(L.INTERRUPT_WINDOW, 'restoreWindows'),
  },
  {
    word: 'secondary', bit: 10, control: 'PAUSE-loop exiting', without: 'ok', with: 'exit 40', fields: [[F.PLE_GAP, 100], [F.PLE_WINDOW, 500]],
    act: given([[L.TSC_OFFSET, 1000], [L.PAUSE_LOOP_LAST, 999], [L.PAUSE_LOOP_START, 0]], ends('pause')),
  },
  { word: 'secondary', bit: 11, control: 'RDRAND exiting', without: 'ok', with: 'exit 57', act: ends('rdrand', L.GPR, 4, 0) },
  { word: 'secondary', bit: 12, control: 'enable INVPCID', without: 'fault 6', with: 'ok', act: ends('invpcidExit') },
  { word: 'secondary', bit: 13, control: 'enable VM functions', without: 'fault 6', with: 'exit 59', act: ends('vmfunc') },
  { word: 'secondary', bit: 14, control: 'VMCS shadowing', without: 'exit 23', with: 'ok', act: ends('vmreadAdmit', 0x4402n), fields: [[F.VMREAD_BITMAP_ADDRESS, PAGE]] },
  { word: 'secondary', bit: 16, control: 'RDSEED exiting', without: 'ok', with: 'exit 61', act: ends('rdrand', L.GPR, 4, 1) },
  { word: 'secondary', bit: 17, control: 'enable PML', without: 0, with: PAGE, also: EPT_ON, fields: EPT_FIELDS, act: leaves(L.RAM_BASE + LOG + 511 * 8, 'slowStore', BigInt(PAGE), 4) },
  { word: 'secondary', bit: 20, control: 'enable XSAVES/XRSTORS', without: 'fault 6', with: 'ok', act: ends('supervisorStateExit', 0) },
  { word: 'secondary', bit: 22, control: 'mode-based execute control for EPT', without: 'ok', with: 'exit 48', also: EPT_ON, fields: EPT_FIELDS, act: ends('translateExecute', BigInt(PAGE)) },
  {
    word: 'secondary', bit: 25, control: 'use TSC scaling', without: 100, with: 200, also: { primary: C.PRIMARY_TSC_OFFSETTING }, fields: [[F.TSC_MULTIPLIER, 2n << 48n]],
    act: given([[L.TSC_OFFSET, 100]], leaves(L.GPR, 'rdtsc')),
  },
];

// ---- whole entries and exits ------------------------------------------------------------------------------------------------------
type Code = (a: Assembler) => void;
interface Entered extends Row {
  readonly word: ControlWord;
  readonly bit: number;
  readonly guest: Code;
  /** Leaves what is observed in EAX. */
  readonly host: Code;
  readonly fields?: Fields;
}

const WORDS: Readonly<Record<ControlWord, readonly [field: number, base: number]>> = {
  pin: [F.PIN_BASED_CONTROLS, 0x1e], primary: [F.PRIMARY_CONTROLS, (0x94006172 | C.PRIMARY_HLT) >>> 0], secondary: [F.SECONDARY_CONTROLS, 0x82], exit: [F.EXIT_CONTROLS, 0x36dfb], entry: [F.ENTRY_CONTROLS, 0x11fb],
};
const SEEN = 0x700000;
const FAILED = 0xbad;
const call: Code = a => { a.emit('VMCALL'); };
const seen: Code = a => { a.emit('MOV', r.eax, absolute(SEEN)); };
const field = (encoding: number): Code => a => { a.emit('MOV', r.ecx, encoding).emit('VMREAD', r.eax, r.ecx); };
const reason = field(F.EXIT_REASON_FIELD);
const writeMsr = (msr: number, low: number): Code => a => { a.emit('MOV', r.ecx, msr).emit('MOV', r.eax, low).emit('XOR', r.edx, r.edx).emit('WRMSR'); };
const readMsr = (msr: number): Code => a => { a.emit('MOV', r.ecx, msr).emit('RDMSR'); };
const note: Code = a => { a.emit('MOV', absolute(SEEN), r.eax); };
const both = (...parts: readonly Code[]): Code => a => { for (const part of parts) part(a); };
/** Leads a vector to a label of the guest. */
const gate = (vector: number, label: string): Code => a => {
  a.emit('MOV', r.eax, offsetOf(label)).emit('AND', r.eax, 0xffff).emit('OR', r.eax, 0x10 << 16).emit('MOV', absolute(IDT + vector * 8), r.eax);
};
const PAT = 0x277;
const EFER = 0xc0000080 | 0;
const TIMER = 0x7000000;
const PRIMARY_BASE = WORDS.primary[1];
const ipi = both(writeMsr(0x1b, 0xfee00900 | 0), writeMsr(0x1b, 0xfee00d00 | 0), writeMsr(0x80f, 0x1ff), writeMsr(0x83f, 0x61), a => { a.label('spin').emit('JMP', 'spin'); });

/** The guest writes a page twice; between, its hypervisor takes the right to write away and does not say so. */
const staleHost: Code = a => {
  a.emit('INC', dword(absolute(SEEN))).emit('CMP', dword(absolute(SEEN)), 2).emit('JE', 'second').emit('MOV', dword(absolute(EPT + 0x1000)), 0xb5);
  a.emit('MOV', r.ecx, F.GUEST_RIP).emit('VMREAD', r.eax, r.ecx).emit('ADD', r.eax, 3).emit('VMWRITE', r.ecx, r.eax).emit('VMRESUME').label('second');
  reason(a);
};
const writeTwice = both(a => { a.emit('MOV', dword(absolute(0x600000)), 1); }, call, a => { a.emit('MOV', dword(absolute(0x600000)), 2); }, call);

const ENTERED: readonly Entered[] = [
  { word: 'primary', bit: 31, control: 'activate secondary controls', without: 12, with: 54, guest: a => { a.emit('WBINVD').emit('HLT'); }, host: reason, fields: [[F.PRIMARY_CONTROLS, PRIMARY_BASE & 0x7fffffff], [F.SECONDARY_CONTROLS, 0x40], [F.GUEST_CR0, 0x80000031]] },
  { word: 'secondary', bit: 5, control: 'enable VPID', without: 48, with: 18, guest: writeTwice, host: staleHost },
  {
    word: 'secondary', bit: 18, control: 'EPT-violation #VE', without: 48, with: 18, guest: both(gate(20, 'handler'), a => { a.emit('MOV', r.eax, absolute(0x40000000)).label('handler'); }, call),
    host: reason, fields: [[F.VIRTUALIZATION_EXCEPTION_ADDRESS, 0x700000]],
  },
  { word: 'exit', bit: 2, control: 'save debug controls', without: 0x400, with: 0x402, guest: both(a => { a.emit('MOV', r.eax, 0x402).emit('MOV', r.dr7, r.eax); }, call), host: field(F.GUEST_DR7) },
  { word: 'exit', bit: 9, control: 'host address-space size', without: 18, with: FAILED, guest: call, host: reason },
  { word: 'exit', bit: 15, control: 'acknowledge interrupt on exit', without: 0, with: 0x80000061, guest: ipi, host: field(F.EXIT_INTERRUPTION_INFORMATION), fields: [[F.PIN_BASED_CONTROLS, 0x1f]] },
  { word: 'exit', bit: 18, control: 'save IA32_PAT', without: 0, with: 0x06060606, guest: both(writeMsr(PAT, 0x06060606), call), host: field(F.GUEST_IA32_PAT) },
  { word: 'exit', bit: 19, control: 'load IA32_PAT', without: 0x06060606, with: 0x04040404, guest: both(writeMsr(PAT, 0x06060606), call), host: readMsr(PAT), fields: [[F.HOST_IA32_PAT, 0x04040404]] },
  { word: 'exit', bit: 20, control: 'save IA32_EFER', without: 0, with: 1, guest: both(writeMsr(EFER, 1), call), host: field(F.GUEST_IA32_EFER) },
  { word: 'exit', bit: 21, control: 'load IA32_EFER', without: 1, with: 0, guest: both(writeMsr(EFER, 1), call), host: readMsr(EFER) },
  {
    word: 'exit', bit: 22, control: 'save VMX-preemption timer value', without: 0, with: 1, guest: call, fields: [[F.PIN_BASED_CONTROLS, 0x5e], [F.PREEMPTION_TIMER_VALUE, TIMER]],
    host: both(field(F.PREEMPTION_TIMER_VALUE), a => { a.emit('CMP', r.eax, TIMER).emit('SBB', r.eax, r.eax).emit('NEG', r.eax); }),
  },
  { word: 'entry', bit: 2, control: 'load debug controls', without: 0x400, with: 0x402, guest: both(a => { a.emit('MOV', r.eax, r.dr7); }, note, call), host: seen, fields: [[F.GUEST_DR7, 0x402]] },
  { word: 'entry', bit: 9, control: 'IA-32e mode guest', without: 18, with: FAILED, guest: call, host: reason },
  { word: 'entry', bit: 14, control: 'load IA32_PAT', without: 0x00070406, with: 0x06060606, guest: both(readMsr(PAT), note, call), host: seen, fields: [[F.GUEST_IA32_PAT, 0x06060606]] },
  { word: 'entry', bit: 15, control: 'load IA32_EFER', without: 0, with: 1, guest: both(readMsr(EFER), note, call), host: seen, fields: [[F.GUEST_IA32_EFER, 1]] },
];

async function observe({ word, bit, guest, host, fields = [] }: Entered, on: boolean): Promise<number | undefined> {
  const all = new Map<number, number>([...Object.values(WORDS), ...fields]);
  const [encoding] = WORDS[word];
  if (on) all.set(encoding, (all.get(encoding)! | (1 << bit)) >>> 0);
  const image = hypervisorImage(guest, a => {
    host(a);
    a.emit('OUT', 0xf4, r.eax).emit('HLT');
  }, [...all]);
  const exit = await runToEnd(await smallMachine(image, { cpuModel: 'max' }), 200);
  return exit?.reason === 'debug-exit' ? exit.value : undefined;
}

describe('a control', () => {
  it.each(NESTED.map(row => [row.control, row] as const))('of a nested guest: %s', (_name, row) => {
    expect([row.act(nested(row, false)), row.act(nested(row, true))]).toEqual([row.without, row.with]);
  });

  it.each(ENTERED.map(row => [row.control, row] as const))('of entry and exit: %s', async (_name, row) => {
    expect([await observe(row, false), await observe(row, true)]).toEqual([row.without, row.with]);
  });

  it('has a row here, each that is offered and no other', () => {
    const tested = [...NESTED, ...ENTERED].map(({ word, bit, control }) => `${word} ${bit} ${control}`);
    expect(tested.sort()).toEqual(CONTROLS.map(({ word, bit, name }) => `${word} ${bit} ${name}`).sort());
  });
});
