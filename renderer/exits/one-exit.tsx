import { ArrowLeft, ChevronDown, ChevronUp, Copy } from 'lucide-react';
import type { ReactNode } from 'react';
import type { ExitRecord, NamedValue } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { notify } from '../state/notices.ts';
import { exitName } from '../vm/exit-names.ts';
import { formatNs, timeOf } from './model.ts';

interface OneExitProps {
  readonly exit: ExitRecord;
  /** The exits before and behind it among those that are shown; null: there is none. */
  readonly older: ExitRecord | null;
  readonly newer: ExitRecord | null;
  readonly onOpen: (exit: ExitRecord) => void;
  readonly onBack: () => void;
}

/** One exit with everything that is known of it. */
export function OneExit({ exit, older, newer, onOpen, onBack }: OneExitProps): ReactNode {
  return (
    <div className="exits-scroll one-exit">
      <header className="dock-heading">
        <Button look="plain" icon={ArrowLeft} onClick={onBack}>All exits</Button>
        <span className="note numeric">No. {exit.sequence}</span>
        <IconButton small icon={Copy} label="Copy as JSON" onClick={() => void copy(exit)} />
        <IconButton small icon={ChevronDown} label="The exit before" disabled={!older} onClick={() => { if (older) onOpen(older); }} />
        <IconButton small icon={ChevronUp} label="The exit behind" disabled={!newer} onClick={() => { if (newer) onOpen(newer); }} />
      </header>
      <div className="exit-title">
        <h3>{exitName(exit.name)}</h3>
        {exit.summary !== '' && <p className="mono">{exit.summary}</p>}
        <p className="note">
          vCPU {exit.vcpu} · {exit.level === 2 ? "L2, a guest's guest" : 'L1, the guest'} · {timeOf(exit.at)} · {exit.ns === null ? 'lasts still' : `${formatNs(exit.ns)} until the next entry`}
        </p>
      </div>
      <Values title={`Exit qualification ${exit.qualification}`} values={exit.fields} none="This reason defines no fields." />
      {[...Map.groupBy(exit.vmcs, ({ group }) => group)].map(([group, values]) => <Values key={group} title={`${exit.level === 2 ? "Hypervisor's" : "Root mode's"} VMCS: ${group}`} values={values} none="" columns={values.length > ONE_COLUMN} />)}
      <Values title="Guest registers" values={exit.registers} none="" columns />
    </div>
  );
}

/** As many fields stand one below the other. */
const ONE_COLUMN = 8;

async function copy(exit: ExitRecord): Promise<void> {
  const object = (values: readonly NamedValue[]): Record<string, string> => Object.fromEntries(values.map(({ name, value }) => [name, value]));
  try {
    await navigator.clipboard.writeText(JSON.stringify({ ...exit, fields: object(exit.fields), vmcs: object(exit.vmcs), registers: object(exit.registers) }, null, 2));
    notify('info', 'Copied the exit.');
  } catch {
    notify('error', 'The exit was not copied.', 'The browser keeps the clipboard to itself: select the text instead.');
  }
}

interface ValuesProps {
  readonly title: string;
  readonly values: readonly NamedValue[];
  readonly none: string;
  readonly columns?: boolean;
}

function Values({ title, values, none, columns = false }: ValuesProps): ReactNode {
  return (
    <section className="values">
      <h4>{title}</h4>
      {values.length === 0
        ? <p className="note">{none}</p>
        : <dl className={columns ? 'columns-two' : ''}>{values.map(({ name, value }) => <div key={name} className={value === '0x0' ? 'zero' : ''}><dt title={name}>{name}</dt><dd className="mono selectable">{value}</dd></div>)}</dl>}
    </section>
  );
}
