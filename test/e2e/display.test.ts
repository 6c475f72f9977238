import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { typeLine, waitForText } from '../helpers/browser.ts';
import { useInterface } from '../helpers/interface.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { grubIso } from '../helpers/isoImages.ts';
import { freePort } from '../helpers/ports.ts';

/** A machine from an ISO image, used on its display: GRUB's menu waits for a key on the PS/2 keyboard. */
const BOOT_MS = 120_000;

let folder = '';
let iso = '';
let page: Page;
useInterface((opened) => ({ page } = opened));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-display-'));
  iso = grubIso({ folder, guest: await driverGuest('amd64', folder), append: 'console=ttyS0 quiet' }, true);
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const screen = (): ReturnType<Page['locator']> => page.getByLabel(/^Screen of grub/);

/** How many pixels of the screen are not black. */
function litPixels(): Promise<number> {
  return screen().evaluate((canvas: HTMLCanvasElement) => {
    const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? new Uint8ClampedArray(0);
    let lit = 0;
    for (let at = 0; at < data.length; at += 4) if ((data[at] ?? 0) + (data[at + 1] ?? 0) + (data[at + 2] ?? 0) > 0) lit += 1;
    return lit;
  });
}

/** Takes the keyboard, starts what the boot loader's menu has chosen, and waits for its shell. */
async function startChosen(): Promise<void> {
  await screen().focus();
  await page.keyboard.press('Enter');
  await page.waitForTimeout(500);
  await page.keyboard.press('Enter');
  await page.keyboard.press('Control+Alt');
  await page.getByRole('tab', { name: 'COM1' }).click();
  await waitForText(page, /GUEST-READY[^]*#\s*$/, BOOT_MS);
}

describe('a machine with a display', () => {
  it('is created from an ISO image in the wizard, which names it after the image', async () => {
    await page.getByRole('button', { name: 'New virtual machine' }).first().click();
    await page.getByRole('radio', { name: /ISO or disk image/ }).click();
    await page.getByLabel(/^ISO or disk image/).fill(iso);
    await page.getByRole('button', { name: 'Create and start' }).click();
    await page.getByRole('status', { name: 'State: Running' }).waitFor();
    await page.getByRole('heading', { name: 'grub', exact: true }).waitFor();
  });

  it('shows the menu of its boot loader', async () => {
    await page.getByRole('tab', { name: 'Display' }).click();
    await screen().waitFor({ timeout: BOOT_MS });
    await expect.poll(litPixels, { timeout: BOOT_MS, interval: 500 }).toBeGreaterThan(5000);
  }, BOOT_MS);

  it('gives the keyboard to the guest on request and takes it back with Ctrl and Alt', async () => {
    await screen().focus();
    await page.keyboard.press('Enter');
    await page.getByText(/Keyboard and pointer are with the guest/).waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Control+Alt');
    await page.getByText(/press Enter on it, to type/).waitFor();
  });

  it('starts what is chosen with its keyboard', async () => {
    await startChosen();
  }, BOOT_MS);

  it('gets a disk while it runs, uses it, and gives it back', async () => {
    const disk = join(folder, 'plugged.raw');
    writeFileSync(disk, 'plugged in\n');
    truncateSync(disk, 1 << 20);
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByRole('button', { name: 'Plug in a disk' }).click();
    await page.getByLabel('Image', { exact: true }).fill(join(folder, 'absent.raw'));
    await page.getByRole('button', { name: 'Plug in', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: /absent\.raw/ }).waitFor();
    await page.getByLabel('Image', { exact: true }).fill(disk);
    await page.getByRole('button', { name: 'Plug in', exact: true }).click();
    await page.getByRole('listitem', { name: 'Slot 1' }).getByText('plugged.raw').waitFor();
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? folder, 'slots.png') });
    await page.getByRole('tab', { name: 'COM1' }).click();
    await typeLine(page, 'until [ -e /dev/vda ]; do sleep 0.1; done; head -n 1 /dev/vda');
    await waitForText(page, /^plugged in$/m, BOOT_MS);
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByRole('button', { name: 'Unplug slot 1' }).click();
    await page.getByText(/slots are free/).waitFor({ timeout: BOOT_MS });
    await page.getByRole('tab', { name: 'COM1' }).click();
    await typeLine(page, 'echo /dev/vd*');
    await waitForText(page, /^\/dev\/vd\*$/m, BOOT_MS);
  }, BOOT_MS * 2);

  it('gets a second disk and a port forward in its configuration, and uses both', async () => {
    const disk = join(folder, 'second.raw');
    writeFileSync(disk, 'second disk\n');
    truncateSync(disk, 1 << 20);
    const port = await freePort();
    await typeLine(page, 'poweroff -f');
    await page.getByRole('status', { name: 'State: Stopped' }).waitFor({ timeout: BOOT_MS });
    await page.getByRole('tab', { name: 'Configuration' }).click();
    await page.getByRole('button', { name: 'Add a disk' }).click();
    await page.getByLabel('Disk 2', { exact: true }).last().fill(disk);
    await page.getByRole('button', { name: 'Add a port forward' }).click();
    await page.getByLabel(/^Host port of/).fill(String(port));
    await page.getByLabel(/^Guest port of/).fill('7777');
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    await page.getByRole('status', { name: 'State: Running' }).waitFor();
    await page.getByRole('tab', { name: 'Display' }).click();
    await expect.poll(litPixels, { timeout: BOOT_MS, interval: 500 }).toBeGreaterThan(5000);
    await startChosen();
    await typeLine(page, 'head -n 1 /dev/vda; ifconfig eth0 up; udhcpc -i eth0 -n -q >/dev/null 2>&1; echo from the guest | nc -l -p 7777');
    await waitForText(page, /second disk/, BOOT_MS);
    await expect.poll(() => ask(port), { timeout: BOOT_MS, interval: 1000 }).toBe('from the guest\n');
  }, BOOT_MS * 3);
});

/** What is said on a port of the host; nothing while nobody listens behind it. */
function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    let said = '';
    const socket = connect(port, '127.0.0.1');
    socket.on('data', (piece: Buffer) => void (said += piece.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(said));
    setTimeout(() => socket.destroy(), 5000);
  });
}
