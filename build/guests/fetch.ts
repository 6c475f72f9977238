/** Fetches one guest into the cache: its packages, its kernel by a fixed name, its initramfs. */

import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Apt, GuestError } from './apt.ts';
import { buildInitramfs } from './initramfs.ts';
import type { GuestRow } from './rows.ts';
import type { ProgressBar } from './progress.ts';

/** Where guests lie below the project's root. */
export const guestsFolder = '.cache/guests';

/** A guest's files by their fixed names; they exist once it was fetched. */
export function guestFiles(root: string, name: string): { readonly kernel: string; readonly initramfs: string } {
  const folder = join(root, guestsFolder, name);
  return { kernel: join(folder, 'vmlinuz'), initramfs: join(folder, 'initramfs.cpio') };
}

/** A component of a Debian release, whatever release the machine has. */
export function aptOf(root: string, suite: string, component: string, architecture: string): Apt {
  const folder = join(root, guestsFolder, `apt-${suite}-${component.replaceAll('/', '-')}-${architecture}`);
  mkdirSync(folder, { recursive: true });
  const sources = join(folder, 'sources.list');
  writeFileSync(sources, `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian ${suite} ${component}\n`);
  return new Apt(folder, architecture, sources);
}

/** @throws GuestError when something cannot be had; what was fetched stays for the next run */
export async function fetchGuest(root: string, row: GuestRow, bar: ProgressBar): Promise<void> {
  const cache = join(root, guestsFolder);
  const folder = join(cache, row.name);
  mkdirSync(folder, { recursive: true });
  const apt = row.suite === undefined ? new Apt(join(cache, `apt-${row.architecture}`), row.architecture) : aptOf(root, row.suite, 'main', row.architecture);
  const step = async (title: string, work: () => Promise<void>): Promise<void> => {
    bar.begin(`${row.name}: ${title}`);
    await work();
    bar.done();
  };

  let incomplete: string | null = null;
  await step('package lists', async () => {
    incomplete = await apt.update(percent => bar.report(percent));
  });
  if (incomplete !== null) bar.note(`${row.name}: not every package list could be fetched; going on with the others, which may hold older versions\n  ${String(incomplete)}`);
  const kernelPackage = row.kernel === undefined ? undefined : await apt.kernelPackage(row.kernel);
  const packages = row.dependencies === true ? await apt.withDependencies(row.packages) : row.packages;
  for (const name of kernelPackage === undefined ? packages : [kernelPackage, ...packages]) {
    await step(name, () => apt.unpack(name, join(folder, name), percent => bar.report(percent)));
  }
  if (kernelPackage === undefined) return;
  const kernel = findKernel(join(folder, kernelPackage, 'boot'));
  const files = guestFiles(root, row.name);
  replace(files.kernel, part => copyFileSync(kernel, part));
  if (row.initramfs) {
    const busybox = join(folder, 'busybox-static', existsSync(join(folder, 'busybox-static/bin/busybox')) ? 'bin/busybox' : 'usr/bin/busybox');
    await step('initramfs', async () => replace(files.initramfs, part => writeFileSync(part, buildInitramfs(readFileSync(busybox), readFileSync(kernel)))));
  }
}

/** Files of a guest that are there, with their sizes. */
export function present(root: string, name: string): readonly { readonly path: string; readonly bytes: number }[] {
  return Object.values(guestFiles(root, name)).filter(existsSync).map(path => ({ path, bytes: statSync(path).size }));
}

/** Writes beside the file and renames, so that no half-written file has its name. */
function replace(file: string, write: (part: string) => void): void {
  write(`${file}.part`);
  renameSync(`${file}.part`, file);
}

function findKernel(boot: string): string {
  const name = existsSync(boot) ? readdirSync(boot).find(entry => entry.startsWith('vmlinuz-')) : undefined;
  if (name === undefined) throw new GuestError(`the kernel package has no boot/vmlinuz file: ${boot}`);
  return join(boot, name);
}
