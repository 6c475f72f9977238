/** What the I/O thread does for a machine's devices: its disks and networks. */
import type { AssignedDevice } from '../contract/device.ts';
import type { Card } from '../contract/hardware.ts';
import type { VmConfig } from '../contract/vm.ts';
import type { CardDescription } from './devices.ts';
import { MachineDisks } from './disks.ts';
import type { DiskState, LayeredDisks } from './layeredDisks.ts';
import { MachineNetworks } from './networks.ts';
import type { MachineService } from './runner.ts';
import type { MachineConfig } from './types.ts';

export class MachineServices {
  /** What the core thread is told of them. */
  readonly descriptions: Pick<MachineConfig, 'disks' | 'networks'>;
  readonly list: readonly MachineService[];
  readonly #disks: MachineDisks;
  readonly #networks: MachineNetworks;
  readonly layered: LayeredDisks;

  private constructor(disks: MachineDisks, networks: MachineNetworks) {
    this.descriptions = { disks: disks.descriptions, networks: networks.descriptions };
    this.list = [disks, networks];
    this.#disks = disks;
    this.#networks = networks;
    this.layered = disks.layered;
  }

  /**
   * @param devices assigned to the machine: those that are disks are opened behind the configured ones
   * @param states what the library keeps of each configured disk; null: all of it is in its image
   * @throws ContractError naming what cannot be opened, and its field; nothing is open then
   */
  static async open({ name, disks, networks }: Pick<VmConfig, 'name' | 'disks' | 'networks'>, devices: readonly AssignedDevice[] = [], states: readonly (DiskState | null)[] = []): Promise<MachineServices> {
    const opened = await MachineDisks.open(disks, devices.flatMap(({ id, kind, path }) => (kind === 'disk' && path !== null ? [{ id, path }] : [])), states);
    try {
      return new MachineServices(opened, await MachineNetworks.open(name, networks));
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  /** Opens what a card needs, for a hot-plug slot. @throws ContractError naming what cannot be opened */
  async plug(card: Card, slot: number, state: DiskState | null): Promise<CardDescription> {
    return card.kind === 'disk' ? { kind: 'disk', disk: await this.#disks.plug(card.disk, slot, state) } : { kind: 'network', network: await this.#networks.plug(card.network, slot) };
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
