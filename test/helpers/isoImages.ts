/** ISO images that boot a Debian guest, made by the boot loaders' own tools. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Guest } from './guests.ts';

export interface IsoOptions {
  readonly folder: string;
  readonly guest: Guest;
  /** The kernel's command line. */
  readonly append: string;
}

/** GRUB, for BIOS and UEFI. `wait`: the menu stays until a key is pressed on the keyboard. */
export function grubIso({ folder, guest, append }: IsoOptions, wait = false): string {
  const tree = join(folder, 'grub-tree');
  fill(tree, guest);
  mkdirSync(join(tree, 'boot/grub'), { recursive: true });
  const terminals = wait ? ['terminal_input console', 'terminal_output console', 'set timeout=-1'] : ['serial --unit=0', 'terminal_input serial', 'terminal_output serial', 'set timeout=0'];
  writeFileSync(join(tree, 'boot/grub/grub.cfg'), [...terminals, 'menuentry "Debian" {', `linux /vmlinuz ${append}`, 'initrd /initrd', '}', ''].join('\n'));
  const iso = join(folder, 'grub.iso');
  execFileSync('grub-mkrescue', ['-o', iso, tree], { stdio: 'pipe' });
  return iso;
}

/** isolinux, for BIOS, with a partition table in front so that it starts from a disk as well. */
export function isolinuxIso({ folder, guest, append }: IsoOptions): string {
  const tree = join(folder, 'isolinux-tree');
  fill(tree, guest);
  mkdirSync(join(tree, 'isolinux'), { recursive: true });
  copyFileSync('/usr/lib/ISOLINUX/isolinux.bin', join(tree, 'isolinux/isolinux.bin'));
  copyFileSync('/usr/lib/syslinux/modules/bios/ldlinux.c32', join(tree, 'isolinux/ldlinux.c32'));
  writeFileSync(join(tree, 'isolinux/isolinux.cfg'), ['SERIAL 0 115200', 'DEFAULT debian', 'PROMPT 0', 'LABEL debian', 'KERNEL /vmlinuz', `APPEND initrd=/initrd ${append}`, ''].join('\n'));
  const iso = join(folder, 'isolinux.iso');
  const boot = ['-b', 'isolinux/isolinux.bin', '-c', 'isolinux/boot.cat', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table'];
  execFileSync('xorriso', ['-as', 'mkisofs', '-o', iso, '-isohybrid-mbr', '/usr/lib/ISOLINUX/isohdpfx.bin', ...boot, tree], { stdio: 'pipe' });
  return iso;
}

function fill(tree: string, { kernel, initramfs }: Guest): void {
  mkdirSync(tree, { recursive: true });
  copyFileSync(kernel, join(tree, 'vmlinuz'));
  copyFileSync(initramfs, join(tree, 'initrd'));
}
