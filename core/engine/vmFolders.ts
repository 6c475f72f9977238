/** Folders of VMs that are no more. */
import { existsSync, readdirSync, realpathSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { forgetTranslations } from '../machine/translationPath.ts';
import type { Library } from '../store/library.ts';

/** Removes them, with the code that was compiled for them, all but the disk images that other VMs need: a clone's disk lies over an image in the folder of the VM that it is from. */
export async function sweepVmFolders(library: Library): Promise<void> {
  const vms = await library.list();
  const known = new Set(vms.map(({ id }) => id));
  const needed = new Set([...library.snapshots.disks.images(), ...vms.flatMap(({ config }) => config.disks.map(({ path }) => resolved(path)))]);
  const root = join(library.folder, 'vms');
  if (!existsSync(root)) return;
  for (const folder of readdirSync(root, { withFileTypes: true })) {
    if (!folder.isDirectory() || known.has(folder.name)) continue;
    const path = join(root, folder.name);
    forgetTranslations(path);
    const files = readdirSync(path).map((name) => join(path, name));
    const left = files.filter((file) => needed.has(resolved(file)));
    for (const file of files) if (!left.includes(file)) rmSync(file, { recursive: true, force: true });
    if (left.length === 0) rmdirSync(path);
  }
}

/** With its links resolved, where it is there. */
function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
