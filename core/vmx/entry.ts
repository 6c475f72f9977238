/** Runs the checks of VM entry on a processor's current VMCS. */
import { checkEntry } from './checks.ts';
import { settingsOf } from './tables.ts';
import { VMCS_REVISION } from './vmcs.ts';
import { VmcsView } from './view.ts';
import type { CpuModel } from '../cpu/models.ts';
import type { Processor } from '../cpu/processor.ts';
import { CR4_ALLOWED, CURRENT_VMCS, EFER, EFER_ALLOWED, PAGE_MMIO, RAM_BASE, VMCS } from '../cpu/layout.ts';

const EFER_LMA = 1 << 10;

/** The result takes groups of checks (check-row.ts) and answers as `checkEntry` does. */
export function entryChecker(cpu: Processor, model: CpuModel): (groups: number) => number {
  const { view } = cpu;
  const vmcs = new VmcsView(view, VMCS, {
    physicalAddressBits: model.physicalAddressBits, settings: settingsOf(model), revision: VMCS_REVISION,
    get cr4() { return view.getBigUint64(CR4_ALLOWED, true); },
    get efer() { return view.getBigUint64(EFER_ALLOWED, true); },
    get longMode() { return (view.getUint32(EFER, true) & EFER_LMA) !== 0; },
    get currentVmcs() { return BigInt.asUintN(64, ~view.getBigUint64(CURRENT_VMCS, true)); },
    read32: address => read32(cpu, address),
  });
  return groups => checkEntry(vmcs, groups);
}

function read32(cpu: Processor, address: bigint): number {
  if (cpu.call('pageKind', address) === PAGE_MMIO) return 0xffffffff;
  const host = (RAM_BASE + Number(address)) >>> 0;
  // Memory of devices is beyond what is seen from here.
  return host + 4 > cpu.view.byteLength ? 0xffffffff : cpu.view.getUint32(host, true);
}
