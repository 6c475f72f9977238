import { Microscope, RefreshCw } from 'lucide-react';
import { useCallback, useEffect, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError, forVcpu } from '../../core/contract/index.ts';
import type { ContractError, InspectQuery, InspectSection, Vm } from '../../core/contract/index.ts';
import { IconButton } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Empty } from '../controls/empty.tsx';
import { Select } from '../controls/select.tsx';
import { Switch } from '../controls/switch.tsx';
import { engine } from '../engine/engine.ts';
import { useLayout } from '../state/layout.ts';
import { isAlive } from '../state/library.ts';
import { parseAddress, SUBJECTS } from './subjects.ts';
import type { SubjectRow } from './subjects.ts';

const REFRESH_MS = 1000;
const ROWS_SHOWN = 400;
/** From this width on there is room for an address, 16 bytes and their text. */
const WIDE_PX = 620;

/** The state of the machine as tables, again every second while it runs. */
export function Inspector({ vm }: { readonly vm: Vm }): ReactNode {
  if (!isAlive(vm)) {
    return (
      <Empty icon={Microscope} title="Nothing to look into"
        text="Start the machine: its registers, page tables, memory and interrupt controllers show here, running or paused." />
    );
  }
  return <Looking key={vm.id} vm={vm} />;
}

function Looking({ vm }: { readonly vm: Vm }): ReactNode {
  const [subject, setSubject] = useState<SubjectRow>(SUBJECTS[0]);
  const [address, setAddress] = useState('');
  const [follow, setFollow] = useState(true);
  const [vcpu, setVcpu] = useState(0);
  const wide = useLayout(({ dockWidth }) => dockWidth >= WIDE_PX);
  const { sections, changed, error, ask } = useSections(vm.id, subject, address, vcpu, wide);
  const running = vm.state === 'running';
  useEffect(() => {
    ask();
    if (!follow || !running) return undefined;
    const timer = setInterval(ask, REFRESH_MS);
    return () => clearInterval(timer);
  }, [ask, follow, running, vm.state]);
  return (
    <div className="exits">
      <div className="dock-bar">
        <Select compact label="What to look at" value={subject.name} options={SUBJECTS.map(({ name, label, about }) => ({ value: name, label, detail: about }))}
          onPick={(name) => setSubject(SUBJECTS.find((row) => row.name === name) ?? SUBJECTS[0])} />
        {vm.config.cpus > 1 && (
          <Select compact label="Which processor" value={String(vcpu)} onPick={(picked) => setVcpu(Number(picked))}
            options={Array.from({ length: vm.config.cpus }, (_, index) => ({ value: String(index), label: `vCPU ${index}` }))} />
        )}
        {subject.address !== 'none' && (
          <input className="input mono compact" aria-label="Address" placeholder={subject.address === 'optional' ? 'RIP, or an address' : 'Address, such as ffffffff81000000'} spellCheck={false}
            value={address} aria-invalid={address !== '' && parseAddress(address) === null} onChange={(event) => setAddress(event.target.value)} />
        )}
        <span className="spacer" />
        <label className="follow"><Switch on={follow} onTurn={setFollow} label="Look again every second" />Live</label>
        <IconButton icon={RefreshCw} label="Look again" onClick={ask} />
      </div>
      <div className="exits-scroll">
        {error && <div className="dock-callout"><Callout kind="warning" title={error.message} hint={error.hint} /></div>}
        {sections.map((section) => <Section key={section.title.replace(/0x[0-9a-f]+/g, '')} section={section} changed={changed} />)}
        {sections.length === 0 && !error && subject.address === 'needed' && <p className="nothing">Type an address.</p>}
      </div>
    </div>
  );
}

interface Sections {
  readonly sections: readonly InspectSection[];
  /** Cells that are not as they were, as `title row column`. */
  readonly changed: ReadonlySet<string>;
  readonly error: ContractError | null;
  readonly ask: () => void;
}

function useSections(vm: string, subject: SubjectRow, address: string, vcpu: number, wide: boolean): Sections {
  const [sections, setSections] = useState<readonly InspectSection[]>([]);
  const [changed, setChanged] = useState<ReadonlySet<string>>(new Set());
  const [error, setError] = useState<ContractError | null>(null);
  const before = useRef<readonly InspectSection[]>([]);
  const busy = useRef(false);
  const current = useRef('');
  current.current = `${vm} ${subject.name} ${address} ${vcpu} ${wide}`;
  useEffect(() => {
    before.current = [];
    setSections([]);
    setError(null);
  }, [vm, subject, address, vcpu, wide]);
  const ask = useCallback(() => {
    const query: InspectQuery | null = subject.query(parseAddress(address), wide);
    if (!query || busy.current) return;
    busy.current = true;
    const asked = current.current;
    engine.call('vm.inspect', { vm, query: forVcpu(query, vcpu) }).then(
      (answer) => {
        if (current.current !== asked) return;
        setChanged(differences(before.current, answer.sections));
        before.current = answer.sections;
        setSections(answer.sections);
        setError(null);
      },
      (thrown: unknown) => { if (current.current === asked) setError(asContractError(thrown)); },
    ).finally(() => { busy.current = false; });
  }, [vm, subject, address, vcpu, wide]);
  return { sections, changed, error, ask };
}

/** What a row is about: its first cell, or, behind the mark of the current instruction, its second. */
function nameOf(row: readonly string[]): string {
  return (row[0] === '' || row[0] === '>' ? row[1] : row[0]) ?? '';
}

/** Cells whose row had another value the time before. */
export function differences(before: readonly InspectSection[], now: readonly InspectSection[]): ReadonlySet<string> {
  const old = new Map(before.flatMap(({ title, rows }) => rows.map((row) => [`${title} ${nameOf(row)}`, row] as const)));
  const changed = new Set<string>();
  for (const { title, rows } of now) {
    for (const row of rows) {
      const was = old.get(`${title} ${nameOf(row)}`);
      if (was) row.forEach((cell, column) => { if (was[column] !== cell) changed.add(`${title} ${nameOf(row)} ${column}`); });
    }
  }
  return changed;
}

function Section({ section: { title, columns, rows, note }, changed }: { readonly section: InspectSection; readonly changed: ReadonlySet<string> }): ReactNode {
  const [all, setAll] = useState(false);
  const shown = all ? rows : rows.slice(0, ROWS_SHOWN);
  return (
    <section className="inspect-section">
      <h3 className="dock-heading">{title}</h3>
      <div className="wide-table">
        <table className="table dense mono-cells" aria-label={title}>
          <thead><tr>{columns.map((column, i) => <th key={i}>{column}</th>)}</tr></thead>
          <tbody>
            {shown.map((row, index) => (
              <tr key={index} className={row[0] === '>' ? 'picked' : ''}>
                {row.map((cell, column) => <td key={column} className={`mono selectable ${changed.has(`${title} ${nameOf(row)} ${column}`) ? 'changed' : ''}`}>{cell}</td>)}
              </tr>
            ))}
            {rows.length === 0 && <tr><td className="nothing" colSpan={columns.length}>None.</td></tr>}
          </tbody>
        </table>
      </div>
      {shown.length < rows.length && <button type="button" className="button plain" onClick={() => setAll(true)}>Show all {rows.length}</button>}
      {note !== '' && <p className="note dock-note">{note}</p>}
    </section>
  );
}
