/** Machines that start at the reset vector: Debian's firmware, unmodified, and boot loaders on ISO images. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { grubIso, isolinuxIso } from '../helpers/isoImages.ts';
import { provideGuest } from '../helpers/guests.ts';
import { vanderpool } from '../helpers/command-line.ts';
import type { Guest } from '../helpers/guests.ts';

const FETCH_MS = 600_000;
/** Far more than any of these takes on a slow machine. */
const GUEST_SECONDS = '200';
const TEST_MS = 220_000;
const append = 'console=ttyS0 bootonly';

let folder: string;
let guest: Guest;
let grub: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-firmware-'));
  guest = await provideGuest('amd64');
  grub = grubIso({ folder, guest, append });
}, FETCH_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('firmware', () => {
  it.each([
    ['SeaBIOS', 'GRUB', 'bios', () => grub],
    ['SeaBIOS', 'isolinux', 'bios', () => isolinuxIso({ folder, guest, append })],
    ['OVMF', 'GRUB', 'uefi', () => grub],
  ] as const)('%s starts %s from an ISO image, and that Debian, to its init and power-off', async (_firmware, _loader, name, iso) => {
    const { status, stdout, stderr } = await vanderpool(['run', '--firmware', name, '--display', 'vga', '--cdrom', iso(), '--timeout', GUEST_SECONDS]);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('GUEST-READY');
  }, TEST_MS);

  it('without anything to start from, a BIOS says so on its screen and on COM1', async () => {
    const picture = join(folder, 'screen.png');
    const { status, stdout } = await vanderpool(['run', '--firmware', 'bios', '--display', 'vga', '--screenshot', picture, '--timeout', '6']);
    expect(status).toBe(124);
    expect(stdout).toContain('No bootable device');
    const png = readFileSync(picture);
    expect([png.readUInt32BE(16), png.readUInt32BE(20)], 'text of 80 x 25 characters').toEqual([720, 400]);
  }, TEST_MS);

  it('a file that is no firmware is refused by name, and so is a kernel beside firmware', async () => {
    const odd = await vanderpool(['run', '--firmware', guest.kernel.replace(/vmlinuz$/, 'absent.bin')]);
    expect([odd.status, odd.stderr]).toEqual([125, expect.stringContaining('absent.bin')]);
    const both = await vanderpool(['run', '--firmware', 'bios', '--kernel', guest.kernel]);
    expect([both.status, both.stderr]).toEqual([125, expect.stringContaining('exclude each other')]);
  });
});
