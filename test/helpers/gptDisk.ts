/** A disk that UEFI firmware starts: a GUID partition table, a system partition with GRUB, an ext4 root with kernel, GRUB's menu and busybox. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, openSync, closeSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Guest } from './guests.ts';

const SECTOR = 512;
const MIB = 1 << 20;
const ENTRIES = 128;
const ENTRY_BYTES = 128;
/** Sectors of the array of entries. */
const ARRAY = (ENTRIES * ENTRY_BYTES) / SECTOR;
const diskBytes = 192 * MIB;
const system = { type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b', id: '0fc63daf-0000-4000-8000-000000000001', first: MIB, bytes: 16 * MIB } as const;
export const rootPartition = { type: '0fc63daf-8483-4772-8e79-3d69d8477de4', id: '0fc63daf-0000-4000-8000-000000000002', first: 17 * MIB, bytes: 160 * MIB } as const;

/** A GUID's bytes: its first three groups are little-endian. */
function guid(text: string): Buffer {
  return Buffer.concat(text.split('-').map((group, index) => (index < 3 ? Buffer.from(group, 'hex').reverse() : Buffer.from(group, 'hex'))));
}

function entries(): Buffer {
  const array = Buffer.alloc(ENTRIES * ENTRY_BYTES);
  for (const [index, { type, id, first, bytes }] of [system, rootPartition].entries()) {
    const at = index * ENTRY_BYTES;
    guid(type).copy(array, at);
    guid(id).copy(array, at + 16);
    array.writeBigUInt64LE(BigInt(first / SECTOR), at + 32);
    array.writeBigUInt64LE(BigInt((first + bytes) / SECTOR - 1), at + 40);
  }
  return array;
}

/** One of the two headers. @uefi 5.3.2 */
function header(here: number, other: number, array: number): Buffer {
  const last = diskBytes / SECTOR - 1;
  const data = Buffer.alloc(SECTOR);
  data.write('EFI PART', 0, 'latin1');
  data.writeUInt32LE(0x00010000, 8);
  data.writeUInt32LE(92, 12);
  [here, other, 2 + ARRAY, last - ARRAY - 1].forEach((value, index) => data.writeBigUInt64LE(BigInt(value), 24 + index * 8));
  guid('0fc63daf-0000-4000-8000-000000000000').copy(data, 56);
  data.writeBigUInt64LE(BigInt(array), 72);
  data.writeUInt32LE(ENTRIES, 80);
  data.writeUInt32LE(ENTRY_BYTES, 84);
  data.writeUInt32LE(crc32(entries()), 88);
  data.writeUInt32LE(crc32(data.subarray(0, 92)), 16);
  return data;
}

function protectiveRecord(): Buffer {
  const data = Buffer.alloc(SECTOR);
  data[446 + 4] = 0xee;
  data.writeUInt32LE(1, 446 + 8);
  data.writeUInt32LE(diskBytes / SECTOR - 1, 446 + 12);
  data.writeUInt16LE(0xaa55, 510);
  return data;
}

const init = (script: string): string => `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -o remount,rw /
exec 0</dev/console 1>/dev/console 2>&1
echo ROOT-READY
${script}
umount -a -r
poweroff -f
`;

export interface GptDiskOptions {
  readonly folder: string;
  readonly guest: Guest;
  /** What the guest's first program runs before it powers off. */
  readonly script: string;
}

/** Returns the image's path. The root is on the disk's NVMe namespace: that driver is part of Debian's cloud kernel. */
export function gptDisk({ folder, guest, script }: GptDiskOptions): string {
  const tree = join(folder, 'gpt-root');
  for (const path of ['bin', 'boot/grub', 'dev', 'proc', 'sys', 'tmp']) mkdirSync(join(tree, path), { recursive: true });
  copyFileSync(guest.kernel, join(tree, 'boot/vmlinuz'));
  copyFileSync(guest.busybox, join(tree, 'bin/busybox'));
  writeFileSync(join(tree, 'init'), init(script), { mode: 0o755 });
  const linux = 'linux /boot/vmlinuz root=/dev/nvme0n1p2 rw console=ttyS0 quiet init=/init';
  const menu = ['serial --unit=0', 'terminal_input serial', 'terminal_output serial', 'set timeout=0', 'menuentry "Debian on ext4" {', linux, '}', ''];
  writeFileSync(join(tree, 'boot/grub/grub.cfg'), menu.join('\n'));
  const root = join(folder, 'gpt-root.ext4');
  writeFileSync(root, '');
  truncateSync(root, rootPartition.bytes);
  // Features that GRUB 2.06 does not know are left out.
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-O', '^metadata_csum_seed,^orphan_file', '-F', '-d', tree, root], { stdio: 'pipe' });
  const loader = join(folder, 'bootx64.efi');
  const modules = ['part_gpt', 'ext2', 'normal', 'linux', 'serial', 'terminal', 'echo', 'search'];
  execFileSync('grub-mkimage', ['-O', 'x86_64-efi', '-o', loader, '-p', '(hd0,gpt2)/boot/grub', ...modules], { stdio: 'pipe' });
  const esp = join(folder, 'gpt-system.fat');
  writeFileSync(esp, '');
  truncateSync(esp, system.bytes);
  execFileSync('mformat', ['-i', esp, '::'], { stdio: 'pipe' });
  execFileSync('mmd', ['-i', esp, '::/EFI', '::/EFI/BOOT'], { stdio: 'pipe' });
  execFileSync('mcopy', ['-i', esp, loader, '::/EFI/BOOT/BOOTX64.EFI'], { stdio: 'pipe' });
  const path = join(folder, 'gpt.raw');
  writeFileSync(path, '');
  truncateSync(path, diskBytes);
  const last = diskBytes / SECTOR - 1;
  const disk = openSync(path, 'r+');
  const pieces: readonly (readonly [Uint8Array, number])[] = [
    [protectiveRecord(), 0], [header(1, last, 2), SECTOR], [entries(), 2 * SECTOR], [entries(), (last - ARRAY) * SECTOR], [header(last, 1, last - ARRAY), last * SECTOR],
    [readFileSync(esp), system.first], [readFileSync(root), rootPartition.first],
  ];
  for (const [bytes, at] of pieces) writeSync(disk, bytes, 0, bytes.length, at);
  closeSync(disk);
  return path;
}
