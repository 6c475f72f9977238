/**
 * The VM-execution, exit and entry controls as rows: which bits this processor offers. The capability MSRs and the checks of reserved
 * bits are made from them. @sdm 3C 25.6 to 25.8; 3D A.3 to A.5
 */
import type { CpuModel, Feature } from '../cpu/models.ts';

/** Read by the AssemblyScript helpers too: core/vmx/control-bits.ts. */
export type ControlWord = 'pin' | 'primary' | 'secondary' | 'exit' | 'entry';

export interface ControlRow {
  readonly word: ControlWord;
  readonly bit: number;
  readonly name: string;
  /** CPUID feature without which the control is not offered. */
  readonly feature?: Feature;
}

const row = (word: ControlWord, bit: number, name: string, feature?: Feature): ControlRow => ({ word, bit, name, ...(feature ? { feature } : {}) });

export const CONTROLS: readonly ControlRow[] = [
  row('pin', 0, 'external-interrupt exiting'), row('pin', 3, 'NMI exiting'), row('pin', 5, 'virtual NMIs'),
  row('pin', 6, 'activate VMX-preemption timer'), row('pin', 7, 'process posted interrupts'),

  row('primary', 2, 'interrupt-window exiting'), row('primary', 3, 'use TSC offsetting'), row('primary', 7, 'HLT exiting'),
  row('primary', 9, 'INVLPG exiting'), row('primary', 10, 'MWAIT exiting'), row('primary', 11, 'RDPMC exiting'), row('primary', 12, 'RDTSC exiting'),
  row('primary', 15, 'CR3-load exiting'), row('primary', 16, 'CR3-store exiting'), row('primary', 19, 'CR8-load exiting'),
  row('primary', 20, 'CR8-store exiting'), row('primary', 21, 'use TPR shadow'), row('primary', 22, 'NMI-window exiting'),
  row('primary', 23, 'MOV-DR exiting'), row('primary', 24, 'unconditional I/O exiting'), row('primary', 25, 'use I/O bitmaps'),
  row('primary', 27, 'monitor trap flag'), row('primary', 28, 'use MSR bitmaps'), row('primary', 29, 'MONITOR exiting'),
  row('primary', 30, 'PAUSE exiting'), row('primary', 31, 'activate secondary controls'),

  row('secondary', 0, 'virtualize APIC accesses'), row('secondary', 1, 'enable EPT'), row('secondary', 2, 'descriptor-table exiting'),
  row('secondary', 3, 'enable RDTSCP', 'rdtscp'), row('secondary', 4, 'virtualize x2APIC mode'), row('secondary', 5, 'enable VPID'),
  row('secondary', 6, 'WBINVD exiting'), row('secondary', 7, 'unrestricted guest'),
  row('secondary', 8, 'APIC-register virtualization'), row('secondary', 9, 'virtual-interrupt delivery'),
  row('secondary', 10, 'PAUSE-loop exiting'), row('secondary', 11, 'RDRAND exiting', 'rdrand'), row('secondary', 12, 'enable INVPCID', 'invpcid'),
  row('secondary', 13, 'enable VM functions'),
  row('secondary', 14, 'VMCS shadowing'), row('secondary', 16, 'RDSEED exiting', 'rdseed'),
  row('secondary', 17, 'enable PML'), row('secondary', 18, 'EPT-violation #VE'), row('secondary', 20, 'enable XSAVES/XRSTORS', 'xsave'), row('secondary', 22, 'mode-based execute control for EPT'),
  row('secondary', 25, 'use TSC scaling'),

  row('exit', 2, 'save debug controls'), row('exit', 9, 'host address-space size'), row('exit', 15, 'acknowledge interrupt on exit'),
  row('exit', 18, 'save IA32_PAT'), row('exit', 19, 'load IA32_PAT'), row('exit', 20, 'save IA32_EFER'), row('exit', 21, 'load IA32_EFER'),
  row('exit', 22, 'save VMX-preemption timer value'),

  row('entry', 2, 'load debug controls'), row('entry', 9, 'IA-32e mode guest'), row('entry', 14, 'load IA32_PAT'), row('entry', 15, 'load IA32_EFER'),
];

/** Bits without a meaning that must be 1 (the default1 class), and those of them that the TRUE_ registers leave free. @sdm 3D A.2 */
export const DEFAULT_ONE: Readonly<Record<ControlWord, number>> = { pin: 0x16, primary: 0x0401e172, secondary: 0, exit: 0x00036dff, entry: 0x000011ff };
const FREE: Readonly<Record<ControlWord, number>> = { pin: 0, primary: 0x00018000, secondary: 0, exit: 0x4, entry: 0x4 };

/** What a control word may hold: bits that must be 1 (`ones`) and bits that may be (`allowed`). */
export function allowedSettings(word: ControlWord, model: Pick<CpuModel, 'features'>): { readonly ones: number; readonly allowed: number } {
  const ones = DEFAULT_ONE[word] & ~FREE[word];
  const offered = CONTROLS.filter(({ word: at, feature }) => at === word && (!feature || model.features.includes(feature)));
  return { ones: ones >>> 0, allowed: offered.reduce((bits, { bit }) => bits | (1 << bit), DEFAULT_ONE[word]) >>> 0 };
}

export const capabilityMsr = {
  basic: 0x480, pin: 0x481, primary: 0x482, exit: 0x483, entry: 0x484, misc: 0x485, cr0Fixed0: 0x486, cr0Fixed1: 0x487, cr4Fixed0: 0x488,
  cr4Fixed1: 0x489, vmcsEnum: 0x48a, secondary: 0x48b, eptVpid: 0x48c, truePin: 0x48d, truePrimary: 0x48e, trueExit: 0x48f, trueEntry: 0x490,
  vmFunctions: 0x491,
} as const;
export const FIRST_CAPABILITY = capabilityMsr.basic;
export const LAST_CAPABILITY = capabilityMsr.vmFunctions;

/** 4 KB regions, write-back, INS/OUTS information, TRUE_ registers. @sdm 3D A.1 */
const BASIC_HIGH = 4096 | (6 << 18) | (1 << 22) | (1 << 23);
/** Preemption timer at TSC / 32, LMA stored, HLT, shutdown and wait-for-SIPI, 4 CR3 targets, VMWRITE to any field, injection of length 0. @sdm 3D A.6 */
const MISC = 5 | (1 << 5) | (7 << 6) | (4 << 16) | (1 << 29) | (1 << 30);
/** Execute-only, 4 levels, UC and WB structures, 2 MB and 1 GB pages, INVEPT, accessed and dirty flags, INVEPT single and all. @sdm 3D A.10 */
const EPT = 1 | (1 << 6) | (1 << 8) | (1 << 14) | (1 << 16) | (1 << 17) | (1 << 20) | (1 << 21) | (1 << 25) | (1 << 26);
/** INVVPID with its four types. */
const VPID = 1 | (15 << 8);
export const CR0_FIXED_0 = 0x80000021;
export const CR4_FIXED_0 = 0x2000;
const EPTP_SWITCHING = 1;

/** Values of the capability MSRs, 64 bits each, from FIRST_CAPABILITY on. `cr4`: what CR4 may hold. */
export function capabilities(model: Pick<CpuModel, 'features'>, revision: number, vmcsEnum: number, cr4: bigint): readonly bigint[] {
  const pair = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  const settings = (word: ControlWord, exact: boolean): bigint => {
    const { ones, allowed } = allowedSettings(word, model);
    return pair(exact ? ones : ones | DEFAULT_ONE[word], allowed);
  };
  return [
    pair(revision, BASIC_HIGH), settings('pin', false), settings('primary', false), settings('exit', false), settings('entry', false), pair(MISC, 0),
    pair(CR0_FIXED_0, 0), pair(0xffffffff, 0), pair(CR4_FIXED_0, 0), cr4, pair(vmcsEnum, 0), settings('secondary', true), pair(EPT, VPID),
    settings('pin', true), settings('primary', true), settings('exit', true), settings('entry', true), pair(EPTP_SWITCHING, 0),
  ];
}
