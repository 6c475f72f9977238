/** The current VMCS of the guest's own hypervisor, and root mode's, field by field. */
import type { InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import { CURRENT_VMCS, NON_ROOT, VMCS, VMX_OPERATION } from '../cpu/layout.ts';
import { KINDS, ROOT_KINDS, vmcsRows } from '../vmm/vmcsFields.ts';
import { VMCS_BYTES, readRootVmcs } from '../vmm/rootVmcs.ts';
import type { FieldKind } from '../vmx/vmcs.ts';
import { hex, section } from './tables.ts';

const NONE = 0xffffffffffffffffn;

export function vmcsSections(cpu: Processor): InspectSection[] {
  return [...nestedSections(cpu), ...ROOT_KINDS.map(([kind, title]) => fieldSection(`Root mode: ${title}`, readRootVmcs(cpu), kind))];
}

function fieldSection(title: string, region: DataView, kind: FieldKind): InspectSection {
  return section(title, ['Field', 'Encoding', 'Value'], vmcsRows(region, kind).map((row) => [row.title, hex(row.row.encoding), hex(row.value)]));
}

/** What the guest's own hypervisor has. */
function nestedSections({ view, bytes }: Processor): InspectSection[] {
  const operation = view.getUint32(VMX_OPERATION, true) !== 0;
  const pointer = BigInt.asUintN(64, ~view.getBigUint64(CURRENT_VMCS, true));
  const mode = !operation ? 'outside VMX operation' : view.getUint32(NON_ROOT, true) !== 0 ? 'VMX non-root operation (L2 runs)' : 'VMX root operation';
  const state = section('VMX', ['What', 'Value'], [['Mode', mode], ['Current VMCS', pointer === NONE ? 'none' : hex(pointer)]]);
  if (!operation || pointer === NONE) return [state];
  const region = new DataView(bytes.buffer, bytes.byteOffset + VMCS, VMCS_BYTES);
  return [state, ...KINDS.map(([kind, title]) => fieldSection(title, region, kind))];
}
