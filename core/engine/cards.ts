/** Hot-plug cards of the library's VMs: into a slot and out of it, and in the configuration, whether the VM runs or not. */
import { growDisk } from '../block/commands.ts';
import { readDisc } from '../block/disc.ts';
import { ContractError } from '../contract/errors.ts';
import type { Card } from '../contract/hardware.ts';
import type { BalloonState } from '../contract/paravirtual.ts';
import { HOT_PLUG_SLOTS } from '../contract/limits.ts';
import type { Vm, VmConfig } from '../contract/vm.ts';
import type { DiskStates } from './diskStates.ts';
import type { Guest } from './guest.ts';

/** A guest takes its time to let a card go: Linux waits five seconds for a second thought. */
const RELEASE_MS = 20_000;

/** What cards need of the VMs. */
export interface CardHolder {
  readonly disks: DiskStates;
  get(reference: string): Promise<Vm>;
  guest(id: string): Guest | null;
  /** Slots that hold assigned devices. */
  readonly devices: { slotsOf(id: string): readonly number[]; left(id: string, slot: number): void };
  configure(id: string, config: VmConfig): Promise<Vm>;
}

export class Cards {
  readonly #vms: CardHolder;
  /** Who waits for the card of a slot to be out, by VM and slot. */
  readonly #waiting = new Map<string, () => void>();

  constructor(vms: CardHolder) {
    this.#vms = vms;
  }

  /** Puts a card into its slot, or the first that is empty. @throws ContractError when none is, or the card cannot be opened */
  async plug(reference: string, card: Card): Promise<Vm> {
    const vm = await this.#vms.get(reference);
    refuseSuspended(vm);
    const slot = this.freeSlot(vm, card.kind === 'disk' ? card.disk.slot : card.network.slot);
    const placed: Card = card.kind === 'disk' ? { kind: 'disk', disk: { ...card.disk, slot } } : { kind: 'network', network: { ...card.network, slot } };
    const state = placed.kind === 'disk' ? this.#vms.disks.forDisk(vm, placed.disk, 'card.disk.path') : null;
    await this.#vms.guest(vm.id)?.plug(slot, placed, state);
    const { config } = await this.#vms.get(vm.id);
    return this.#vms.configure(vm.id, {
      ...config, ...(placed.kind === 'disk' ? { disks: [...config.disks, placed.disk] } : { networks: [...config.networks, placed.network] }),
    });
  }

  /** Takes a card out of its slot; done when it is out. @throws ContractError when the slot is empty, or the guest keeps its card */
  async unplug(reference: string, slot: number, force: boolean): Promise<Vm> {
    const vm = await this.#vms.get(reference);
    refuseSuspended(vm);
    if (!usedSlots(vm.config).includes(slot)) throw new ContractError('wrong-state', `Slot ${slot} of the VM "${vm.config.name}" is empty.`, 'See what its slots hold with `vanderpool vm show`.', 'slot');
    const guest = this.#vms.guest(vm.id);
    if (!guest) return this.#vms.configure(vm.id, withoutSlot(vm.config, slot));
    await this.takeOut(vm, guest, slot, force);
    return this.#vms.get(vm.id);
  }

  /** A slot of a VM that holds nothing. @throws ContractError when there is none */
  freeSlot(vm: Vm, wanted?: number): number {
    return emptySlot(vm, wanted, this.#vms.devices.slotsOf(vm.id));
  }

  /** Takes out what is in a slot of a running VM; done when it is out. @throws ContractError when the guest keeps it */
  async takeOut(vm: Vm, guest: Guest, slot: number, force: boolean): Promise<void> {
    const key = `${vm.id} ${slot}`;
    const out = Promise.withResolvers<void>();
    const kept = (): void => out.reject(new ContractError(
      'wrong-state', `The guest in "${vm.config.name}" has not let the card in slot ${slot} go.`,
      'Unmount what is on it and try again, or pull it out whatever happens to its data: --force.', 'slot',
    ));
    const timer = setTimeout(kept, RELEASE_MS);
    this.#waiting.set(key, out.resolve);
    try {
      await Promise.all([guest.unplug(slot, force), out.promise]);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(key);
    }
  }

  /** Plugs the cable of a network interface in or pulls it. @param network its place in the configuration @throws ContractError when there is none */
  async setLink(reference: string, network: number, up: boolean): Promise<Vm> {
    const { id, config } = await this.#vms.get(reference);
    const wired = config.networks[network];
    if (!wired) throw new ContractError('bad-field', `The VM "${config.name}" has no network interface ${network + 1}.`, `It has ${config.networks.length}.`, 'network');
    if (up && wired.attach === 'none') throw new ContractError('wrong-state', `The cable of interface ${network + 1} leads nowhere.`, 'Attach the interface to a network in the configuration.', 'network');
    this.#vms.guest(id)?.setLink(network, up);
    return this.#vms.configure(id, { ...config, networks: config.networks.map((other, index) => (index === network ? { ...other, linkUp: up } : other)) });
  }

  /** Puts another image into a CD-ROM drive, of a running VM at once; empty: none. @param disk its place in the configuration @throws ContractError */
  async changeMedium(reference: string, disk: number, path: string, force: boolean): Promise<Vm> {
    const vm = await this.#vms.get(reference);
    refuseSuspended(vm);
    const drive = vm.config.disks[disk];
    if (drive?.kind !== 'cdrom') throw new ContractError('bad-field', `Disk ${disk + 1} of the VM "${vm.config.name}" is no CD-ROM drive.`, 'See its disks with `vanderpool vm show`.', 'disk');
    // Before the guest lets go of what it has.
    if (path !== '') await readDisc(path);
    const configured = async (file: string): Promise<Vm> => {
      const { config } = await this.#vms.get(vm.id);
      return this.#vms.configure(vm.id, { ...config, disks: config.disks.map((other, index) => (index === disk ? { ...other, path: file } : other)) });
    };
    try {
      await this.#vms.guest(vm.id)?.changeMedium(disk, path, force);
    } catch (error) {
      // The guest has let the old medium go, and the new one cannot be opened.
      if (error instanceof ContractError && error.code !== 'wrong-state') await configured('');
      throw error;
    }
    return configured(path);
  }

  /** Makes a disk larger, of a running VM at once. @param disk its place in the configuration @throws ContractError when it cannot grow */
  async growDisk(reference: string, disk: number, bytes: number): Promise<Vm> {
    const vm = await this.#vms.get(reference);
    refuseSuspended(vm);
    const config = vm.config.disks[disk];
    if (config?.kind !== 'disk') throw new ContractError('bad-field', `The VM "${vm.config.name}" has no disk ${disk + 1}.`, 'See its disks with `vanderpool vm show`.', 'disk');
    if (config.readOnly) throw new ContractError('wrong-state', `The disk "${config.path}" is attached read-only.`, 'Change that in the configuration.', 'disk');
    const guest = this.#vms.guest(vm.id);
    // Snapshots keep their image and its size: only what the VM has over it grows.
    const state = this.#vms.disks.forDisk(vm, config, 'disk') && (await this.#vms.disks.grow(vm.id, config.path, bytes));
    if (guest) await guest.growDisk(disk, bytes, state);
    else if (state === null) await growDisk(config.path, bytes, config.format);
    return this.#vms.get(vm.id);
  }

  /** Asks a running VM's guest to do without so many bytes, or with null asks nothing. @throws ContractError when it does not run or has no balloon */
  async balloon(reference: string, bytes: number | null): Promise<BalloonState> {
    const { id, config } = await this.#vms.get(reference);
    const guest = this.#vms.guest(id);
    if (!guest) throw new ContractError('wrong-state', `The VM "${config.name}" does not run.`, 'Start it first.', 'vm');
    return guest.balloon(bytes === null ? null : Math.min(bytes, config.memoryBytes));
  }

  /** A running VM's card is out, by whosever wish. */
  async released(id: string, slot: number): Promise<void> {
    this.#vms.devices.left(id, slot);
    const { config } = await this.#vms.get(id);
    await this.#vms.configure(id, withoutSlot(config, slot));
    this.#waiting.get(`${id} ${slot}`)?.();
  }
}

function usedSlots({ disks, networks }: VmConfig): readonly number[] {
  return [...disks, ...networks].flatMap(({ slot }) => (slot === undefined ? [] : [slot]));
}

function withoutSlot(config: VmConfig, slot: number): VmConfig {
  const stays = (device: { readonly slot?: number | undefined }): boolean => device.slot !== slot;
  return { ...config, disks: config.disks.filter(stays), networks: config.networks.filter(stays) };
}

function emptySlot({ config }: Vm, wanted: number | undefined, others: readonly number[]): number {
  const used = [...usedSlots(config), ...others];
  const slots = Array.from({ length: HOT_PLUG_SLOTS }, (_, index) => index + 1);
  const slot = wanted ?? slots.find((candidate) => !used.includes(candidate));
  if (slot === undefined) throw new ContractError('wrong-state', `All ${HOT_PLUG_SLOTS} slots of the VM "${config.name}" hold a card.`, 'Unplug one first.', 'slot');
  if (used.includes(slot)) throw new ContractError('wrong-state', `Slot ${slot} of the VM "${config.name}" holds a card already.`, 'Unplug that first, or choose another slot.', 'slot');
  return slot;
}

function refuseSuspended({ config, state }: Vm): void {
  if (state === 'suspended') throw new ContractError('wrong-state', `The VM "${config.name}" is suspended: its cards cannot change.`, 'Resume it first.', 'vm');
}
