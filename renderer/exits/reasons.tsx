import { useState } from 'react';
import type { ReactNode } from 'react';
import { formatCount } from '../state/format.ts';
import { exitName } from '../vm/exit-names.ts';
import { formatNs } from './model.ts';
import type { SummedRow } from './model.ts';
import { seriesColour } from './timeline.tsx';

type Column = 'count' | 'perSecond' | 'share' | 'minNs' | 'meanNs' | 'maxNs';

interface ColumnRow {
  readonly name: Column;
  readonly label: string;
  readonly about: string;
}

/** The table's columns of numbers; it can be put in order by each. */
const COLUMNS: readonly ColumnRow[] = [
  { name: 'count', label: 'Count', about: 'Exits in this time' },
  { name: 'perSecond', label: 'Per s', about: 'Exits a second' },
  { name: 'share', label: 'Time', about: 'Share of this time between these exits and their next entries' },
  { name: 'minNs', label: 'Min', about: 'The shortest since the view was opened' },
  { name: 'meanNs', label: 'Mean', about: 'From exit to entry, in this time' },
  { name: 'maxNs', label: 'Max', about: 'The longest since the view was opened' },
];

interface ReasonsProps {
  readonly rows: readonly SummedRow[];
  readonly names: readonly string[];
  readonly chosen: string | null;
  readonly onChoose: (reason: string) => void;
}

/** The reasons with their sums, those with the most of what is asked for first. */
export function Reasons({ rows, names, chosen, onChoose }: ReasonsProps): ReactNode {
  const [order, setOrder] = useState<Column>('share');
  const levels = new Set(rows.map(({ level }) => level)).size > 1;
  const vcpus = new Set(rows.map(({ vcpu }) => vcpu)).size > 1;
  return (
    <table className="table dense reasons" aria-label="Reasons">
      <thead>
        <tr>
          <th>Reason</th>{vcpus && <th>vCPU</th>}{levels && <th>Level</th>}
          {COLUMNS.map(({ name, label, about }) => (
            <th key={name} className="right" aria-sort={order === name ? 'descending' : 'none'}>
              <button type="button" className="order" title={about} onClick={() => setOrder(name)}>{label}</button>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.toSorted((left, right) => right[order] - left[order]).map(({ key, vcpu, name, level, count, perSecond, share, minNs, meanNs, maxNs }) => (
          <tr key={key} className={`pickable ${chosen === name ? 'picked' : ''}`} onClick={() => onChoose(name)}>
            <td>
              <button type="button" className="reason" aria-pressed={chosen === name} onClick={(event) => { event.stopPropagation(); onChoose(name); }}>
                <span className="swatch" style={{ background: names.includes(name) ? seriesColour(names.indexOf(name)) : 'var(--line-strong)' }} aria-hidden />
                <span className="text" title={exitName(name)}>{exitName(name)}</span>
              </button>
            </td>
            {vcpus && <td className="soft">{vcpu}</td>}
            {levels && <td><span className={level === 2 ? 'level' : 'soft'}>L{level}</span></td>}
            <td className="right">{formatCount(count)}</td>
            <td className="right soft">{formatCount(perSecond)}</td>
            <td className="right bar-cell"><span className="bar" style={{ width: `${Math.min(100, share * 100)}%` }} aria-hidden /><span>{percent(share)}</span></td>
            <td className="right soft">{formatNs(minNs)}</td>
            <td className="right">{formatNs(meanNs)}</td>
            <td className="right soft">{formatNs(maxNs)}</td>
          </tr>
        ))}
        {rows.length === 0 && <tr><td colSpan={7} className="nothing">Nothing in this time.</td></tr>}
      </tbody>
    </table>
  );
}

/** What is not nothing does not look like it. */
function percent(share: number): string {
  const value = share * 100;
  return value > 0 && value < 0.1 ? '< 0.1 %' : `${value.toFixed(1)} %`;
}
