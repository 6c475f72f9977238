/** Reads a VM's boot files and makes the machine's configuration of them, with every refusal a person can act on. */
import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { ContractError } from '../contract/errors.ts';
import { formatMemory } from '../contract/memory.ts';
import type { VmConfig } from '../contract/vm.ts';
import type { LoadedBoot, MachineConfig, RestorePoint } from './types.ts';

/** What of a VM's configuration its machine is made of. */
export type MachineSettings = Pick<VmConfig, 'memoryBytes' | 'cpus' | 'cpuModel' | 'jit' | 'clock' | 'iommu' | 'boot'>;

/** @throws ContractError `file-unreadable` or `bad-image`, naming the file and the field. */
export function readMachineConfig(settings: MachineSettings): MachineConfig {
  const { memoryBytes, cpus, cpuModel, jit, clock, iommu } = settings;
  return { memoryBytes, cpus, cpuModel, jit, clock, iommu, boot: readBootFiles(settings) };
}

/** The configuration of a machine that goes on from a snapshot: its boot files are read when it is reset. */
export function restoredMachineConfig(settings: MachineSettings, restore: RestorePoint): MachineConfig {
  const { memoryBytes, cpus, cpuModel, jit, clock, iommu, boot } = settings;
  return { memoryBytes, cpus, cpuModel, jit, clock, iommu, boot: boot.kind === 'monitor' ? boot : { kind: 'deferred' }, restore };
}

/** @throws ContractError as `readMachineConfig`. */
export function readBootFiles(settings: MachineSettings): LoadedBoot {
  return readBoot(settings, readWhole);
}

/** The boot source for a check of its images: the kernel is read, of the other files only their sizes are true. */
export function readBootForCheck(settings: MachineSettings): LoadedBoot {
  return readBoot(settings, (descriptor, size, what) => (what === 'kernel' ? readWhole(descriptor) : new Uint8Array(size)));
}

type Reader = (descriptor: number, size: number, what: string) => Uint8Array;

function readWhole(descriptor: number): Uint8Array {
  return readFileSync(descriptor);
}

function readBoot({ boot, memoryBytes }: MachineSettings, read: Reader): LoadedBoot {
  if (boot.kind === 'monitor') return boot;
  const budget = { left: memoryBytes, memoryBytes };
  const readOne = (path: string, what: string, field: string): Uint8Array => readImage(path, what, field, budget, read);
  const kernel = readOne(boot.kernel, 'kernel', 'boot.kernel');
  const modules = boot.modules.map((module, index) => ({
    data: readOne(module.path, 'module', `boot.modules.${index}.path`), commandLine: module.commandLine,
  }));
  const source = { kind: 'image', kernel, append: boot.append, modules } as const;
  return boot.initrd === null ? source : { ...source, initrd: readOne(boot.initrd, 'initrd', 'boot.initrd') };
}

interface Budget {
  left: number;
  readonly memoryBytes: number;
}

/** Reads one file whole. Its size is looked at first, so that a huge file is refused and not read. */
function readImage(path: string, what: string, field: string, budget: Budget, read: Reader): Uint8Array {
  const descriptor = open(path, what, field);
  try {
    const status = fstatSync(descriptor);
    if (status.isDirectory()) throw unreadable(path, what, field, 'it is a folder');
    if (status.size > budget.left) {
      const message = `The ${what} "${path}" (${formatMemory(status.size)}) does not fit into the guest's ${formatMemory(budget.memoryBytes)} of memory.`;
      throw new ContractError('bad-image', message, 'Give the guest more memory, or choose a smaller file.', field);
    }
    const data = read(descriptor, status.size, what);
    if (data.length === 0) throw new ContractError('bad-image', `The ${what} "${path}" is empty.`, 'Choose another file, or fetch it again.', field);
    budget.left -= data.length;
    return data;
  } catch (error) {
    if (error instanceof ContractError) throw error;
    throw unreadable(path, what, field, reasonOf(error)); // A disk that fails, a file beyond what can be read at once.
  } finally {
    closeSync(descriptor);
  }
}

function open(path: string, what: string, field: string): number {
  try {
    // A named pipe would make the open wait for its writer.
    if (!statSync(path).isFile() && !statSync(path).isDirectory()) throw unreadable(path, what, field, 'it is no regular file');
    return openSync(path, 'r');
  } catch (error) {
    if (error instanceof ContractError) throw error;
    throw unreadable(path, what, field, reasonOf(error));
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file', EACCES: 'permission is denied', ENOTDIR: 'a part of its path is no folder', ELOOP: 'its links go in a circle',
};

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return reasons[code] ?? (error instanceof Error ? error.message : String(error));
}

function unreadable(path: string, what: string, field: string, reason: string): ContractError {
  return new ContractError('file-unreadable', `The ${what} "${path}" cannot be read: ${reason}.`, 'Check the path and its permissions.', field);
}
