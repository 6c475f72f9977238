/**
 * The checks of VM entry as rows. One loop runs them; a row's phase decides what a failure is: VMfailValid with error 7 or 8, or a VM
 * entry that ends with exit reason 33. `break` changes a valid VMCS so that the row, and nothing before it, fails: tests are made of that.
 * @sdm 3C 27.2, 27.3.1
 */
import { FIELDS } from './vmcs.ts';
import type { FieldRow } from './vmcs.ts';
import type { VmcsView } from './view.ts';
import { ALL_GROUPS, group } from './check-row.ts';
import type { CheckRow } from './check-row.ts';
import { CONTROL_CHECKS } from './checks-controls.ts';
import { HOST_CHECKS } from './checks-host.ts';
import { GUEST_CHECKS } from './checks-guest.ts';
import { SEGMENT_CHECKS } from './checks-segments.ts';
import * as F from './fields.ts';

/** In the order of phases. */
export const CHECKS: readonly CheckRow[] = [...CONTROL_CHECKS, ...HOST_CHECKS, ...GUEST_CHECKS, ...SEGMENT_CHECKS];

const ERROR_CONTROLS = 7;
const ERROR_HOST = 8;
const REASON_GUEST_STATE = 33;

/** The first row of the given groups that fails. */
export function failedCheck(v: VmcsView, groups: number): CheckRow | undefined {
  return CHECKS.find(row => (row.group & groups) !== 0 && (!row.when || row.when(v)) && !row.ok(v));
}

/** What VM entry gets to hear: 0, a VM-instruction error, or exit reason 33 with the qualification in bits 31:8. */
export function checkEntry(v: VmcsView, groups: number): number {
  const row = failedCheck(v, groups);
  if (!row) return 0;
  if (row.phase === 'controls') return ERROR_CONTROLS;
  return row.phase === 'host' ? ERROR_HOST : REASON_GUEST_STATE | ((row.qualification ?? 0) << 8);
}

const POINT_FIELDS: ReadonlySet<number> = new Set([
  F.ENTRY_INTERRUPTION_INFORMATION, F.ENTRY_EXCEPTION_ERROR_CODE, F.ENTRY_INSTRUCTION_LENGTH, F.GUEST_INTERRUPTIBILITY_STATE,
  F.GUEST_ACTIVITY_STATE, F.GUEST_PENDING_DEBUG_EXCEPTIONS,
]);
/** Any value will do. */
const UNCHECKED: ReadonlySet<number> = new Set([
  F.GUEST_RSP, F.PREEMPTION_TIMER_VALUE, F.TSC_OFFSET_FIELD, F.CR0_READ_SHADOW, F.CR4_READ_SHADOW, F.EXCEPTION_BITMAP, F.GUEST_INTERRUPT_STATUS,
  F.EOI_EXIT_BITMAP_0, F.EOI_EXIT_BITMAP_1, F.EOI_EXIT_BITMAP_2, F.EOI_EXIT_BITMAP_3, F.TSC_MULTIPLIER, F.PML_INDEX, F.HOST_RSP,
]);

/** The groups that a write of the field makes unchecked. */
export function groupsOf({ encoding, kind }: FieldRow): number {
  if (UNCHECKED.has(encoding) || kind === 'read-only') return 0;
  if (encoding === F.GUEST_RIP) return group.rip;
  if (POINT_FIELDS.has(encoding)) return group.point;
  if (kind === 'host') return group.host;
  return kind === 'guest' ? group.guest | group.point | group.rip : ALL_GROUPS;
}

export const GROUPS_BY_FIELD: ReadonlyMap<number, number> = new Map(FIELDS.map(field => [field.offset, groupsOf(field)]));
