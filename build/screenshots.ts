/** `node build/screenshots.ts`: takes the pictures of docs/images from the real interface with a real guest at its shell. */
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { newLibrary, openBrowser, openPage, removeLibrary, serveApp, typeLine, waitForText } from '../test/helpers/browser.ts';
import { root, vanderpool } from '../test/helpers/command-line.ts';
import { provideGuest } from '../test/helpers/guests.ts';

const images = join(root, 'docs/images');
const BOOT_MS = 180_000;
const SETTLE_MS = 700;

mkdirSync(images, { recursive: true });
const guest = await provideGuest('amd64');
const i386 = await provideGuest('i386');
// A path that says something, instead of wherever this checkout lies.
const folder = join(tmpdir(), 'images');
const kernel = join(folder, 'vmlinuz-6.1.0-cloud-amd64');
mkdirSync(folder, { recursive: true });
copyFileSync(guest.kernel, kernel);
const library = await newLibrary();
const browser = await openBrowser();
const create = (name: string, more: readonly string[]): Promise<unknown> => vanderpool(['vm', 'create', name, '--library', library, ...more]);
const app = await serveApp(library);
try {
  await create('Debian 12', ['--kernel', kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 shell', '--memory', '512M', '--notes', 'The machine of the driver course.']);
  await create('Debian 12 i386', ['--kernel', i386.kernel, '--initrd', i386.initramfs, '--append', 'console=ttyS0 shell', '--memory', '256M']);
  const { page } = await openPage(browser, app.url);
  await page.getByRole('option', { name: /^Debian 12,/ }).click();
  await page.getByRole('button', { name: 'Start', exact: true }).first().click();
  await waitForText(page, /GUEST-READY[^]*#\s*$/, BOOT_MS);
  await typeLine(page, 'uname -a; grep -E "model name|cache size" /proc/cpuinfo; free -m');
  await waitForText(page, /Swap:.*\n[^\n]*#\s*$/, 20_000);
  await typeLine(page, 'seq 1 30000 | awk \'{ s += $1 * $1 } END { print s }\'');
  await waitForText(page, '9000450005000', 20_000);
  await page.waitForTimeout(4000);
  await shoot(page, 'console');
  await page.getByRole('tab', { name: 'Overview' }).click();
  await page.waitForTimeout(12_000);
  await shoot(page, 'overview');
  await page.getByRole('tab', { name: 'COM1' }).click();
  await page.getByRole('button', { name: 'VM exits' }).click();
  await typeLine(page, 'for i in 1 2 3 4 5 6; do dd if=/dev/urandom bs=64k count=8 2>/dev/null | sha256sum; sleep 1; done');
  await page.waitForTimeout(11_000);
  await shoot(page, 'exits');
  await page.getByRole('radio', { name: 'Inspector' }).click();
  await page.waitForTimeout(2500);
  await shoot(page, 'inspector');
  await page.getByRole('button', { name: 'Close the side view' }).click();
  await page.keyboard.press('n');
  await page.getByRole('radio', { name: /Kernel and initrd/ }).click();
  await page.getByLabel('Kernel', { exact: true }).fill(kernel);
  await page.getByText(/A Linux kernel/).waitFor();
  await shoot(page, 'create');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+K');
  await shoot(page, 'commands');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Switch between dark and light' }).click();
  await page.getByRole('tab', { name: 'COM1' }).click();
  await shoot(page, 'console-light');
} finally {
  await app.quit();
  await browser.close();
  await removeLibrary(library);
  rmSync(folder, { recursive: true });
}

async function shoot(page: Page, name: string): Promise<void> {
  await page.waitForTimeout(SETTLE_MS);
  await page.screenshot({ path: join(images, `${name}.png`) });
  console.log(`docs/images/${name}.png`);
}
