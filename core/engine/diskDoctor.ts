/** What is wrong with what the library keeps of disks. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkQcow2 } from '../block/qcow2/check.ts';
import { FileStorage } from '../block/storage.ts';
import type { Finding } from '../contract/snapshot.ts';
import { decodeDisk } from '../store/disks.ts';
import type { DiskState } from '../store/disks.ts';
import type { Library } from '../store/library.ts';
import { changeOf } from './diskStates.ts';
import type { DiskStates } from './diskStates.ts';

/** @param damaged segments, @param isRunning whose layers change while they would be read */
export async function examineDisks(library: Library, disks: DiskStates, damaged: ReadonlySet<number>, repair: boolean, isRunning: (vmId: string) => boolean): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { id, config } of await library.list()) {
    for (const state of library.snapshots.disks.statesOf(id)) {
      const what = `The disk "${state.path}" of "${config.name}"`;
      const losses = [...mapLosses(state, damaged), ...(isRunning(id) ? [] : await layerLosses(state, library.vmFolder(id)))];
      findings.push(...losses.map((loss) => error(`${what} ${loss}.`, 'Go back to a snapshot, or put the files back from a backup.')));
      const changed = changeOf(state);
      if (changed !== null) findings.push(error(`${what}: its image ${changed}, and snapshots need it as it was.`, 'Put the image back as it was, from a backup, with its time of modification.'));
    }
    const unused = isRunning(id) ? [] : disks.unused(id);
    if (unused.length === 0) continue;
    if (repair) disks.removeUnused(id);
    findings.push({ severity: 'warning', what: `${unused.length} files in "${library.vmFolder(id)}" belong to no disk.`, advice: 'They only take space.', repaired: repair });
  }
  return findings;
}

function mapLosses(state: DiskState, damaged: ReadonlySet<number>): string[] {
  try {
    const lost = [...decodeDisk(state).references()].reduce((sum, [segment, clusters]) => sum + (damaged.has(segment) ? clusters : 0), 0);
    return lost === 0 ? [] : [`refers to ${lost} clusters in damaged files: some of them are lost`];
  } catch {
    return ['has a map that cannot be read'];
  }
}

async function layerLosses({ layers }: DiskState, folder: string): Promise<string[]> {
  const losses: string[] = [];
  for (const name of layers) {
    const path = join(folder, name);
    if (!existsSync(path)) {
      losses.push(`has lost the file "${path}", which took what the VM wrote`);
      continue;
    }
    const storage = new FileStorage(path, true);
    try {
      const { corruptions } = await checkQcow2(storage, 'none');
      if (corruptions > 0) losses.push(`has ${corruptions} defects in the file "${path}", which took what the VM wrote`);
    } catch {
      losses.push(`cannot read the file "${path}", which took what the VM wrote`);
    } finally {
      await storage.close();
    }
  }
  return losses;
}

function error(what: string, advice: string): Finding {
  return { severity: 'error', what, advice, repaired: false };
}
