/** The current VMCS of the guest's own hypervisor, field by field. */
import type { InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import { CURRENT_VMCS, NON_ROOT, VMCS, VMX_OPERATION } from '../cpu/layout.ts';
import { vmcsRows } from '../vmm/vmcsFields.ts';
import { VMCS_BYTES } from '../vmm/exitTrace.ts';
import type { FieldKind } from '../vmx/vmcs.ts';
import { hex, section } from './tables.ts';

const KINDS: readonly (readonly [FieldKind, string])[] = [
  ['read-only', 'VM-exit information'], ['guest', 'Guest state'], ['control', 'Controls'], ['host', 'Host state'],
];
const NONE = 0xffffffffffffffffn;

export function vmcsSections({ view, bytes }: Processor): InspectSection[] {
  const operation = view.getUint32(VMX_OPERATION, true) !== 0;
  const pointer = BigInt.asUintN(64, ~view.getBigUint64(CURRENT_VMCS, true));
  const mode = !operation ? 'outside VMX operation' : view.getUint32(NON_ROOT, true) !== 0 ? 'VMX non-root operation (L2 runs)' : 'VMX root operation';
  const state = section('VMX', ['What', 'Value'], [['Mode', mode], ['Current VMCS', pointer === NONE ? 'none' : hex(pointer)]]);
  if (!operation || pointer === NONE) return [state];
  const region = new DataView(bytes.buffer, bytes.byteOffset + VMCS, VMCS_BYTES);
  const parts = KINDS.map(([kind, title]) => section(title, ['Field', 'Encoding', 'Value'], vmcsRows(region, kind).map((row) => [row.title, hex(row.row.encoding), hex(row.value)])));
  return [state, ...parts];
}
