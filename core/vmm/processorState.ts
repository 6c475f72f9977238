/**
 * A vCPU's registers as named fields: what a snapshot holds of the processor. Look-aside tables, decoded code and the lazy form of the flags
 * are not state: they are made again.
 */
import { StateReader } from '../platform/state.ts';
import type { Component, DeviceState } from '../platform/device.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  ACTIVITY, CPL, CR0, CR2, CR3, CR4, CR4_ALLOWED, CR8, DR0, DR6, DR7, EFER, EFER_ALLOWED, ENTRY_ERROR, ENTRY_INTR_INFO, ENTRY_LENGTH, FCS, FCW, FDP, FDS,
  FERR, FIP, FOP, FSW, FTAGS, GDTR_BASE, GDTR_LIMIT, GPR, IDTR_BASE, IDTR_LIMIT, INSTRUCTIONS, INTERRUPTIBILITY, MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_LSTAR,
  MSR_PAT, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC_AUX, MSR_XSS, MXCSR, PDPTE, PENDING_DEBUG, PHYS_RESERVED, PKRU,
  RIP, SEGMENTS, SEGMENT_SIZE, SEG_ACCESS, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, X87, XCR0, XCR0_ALLOWED, XMM,
} from '../cpu/layout.ts';
import { clearState } from './resetState.ts';
import { readFields, saveFields, stateFields, writeFields } from './stateFields.ts';
import type { StateField, StateValues } from './stateFields.ts';

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];

/** Fields that lie in the state as they are saved. */
const FIELDS: readonly StateField[] = [
  ...stateFields(64, GENERAL.map((name, index) => [name, GPR + index * 8])),
  ...stateFields(64, [['rip', RIP], ['gdtrBase', GDTR_BASE], ['idtrBase', IDTR_BASE]]),
  ...stateFields(32, [['gdtrLimit', GDTR_LIMIT], ['idtrLimit', IDTR_LIMIT], ['cpl', CPL]]),
  ...stateFields(64, [['cr0', CR0], ['cr2', CR2], ['cr3', CR3], ['cr4', CR4], ['cr8', CR8], ['efer', EFER], ['xcr0', XCR0]]),
  ...stateFields(64, [['dr0', DR0], ['dr1', DR0 + 8], ['dr2', DR0 + 16], ['dr3', DR0 + 24], ['dr6', DR6], ['dr7', DR7]]),
  ...stateFields(32, [['pkru', PKRU]]),
  ...stateFields(64, [
    ['star', MSR_STAR], ['lstar', MSR_LSTAR], ['cstar', MSR_CSTAR], ['fmask', MSR_SFMASK], ['kernelGsBase', MSR_KERNEL_GS_BASE],
    ['sysenterCs', MSR_SYSENTER_CS], ['sysenterEsp', MSR_SYSENTER_ESP], ['sysenterEip', MSR_SYSENTER_EIP], ['pat', MSR_PAT], ['tscAux', MSR_TSC_AUX], ['xss', MSR_XSS],
    ['pdpte0', PDPTE], ['pdpte1', PDPTE + 8], ['pdpte2', PDPTE + 16], ['pdpte3', PDPTE + 24], ['pendingDebug', PENDING_DEBUG],
  ]),
  ...stateFields(32, [
    ['interruptibility', INTERRUPTIBILITY], ['activity', ACTIVITY],
    ['entryInterruption', ENTRY_INTR_INFO], ['entryErrorCode', ENTRY_ERROR], ['entryInstructionLength', ENTRY_LENGTH],
  ]),
  ...stateFields(16, [['fcw', FCW], ['fsw', FSW], ['fop', FOP], ['fcs', FCS], ['fds', FDS]]),
  ...stateFields(8, [['ftags', FTAGS]]),
  ...stateFields(64, [['fip', FIP], ['fdp', FDP]]),
  ...stateFields(32, [['mxcsr', MXCSR], ['ferr', FERR]]),
  ...Array.from({ length: 8 }, (_, i): StateField[] => [
    { name: `st${i}Significand`, offset: X87 + i * 16, bits: 64 }, { name: `st${i}SignExponent`, offset: X87 + i * 16 + 8, bits: 16 },
  ]).flat(),
  ...Array.from({ length: 16 }, (_, i) => stateFields(64, [[`xmm${i}Low`, XMM + i * 16], [`xmm${i}High`, XMM + i * 16 + 8]])).flat(),
  ...stateFields(64, [['instructions', INSTRUCTIONS]]),
];

const SEGMENT_FIELDS: readonly StateField[] = [
  ...stateFields(16, [['selector', SEG_SELECTOR]]), ...stateFields(64, [['base', SEG_BASE]]), ...stateFields(32, [['limit', SEG_LIMIT], ['access', SEG_ACCESS]]),
];

const CR0_PE = 1n;
const CR0_PG = 1n << 31n;
const CR0_DEFINED = 0xe005003fn;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
/** Every RFLAGS bit there is. @sdm 1 3.4.3 */
const FLAGS = 0x3f7fd7n;
const SEGMENT_ACCESS = 0x1f0ff;

/** The saved registers of one vCPU. */
export class ProcessorState implements Component {
  readonly name: string;
  readonly version = 1;
  readonly #cpu: Processor;
  readonly #index: number;

  constructor(cpu: Processor, index: number) {
    this.#cpu = cpu;
    this.#index = index;
    this.name = `vcpu ${index}`;
  }

  /** Root mode resets the processor itself: a boot protocol chooses the state. */
  reset(): void {}

  /** Between slices only. */
  saveState(): DeviceState {
    return this.#cpu.on(this.#index, () => this.#save());
  }

  #save(): DeviceState {
    const cpu = this.#cpu;
    // The shadow of STI and MOV SS goes where the VMCS has it.
    cpu.call('interruptShadow');
    const flags = cpu.call('readFlags') as unknown as bigint;
    const segments = SEGMENT_NAMES.map((_, index) => saveFields(cpu.view, SEGMENT_FIELDS, SEGMENTS + index * SEGMENT_SIZE));
    return { version: this.version, rflags: flags.toString(), ...saveFields(cpu.view, FIELDS, 0), segments, pendingExit: cpu.pendingExit };
  }

  /** Takes the state over, or throws and changes nothing. The look-aside tables and all decoded code are dropped. */
  loadState(state: unknown): void {
    this.#cpu.on(this.#index, () => this.#load(state));
  }

  #load(state: unknown): void {
    const cpu = this.#cpu;
    const { view } = cpu;
    const reader = StateReader.open(this, state);
    const values = readFields(reader, FIELDS);
    const flags = reader.uint64('rflags');
    const segments = reader.records('segments', SEGMENT_NAMES.length).map((segment) => {
      if (segment.uint('access', 32) & ~SEGMENT_ACCESS) segment.refuse('access', 'no reserved bit');
      return readFields(segment, SEGMENT_FIELDS);
    });
    const pendingExit = reader.integer('pendingExit', -1, 0xffff);
    check(reader, values, flags, {
      cr4: view.getBigUint64(CR4_ALLOWED, true), efer: view.getBigUint64(EFER_ALLOWED, true), xcr0: view.getBigUint64(XCR0_ALLOWED, true),
      physicalReserved: view.getBigUint64(PHYS_RESERVED, true),
    });
    clearState(cpu);
    writeFields(view, FIELDS, 0, values);
    segments.forEach((segment, index) => writeFields(view, SEGMENT_FIELDS, SEGMENTS + index * SEGMENT_SIZE, segment));
    cpu.call('writeFlags', flags, FLAGS);
    cpu.reset();
    cpu.pendingExit = pendingExit;
  }
}

/** What VM entry would refuse of a guest's state, as far as the emulation relies on it. @sdm 3C 27.3.1 */
function check(reader: StateReader, values: StateValues, flags: bigint, limits: { cr4: bigint; efer: bigint; xcr0: bigint; physicalReserved: bigint }): void {
  const of = (name: string): bigint => values.get(name) ?? 0n;
  const has = (name: string, bits: bigint): boolean => (of(name) & bits) !== 0n;
  const rules: readonly (readonly [string, boolean, string])[] = [
    ['rflags', (flags & ~FLAGS) === 0n && (flags & 2n) !== 0n, 'defined flags only'],
    ['cpl', of('cpl') <= 3n, 'a privilege level'],
    ['cr0', !has('cr0', ~CR0_DEFINED) && (!has('cr0', CR0_PG) || has('cr0', CR0_PE)), 'defined bits, and paging in protected mode only'],
    ['cr3', !has('cr3', limits.physicalReserved | (0xfffn << 52n)), 'an address that the processor model has'],
    ['cr4', !has('cr4', ~limits.cr4), 'bits that the processor model has'],
    ['cr8', of('cr8') <= 15n, 'a task priority'],
    ['efer', !has('efer', ~limits.efer), 'bits that the processor model has'],
    ['efer', has('efer', EFER_LMA) === (has('efer', EFER_LME) && has('cr0', CR0_PG)), 'LMA exactly when LME and CR0.PG are set'],
    ['cr4', !has('efer', EFER_LMA) || has('cr4', CR4_PAE), 'PAE in IA-32e mode'],
    ['xcr0', has('xcr0', 1n) && !has('xcr0', ~limits.xcr0), 'bits that the processor model has'],
    ['dr6', !has('dr6', ~0xffffffffn), '32 bits'],
    ['dr7', !has('dr7', ~0xffffffffn), '32 bits'],
    ['activity', of('activity') <= 3n, 'an activity state'],
    ['interruptibility', of('interruptibility') <= 15n, 'an interruptibility state'],
    ['instructions', of('instructions') < 1n << 53n, 'a count below 2^53'],
    ['mxcsr', !has('mxcsr', ~0xffffn), '16 bits'],
  ];
  for (const [field, holds, expected] of rules) if (!holds) reader.refuse(field, expected);
}
