import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { useInterface } from '../helpers/interface.ts';
import { vanderpool } from '../helpers/command-line.ts';

/** What changes in a running machine: the disc in its drive, the size of its disk, the memory that its guest is asked for. */
let library = '';
let page: Page;
useInterface((opened) => ({ page, library } = opened));

beforeAll(async () => {
  writeFileSync(join(library, 'disc.iso'), new Uint8Array(65536));
  writeFileSync(join(library, 'disk.raw'), new Uint8Array(65536));
  await vanderpool(['vm', 'create', 'Drives', '--cdrom', 'empty', '--disk', join(library, 'disk.raw'), '--balloon', 'on', '--library', library]);
});

async function discOf(name: string): Promise<string | undefined> {
  const { stdout } = await vanderpool(['vm', 'show', name, '--json', '--library', library]);
  return (JSON.parse(stdout) as { config: { disks: { path: string }[] } }).config.disks[1]?.path;
}

it('a disc is put into the drive of a running machine and taken out, a disk grows, and memory is asked for', async () => {
  await page.getByRole('option', { name: /^Drives/ }).click();
  await page.getByRole('tab', { name: 'Overview' }).click();
  await page.getByLabel('Make a disk larger', { exact: true }).fill('1M');
  await page.getByRole('button', { name: 'Make it larger' }).click();
  await page.getByText('It has 1M now.').waitFor();
  expect(statSync(join(library, 'disk.raw')).size).toBe(1 << 20);
  await page.getByRole('button', { name: 'Start', exact: true }).first().click();
  await page.getByRole('tab', { name: 'Overview' }).click();
  const drive = page.getByRole('group', { name: 'CD-ROM drive 1' });
  await drive.getByRole('textbox').fill(join(library, 'disc.iso'));
  await drive.getByRole('button', { name: 'Insert' }).click();
  await expect.poll(() => discOf('Drives')).toBe(join(library, 'disc.iso'));
  await drive.getByRole('button', { name: 'Eject' }).click();
  await expect.poll(() => discOf('Drives')).toBe('');
  await drive.getByRole('button', { name: 'Insert' }).waitFor();
  writeFileSync(join(library, 'disc.iso.gz'), Buffer.from([0x1f, 0x8b, 8, 0]));
  await drive.getByRole('textbox').fill(join(library, 'disc.iso.gz'));
  await drive.getByText(/is packed by gzip, and no image of a disc/).waitFor();
  await drive.getByRole('textbox').fill(join(library, 'missing.iso'));
  await drive.getByRole('button', { name: 'Insert' }).click();
  await drive.getByText(/there is no such file/).waitFor();
  await page.getByLabel('Make a disk larger', { exact: true }).fill('32K');
  await page.getByRole('button', { name: 'Make it larger' }).click();
  await page.getByText(/it can only grow/).waitFor();
  await page.getByLabel('Make a disk larger', { exact: true }).fill('2M');
  await page.getByRole('button', { name: 'Make it larger' }).click();
  await page.getByText('It has 2M now, and the guest was told.').waitFor();
  expect(statSync(join(library, 'disk.raw')).size).toBe(2 << 20);
  await page.getByLabel(/^Memory that the guest does without/).fill('32M');
  await page.getByRole('button', { name: 'Ask for it' }).click();
  await page.getByText(/Asked for 32/).waitFor();
  await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'media.png'), fullPage: true });
});
