import { describe, expect, it } from 'vitest';
import * as L from '../../../core/cpu/layout.ts';
import { group } from '../../../core/vmx/check-row.ts';
import { failedCheck } from '../../../core/vmx/checks.ts';
import * as C from '../../../core/vmx/control-bits.ts';
import * as F from '../../../core/vmx/fields.ts';
import { settingsOf } from '../../../core/vmx/tables.ts';
import { fieldOffset } from '../../../core/vmx/vmcs.ts';
import { VmcsView } from '../../../core/vmx/view.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import { CODE, asm, image, smallMachine } from '../../helpers/small-guest.ts';
import { checkedProcessor, max } from '../../helpers/vmcs.ts';

/** Root mode's VMCS, as it is shown, once the guest has halted. */
async function vmcsAfter(code: readonly number[]): Promise<VmcsView> {
  const { machine } = await smallMachine(image(code));
  while (machine.runSlice().kind === 'ran');
  const view = new VmcsView(new DataView(new ArrayBuffer(4096)), 0, checkedProcessor({ settings: settingsOf(max) }));
  for (const { title, rows } of machine.answer('inspect', { query: { what: 'vmcs' } })) {
    if (title.startsWith('Root mode')) for (const [, encoding, value] of rows) view.set(Number(encoding), BigInt(value!));
  }
  return view;
}

describe('root mode\'s VMCS', () => {
  it('has a field for each of the processor\'s words of entry and exit', () => {
    const words: readonly (readonly [number, number])[] = [
      [L.ROOT_PRIMARY, F.PRIMARY_CONTROLS], [L.ROOT_PREEMPTION_TIMER, F.PREEMPTION_TIMER_VALUE], [L.TSC_OFFSET, F.TSC_OFFSET_FIELD],
      [L.ENTRY_INTR_INFO, F.ENTRY_INTERRUPTION_INFORMATION], [L.ENTRY_ERROR, F.ENTRY_EXCEPTION_ERROR_CODE], [L.ENTRY_LENGTH, F.ENTRY_INSTRUCTION_LENGTH],
      [L.EXIT_REASON, F.EXIT_REASON_FIELD], [L.EXIT_LENGTH, F.EXIT_INSTRUCTION_LENGTH], [L.EXIT_INFO, F.EXIT_INSTRUCTION_INFORMATION],
      [L.ROOT_EPT_POINTER, F.EPT_POINTER], [L.EXIT_QUALIFICATION, F.EXIT_QUALIFICATION_FIELD], [L.EXIT_GPA, F.GUEST_PHYSICAL_ADDRESS], [L.EXIT_LINEAR, F.GUEST_LINEAR_ADDRESS],
    ];
    expect(words.filter(([at, field]) => at !== L.ROOT_VMCS + fieldOffset(field))).toEqual([]);
  });

  it('is out of reach of guest-physical addresses', () => {
    expect(L.ROOT_VMCS + 0x1000).toBeLessThanOrEqual(L.STATE + L.VCPU_STATE_SIZE);
    expect(L.STATE + L.VCPU_STATE_SIZE).toBeLessThan(L.ROM_BASE);
  });

  it('has bitmaps by which an MSR that the processor keeps exits all the same', () => {
    const cpu = instantiate();
    const reads = (bit: number): readonly number[] => {
      cpu.write32(L.ROOT_MSR_BITMAPS + 0x400 + 0x10, bit);
      cpu.write32(L.GPR + 8, 0xc0000080);
      cpu.call('rdmsr');
      const fault = cpu.read32(L.FAULT);
      cpu.write32(L.FAULT, 0);
      return [fault, cpu.read32(L.EXIT_REASON)];
    };
    expect([reads(0), reads(1)]).toEqual([[0, 0], [L.FAULT_EXIT, 31]]);
  });

  it('has I/O bitmaps: a port whose bit is clear is the guest\'s, and nothing answers there', () => {
    const cpu = instantiate();
    cpu.write32(L.ROOT_PRIMARY, C.PRIMARY_IO_BITMAPS);
    cpu.bytes[L.ROOT_IO_BITMAPS + (0xcfa >> 3)] = 1 << (0xcfa & 7);
    cpu.bytes[L.ROOT_IO_BITMAPS + (0x8001 >> 3)] = 1 << (0x8001 & 7);
    const outcome = (helper: 'portIn' | 'portOut', port: number, size: number): string => {
      cpu.write64(L.GPR, 0x11n);
      cpu.write32(L.FAULT, 0);
      cpu.call(helper, port, size, 0);
      return cpu.read32(L.FAULT) === L.FAULT_EXIT ? `exit ${cpu.read32(L.EXIT_REASON)}` : `0x${cpu.read64(L.GPR).toString(16)}`;
    };
    const cases = ([[0xcf8, 2], [0xcf8, 4], [0xcfa, 1], [0x8000, 1], [0x8000, 2], [0x7fff, 2], [0xffff, 2]] as const).map(([port, size]) => outcome('portIn', port, size));
    expect(cases).toEqual(['0xffff', 'exit 30', 'exit 30', '0xff', 'exit 30', '0xffff', 'exit 30']);
    expect([outcome('portIn', 0x10, 4), outcome('portOut', 0x10, 1), outcome('portOut', 0xcfa, 1)]).toEqual(['0xffffffff', '0x11', 'exit 30']);
  });

  it('says why the guest left, and where it is', async () => {
    const vmcs = await vmcsAfter([...asm.eax(0x1234), 0xe7, 0x80, ...asm.cli, ...asm.hlt]);
    expect([F.EXIT_REASON_FIELD, F.GUEST_RIP, F.GUEST_ACTIVITY_STATE, F.GUEST_CS_SELECTOR].map(field => vmcs.word(field))).toEqual([12, CODE + 9, 1, 0x10]);
  });

  it('passes the checks of its controls', async () => {
    const vmcs = await vmcsAfter(asm.hlt);
    expect(failedCheck(vmcs, group.controls)?.id).toBeUndefined();
    expect([vmcs.primary(C.PRIMARY_HLT), vmcs.primary(C.PRIMARY_IO_BITMAPS), vmcs.secondary(C.SECONDARY_EPT)]).toEqual([true, true, true]);
  });
});
