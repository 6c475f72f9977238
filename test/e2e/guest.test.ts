import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { savedLog, screenText, typeLine, waitForText } from '../helpers/browser.ts';
import { useInterface } from '../helpers/interface.ts';
import { provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

/** The main job, by hand: an unmodified Debian kernel from the wizard to its shell, and back after a restart of everything. */
const BOOT_MS = 120_000;

let guest: Guest;
let page: Page;
const app = useInterface((opened) => ({ page } = opened));

beforeAll(async () => {
  guest = await provideGuest('amd64');
}, 600_000);

const status = (text: string): Promise<void> => page.getByRole('status', { name: `State: ${text}` }).waitFor();

describe('a Debian guest in the interface', () => {
  it('is created from kernel and initrd in the wizard, which says what it found', async () => {
    await page.getByRole('button', { name: 'New virtual machine' }).first().click();
    await page.getByRole('radio', { name: /Kernel and initrd/ }).click();
    await page.getByLabel('Kernel', { exact: true }).fill(guest.kernel);
    await page.getByLabel(/Initial RAM disk/).fill(guest.initramfs);
    await page.getByLabel('Kernel command line').fill('console=ttyS0 shell');
    await page.getByLabel('Name', { exact: true }).fill('Debian 12');
    await page.getByText(/Linux kernel/).waitFor();
    await page.getByRole('button', { name: 'Create and start' }).click();
    await status('Running');
  });

  it('boots to its shell and answers `uname -a`', async () => {
    await waitForText(page, /GUEST-READY[^]*#\s*$/, BOOT_MS);
    await typeLine(page, 'uname -a');
    await waitForText(page, /uname -a\nLinux \(none\) 6\.1\.\S+-cloud-amd64 .*x86_64 GNU\/Linux/);
  });

  it('shows what it does in the overview and the status bar', async () => {
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByRole('heading', { name: 'VM exits since the start' }).waitFor();
    await page.getByRole('cell', { name: 'HLT', exact: true }).waitFor();
    await page.getByText(/instructions\/s/).waitFor();
    await page.getByRole('tab', { name: 'COM1' }).click();
  });

  it('keeps its scrollback, from the first line, over detach and attach', async () => {
    await page.getByRole('button', { name: 'Detach console' }).click();
    await page.getByRole('button', { name: 'Attach console' }).click();
    await waitForText(page, 'x86_64 GNU/Linux');
    const log = await savedLog(page);
    expect(log).toContain('Linux version 6.1.');
    expect(log).toContain('GUEST-READY');
    expect(log.split('\n').length).toBeGreaterThan(100);
  });

  it('stops by force, after a question', async () => {
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Force stop' }).click();
    await status('Stopped');
  });

  it('is there again, with configuration and console, after everything was restarted', async () => {
    await page.context().close();
    await app.quit();
    await app.open();
    await page.getByRole('option', { name: /^Debian 12/ }).click();
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByText('console=ttyS0 shell').waitFor();
    await page.getByRole('tab', { name: 'COM1' }).click();
    await waitForText(page, 'x86_64 GNU/Linux');
  });

  it('boots a second time and powers off by itself', async () => {
    // What the first boot printed would be taken for the second's.
    await page.getByRole('button', { name: 'Console actions' }).click();
    await page.getByRole('menuitem', { name: 'Clear' }).click();
    await expect.poll(() => screenText(page)).not.toContain('GUEST-READY');
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    await status('Running');
    await waitForText(page, /GUEST-READY[^]*#\s*$/, BOOT_MS);
    await typeLine(page, 'poweroff -f');
    await page.getByText('Powered off').first().waitFor();
  });
});
