/** What the I/O thread does for a machine's devices: its disks. */
import type { VmConfig } from '../contract/vm.ts';
import { MachineDisks } from './disks.ts';
import type { MachineService } from './runner.ts';
import type { MachineConfig } from './types.ts';

export class MachineServices {
  /** What the core thread is told of them. */
  readonly descriptions: Pick<MachineConfig, 'disks'>;
  readonly list: readonly MachineService[];

  private constructor(disks: MachineDisks) {
    this.descriptions = { disks: disks.descriptions };
    this.list = [disks];
  }

  /** @throws ContractError naming what cannot be opened, and its field; nothing is open then */
  static async open({ disks }: Pick<VmConfig, 'disks'>): Promise<MachineServices> {
    return new MachineServices(await MachineDisks.open(disks));
  }
}
