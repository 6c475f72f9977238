/** Puts what the rows say into the processor's tables. */
import { GROUPS_BY_FIELD } from './checks.ts';
import { FIELDS, VMCS_ENUM, VMCS_REVISION } from './vmcs.ts';
import { allowedSettings, capabilities } from './controls.ts';
import type { ControlWord } from './controls.ts';
import type { CpuModel } from '../cpu/models.ts';
import { FIELD_EXISTS, FIELD_READ_ONLY, FIELD_WIDTH_SHIFT, VMCS_FIELDS, VMX_CAPABILITIES } from '../cpu/layout.ts';

/** The width as the encoding numbers it. */
const WIDTHS = [16, 64, 32, 0];

/** Writes the capability MSRs and the table of fields for a model; `cr4`: what CR4 may hold. */
export function writeVmxTables(view: DataView, model: CpuModel, cr4: bigint): void {
  capabilities(model, VMCS_REVISION, VMCS_ENUM, cr4).forEach((value, i) => view.setBigUint64(VMX_CAPABILITIES + i * 8, value, true));
  for (const { offset, width, kind } of FIELDS) {
    const at = VMCS_FIELDS + offset / 4;
    view.setUint8(at, FIELD_EXISTS | (kind === 'read-only' ? FIELD_READ_ONLY : 0) | (WIDTHS.indexOf(width) << FIELD_WIDTH_SHIFT));
    view.setUint8(at + 1, GROUPS_BY_FIELD.get(offset) ?? 0);
  }
}

const WORDS: readonly ControlWord[] = ['pin', 'primary', 'secondary', 'exit', 'entry'];

export function settingsOf(model: CpuModel): Readonly<Record<ControlWord, { readonly ones: number; readonly allowed: number }>> {
  return Object.fromEntries(WORDS.map(word => [word, allowedSettings(word, model)])) as Record<ControlWord, { ones: number; allowed: number }>;
}
