/** #VE: EPT violations that a hypervisor leaves to its guest. @sdm 3C 26.5.7 */
import { describe, expect, it } from 'vitest';
import * as L from '../../../core/cpu/layout.ts';
import * as C from '../../../core/vmx/control-bits.ts';
import * as F from '../../../core/vmx/fields.ts';
import { fieldOffset } from '../../../core/vmx/vmcs.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../../helpers/cpu-wasm.ts';

const TABLES = 0x10000;
const AREA = 0x14000;
const LIST = 0x15000;
const BITMAP_20 = 1 << 20;
const INFO = 0x80000314;
const SUPPRESS = 1n << 63n;
/** The first GiB is there, the second may be read, the third is not there. */
const READ_ONLY = 0x40000120n;
const ABSENT = 0x80000120n;
const ENTRIES = [0xb7n, 0x400000b1n, 0n] as const;

const field = (cpu: CpuWasm, encoding: number): number => cpu.read32(L.VMCS + fieldOffset(encoding));
const entry = (cpu: CpuWasm, gigabyte: number, value: bigint): void => cpu.write64(L.RAM_BASE + TABLES + 0x1000 + gigabyte * 8, value);

/** A nested guest with EPT and #VE, whose hypervisor wants to see #VE. */
function guest(): CpuWasm {
  const cpu = instantiate();
  for (const [at, value] of [[L.VMX_OPERATION, 1], [L.NON_ROOT, 1], [L.ACTIVE_SECONDARY, C.SECONDARY_EPT | C.SECONDARY_VIRTUALIZATION_EXCEPTION], [L.ACTIVE_EXCEPTIONS, BITMAP_20]] as const) {
    cpu.write32(at, value);
  }
  cpu.write64(L.CR0, 0x31n);
  for (const [encoding, value] of [[F.EPT_POINTER, TABLES | 0x1e], [F.VIRTUALIZATION_EXCEPTION_ADDRESS, AREA], [F.EPTP_INDEX, 5]] as const) cpu.write64(L.VMCS + fieldOffset(encoding), BigInt(value));
  cpu.write64(L.RAM_BASE + TABLES, BigInt(TABLES + 0x1000 + 7));
  ENTRIES.forEach((value, i) => entry(cpu, i, value));
  return cpu;
}

/** How an access ends: `#VE`, or the reason of the exit. */
function ends(cpu: CpuWasm, [helper, address]: Access): number | '#VE' {
  cpu.call(helper, address, 4);
  cpu.call('deliverPending');
  const reason = field(cpu, F.EXIT_REASON_FIELD);
  return reason === 0 && field(cpu, F.EXIT_INTERRUPTION_INFORMATION) === INFO ? '#VE' : reason;
}

type Access = readonly [helper: string, address: bigint];
const READ: Access = ['slowRead', ABSENT];
const WRITE: Access = ['slowStore', READ_ONLY];
type Case = readonly [what: string, ending: number | '#VE', access: Access, prepare: (cpu: CpuWasm) => void];
const nothing = (): void => {};
const CASES: readonly Case[] = [
  ['what is not mapped', '#VE', READ, nothing],
  ['what must not be written', '#VE', WRITE, nothing],
  ['what is not mapped, by an entry that suppresses it', 48, READ, cpu => entry(cpu, 2, SUPPRESS)],
  ['what must not be written, by an entry that suppresses it', 48, WRITE, cpu => entry(cpu, 1, ENTRIES[1] | SUPPRESS)],
  ['what an entry on the way, which has no say, seems to suppress', '#VE', READ, cpu => cpu.write64(L.RAM_BASE + TABLES, SUPPRESS | BigInt(TABLES + 0x1000 + 7))],
  ['a misconfiguration', 49, READ, cpu => entry(cpu, 2, 2n)],
  ['a violation in real-address mode', 48, READ, cpu => cpu.write64(L.CR0, 0x30n)],
  ['a violation while an event is delivered', 48, READ, cpu => cpu.write32(L.IDT_VECTORING_INFO, 0x80000020)],
  ['a violation before the area was read', 48, READ, cpu => cpu.write32(L.RAM_BASE + AREA + 4, 1)],
  ['a violation when the area is no memory', 48, READ, cpu => cpu.write64(L.VMCS + fieldOffset(F.VIRTUALIZATION_EXCEPTION_ADDRESS), 0xffff_ffff_f000n)],
  ['a violation without the control', 48, READ, cpu => cpu.write32(L.ACTIVE_SECONDARY, C.SECONDARY_EPT)],
];

describe('a virtualization exception', () => {
  it.each(CASES)('or an exit is the end of %s', (_what, ending, access, prepare) => {
    const cpu = guest();
    prepare(cpu);
    expect(ends(cpu, access)).toBe(ending);
  });

  it('says what it is about', () => {
    const cpu = guest();
    ends(cpu, WRITE);
    const area = L.RAM_BASE + AREA;
    expect([cpu.read32(area), cpu.read32(area + 4), cpu.read64(area + 8), cpu.read64(area + 16), cpu.read64(area + 24), cpu.read32(area + 32)])
      .toEqual([48, 0xffffffff, 0x18an, READ_ONLY, READ_ONLY, 5]);
  });

  it('leaves the area alone where the violation is an exit', () => {
    const cpu = guest();
    entry(cpu, 2, SUPPRESS);
    ends(cpu, READ);
    expect(cpu.read32(L.RAM_BASE + AREA + 4)).toBe(0);
  });

  it.each([[C.SECONDARY_VIRTUALIZATION_EXCEPTION, 3], [0, 5]])('says which EPT pointer of the list is in use: controls %i', (control, index) => {
    const cpu = guest();
    cpu.write32(L.ACTIVE_SECONDARY, C.SECONDARY_EPT | C.SECONDARY_VM_FUNCTIONS | control);
    for (const [encoding, value] of [[F.VM_FUNCTION_CONTROLS, 1], [F.EPTP_LIST_ADDRESS, LIST]] as const) cpu.write64(L.VMCS + fieldOffset(encoding), BigInt(value));
    cpu.write64(L.RAM_BASE + LIST + 3 * 8, BigInt(TABLES | 0x1e));
    cpu.write64(L.GPR, 0n);
    cpu.write64(L.GPR + 8, 3n);
    cpu.call('vmfunc');
    expect(field(cpu, F.EPTP_INDEX)).toBe(index);
  });
});
