/** What the I/O thread does for a machine's devices: its disks and networks. */
import type { AssignedDevice } from '../contract/device.ts';
import type { VmConfig } from '../contract/vm.ts';
import { MachineDisks } from './disks.ts';
import { MachineNetworks } from './networks.ts';
import type { MachineService } from './runner.ts';
import type { MachineConfig } from './types.ts';

export class MachineServices {
  /** What the core thread is told of them. */
  readonly descriptions: Pick<MachineConfig, 'disks' | 'networks'>;
  readonly list: readonly MachineService[];

  private constructor(disks: MachineDisks, networks: MachineNetworks) {
    this.descriptions = { disks: disks.descriptions, networks: networks.descriptions };
    this.list = [disks, networks];
  }

  /**
   * @param devices assigned to the machine: those that are disks are opened behind the configured ones
   * @throws ContractError naming what cannot be opened, and its field; nothing is open then
   */
  static async open({ name, disks, networks }: Pick<VmConfig, 'name' | 'disks' | 'networks'>, devices: readonly AssignedDevice[] = []): Promise<MachineServices> {
    const opened = await MachineDisks.open(disks, devices.flatMap(({ id, kind, path }) => (kind === 'disk' && path !== null ? [{ id, path }] : [])));
    try {
      return new MachineServices(opened, await MachineNetworks.open(name, networks));
    } catch (error) {
      await opened.close();
      throw error;
    }
  }
}
