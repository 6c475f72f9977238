/**
 * Model-specific registers that root mode keeps, as rows; reading or writing one that has no row is #GP(0). Not here: those that live in the
 * processor's own state, the local APIC's, the time-stamp counter's (timeStamp.ts). @sdm 4, chapter 2
 */
import { StateReader } from '../platform/state.ts';
import type { Component, DeviceState } from '../platform/device.ts';

export interface MsrRow {
  readonly msr: number;
  readonly name: string;
  /** Value at reset: low, high. */
  readonly reset?: readonly [number, number];
  /** Bits that may be set; a write with others is #GP(0). Absent: read-only. */
  readonly writable?: readonly [number, number];
  /** Reading is #GP(0). */
  readonly command?: true;
}

const ALL: readonly [number, number] = [-1, -1];

/** RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO:
 *  an emulated processor does not speculate. */
const ARCH_CAPABILITIES: readonly [number, number] = [0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x2000 | 0x4000 | 0x8000 | 0x100000 | 0x1000000 | 0x4000000 | 0x8000000, 0x40000000];

const variableMtrrs = Array.from({ length: 16 }, (_, i): MsrRow => ({ msr: 0x200 + i, name: `IA32_MTRR_PHYS${i & 1 ? 'MASK' : 'BASE'}${i >> 1}`, writable: ALL }));
const fixedMtrrs = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f]
  .map((msr): MsrRow => ({ msr, name: `IA32_MTRR_FIX_${msr.toString(16)}`, reset: [0x06060606, 0x06060606], writable: ALL }));

export const MSRS: readonly MsrRow[] = [
  { msr: 0x00, name: 'IA32_P5_MC_ADDR', writable: ALL },
  { msr: 0x01, name: 'IA32_P5_MC_TYPE', writable: ALL },
  { msr: 0x17, name: 'IA32_PLATFORM_ID' },
  // IBRS, STIBP, SSBD, BHI_DIS_S: a system that sees the last one need not clear the history of branches in each system call.
  { msr: 0x48, name: 'IA32_SPEC_CTRL', writable: [0x407, 0] },
  { msr: 0x49, name: 'IA32_PRED_CMD', writable: [1, 0], command: true },
  { msr: 0x79, name: 'IA32_BIOS_UPDT_TRIG', writable: ALL },
  { msr: 0x8b, name: 'IA32_BIOS_SIGN_ID', reset: [0, 1], writable: ALL },
  { msr: 0xce, name: 'MSR_PLATFORM_INFO', reset: [20 << 8, 0] },
  { msr: 0xfe, name: 'IA32_MTRRCAP', reset: [0x508, 0] },
  { msr: 0x10a, name: 'IA32_ARCH_CAPABILITIES', reset: ARCH_CAPABILITIES },
  { msr: 0x140, name: 'MISC_FEATURE_ENABLES', writable: [0, 0] },
  { msr: 0x179, name: 'IA32_MCG_CAP' },
  { msr: 0x17a, name: 'IA32_MCG_STATUS', writable: ALL },
  { msr: 0x198, name: 'IA32_PERF_STATUS', reset: [20 << 8, 0] },
  { msr: 0x199, name: 'IA32_PERF_CTL', writable: [0xffff, 0] },
  { msr: 0x19a, name: 'IA32_CLOCK_MODULATION', writable: [0x1f, 0] },
  { msr: 0x19b, name: 'IA32_THERM_INTERRUPT', writable: ALL },
  { msr: 0x19c, name: 'IA32_THERM_STATUS', writable: ALL },
  { msr: 0x1a0, name: 'IA32_MISC_ENABLE', reset: [1, 0], writable: ALL },
  ...variableMtrrs,
  ...fixedMtrrs,
  { msr: 0x2ff, name: 'IA32_MTRR_DEF_TYPE', reset: [0xc06, 0], writable: [0xcff, 0] },
  { msr: 0x606, name: 'MSR_RAPL_POWER_UNIT' },
];

export class MsrFile implements Component {
  readonly name: string;
  readonly version = 1;
  private readonly values = new Map<number, [number, number]>();
  private readonly rows = new Map<number, MsrRow>();

  constructor(vcpu: number) {
    this.name = `msrs ${vcpu}`;
    for (const row of MSRS) this.rows.set(row.msr, row);
    this.reset();
  }

  reset(): void {
    for (const row of MSRS) this.values.set(row.msr, [row.reset?.[0] ?? 0, row.reset?.[1] ?? 0]);
  }

  /** The value as two 32-bit halves, or null for #GP(0). */
  read(msr: number): readonly [number, number] | null {
    return this.rows.get(msr)?.command ? null : this.values.get(msr) ?? null;
  }

  /** False asks for #GP(0). */
  write(msr: number, low: number, high: number): boolean {
    const row = this.rows.get(msr);
    if (!row?.writable) return false;
    if ((low & ~row.writable[0]) !== 0 || (high & ~row.writable[1]) !== 0) return false;
    this.values.set(msr, [low, high]);
    return true;
  }

  saveState(): DeviceState {
    const values = MSRS.filter(({ writable }) => writable).map(({ name, msr }) => [name, (this.read(msr) ?? [0, 0]).map(half => half >>> 0)]);
    return { ...Object.fromEntries(values), version: this.version };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const values = MSRS.filter(({ writable }) => writable).map((row): [MsrRow, number, number] => {
      const [low = 0, high = 0] = reader.uints(row.name, 32, 2);
      const [lowMask, highMask] = row.writable ?? [0, 0];
      const [lowReset, highReset] = row.reset ?? [0, 0];
      // What a reset leaves may be more than a guest may write.
      if (low & ~(lowMask | lowReset) || high & ~(highMask | highReset)) reader.refuse(row.name, 'bits that the register has');
      return [row, low, high];
    });
    for (const [{ msr }, low, high] of values) this.values.set(msr, [low | 0, high | 0]);
  }
}
