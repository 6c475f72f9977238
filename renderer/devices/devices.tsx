import { Cable, CirclePlus, CircuitBoard, HardDrive, Link2, Network, Unlink2, Usb } from 'lucide-react';
import { useState } from 'react';
import type { DragEvent, ReactNode } from 'react';
import type { Device, Vm } from '../../core/contract/index.ts';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { RightClickMenu } from '../controls/menu.tsx';
import type { MenuRow } from '../controls/menu.tsx';
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
  if (error) return <div className="page"><Callout kind="error" title={error.message} hint={error.hint} /></div>;
  if (!devices) return <div className="page" aria-busy />;
  const own = devices.filter((device) => device.vm?.id === vm.id);
  const others = devices.filter((device) => device.vm?.id !== vm.id);
  const alive = isAlive(vm);
  const dropped = devices.find((device) => device.id === dragged);
  const target = (assign: boolean): DropTarget => ({
    accepts: dropped !== undefined && (assign ? dropped.vm === null : dropped.vm?.id === vm.id),
    drop: () => { if (dropped) change(dropped, assign ? vm : null); },
  });
  const list = { vm, drag: setDragged };
  return (
    <div className="page">
      <div className="page-inner">
        {alive && <Callout kind="info" title="The machine runs." hint="What is assigned is there at once, in a hot-plug slot. What is released is taken out of it, as soon as its guest lets it go." />}
        <DeviceCard {...list} {...target(true)} title="Assigned to this machine" devices={own}
          empty="None. Assign one from the list below, by its button or by dragging it here." />
        <DeviceCard {...list} {...target(false)} title="On this host" devices={others} empty="Every device of this host is assigned to this machine."
          action={<Button icon={CirclePlus} onClick={() => setAdding(true)}>Add device</Button>} />
        <Remapping vm={vm} devices={own} />
      </div>
      {adding && <AddDevice close={() => setAdding(false)} />}
    </div>
  );
}

/** Assigns a device to a VM, or releases it. */
function change(device: Device, vm: Vm | null): void {
  const answer = vm === null ? engine.call('device.release', { device: device.id }) : engine.call('device.assign', { device: device.id, vm: vm.id });
  answer.catch(notifyError);
}

interface DropTarget {
  readonly accepts: boolean;
  readonly drop: () => void;
}

interface CardProps extends DropTarget {
  readonly vm: Vm;
  readonly title: string;
  readonly devices: readonly Device[];
  readonly empty: string;
  readonly action?: ReactNode;
  readonly drag: (id: string | null) => void;
}

function DeviceCard({ vm, title, devices, empty, action, drag, accepts, drop }: CardProps): ReactNode {
  const over = (event: DragEvent): void => { if (accepts) event.preventDefault(); };
  return (
    <section className={`card device-card ${accepts ? 'accepts' : ''}`} aria-label={title} onDragOver={over} onDrop={drop}>
      <header className="card-head"><h2>{title}</h2>{action}</header>
      {devices.length === 0 ? <p className="device-empty">{empty}</p> : (
        <table className="table">
          <thead><tr><th>Device</th><th>Group</th><th>Requester</th><th>State</th><th aria-label="Actions" /></tr></thead>
          <tbody>{devices.map((device) => <DeviceRow key={device.id} vm={vm} device={device} drag={drag} />)}</tbody>
        </table>
      )}
    </section>
  );
}

const icons = { serial: Cable, disk: HardDrive, edu: CircuitBoard, usb: Usb, nic: Network } as const;

interface RowProps {
  readonly vm: Vm;
  readonly device: Device;
  readonly drag: (id: string | null) => void;
}

function DeviceRow({ vm, device, drag }: RowProps): ReactNode {
  const Icon = icons[device.kind];
  return (
    <RightClickMenu rows={menuOf(device, vm)}>
      <tr draggable={device.vm === null || device.vm.id === vm.id} onDragStart={() => drag(device.id)} onDragEnd={() => drag(null)}>
        <td>
          <span className="device-name"><Icon size={14} aria-hidden />{device.name}</span>
          <span className="device-id selectable">{device.path ?? device.id}</span>
        </td>
        <td className="numeric">{device.group}</td>
        <td className="mono">{device.requester}</td>
        <td><span className={`device-state ${stateOf(device, vm).look}`}>{stateOf(device, vm).text}</span></td>
        <td className="right"><RowAction vm={vm} device={device} /></td>
      </tr>
    </RightClickMenu>
  );
}

function RowAction({ vm, device }: Omit<RowProps, 'drag'>): ReactNode {
  if (device.vm?.id === vm.id) {
    return <Button icon={Unlink2} aria-label={`Release ${device.name}`} onClick={() => change(device, null)}>Release</Button>;
  }
  if (device.vm) return null;
  return <Button icon={Link2} aria-label={`Assign ${device.name}`} onClick={() => change(device, vm)}>Assign</Button>;
}

function stateOf(device: Device, vm: Vm): { readonly text: string; readonly look: 'good' | 'bad' | 'plain' } {
  if (!device.present) return { text: 'not there', look: 'bad' };
  if (device.inUse) return { text: device.vm?.id === vm.id ? 'in use' : `in use by ${device.vm?.name ?? 'another machine'}`, look: 'good' };
  if (device.vm && device.vm.id !== vm.id) return { text: `assigned to ${device.vm.name}`, look: 'plain' };
  return { text: device.vm ? 'from the next start on' : 'free', look: 'plain' };
}

function menuOf(device: Device, vm: Vm): readonly MenuRow[] {
  const own = device.vm?.id === vm.id;
  return [
    { kind: 'heading', label: device.name },
    { kind: 'action', label: `Assign to ${vm.config.name}`, icon: Link2, disabled: device.vm !== null, run: () => change(device, vm) },
    { kind: 'action', label: 'Release', icon: Unlink2, disabled: !own, run: () => change(device, null) },
    { kind: 'rule' },
    {
      kind: 'action', label: 'Forget', danger: true, disabled: device.vm !== null || device.kind === 'edu',
      run: () => void engine.call('device.forget', { device: device.id }).catch(notifyError),
    },
  ];
}
