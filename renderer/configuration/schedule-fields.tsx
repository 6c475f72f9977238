/** Snapshots that are taken by themselves. */
import type { ReactNode } from 'react';
import type { VmConfig } from '../../core/contract/index.ts';
import { Field } from '../controls/field.tsx';
import { Switch } from '../controls/switch.tsx';
import type { FieldsProps } from './fields.tsx';

const ONE_AN_HOUR = { minutes: 60, keep: 24 };

/** They change at any time: they are no part of the machine. */
export function ScheduleFields({ draft: { schedule }, problems, onChange }: Omit<FieldsProps, 'disabled'>): ReactNode {
  const number = (part: keyof typeof ONE_AN_HOUR, label: string, hint: string, current: NonNullable<VmConfig['schedule']>): ReactNode => (
    <Field label={label} hint={hint} problem={problems[`schedule.${part}`]}>
      {(ties) => (
        <input {...ties} className="input numeric" inputMode="numeric" value={current[part] === 0 ? '' : String(current[part])}
          onChange={(event) => onChange({ schedule: { ...current, [part]: /^\d{1,9}$/.test(event.target.value) ? Number(event.target.value) : 0 } })} />
      )}
    </Field>
  );
  return (
    <>
      <label className="switch-row">
        <Switch label="Take snapshots by itself" on={schedule !== null} onTurn={(on) => onChange({ schedule: on ? ONE_AN_HOUR : null })} />
        Takes a snapshot now and then while the machine runs
      </label>
      {schedule && number('minutes', 'Every', 'Minutes from one to the next.', schedule)}
      {schedule && number('keep', 'Keep', 'The newest so many; older ones that were taken by themselves are deleted, others never.', schedule)}
    </>
  );
}
