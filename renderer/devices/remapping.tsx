import { CircleCheck, Route, ShieldAlert } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { ContractError, Device, Vm } from '../../core/contract/index.ts';
import type { InspectSection } from '../../core/contract/inspect.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Segments } from '../controls/segments.tsx';
import { Select } from '../controls/select.tsx';
import { engine } from '../engine/engine.ts';
import { isAlive } from '../state/library.ts';
import { useInspection } from './use-devices.ts';

/** What passes the remapping units of a running machine: counts, refused requests, and the way of one address. */
export function Remapping({ vm, devices }: { readonly vm: Vm; readonly devices: readonly Device[] }): ReactNode {
  const active = isAlive(vm) && vm.state !== 'starting' && (vm.config.iommu === 'on' || devices.length > 0);
  const tables = useInspection(vm.id, { what: 'iommu', detail: false }, active);
  const faults = useInspection(vm.id, { what: 'iommu-faults' }, active);
  const [followed, setFollowed] = useState<WalkRequest | null>(null);
  if (!active) {
    const about = vm.config.iommu === 'on' || devices.length > 0 ? 'Start the machine to see what its devices do.' : 'This machine has neither a VT-d unit of its own nor an assigned device.';
    return <section className="card" aria-label="Remapping"><header className="card-head"><h2>Remapping</h2></header><p className="device-empty">{about}</p></section>;
  }
  const assigned = tables?.find(({ title }) => title === 'Assigned devices');
  const known = tables?.find(({ title }) => title === 'Devices');
  return (
    <>
      {assigned && <TableCard section={assigned} label="Traffic of assigned devices" />}
      <Faults section={faults?.[0] ?? null} follow={(request) => setFollowed({ ...request, device: guestRequester(request.device, assigned) })} />
      <WalkCard vm={vm} requesters={requestersOf(known, assigned)} first={assigned?.rows[0]?.[0] ?? ''} followed={followed} />
      {known && <TableCard section={known} label="Devices in the guest’s VT-d unit" />}
    </>
  );
}

/** Requester IDs and names, from whichever table has them. */
function requestersOf(...tables: readonly (InspectSection | undefined)[]): readonly { readonly value: string; readonly label: string }[] {
  const rows = tables.find((table) => table !== undefined)?.rows ?? [];
  return rows.map(([requester = '', name = '']) => ({ value: requester, label: `${requester} ${name}` }));
}

/** The workstation's unit knows an assigned device by another requester ID than the guest does. */
function guestRequester(requester: string, assigned: InspectSection | undefined): string {
  return assigned?.rows.find(([, , host]) => host === requester)?.[0] ?? requester;
}

function TableCard({ section, label }: { readonly section: InspectSection; readonly label: string }): ReactNode {
  return (
    <section className="card" aria-label={label}>
      <header className="card-head"><h2>{label}</h2></header>
      <InspectTable section={section} />
    </section>
  );
}

interface TableProps {
  readonly section: InspectSection;
  /** What can be done with a row. */
  readonly action?: (row: readonly string[]) => ReactNode;
}

export function InspectTable({ section: { columns, rows, note }, action }: TableProps): ReactNode {
  return (
    <div className="inspect-table">
      <table className="table">
        <thead><tr>{columns.map((column) => <th key={column}>{column}</th>)}{action && <th aria-label="Actions" />}</tr></thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index}>
              {row.map((cell, at) => <td key={at} className={/^0x|:\d\d\./.test(cell) ? 'mono selectable' : 'selectable'}>{cell}</td>)}
              {action && <td className="go">{action(row)}</td>}
            </tr>
          ))}
        </tbody>
      </table>
      {note !== '' && <p className="device-empty">{note}</p>}
    </div>
  );
}

/** Whose address is followed. */
interface WalkRequest {
  readonly device: string;
  readonly address: string;
  readonly access: 'read' | 'write';
}

interface FaultsProps {
  readonly section: InspectSection | null;
  readonly follow: (request: WalkRequest) => void;
}

/** The last comes first; an address that was refused can be followed. */
function Faults({ section, follow }: FaultsProps): ReactNode {
  const rows = section?.rows ?? [];
  const action = ([, , device = '', , request, address = '']: readonly string[]): ReactNode => (request === 'read' || request === 'write') && (
    <IconButton icon={Route} label={`Follow ${address}`} onClick={() => follow({ device, address, access: request })} />
  );
  return (
    <section className="card" aria-label="Refused requests">
      <header className="card-head"><h2>Refused requests</h2>{rows.length > 0 && <span className="device-state bad"><ShieldAlert size={13} aria-hidden /> {rows.length}</span>}</header>
      {section === null || rows.length === 0
        ? <p className="device-empty">No device has asked for what is not its own.</p>
        : <InspectTable section={{ ...section, rows: rows.toReversed().map(([at = '', ...cells]) => [new Date(at).toLocaleTimeString(), ...cells]) }} action={action} />}
    </section>
  );
}

interface WalkProps {
  readonly vm: Vm;
  readonly requesters: readonly { readonly value: string; readonly label: string }[];
  /** The device that is chosen at first; empty: the first of all. */
  readonly first: string;
  /** What was chosen elsewhere: it is followed at once. */
  readonly followed: WalkRequest | null;
}

function WalkCard({ vm, requesters, first, followed }: WalkProps): ReactNode {
  const card = useRef<HTMLElement>(null);
  const [device, setDevice] = useState('');
  const [address, setAddress] = useState('0x0');
  const [access, setAccess] = useState<'read' | 'write'>('read');
  const [walk, setWalk] = useState<InspectSection | null>(null);
  const [error, setError] = useState<ContractError | null>(null);
  const chosen = device || first || (requesters[0]?.value ?? '');
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(address.trim())?.[1];
  const ask = (request: WalkRequest): void => {
    const query = { what: 'iommu-walk', device: request.device, pasid: null, address: request.address, write: request.access === 'write' } as const;
    engine.call('vm.inspect', { vm: vm.id, query }).then(
      ({ sections }) => {
        setWalk(sections[0] ?? null);
        setError(null);
      },
      (thrown: unknown) => setError(asContractError(thrown)),
    );
  };
  useEffect(() => {
    if (followed === null) return;
    setDevice(followed.device);
    setAddress(followed.address);
    setAccess(followed.access);
    ask(followed);
    card.current?.scrollIntoView({ block: 'nearest' });
  }, [followed]);
  const submit = (): void => { if (digits !== undefined) ask({ device: chosen, address: `0x${digits.toLowerCase()}`, access }); };
  return (
    <section className="card" aria-label="Way of a DMA address" ref={card}>
      <header className="card-head"><h2>Way of a DMA address</h2></header>
      <form className="walk-form" onSubmit={(event) => { event.preventDefault(); submit(); }}>
        <Select label="Device" value={chosen} options={requesters} onPick={setDevice} />
        <input className="input mono" aria-label="Address" aria-invalid={digits === undefined || undefined} value={address} spellCheck={false} onChange={(event) => setAddress(event.target.value)} />
        <Segments label="Access" value={access} onPick={setAccess} segments={[{ value: 'read', label: 'Read' }, { value: 'write', label: 'Write' }]} />
        <Button type="submit" icon={Route} disabled={digits === undefined || chosen === ''}>Follow</Button>
      </form>
      {error && <div className="card-body"><Callout kind="error" title={error.message} hint={error.hint} /></div>}
      {walk && !error && <Walk section={walk} />}
    </section>
  );
}

/** The entries on the way, and where it leads. */
function Walk({ section }: { readonly section: InspectSection }): ReactNode {
  const refused = /is refused/.test(section.note);
  const Icon = refused ? ShieldAlert : CircleCheck;
  return (
    <>
      <InspectTable section={{ ...section, note: '' }} />
      <p className={`walk-outcome ${refused ? 'bad' : 'good'}`} role="status"><Icon size={14} aria-hidden />{section.note}</p>
    </>
  );
}
