/** A VMCS by the names of its fields, for people. @sdm 3D B */
import type { VmcsValue } from '../contract/exits.ts';
import { FIELDS } from '../vmx/vmcs.ts';
import type { FieldKind, FieldRow } from '../vmx/vmcs.ts';

/** Words of the manual that are written in capitals. */
const CAPITALS = /\b(?:i\/o|msr|msrs|tsc|apic|ept|eptp|pml|vmcs|tpr|eoi|idt|gdtr|idtr|ldtr|tr|es|cs|ss|ds|fs|gs|rip|rsp|rflags|ssp|dr7|cr[0348]|ia32 (?:sysenter )?\w+|smbase|ple|vm|(?<=bitmap )[ab]|pdpte[0-3]|vmread|vmwrite|vmx|xss|pasid|vmfunc|rcx|rsi|rdi|nmi)\b/g;

/** Pairs that the manual joins by a hyphen, and its other spellings. */
const JOINED = /\b(?:apic access|cr3 target|eoi exit|guest linear|guest physical|idt vectoring|msr load|msr store|page fault|pin based|posted interrupt|virtual apic|virtual processor|virtualization exception|vm function|vm instruction|vmread bitmap|vmwrite bitmap|xss exiting)\b/g;
const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  [/^(exit|entry) (?!reason|qualification)/, 'vm-$1 '], [/^preemption/, 'vmx-preemption'], [/guest host mask/, 'guest/host mask'], [/^io /, 'i/o '],
];

/** `GUEST_IA32_EFER` becomes `Guest IA32_EFER`. */
export function fieldTitle(name: string): string {
  const plain = name.replace(/_FIELD$/, '').toLowerCase().replaceAll('_', ' ').replace(JOINED, (pair) => pair.replace(' ', '-'));
  const words = SPELLINGS.reduce((text, [from, to]) => text.replace(from, to), plain).replace(CAPITALS, (word) => word.toUpperCase().replaceAll(' ', '_'));
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function valueOf(view: DataView, { width, offset }: FieldRow): bigint {
  return width === 16 || width === 32 ? BigInt(view.getUint32(offset, true)) : view.getBigUint64(offset, true);
}

/** The fields of a region, those of a kind or all; `view` begins at the region. */
export function vmcsRows(view: DataView, kind?: FieldKind): { readonly row: FieldRow; readonly title: string; readonly value: bigint }[] {
  return FIELDS.filter((row) => kind === undefined || row.kind === kind).map((row) => ({ row, title: fieldTitle(row.name), value: valueOf(view, row) }));
}

export const EXIT_INFORMATION = 'VM-exit information';
/** What the exit saved comes first, then the guest, the controls and the host. */
export const KINDS: readonly (readonly [FieldKind, string])[] = [['read-only', EXIT_INFORMATION], ['guest', 'Guest state'], ['control', 'Controls'], ['host', 'Host state']];

/** Root mode's host state is that of this program. */
export const ROOT_KINDS = KINDS.filter(([kind]) => kind !== 'host');

/** The fields of a region, those of some kinds. */
export function vmcsValues(region: Uint8Array, kinds: typeof KINDS): VmcsValue[] {
  const view = new DataView(region.buffer, region.byteOffset, region.byteLength);
  return kinds.flatMap(([kind, group]) => vmcsRows(view, kind).map(({ title, value }) => ({ group, name: title, value: `0x${value.toString(16)}` })));
}
