import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { useInterface } from '../helpers/interface.ts';
import { vanderpool } from '../helpers/command-line.ts';

/** Machines that come from files, and go into them. */
let library = '';
let page: Page;
useInterface((opened) => ({ page, library } = opened));

const names = async (): Promise<readonly string[]> => {
  const { stdout } = await vanderpool(['vm', 'list', '--json', '--library', library]);
  return (JSON.parse(stdout) as { config: { name: string } }[]).map(({ config }) => config.name);
};

beforeAll(async () => {
  writeFileSync(join(library, 'broken.qcow2'), Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), Buffer.alloc(2000, 0xee)]));
  writeFileSync(join(library, 'disk.raw'), Buffer.alloc(1 << 20, 'content'));
  await vanderpool(['vm', 'create', 'Server', '--firmware', 'bios', '--disk', join(library, 'disk.raw'), '--library', library]);
});

it('a machine that is to start at once is not made of an image that cannot be used; one that starts later is', async () => {
  await page.keyboard.press('n');
  await page.getByRole('radio', { name: /ISO or disk image/ }).click();
  await page.getByRole('textbox', { name: 'ISO or disk image' }).fill(join(library, 'broken.qcow2'));
  await page.getByRole('button', { name: 'Create and start' }).click();
  await page.getByText(/has clusters of/).waitFor();
  await expect.poll(() => page.getByRole('button', { name: 'Create and start' }).isEnabled()).toBe(true);
  expect(await names()).toEqual(['Monitor', 'Server']);
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByRole('heading', { name: 'broken' }).waitFor();
  expect(await names()).toContain('broken');
});

it('a machine goes into an OVA, and comes back by the wizard', async () => {
  await page.getByRole('option', { name: /^Server/ }).click();
  await page.keyboard.press('Control+K');
  await page.keyboard.type('export');
  await page.keyboard.press('Enter');
  const file = page.getByRole('dialog').getByRole('textbox', { name: 'File' });
  await expect.poll(() => file.inputValue()).toMatch(/Server\.ova$/);
  const path = join(library, 'server.ova');
  await file.fill(path);
  await page.getByRole('button', { name: 'Export' }).click();
  await page.getByText(path).waitFor();
  await page.keyboard.press('n');
  await page.getByRole('radio', { name: /Import/ }).click();
  await page.getByRole('textbox', { name: 'File to import' }).fill(path);
  await page.getByText('1 processor, 512M, BIOS, 1 disk.').waitFor();
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByRole('heading', { name: 'Server 2' }).waitFor();
  // One that starts a kernel of its own goes to other libraries alone.
  await page.getByRole('option', { name: /^Monitor/ }).click();
  await page.keyboard.press('Control+K');
  await page.keyboard.type('export');
  await page.keyboard.press('Enter');
  await page.getByText(/cannot be an \.ova for other programs: it starts a kernel of its own/).waitFor();
  await expect.poll(() => file.inputValue()).toMatch(/Monitor\.vpsnap$/);
});
