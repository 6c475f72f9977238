/**
 * Root mode's own VMCS of each vCPU, by the field table that guests' VMCSs have. It lies below guest RAM in linear memory, where no guest-physical
 * address leads. The processor works on it in place: an exit's fields and an event to inject are written and read right there, so that a VM entry
 * copies nothing. Guest state stays in the processor while the vCPU is its only user, and is stored when somebody looks (`storeGuestState`).
 * @sdm 3C 25
 */
import type { Processor } from '../cpu/processor.ts';
import { ROOT_EPT, ROOT_IO_BITMAPS, ROOT_MSR_BITMAPS, ROOT_VMCS } from '../cpu/layout.ts';
import * as C from '../vmx/control-bits.ts';
import { DEFAULT_ONE } from '../vmx/controls.ts';
import * as F from '../vmx/fields.ts';
import { VMCS_REVISION, fieldOffset } from '../vmx/vmcs.ts';

export const VMCS_BYTES = 4096;
const IO_BITMAP_BYTES = 4096;
const NO_POINTER = 0xffff_ffff_ffff_ffffn;
/** Write-back, four levels. */
const EPT_FORM = 0x1e;

/** What root mode asks for at power-on. Windows and PAUSE exiting come and go. */
const PROGRAM: readonly (readonly [field: number, value: number | bigint])[] = [
  [F.PIN_BASED_CONTROLS, DEFAULT_ONE.pin | C.PIN_EXTERNAL_INTERRUPT | C.PIN_NMI | C.PIN_PREEMPTION_TIMER],
  [F.PRIMARY_CONTROLS, DEFAULT_ONE.primary & ~(C.PRIMARY_CR3_LOAD | C.PRIMARY_CR3_STORE) | C.PRIMARY_TSC_OFFSETTING | C.PRIMARY_HLT | C.PRIMARY_MWAIT | C.PRIMARY_CR8_LOAD
    | C.PRIMARY_IO_BITMAPS | C.PRIMARY_MSR_BITMAPS | C.PRIMARY_SECONDARY],
  [F.SECONDARY_CONTROLS, C.SECONDARY_EPT | C.SECONDARY_RDTSCP | C.SECONDARY_UNRESTRICTED | C.SECONDARY_INVPCID | C.SECONDARY_XSAVES],
  [F.EXIT_CONTROLS, DEFAULT_ONE.exit | C.EXIT_ACKNOWLEDGE_INTERRUPT], [F.ENTRY_CONTROLS, DEFAULT_ONE.entry],
  [F.IO_BITMAP_A, ROOT_IO_BITMAPS], [F.IO_BITMAP_B, ROOT_IO_BITMAPS + IO_BITMAP_BYTES], [F.MSR_BITMAPS, ROOT_MSR_BITMAPS],
  [F.EPT_POINTER, ROOT_EPT | EPT_FORM], [F.VMCS_LINK_POINTER, NO_POINTER],
];

/** Puts a vCPU's VMCS into its state at power-on; the vCPU is selected. */
export function programRootVmcs({ view, bytes }: Processor): void {
  bytes.fill(0, ROOT_VMCS, ROOT_VMCS + VMCS_BYTES);
  view.setUint32(ROOT_VMCS, VMCS_REVISION, true);
  for (const [field, value] of PROGRAM) view.setBigUint64(ROOT_VMCS + fieldOffset(field), BigInt.asUintN(64, typeof value === 'bigint' ? value : BigInt(value >>> 0)), true);
}

/** Of each half of the bitmaps, those for reads and those for writes: the first MSR, and where its bit is. */
export const MSR_RANGES = [[0, 0], [0xc0000000, 0x400]] as const;
export const MSRS_OF_RANGE = 0x2000;
export const MSR_WRITES = 0x800;

/** Every access to an MSR that the processor does not keep itself exits. Once for all vCPUs, when the model's limits are set. */
export function programMsrBitmaps(cpu: Processor): void {
  const bitmaps = cpu.bytes.subarray(ROOT_MSR_BITMAPS, ROOT_MSR_BITMAPS + VMCS_BYTES).fill(0);
  for (const [first, offset] of MSR_RANGES) {
    for (let i = 0; i < MSRS_OF_RANGE; i++) {
      if (cpu.call('keepsMsr', first + i) === 0) bitmaps[offset + (i >> 3)]! |= 1 << (i & 7);
    }
    bitmaps.copyWithin(offset + MSR_WRITES, offset, offset + 0x400);
  }
}

/** Every port exits: whatever is at one is root mode's. Once for all vCPUs. */
export function programIoBitmaps({ bytes }: Processor): void {
  bytes.fill(0xff, ROOT_IO_BITMAPS, ROOT_IO_BITMAPS + 2 * IO_BITMAP_BYTES);
}

/** The selected vCPU's VMCS with its guest state, for whoever looks. */
export function readRootVmcs(cpu: Processor): DataView {
  cpu.call('storeGuestState');
  return new DataView(cpu.bytes.buffer, cpu.bytes.byteOffset + ROOT_VMCS, VMCS_BYTES);
}
