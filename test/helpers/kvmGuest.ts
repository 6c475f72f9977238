/** A Debian guest with KVM's modules and a program that runs guests of its own (test/guests/kvm.c). */
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeCpio } from '../../build/guests/cpio.ts';
import type { Guest } from './guests.ts';

/** In the order in which they are loaded. */
export const kvmModules = ['irqbypass', 'kvm', 'kvm-intel'];

/** The guest with more in its initramfs: modules in /mod, the program as `kvm`. @param folder where that goes. @throws Error without a compiler */
export function kvmGuest(guest: Guest, folder: string): Guest {
  const program = join(folder, 'kvm');
  const compiled = spawnSync('gcc', ['-O1', '-static', '-o', program, join(import.meta.dirname, '../guests/kvm.c')], { encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(`test/guests/kvm.c does not compile: ${compiled.stderr}`);
  // The kernel unpacks archives one after the other.
  const more = writeCpio([
    { kind: 'directory', path: 'mod' }, { kind: 'file', path: 'bin/kvm', data: readFileSync(program), executable: true },
    ...kvmModules.map((name) => ({ kind: 'file', path: `mod/${name}.ko`, data: readFileSync(moduleFile(guest, name)), executable: false }) as const),
  ]);
  const initramfs = join(folder, 'kvm-initramfs.cpio');
  writeFileSync(initramfs, Buffer.concat([readFileSync(guest.initramfs), more]));
  return { ...guest, initramfs };
}

/** The module of the guest's kernel, from the package that the kernel came with. */
function moduleFile({ kernel }: Guest, name: string): string {
  const found = globSync(`${dirname(kernel)}/**/${name}.ko`)[0];
  if (found === undefined) throw new Error(`the package of ${kernel} has no module ${name}.ko`);
  return found;
}
