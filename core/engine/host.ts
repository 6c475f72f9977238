/** What the engine tells of its host: limits, processor models, folders. */
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { cpus, homedir, hostname, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import { CPUS_MAXIMUM, MEMORY_DEFAULT, MEMORY_MAXIMUM, MEMORY_MINIMUM } from '../contract/limits.ts';
import type { FolderEntry, HostInfo, OperationOutput } from '../contract/operations.ts';
import { nativeCode } from '../cpu/jit/nativeCode.ts';
import { unreadableBecause } from '../host/reasons.ts';
import { cpuModels } from '../machine/cpu-models.ts';

const ENTRIES_MAXIMUM = 5000;

export function hostInfo(): HostInfo {
  return {
    platform: process.platform,
    hostname: hostname(),
    hostCpus: cpus().length,
    hostMemoryBytes: totalmem(),
    memoryMinimum: MEMORY_MINIMUM,
    memoryMaximum: MEMORY_MAXIMUM,
    memoryDefault: MEMORY_DEFAULT,
    cpusMaximum: CPUS_MAXIMUM,
    keepsCode: nativeCode() !== null,
    cpuModels: [...cpuModels()],
    homeFolder: homedir(),
  };
}

/** Folders first, then files, by name; hidden ones last. @throws ContractError `file-unreadable`. */
export function listFolder(path: string | null): OperationOutput<'host.folder'> {
  const folder = resolve(path ?? homedir());
  try {
    const real = realpathSync(folder);
    const entries = readdirSync(real).slice(0, ENTRIES_MAXIMUM).map((name) => describe(join(real, name), name)).filter((entry) => entry !== null);
    const parent = dirname(real);
    return { path: real, parent: parent === real ? null : parent, entries: entries.toSorted(compare) };
  } catch (error) {
    throw new ContractError('file-unreadable', `The folder "${folder}" cannot be listed: ${unreadableBecause(error)}.`, 'Choose another one.', 'path');
  }
}

function describe(path: string, name: string): FolderEntry | null {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status || !(status.isDirectory() || status.isFile())) return null;
  return { name, path, kind: status.isDirectory() ? 'folder' : 'file', size: status.isFile() ? status.size : 0 };
}

function compare(a: FolderEntry, b: FolderEntry): number {
  const rank = ({ name, kind }: FolderEntry): number => (name.startsWith('.') ? 2 : 0) + (kind === 'file' ? 1 : 0);
  return rank(a) - rank(b) || a.name.localeCompare(b.name, 'en', { numeric: true });
}
