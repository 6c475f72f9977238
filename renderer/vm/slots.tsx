/** Cards that come and go while a machine runs: disks and network interfaces in its hot-plug slots. */
import { HardDrive, Network, Unplug } from 'lucide-react';
import { useState } from 'react';
import type { ReactNode } from 'react';
import { HOT_PLUG_SLOTS, asContractError, diskDefaults, networkDefaults } from '../../core/contract/index.ts';
import type { Card, DiskConfig, ErrorShape, NetworkConfig, Vm } from '../../core/contract/index.ts';
import { buses } from '../configuration/hardware-fields.tsx';
import { attachments, models } from '../configuration/network-fields.tsx';
import { ImageField } from '../configuration/image-field.tsx';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import { Select } from '../controls/select.tsx';
import { engine } from '../engine/engine.ts';
import { fileName } from '../state/format.ts';

/** Buses whose disks have a slot for themselves. */
const cardBuses = buses.filter(({ value }) => value !== 'usb');
const labelOf = (options: typeof buses, wanted: string): string => options.find(({ value }) => value === wanted)?.label ?? wanted;

interface Slotted {
  readonly slot: number;
  readonly icon: typeof HardDrive;
  readonly what: string;
  readonly kind: string;
}

function slotted({ config }: Vm): readonly Slotted[] {
  const disks = config.disks.flatMap(({ slot, path, bus }) => (slot === undefined ? [] : [{ slot, icon: HardDrive, what: fileName(path), kind: `${labelOf(buses, bus)} disk` }]));
  const networks = config.networks.flatMap(({ slot, model, attach, switchName }) => (
    slot === undefined ? [] : [{ slot, icon: Network, what: attach === 'switch' ? `Switch ${switchName}` : labelOf(attachments, attach), kind: `${labelOf(models, model)} network interface` }]
  ));
  return [...disks, ...networks].toSorted((left, right) => left.slot - right.slot);
}

export function HotPlugSlots({ vm }: { readonly vm: Vm }): ReactNode {
  const [adding, setAdding] = useState<Card['kind'] | null>(null);
  const cards = slotted(vm);
  return (
    <section className="card" aria-labelledby="slots-title">
      <header className="card-head">
        <h2 id="slots-title">Hot-plug slots</h2>
        <Button look="plain" icon={HardDrive} onClick={() => setAdding('disk')}>Plug in a disk</Button>
        <Button look="plain" icon={Network} onClick={() => setAdding('network')}>Plug in a network interface</Button>
      </header>
      {cards.length === 0
        ? <div className="device-empty">All {HOT_PLUG_SLOTS} slots are free for disks, network interfaces and devices of this host. A system with a driver for the card finds it at once.</div>
        : <ul className="slots">{cards.map((card) => <SlotRow key={card.slot} vm={vm} card={card} />)}</ul>}
      {adding === 'disk' && <PlugDisk vm={vm} onClose={() => setAdding(null)} />}
      {adding === 'network' && <PlugNetwork vm={vm} onClose={() => setAdding(null)} />}
    </section>
  );
}

/** A card and the way to take it out: the guest is asked first, and may be overruled. */
function SlotRow({ vm, card: { slot, icon: Icon, what, kind } }: { readonly vm: Vm; readonly card: Slotted }): ReactNode {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ErrorShape | null>(null);
  const unplug = async (force: boolean): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await engine.call('vm.unplug', { vm: vm.id, slot, force });
    } catch (thrown) {
      setError(asContractError(thrown).toShape());
    } finally {
      setBusy(false);
    }
  };
  return (
    <li aria-label={`Slot ${slot}`}>
      <div className="slot-row">
        <span className="slot-number numeric">Slot {slot}</span>
        <Icon size={14} aria-hidden />
        <span className="slot-what">{what}<span className="note">{kind}</span></span>
        {busy && <span className="note" role="status">The guest is asked to let it go.</span>}
        <Button icon={Unplug} busy={busy} aria-label={`Unplug slot ${slot}`} onClick={() => void unplug(false)}>Unplug</Button>
      </div>
      {error && (
        <Callout kind="warning" title={error.message} hint="Unmount what is on it and try again. Pulled out without asking, what is not written yet is lost."
          actions={<Button look="danger" onClick={() => void unplug(true)}>Pull it out all the same</Button>} />
      )}
    </li>
  );
}

interface PlugProps {
  readonly vm: Vm;
  readonly onClose: () => void;
}

/** What both dialogs do with a card that is complete. */
function usePlug({ vm, onClose }: PlugProps): { readonly plug: (card: Card) => void; readonly busy: boolean; readonly error: ErrorShape | null } {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ErrorShape | null>(null);
  const plug = (card: Card): void => {
    setBusy(true);
    engine.call('vm.plug', { vm: vm.id, card }).then(onClose, (thrown: unknown) => {
      setError(asContractError(thrown).toShape());
      setBusy(false);
    });
  };
  return { plug, busy, error };
}

function PlugDisk(props: PlugProps): ReactNode {
  const [path, setPath] = useState('');
  const [bus, setBus] = useState<DiskConfig['bus']>('virtio');
  const { plug, busy, error } = usePlug(props);
  const atPath = error?.field === 'card.disk.path';
  return (
    <Dialog title="Plug in a disk" description="The guest sees a new card in a slot, as if somebody had put it in." onClose={props.onClose}
      onSubmit={() => plug({ kind: 'disk', disk: { ...diskDefaults, path: path.trim(), bus } })}
      footer={<><Button look="plain" size="large" onClick={props.onClose}>Cancel</Button><Button look="primary" size="large" type="submit" busy={busy} disabled={path.trim() === ''}>Plug in</Button></>}>
      <ImageField kind="disk" label="Image" value={path} placeholder="/home/me/data.qcow2" onPath={setPath} problem={atPath && error ? error : undefined} />
      <Field label="Bus">{(ties) => <Select ties={ties} value={bus} options={cardBuses} onPick={(value) => setBus(value as DiskConfig['bus'])} />}</Field>
      {error && !atPath && <Callout kind="error" title={error.message} hint={error.hint} />}
    </Dialog>
  );
}

function PlugNetwork(props: PlugProps): ReactNode {
  const [model, setModel] = useState<NetworkConfig['model']>('virtio');
  const [attach, setAttach] = useState<NetworkConfig['attach']>('user');
  const [switchName, setSwitchName] = useState('');
  const { plug, busy, error } = usePlug(props);
  const nameless = attach === 'switch' && switchName.trim() === '';
  return (
    <Dialog title="Plug in a network interface" description="The guest sees a new card in a slot, as if somebody had put it in." onClose={props.onClose}
      onSubmit={() => plug({ kind: 'network', network: { ...networkDefaults, model, attach, switchName: attach === 'switch' ? switchName.trim() : '' } })}
      footer={<><Button look="plain" size="large" onClick={props.onClose}>Cancel</Button><Button look="primary" size="large" type="submit" busy={busy} disabled={nameless}>Plug in</Button></>}>
      <Field label="Model">{(ties) => <Select ties={ties} value={model} options={models} onPick={(value) => setModel(value as NetworkConfig['model'])} />}</Field>
      <Field label="Network">{(ties) => <Select ties={ties} value={attach} options={attachments} onPick={(value) => setAttach(value as NetworkConfig['attach'])} />}</Field>
      {attach === 'switch' && <Field label="Switch" hint="Machines on the switch of the same name reach each other.">{(ties) => <TextInput {...ties} value={switchName} placeholder="lab" onText={setSwitchName} />}</Field>}
      {error && <Callout kind="error" title={error.message} hint={error.hint} />}
    </Dialog>
  );
}
