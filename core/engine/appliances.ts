/** New VMs from appliances: their disks are converted beside the library's VMs first, so that what fails or is cancelled leaves nothing. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AppliancePackage } from '../appliance/package.ts';
import { BlockError } from '../block/blockDevice.ts';
import { createDisk } from '../block/commands.ts';
import { copyDisk } from '../block/convert.ts';
import { ContractError } from '../contract/errors.ts';
import { formatMemory } from '../contract/memory.ts';
import { diskDefaults, driveBus, networkDefaults } from '../contract/hardware.ts';
import type { DiskConfig } from '../contract/hardware.ts';
import { replaceVariables, variablesPath } from '../machine/variablesFile.ts';
import { freeVmName } from '../store/names.ts';
import type { Library } from '../store/library.ts';
import { vmConfig, vmDefaults } from '../contract/vm.ts';
import type { Vm } from '../contract/vm.ts';
import type { Supervisor } from './supervisor.ts';
import type { Transfer } from './transfers.ts';

export class Appliances {
  readonly #library: Library;
  readonly #supervisor: Supervisor;
  readonly #incoming: string;

  constructor(library: Library, supervisor: Supervisor) {
    this.#library = library;
    this.#supervisor = supervisor;
    this.#incoming = join(library.folder, 'incoming');
  }

  /** Removes what an engine that died was converting. */
  open(): void {
    rmSync(this.#incoming, { recursive: true, force: true });
  }

  /** What an appliance is, in a line or a few. @throws ContractError */
  async describe(path: string): Promise<{ readonly name: string; readonly description: string }> {
    const { name, cpus, memoryBytes, firmware, disks, changes } = (await AppliancePackage.open(path)).appliance;
    const counted = (count: number, thing: string): string => `${count} ${thing}${count === 1 ? '' : 's'}`;
    return { name, description: [`${counted(cpus, 'processor')}, ${formatMemory(memoryBytes)}, ${firmware === 'uefi' ? 'UEFI' : 'BIOS'}, ${counted(disks.length, 'disk')}.`, ...changes].join(' ') };
  }

  /** @throws ContractError why it cannot be imported, `disk-full`, or `cancelled`; nothing is left then */
  async import(path: string, name: string | undefined, progress: Transfer['progress']): Promise<Vm> {
    const folder = join(this.#incoming, randomUUID());
    try {
      const source = await AppliancePackage.open(path);
      const chosen = name ?? await freeVmName(this.#library, source.appliance.name);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const files = await this.#convert(source, folder, progress);
      return await this.#adopt(source, chosen, folder, files, await source.variables());
    } catch (error) {
      throw error instanceof BlockError ? blockRefusal(error) : error;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Names of the new images in the folder, in the order of the disks. */
  async #convert(source: AppliancePackage, folder: string, progress: Transfer['progress']): Promise<readonly string[]> {
    const { disks } = source.appliance;
    const opened = await Promise.all(disks.map(({ file }) => source.openDisk(file)));
    const total = source.bytesToVerify + opened.reduce((sum, device) => sum + (device?.size ?? 0), 0);
    let before = 0;
    try {
      await source.verify((bytes) => progress(before += bytes, total));
      const names: string[] = [];
      for (const [index, device] of opened.entries()) {
        const name = `disk-${index + 1}.qcow2`;
        if (device) await copyDisk(device, join(folder, name), { to: 'qcow2', compressed: false, progress: (done) => progress(before + done, total) });
        else await createDisk(join(folder, name), { format: 'qcow2', size: disks[index]?.bytes ?? 0 });
        before += device?.size ?? 0;
        names.push(name);
      }
      return names;
    } finally {
      await Promise.allSettled(opened.map((device) => device?.close()));
    }
  }

  async #adopt({ appliance }: AppliancePackage, name: string, folder: string, files: readonly string[], variables: Uint8Array | null): Promise<Vm> {
    const { cpus, memoryBytes, firmware, networks, notes, changes } = appliance;
    const vm = await this.#supervisor.create(vmConfig.parse({
      ...vmDefaults, name, cpus, memoryBytes, firmware, display: 'vga', notes: [notes, ...changes].filter(Boolean).join('\n'),
      networks: networks.map((model) => ({ ...networkDefaults, model })),
    }));
    try {
      const own = this.#library.vmFolder(vm.id);
      if (variables) replaceVariables(variablesPath(own), variables);
      for (const file of files) renameSync(join(folder, file), join(own, file));
      const disks: DiskConfig[] = appliance.disks.map(({ bus }, index) => ({ ...diskDefaults, path: join(own, files[index] ?? ''), bus, format: 'qcow2' }));
      const drives = Array.from({ length: appliance.drives }, (): DiskConfig => ({ path: '', kind: 'cdrom', bus: driveBus, format: 'raw', readOnly: true }));
      return await this.#supervisor.configure(vm.id, { ...vm.config, disks: [...disks, ...drives] });
    } catch (error) {
      await this.#supervisor.remove(vm.id);
      throw error;
    }
  }
}

function blockRefusal(error: BlockError): ContractError {
  if (error.failure === 'full') return new ContractError('disk-full', `The disks of the appliance have no room in the library: ${error.message}.`, 'Make room on the disk of the library, and import it again.');
  return new ContractError('bad-image', `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`, 'Check the file, and the disk that it lies on.', 'path');
}
