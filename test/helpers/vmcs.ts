/** A VMCS that passes every check of VM entry: a 64-bit guest of a 64-bit hypervisor. */
import { MODELS } from '../../core/cpu/models.ts';
import type { CpuModel } from '../../core/cpu/models.ts';
import { settingsOf } from '../../core/vmx/tables.ts';
import { VMCS_REVISION } from '../../core/vmx/vmcs.ts';
import { VmcsView } from '../../core/vmx/view.ts';
import type { CheckedProcessor } from '../../core/vmx/view.ts';
import * as F from '../../core/vmx/fields.ts';
import * as C from '../../core/vmx/control-bits.ts';

const CR4 = 0x2020n;
const EFER = 0xd01n;
const CODE = 0xa09b;
const DATA = 0xc093;
const UNUSABLE = 1 << 16;

export const max: CpuModel = MODELS.find(({ name }) => name === 'max')!;

/** Offers every control there could be, so that the checks behind those of reserved bits are reached. */
const everyControl = Object.fromEntries(Object.entries(settingsOf(max)).map(([word, { ones }]) => [word, { ones, allowed: word === 'secondary' ? 0x7fffffff : 0xffffffff }])) as ReturnType<typeof settingsOf>;

export function checkedProcessor(overrides: Partial<CheckedProcessor> = {}): CheckedProcessor {
  return {
    physicalAddressBits: 46, cr4: 0x773fffn, efer: EFER, settings: everyControl, revision: VMCS_REVISION, longMode: true,
    currentVmcs: 0x5000n, read32: () => 0, ...overrides,
  };
}

/** Every field of a valid VMCS that is not 0. */
const VALID: readonly (readonly [number, bigint | number])[] = [
  [F.PIN_BASED_CONTROLS, 0x16], [F.PRIMARY_CONTROLS, 0x04006172], [F.EXIT_CONTROLS, 0x36dfb | C.EXIT_HOST_LONG], [F.ENTRY_CONTROLS, 0x11fb | C.ENTRY_GUEST_LONG],
  [F.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn],
  [F.HOST_CR0, 0x80000021], [F.HOST_CR3, 0x1000], [F.HOST_CR4, CR4], [F.HOST_CS_SELECTOR, 8], [F.HOST_SS_SELECTOR, 16], [F.HOST_TR_SELECTOR, 24],
  [F.HOST_RIP, 0x100000],
  [F.GUEST_CR0, 0x80000021], [F.GUEST_CR3, 0x2000], [F.GUEST_CR4, CR4], [F.GUEST_RFLAGS, 2], [F.GUEST_RIP, 0x200000], [F.GUEST_IA32_EFER, 0x500],
  [F.GUEST_CS_SELECTOR, 8], [F.GUEST_CS_ACCESS_RIGHTS, CODE], [F.GUEST_CS_LIMIT, 0xffffffff],
  [F.GUEST_SS_SELECTOR, 16], [F.GUEST_SS_ACCESS_RIGHTS, DATA], [F.GUEST_SS_LIMIT, 0xffffffff],
  [F.GUEST_DS_SELECTOR, 16], [F.GUEST_DS_ACCESS_RIGHTS, DATA], [F.GUEST_DS_LIMIT, 0xffffffff],
  [F.GUEST_ES_SELECTOR, 16], [F.GUEST_ES_ACCESS_RIGHTS, DATA], [F.GUEST_ES_LIMIT, 0xffffffff],
  [F.GUEST_FS_SELECTOR, 16], [F.GUEST_FS_ACCESS_RIGHTS, DATA], [F.GUEST_FS_LIMIT, 0xffffffff],
  [F.GUEST_GS_SELECTOR, 16], [F.GUEST_GS_ACCESS_RIGHTS, DATA], [F.GUEST_GS_LIMIT, 0xffffffff],
  [F.GUEST_TR_SELECTOR, 24], [F.GUEST_TR_ACCESS_RIGHTS, 0x8b], [F.GUEST_TR_LIMIT, 0x67], [F.GUEST_LDTR_ACCESS_RIGHTS, UNUSABLE],
];

export function validVmcs(processor: CheckedProcessor = checkedProcessor()): VmcsView {
  const vmcs = new VmcsView(new DataView(new ArrayBuffer(4096)), 0, processor);
  for (const [field, value] of VALID) vmcs.set(field, value);
  return vmcs;
}
