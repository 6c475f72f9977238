import { Activity as ActivityIcon } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { AuditEvent, ContractError, Vm } from '../../core/contract/index.ts';
import { Callout } from '../controls/callout.tsx';
import { Empty } from '../controls/empty.tsx';
import { engine } from '../engine/engine.ts';
import { formatTime } from '../state/format.ts';

const SHOWN = 200;

/** The audit trail of one VM, newest first. */
export function Activity({ vm }: { readonly vm: Vm }): ReactNode {
  const [events, setEvents] = useState<readonly AuditEvent[] | null>(null);
  const [error, setError] = useState<ContractError | null>(null);
  useEffect(() => {
    let current = true;
    engine.call('events.list', { vm: vm.id, limit: SHOWN }).then(
      (found) => { if (current) setEvents([...found].sort((left, right) => right.id - left.id)); },
      (thrown: unknown) => { if (current) setError(asContractError(thrown)); },
    );
    return () => void (current = false);
  }, [vm]);
  if (error) return <div className="page"><Callout kind="error" title={error.message} hint={error.hint} /></div>;
  if (!events) return <div className="page" aria-busy />;
  if (events.length === 0) {
    return (
      <Empty icon={ActivityIcon} title="Nothing has happened yet"
        text="Starts, stops, edits and crashes of this machine are kept here." />
    );
  }
  return (
    <div className="page">
      <div className="page-inner">
        <section className="card" aria-label="Activity">
          <table className="table">
            <thead><tr><th style={{ width: 190 }}>When</th><th style={{ width: 140 }}>What</th><th>Detail</th></tr></thead>
            <tbody>
              {events.map((event) => (
                <tr key={event.id}>
                  <td className="numeric" style={{ whiteSpace: 'nowrap' }}>{formatTime(event.at)}</td>
                  <td>{event.kind}</td>
                  <td className="selectable" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>{event.detail}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      </div>
    </div>
  );
}
