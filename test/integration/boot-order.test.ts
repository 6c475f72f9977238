/** Firmware tries disks in the order of the configuration: each of these ends the machine with a number of its own. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vanderpool } from '../helpers/command-line.ts';

const TEST_MS = 200_000;
const DEBUG_EXIT = 0xf4;
const MIB = 1 << 20;
const numbers = [1, 2, 3];
/** The status of a process whose guest wrote a number to the debug-exit port. */
const statusOf = (number: number): number => number * 2 + 1;

let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-boot-order-'));
  for (const number of numbers) {
    biosDisk(number);
    uefiDisk(number);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A boot sector: MOV DX, port; MOV AL, number; OUT DX, AL. */
function biosDisk(number: number): void {
  const sector = Buffer.alloc(MIB);
  sector.set([0xba, DEBUG_EXIT, 0, 0xb0, number, 0xee, 0xf4]);
  sector.writeUInt16LE(0xaa55, 510);
  writeFileSync(join(folder, `bios-${number}`), sector);
}

/** A file system with GRUB, whose first command writes the number. */
function uefiDisk(number: number): void {
  const [commands, loader, disk] = [join(folder, `grub-${number}.cfg`), join(folder, `grub-${number}.efi`), join(folder, `uefi-${number}`)];
  writeFileSync(commands, `outb ${DEBUG_EXIT} ${number}\n`);
  execFileSync('grub-mkimage', ['-O', 'x86_64-efi', '-o', loader, '-p', '/', '-c', commands, 'iorw'], { stdio: 'pipe' });
  writeFileSync(disk, '');
  truncateSync(disk, 8 * MIB);
  execFileSync('mformat', ['-i', disk, '::'], { stdio: 'pipe' });
  execFileSync('mmd', ['-i', disk, '::/EFI', '::/EFI/BOOT'], { stdio: 'pipe' });
  execFileSync('mcopy', ['-i', disk, loader, '::/EFI/BOOT/BOOTX64.EFI'], { stdio: 'pipe' });
}

/** The number of the disk that firmware started. */
async function started(firmware: 'bios' | 'uefi', buses: readonly string[], order: string): Promise<number | null> {
  const disks = buses.flatMap((bus, index) => ['--disk', `${join(folder, `${firmware}-${index + 1}`)},bus=${bus}`]);
  const { status } = await vanderpool(['run', '--firmware', firmware, ...disks, '--boot-order', order, '--timeout', '120']);
  return numbers.find((number) => statusOf(number) === status) ?? status;
}

describe('the boot order', () => {
  it.each([['1', 1], ['2', 2], ['3,1', 3]] as const)('%s: SeaBIOS starts disk %i', async (order, first) => {
    expect(await started('bios', ['virtio', 'nvme', 'ahci'], order)).toBe(first);
  }, TEST_MS);

  it('2,1: OVMF starts disk 2', async () => {
    expect(await started('uefi', ['nvme', 'virtio'], '2,1')).toBe(2);
  }, TEST_MS);

  it('names a disk that is not there', async () => {
    const { status, stderr } = await vanderpool(['run', '--firmware', 'bios', '--disk', join(folder, 'bios-1'), '--boot-order', '2']);
    expect([status, stderr]).toEqual([125, expect.stringContaining('"2" is no disk')]);
  });
});
