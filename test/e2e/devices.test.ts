import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeCpio } from '../../build/guests/cpio.ts';
import { namelessControls, typeLine, waitForText } from '../helpers/browser.ts';
import { useInterface } from '../helpers/interface.ts';
import { vanderpool } from '../helpers/command-line.ts';
import { provideGuest } from '../helpers/guests.ts';
import { providePackages, withFolders } from '../helpers/packages.ts';

/** A device of the host in a guest, by hand: assigned, used, told to reach what it may not, released. */
const BOOT_MS = 120_000;

let folder = '';
let library = '';
let page: Page;
useInterface((opened) => ({ page, library } = opened));

beforeAll(async () => {
  const guest = await provideGuest('amd64');
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-e2e-'));
  const initramfs = join(folder, 'initramfs.cpio');
  // The kernel unpacks one archive after the other.
  writeFileSync(initramfs, Buffer.concat([readFileSync(guest.initramfs), writeCpio(withFolders((await providePackages('pciutils')).program('usr/bin/lspci')))]));
  const create = (name: string): Promise<unknown> => vanderpool([
    'vm', 'create', name, '--library', library, '--kernel', guest.kernel, '--initrd', initramfs, '--append', 'console=ttyS0 intel_iommu=on shell', '--machine', 'iommu=on',
  ]);
  await create('Debian 12');
  await create('Other');
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const status = (text: string): Promise<void> => page.getByRole('status', { name: `State: ${text}` }).waitFor();
const open = async (vm: string): Promise<void> => {
  await page.getByRole('option', { name: new RegExp(`^${vm},`) }).click();
  await page.getByRole('tab', { name: 'Devices' }).click();
};
const own = () => page.getByRole('region', { name: 'Assigned to this machine' });
const host = () => page.getByRole('region', { name: 'On this host' });

describe('a device of the host', () => {
  it('is assigned to one machine, and to no other', async () => {
    await open('Debian 12');
    await page.getByRole('button', { name: 'Assign edu demonstrator 0' }).click();
    await own().getByText('edu demonstrator 0').waitFor();
    expect(await namelessControls(page)).toEqual([]);
    await open('Other');
    await host().getByText('assigned to Debian 12').waitFor();
    expect(await page.getByRole('button', { name: 'Assign edu demonstrator 0' }).count()).toBe(0);
    await open('Debian 12');
  });

  it('is released and assigned by dragging and by right click', async () => {
    const row = page.getByRole('row', { name: /edu demonstrator 0/ });
    await row.dragTo(host());
    await host().getByText('edu demonstrator 0').waitFor();
    await row.dragTo(own());
    await own().getByText('edu demonstrator 0').waitFor();
    await row.click({ button: 'right' });
    await page.getByRole('menuitem', { name: 'Release' }).click();
    await host().getByText('edu demonstrator 0').waitFor();
    await row.click({ button: 'right' });
    await page.getByRole('menuitem', { name: 'Assign to Debian 12' }).click();
    await own().getByText('edu demonstrator 0').waitFor();
  });

  it('is there in the guest, by lspci', async () => {
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    await status('Running');
    await page.getByRole('tab', { name: 'COM1' }).click();
    await waitForText(page, /GUEST-READY[^]*#\s*$/, BOOT_MS);
    await typeLine(page, '/usr/bin/lspci -n -d 1234:11e8');
    await waitForText(page, /^01:00\.0 00ff: 1234:11e8/m);
  });

  it('that reaches for what it may not is shown with requester, address and reason', async () => {
    await typeLine(page, 'cd /sys/bus/pci/devices/0000:01:00.0; echo 1 >enable; printf "\\006\\000" | dd of=config bs=1 seek=4 conv=notrunc 2>/dev/null');
    // From the device's buffer to an address that the guest has mapped for nobody.
    await typeLine(page, 'B=$(head -c 18 resource); for r in "80 0x40000" "84 0" "88 0x12345000" "8c 0" "90 8" "94 0" "98 3"; do set -- $r; devmem $((B + 0x$1)) 32 $2; done; echo TOLD');
    await waitForText(page, /TOLD\n/);
    await page.getByRole('tab', { name: 'Devices' }).click();
    await host().waitFor();
    const faults = page.getByRole('region', { name: 'Refused requests' });
    await faults.getByRole('cell', { name: '0x12345000' }).first().waitFor();
    await faults.getByRole('cell', { name: '01:00.0' }).first().waitFor();
    await page.getByRole('region', { name: 'Traffic of assigned devices' }).getByRole('cell', { name: 'edu demonstrator 0' }).waitFor();
  });

  it('has its DMA followed from root entry to page', async () => {
    await page.getByRole('button', { name: 'Follow 0x12345000' }).first().click();
    const walk = page.getByRole('region', { name: 'Way of a DMA address' });
    await walk.getByRole('cell', { name: 'PASID table' }).waitFor();
    await walk.getByText(/The write of 0x12345000 by 01:00.0 is refused/).waitFor();
    expect(await namelessControls(page)).toEqual([]);
    if (process.env['VANDERPOOL_SCREENSHOTS'] !== undefined) {
      await page.screenshot({ path: `${process.env['VANDERPOOL_SCREENSHOTS']}/devices.png` });
      await walk.scrollIntoViewIfNeeded();
      await page.screenshot({ path: `${process.env['VANDERPOOL_SCREENSHOTS']}/devices-walk.png` });
    }
  });

  it('is released while its machine runs, and gone from lspci', async () => {
    await page.getByRole('button', { name: 'Release edu demonstrator 0' }).click();
    await host().getByRole('button', { name: 'Assign edu demonstrator 0' }).waitFor();
    await page.getByRole('tab', { name: 'COM1' }).click();
    await typeLine(page, '[ -z "$(/usr/bin/lspci -n -d 1234:11e8)" ] && echo "no su""ch device"');
    await waitForText(page, 'no such device');
    await vanderpool(['vm', 'stop', 'Debian 12', '--force', '--library', library]);
    await status('Stopped');
  });

  it('that is missing at the start leaves the choice to start without it', async () => {
    const image = join(folder, 'image.raw');
    writeFileSync(image, new Uint8Array(65536));
    for (const words of [['add', 'disk', image], ['assign', image, 'Other']]) expect(await vanderpool(['device', ...words, '--library', library])).toMatchObject({ status: 0 });
    rmSync(image);
    await open('Other');
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    const dialog = page.getByRole('alertdialog', { name: 'Start “Other” without some of its devices?' });
    await dialog.getByText(/image\.raw.*is not there/).waitFor();
    if (process.env['VANDERPOOL_SCREENSHOTS'] !== undefined) await page.screenshot({ path: `${process.env['VANDERPOOL_SCREENSHOTS']}/devices-missing.png` });
    await dialog.getByRole('button', { name: 'Start without' }).click();
    await status('Running');
    await vanderpool(['vm', 'stop', 'Other', '--force', '--library', library]);
    await status('Stopped');
  });

  it('cannot be given to a suspended machine, which says so', async () => {
    for (const verb of ['start', 'suspend']) await vanderpool(['vm', verb, 'Monitor', '--library', library]);
    await open('Monitor');
    await status('Suspended');
    await page.getByText('Its devices can change when it goes on.').waitFor();
    await expect.poll(() => host().getByRole('button', { name: 'Assign edu demonstrator 1' }).isEnabled()).toBe(false);
    await host().getByRole('row', { name: /edu demonstrator 1/ }).click({ button: 'right' });
    await expect.poll(() => page.getByRole('menuitem', { name: 'Assign to Monitor' }).getAttribute('aria-disabled')).toBe('true');
    await page.keyboard.press('Escape');
  });
});
