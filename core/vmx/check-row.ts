/** What a check of VM entry looks like. */
import type { VmcsView } from './view.ts';

/**
 * Groups of fields that are checked together, as bits: after an entry that succeeded, a group is checked again only when one of its fields
 * was written. `point`: what a hypervisor changes at many entries. `rip`: what it
 * changes at nearly every one; the processor checks that itself when nothing else was written (core/cpu/assembly/vm-entry.ts).
 */
export const group = { controls: 1, host: 2, guest: 4, point: 8, rip: 16 } as const;
export const ALL_GROUPS = 31;

export type Phase = 'controls' | 'host' | 'guest';

export interface CheckRow {
  readonly id: string;
  /** Section of SDM volume 3C. */
  readonly sdm: string;
  readonly group: number;
  readonly phase: Phase;
  /** Exit qualification of a failed check of guest state. */
  readonly qualification?: number;
  /** Whether the row applies. Absent: always. */
  readonly when?: (v: VmcsView) => boolean;
  readonly ok: (v: VmcsView) => boolean;
  readonly break: (v: VmcsView) => void;
}
