/** Every field of a VMCS: it holds what is written to it, as wide as it is, and guest state is what the processor has. */
import { describe, expect, it } from 'vitest';
import * as L from '../../../core/cpu/layout.ts';
import * as F from '../../../core/vmx/fields.ts';
import { writeVmxTables } from '../../../core/vmx/tables.ts';
import { FIELDS, fieldOffset } from '../../../core/vmx/vmcs.ts';
import type { FieldRow } from '../../../core/vmx/vmcs.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../../helpers/cpu-wasm.ts';
import { max } from '../../helpers/vmcs.ts';

const VMCS_AT = 0x400000n;
const ZF = 0x40n;
const CF = 1n;
const ERROR_COMPONENT = 12;

/** A processor in VMX root operation with a current VMCS. */
function withVmcs(): CpuWasm {
  const cpu = instantiate();
  writeVmxTables(cpu.view as unknown as DataView, max, 0x2000n);
  cpu.write32(L.VMX_OPERATION, 1);
  cpu.write64(L.CURRENT_VMCS, BigInt.asUintN(64, ~VMCS_AT));
  return cpu;
}

/** A value for each field that no other has. */
const pattern = ({ encoding }: FieldRow): bigint => BigInt.asUintN(64, BigInt(encoding + 1) * 0x9e37_79b9_7f4a_7c15n);
const widthOf = ({ width }: FieldRow): number => (width === 0 ? 64 : width);

function read(cpu: CpuWasm, encoding: number, size = 8): bigint {
  cpu.call('vmreadRegister', BigInt(encoding), L.GPR, size);
  return cpu.read64(L.GPR);
}

describe('a field of the VMCS', () => {
  const cpu = withVmcs();
  for (const field of FIELDS) cpu.call('vmwrite', BigInt(field.encoding), pattern(field));

  it.each(FIELDS.map(field => [field.name, field] as const))('holds what was written, whatever the others hold: %s', (_name, field) => {
    expect(read(cpu, field.encoding)).toBe(BigInt.asUintN(widthOf(field), pattern(field)));
  });

  it.each(FIELDS.filter(({ width }) => width === 64).map(field => [field.name, field] as const))('has a high half: %s', (_name, field) => {
    const own = withVmcs();
    own.call('vmwrite', BigInt(field.encoding), pattern(field));
    expect(read(own, field.encoding + 1)).toBe(pattern(field) >> 32n);
    own.call('vmwrite', BigInt(field.encoding + 1), 0x1234n);
    expect(read(own, field.encoding)).toBe((0x1234n << 32n) | BigInt.asUintN(32, pattern(field)));
  });

  it('that does not exist is error 12', () => {
    const own = withVmcs();
    const known = new Set(FIELDS.map(({ encoding }) => encoding));
    for (let encoding = 0; encoding < 0x8000; encoding += 2) {
      if (known.has(encoding)) continue;
      own.call('vmwrite', BigInt(encoding), 1n);
      expect([encoding, own.callBig('readFlags') & (ZF | CF), own.read32(L.VMCS + fieldOffset(F.VM_INSTRUCTION_ERROR))]).toEqual([encoding, ZF, ERROR_COMPONENT]);
    }
  });
});

// ---- guest state ----------------------------------------------------------------------------------------------------------------
const SEGMENT_NAMES = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const;
const at = (segment: number, part: number): number => L.SEGMENTS + segment * L.SEGMENT_SIZE + part;

/** Where the processor has what a field holds; a register whose bits are all its own. */
const REGISTERS: readonly (readonly [field: number, register: number, bits: number])[] = [
  ...SEGMENT_NAMES.flatMap((_name, i) => [
    [F.GUEST_ES_SELECTOR + i * 2, at(i, L.SEG_SELECTOR), 16], [F.GUEST_ES_LIMIT + i * 2, at(i, L.SEG_LIMIT), 32],
    [F.GUEST_ES_ACCESS_RIGHTS + i * 2, at(i, L.SEG_ACCESS), 32], [F.GUEST_ES_BASE + i * 2, at(i, L.SEG_BASE), 64],
  ] as const),
  [F.GUEST_GDTR_BASE, L.GDTR_BASE, 64], [F.GUEST_GDTR_LIMIT, L.GDTR_LIMIT, 32], [F.GUEST_IDTR_BASE, L.IDTR_BASE, 64], [F.GUEST_IDTR_LIMIT, L.IDTR_LIMIT, 32],
  [F.GUEST_CR0, L.CR0, 64], [F.GUEST_CR3, L.CR3, 64], [F.GUEST_CR4, L.CR4, 64], [F.GUEST_DR7, L.DR7, 64], [F.GUEST_RIP, L.RIP, 64], [F.GUEST_RSP, L.GPR + 32, 64],
  [F.GUEST_IA32_SYSENTER_CS, L.MSR_SYSENTER_CS, 32], [F.GUEST_IA32_SYSENTER_ESP, L.MSR_SYSENTER_ESP, 64], [F.GUEST_IA32_SYSENTER_EIP, L.MSR_SYSENTER_EIP, 64],
  [F.GUEST_IA32_EFER, L.EFER, 64], [F.GUEST_IA32_PAT, L.MSR_PAT, 64], [F.GUEST_IA32_DEBUGCTL, L.MSR_DEBUGCTL, 64],
  [F.GUEST_PDPTE0, L.PDPTE, 64], [F.GUEST_PDPTE1, L.PDPTE + 8, 64], [F.GUEST_PDPTE2, L.PDPTE + 16, 64], [F.GUEST_PDPTE3, L.PDPTE + 24, 64],
  [F.GUEST_INTERRUPTIBILITY_STATE, L.INTERRUPTIBILITY, 32], [F.GUEST_ACTIVITY_STATE, L.ACTIVITY, 32], [F.GUEST_PENDING_DEBUG_EXCEPTIONS, L.PENDING_DEBUG, 64],
];
/** Guest fields that are no register: made from the lazy flags, or used where they are. */
const OTHERS: ReadonlySet<number> = new Set([
  F.GUEST_RFLAGS, F.GUEST_SMBASE, F.GUEST_INTERRUPT_STATUS, F.PML_INDEX, F.PREEMPTION_TIMER_VALUE, F.VMCS_LINK_POINTER,
]);

describe('guest state', () => {
  const cpu = instantiate();
  REGISTERS.forEach(([, register, bits], i) => {
    const value = BigInt.asUintN(bits, BigInt(i + 1) * 0x9e37_79b9_7f4a_7c15n);
    if (bits === 16) cpu.view.setUint16(register, Number(value), true);
    else if (bits === 32) cpu.write32(register, Number(value));
    else cpu.write64(register, value);
  });
  cpu.call('storeGuestState');

  it.each(REGISTERS.map(([field, , bits], i) => [FIELDS.find(({ encoding }) => encoding === field)!.name, field, bits, i] as const))('is saved from its register: %s', (_name, field, bits, i) => {
    expect(cpu.read64(L.ROOT_VMCS + fieldOffset(field))).toBe(BigInt.asUintN(bits, BigInt(i + 1) * 0x9e37_79b9_7f4a_7c15n));
  });

  it('is complete', () => {
    const known = new Set([...REGISTERS.map(([field]) => field), ...OTHERS]);
    expect(FIELDS.filter(({ kind, encoding }) => kind === 'guest' && !known.has(encoding)).map(({ name }) => name)).toEqual([]);
  });
});
