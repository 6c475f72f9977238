/** What the I/O thread does for a machine's devices: its disks, networks, USB devices and sockets. */
import { statSync } from 'node:fs';
import { ContractError } from '../contract/errors.ts';
import type { AssignedDevice } from '../contract/device.ts';
import type { Card } from '../contract/hardware.ts';
import type { VmConfig } from '../contract/vm.ts';
import type { CardDescription } from './devices.ts';
import { MachineDisks } from './disks.ts';
import type { DiskState, LayeredDisks } from './layeredDisks.ts';
import { MachineNetworks } from './networks.ts';
import { LinkedDevices } from './linkedDevices.ts';
import { VsockHost } from '../vsock/host.ts';
import type { MachineService } from './runner.ts';
import type { ShareConfig } from '../contract/paravirtual.ts';
import type { MachineConfig } from './types.ts';

type ServiceConfig = Pick<VmConfig, 'name' | 'firmware' | 'disks' | 'networks' | 'serial' | 'balloon' | 'shares' | 'vsock'>;

export class MachineServices {
  /** What the core thread is told of them. */
  readonly descriptions: Pick<MachineConfig, 'disks' | 'networks' | 'linkedDevices' | 'consoles' | 'balloon' | 'shares' | 'vsock'>;
  readonly list: readonly MachineService[];
  readonly #disks: MachineDisks;
  readonly #networks: MachineNetworks;
  readonly #linked: LinkedDevices;
  readonly layered: LayeredDisks;

  private constructor({ serial, balloon, shares }: ServiceConfig, disks: MachineDisks, networks: MachineNetworks, linked: LinkedDevices, vsock: VsockHost | null) {
    const consoles = serial.flatMap(({ device, label }, port) => (device === 'virtio' ? [{ port, name: label || `COM${port + 1}` }] : []));
    this.descriptions = { disks: disks.descriptions, networks: networks.descriptions, linkedDevices: linked.descriptions, consoles, balloon, shares, ...(vsock ? { vsock: vsock.buffer } : {}) };
    this.list = [disks, networks, linked, ...(vsock ? [vsock] : [])];
    this.#linked = linked;
    this.#disks = disks;
    this.#networks = networks;
    this.layered = disks.layered;
  }

  /**
   * @param devices assigned to the machine: those that are disks are opened behind the configured ones
   * @param states what the library keeps of each configured disk; null: all of it is in its image
   * @throws ContractError naming what cannot be opened, and its field; nothing is open then
   */
  static async open(config: ServiceConfig, devices: readonly AssignedDevice[] = [], states: readonly (DiskState | null)[] = []): Promise<MachineServices> {
    const { name, firmware, disks, networks, shares, vsock } = config;
    shares.forEach(checkShare);
    const opened: MachineService[] = [];
    try {
      const openedDisks = await MachineDisks.open(disks, devices.flatMap(({ id, kind, path, slot }) => (kind === 'disk' && path !== null ? [{ id, path, slot }] : [])), states);
      opened.push(openedDisks);
      const openedNetworks = await MachineNetworks.open(name, networks, firmware !== '');
      opened.push(openedNetworks);
      return new MachineServices(config, openedDisks, openedNetworks, new LinkedDevices(devices), vsock === null ? null : await VsockHost.open(vsock));
    } catch (error) {
      await Promise.allSettled(opened.map((service) => service.close()));
      throw error;
    }
  }

  /** Opens what a card needs, for a hot-plug slot. @throws ContractError naming what cannot be opened */
  async plug(card: Card, slot: number, state: DiskState | null): Promise<CardDescription> {
    return card.kind === 'disk' ? { kind: 'disk', disk: await this.#disks.plug(card.disk, slot, state) } : { kind: 'network', network: await this.#networks.plug(card.network, slot) };
  }

  get disks(): MachineDisks {
    return this.#disks;
  }

  /** Opens what an assigned device needs that comes while the machine runs. @throws ContractError naming what cannot be opened */
  async plugDevice(device: AssignedDevice, index: number): Promise<CardDescription> {
    const { id, kind, path, slot } = device;
    if (kind === 'disk' && path !== null) return { kind: 'assigned', device, index, disk: await this.#disks.plugAssigned({ id, path, slot }) };
    const linked = this.#linked.plug(device);
    return { kind: 'assigned', device, index, ...(linked ? { linked } : {}) };
  }

  /** Finishes and closes what an assigned device needed, but for its disk, which goes with its slot. */
  unplugDevice(id: string): Promise<void> {
    return this.#linked.unplug(id);
  }

  /** Plugs the cable of an interface in or pulls it. @param network its place in the configuration */
  setLink(network: number, up: boolean): void {
    this.#networks.setLink(network, up);
  }

  /** Finishes and closes what the card of a slot needed. */
  async unplug(slot: number): Promise<void> {
    await Promise.all([this.#disks.unplug(slot), this.#networks.unplug(slot)]);
  }
}

function checkShare({ folder }: ShareConfig, index: number): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new ContractError('file-unreadable', `The folder "${folder}" cannot be shared: there is no such folder.`, 'Check the path.', `shares.${index}.folder`);
}
