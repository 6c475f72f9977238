import { Cable, CirclePlus, CircuitBoard, HardDrive, Link2, Network, Unlink2, Usb } from 'lucide-react';
import { useState } from 'react';
import type { DragEvent, ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { Device, Vm } from '../../core/contract/index.ts';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { RightClickMenu } from '../controls/menu.tsx';
import type { MenuRow } from '../controls/menu.tsx';
import { Tip } from '../controls/tooltip.tsx';
import { engine } from '../engine/engine.ts';
import { isAlive } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';
import { AddDevice } from './add-device.tsx';
import { Remapping } from './remapping.tsx';
import { useDevices } from './use-devices.ts';

/** Resources of the host that this machine owns, those that it could, and what its remapping units say. */
export function Devices({ vm }: { readonly vm: Vm }): ReactNode {
  const { devices, error } = useDevices();
  const [adding, setAdding] = useState(false);
  const [dragged, setDragged] = useState<string | null>(null);
  const [leaving, setLeaving] = useState<ReadonlySet<string>>(new Set());
  const [kept, setKept] = useState<{ readonly device: Device; readonly reason: string } | null>(null);
  if (error) return <div className="page"><Callout kind="error" title={error.message} hint={error.hint} /></div>;
  if (!devices) return <div className="page" aria-busy />;
  const own = devices.filter((device) => device.vm?.id === vm.id);
  const others = devices.filter((device) => device.vm?.id !== vm.id);
  const alive = isAlive(vm);
  const dropped = devices.find((device) => device.id === dragged);
  const target = (assign: boolean): DropTarget => ({
    accepts: dropped !== undefined && (assign ? dropped.vm === null : dropped.vm?.id === vm.id),
    drop: () => { if (dropped) void change(dropped, assign ? vm : null); },
  });
  const change = async (device: Device, to: Vm | null, force = false): Promise<void> => {
    setLeaving((ids) => new Set(ids).add(device.id));
    try {
      await (to === null ? engine.call('device.release', { device: device.id, force }) : engine.call('device.assign', { device: device.id, vm: to.id }));
    } catch (thrown) {
      if (to === null && alive && !force) setKept({ device, reason: asContractError(thrown).message });
      else notifyError(thrown);
    } finally {
      setLeaving((ids) => new Set([...ids].filter((id) => id !== device.id)));
    }
  };
  const list = { vm, drag: setDragged, changing: leaving, change: (device: Device, to: Vm | null) => void change(device, to) };
  return (
    <div className="page">
      <div className="page-inner">
        {alive && <Callout kind="info" title="The machine runs." hint="What is assigned is there at once, in a hot-plug slot. What is released is taken out of it, as soon as its guest lets it go." />}
        {vm.state === 'suspended' && <Callout kind="info" title="The machine is suspended." hint="Its devices can change when it goes on." />}
        <DeviceCard {...list} {...target(true)} title="Assigned to this machine" devices={own}
          empty="None. What is assigned is this machine’s alone: its guest drives it by itself. Assign one from the list below, by its button or by dragging it here." />
        <DeviceCard {...list} {...target(false)} title="On this host" devices={others} empty="Every device of this host is assigned to this machine."
          action={<Button icon={CirclePlus} onClick={() => setAdding(true)}>Add device</Button>} />
        <Remapping vm={vm} devices={own} />
      </div>
      {adding && <AddDevice close={() => setAdding(false)} />}
      {kept && <PullDialog {...kept} close={() => setKept(null)} pull={() => void change(kept.device, null, true)} />}
    </div>
  );
}

interface PullProps {
  readonly device: Device;
  readonly reason: string;
  readonly close: () => void;
  readonly pull: () => void;
}

/** The guest has kept a device that was to be released. */
function PullDialog({ device, reason, close, pull }: PullProps): ReactNode {
  return (
    <Dialog alert title={`Pull ${device.name} out?`} description={`${reason} Pulled out, it is gone at once, as a card that is torn out of its slot: what the guest has not written to it is lost.`} onClose={close}
      footer={<>
        <Button look="plain" size="large" onClick={close}>Leave it</Button>
        <Button look="danger" size="large" onClick={() => { close(); pull(); }}>Pull it out</Button>
      </>} />
  );
}

interface DropTarget {
  readonly accepts: boolean;
  readonly drop: () => void;
}

/** What rows need to change an owner. */
interface Changing {
  readonly vm: Vm;
  readonly drag: (id: string | null) => void;
  /** Devices that are on their way from or to a machine: a guest takes its time. */
  readonly changing: ReadonlySet<string>;
  readonly change: (device: Device, to: Vm | null) => void;
}

interface CardProps extends DropTarget, Changing {
  readonly title: string;
  readonly devices: readonly Device[];
  readonly empty: string;
  readonly action?: ReactNode;
}

function DeviceCard({ title, devices, empty, action, accepts, drop, ...row }: CardProps): ReactNode {
  const over = (event: DragEvent): void => { if (accepts) event.preventDefault(); };
  return (
    <section className={`card device-card ${accepts ? 'accepts' : ''}`} aria-label={title} onDragOver={over} onDrop={drop}>
      <header className="card-head"><h2>{title}</h2>{action}</header>
      {devices.length === 0 ? <p className="device-empty">{empty}</p> : (
        <div className="wide-table">
          <table className="table device-table">
            <thead><tr><th>Device</th><th><Tip text="IOMMU group: what can only be given away together"><span tabIndex={0}>Group</span></Tip></th><th><Tip text="Requester ID: bus, device and function by which its DMA and interrupts are known"><span tabIndex={0}>Requester</span></Tip></th><th>State</th><th aria-label="Actions" /></tr></thead>
            <tbody>{devices.map((device) => <DeviceRow key={device.id} device={device} {...row} />)}</tbody>
          </table>
        </div>
      )}
    </section>
  );
}

const icons = { serial: Cable, disk: HardDrive, edu: CircuitBoard, usb: Usb, nic: Network } as const;

interface RowProps extends Changing {
  readonly device: Device;
}

function DeviceRow(row: RowProps): ReactNode {
  const { vm, device, drag } = row;
  const Icon = icons[device.kind];
  const { text, look } = stateOf(row);
  return (
    <RightClickMenu rows={menuOf(row)}>
      <tr draggable={device.vm === null || device.vm.id === vm.id} onDragStart={() => drag(device.id)} onDragEnd={() => drag(null)}>
        <td>
          <span className="device-name"><Icon size={14} aria-hidden />{device.name}</span>
          <span className="device-id selectable">{device.path ?? device.id}{device.kind === 'edu' && ', emulated, to try drivers with'}</span>
        </td>
        <td className="numeric">{device.group}</td>
        <td className="mono">{device.requester}</td>
        <td><span className={`device-state ${look}`}>{text}</span></td>
        <td className="right"><RowAction {...row} /></td>
      </tr>
    </RightClickMenu>
  );
}

/** What a suspended machine has is part of what it goes on from. */
function isFixed({ vm, device, changing }: RowProps): boolean {
  return changing.has(device.id) || vm.state === 'suspended';
}

function RowAction(row: RowProps): ReactNode {
  const { vm, device, change } = row;
  const disabled = isFixed(row);
  if (device.vm?.id === vm.id) return <Button icon={Unlink2} disabled={disabled} aria-label={`Release ${device.name}`} onClick={() => change(device, null)}>Release</Button>;
  if (device.vm) return null;
  return <Button icon={Link2} disabled={disabled} aria-label={`Assign ${device.name}`} onClick={() => change(device, vm)}>Assign</Button>;
}

function stateOf({ device, vm, changing }: RowProps): { readonly text: string; readonly look: 'good' | 'bad' | 'plain' } {
  if (changing.has(device.id)) return { text: device.vm ? 'being released…' : 'being assigned…', look: 'plain' };
  if (!device.present) return { text: 'not there', look: 'bad' };
  if (device.inUse) return { text: device.vm?.id === vm.id ? 'in use' : `in use by ${device.vm?.name ?? 'another machine'}`, look: 'good' };
  if (device.vm && device.vm.id !== vm.id) return { text: `assigned to ${device.vm.name}`, look: 'plain' };
  return { text: device.vm ? 'from the next start on' : 'free', look: 'plain' };
}

function menuOf(row: RowProps): readonly MenuRow[] {
  const { device, vm, change } = row;
  const busy = isFixed(row);
  const own = device.vm?.id === vm.id;
  return [
    { kind: 'heading', label: device.name },
    { kind: 'action', label: `Assign to ${vm.config.name}`, icon: Link2, disabled: busy || device.vm !== null, run: () => change(device, vm) },
    { kind: 'action', label: 'Release', icon: Unlink2, disabled: busy || !own, run: () => change(device, null) },
    { kind: 'rule' },
    {
      kind: 'action', label: 'Forget', danger: true, disabled: device.vm !== null || device.kind === 'edu',
      run: () => void engine.call('device.forget', { device: device.id }).catch(notifyError),
    },
  ];
}
