import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namelessControls, screenText, typeLine, waitForText } from '../helpers/browser.ts';
import { useInterface } from '../helpers/interface.ts';
import { vanderpool } from '../helpers/command-line.ts';
import { ext4Image } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';

/** Snapshots of a running Debian guest with a disk, by hand: take, change a file, restore, branch, compare, suspend, delete. */
const BOOT_MS = 120_000;

let folder = '';
let library = '';
let page: Page;
useInterface((opened) => ({ page, library } = opened));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-e2e-'));
  const guest = await driverGuest('amd64', folder);
  const disk = ext4Image(join(folder, 'disk.img'));
  await vanderpool(['vm', 'create', 'Debian 12', '--library', library, '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet', '--memory', '256M', '--disk', `${disk},format=raw`]);
  await page.getByRole('option', { name: /^Debian 12/ }).click();
  await page.getByRole('button', { name: 'Start', exact: true }).first().click();
  await waitForText(page, /GUEST-READY[^]*#\s*$/, BOOT_MS);
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const item = (name: string): ReturnType<Page['getByRole']> => page.getByRole('treeitem', { name: new RegExp(`^${name}`) });
const dialog = (): ReturnType<Page['getByRole']> => page.getByRole('dialog');
const status = (text: string): Promise<void> => page.getByRole('status', { name: `State: ${text}` }).waitFor();

async function run(line: string, answer: RegExp): Promise<void> {
  await page.getByRole('tab', { name: 'COM1' }).click();
  await typeLine(page, line);
  await waitForText(page, answer);
}

async function take(name: string): Promise<void> {
  await page.getByRole('button', { name: 'Take snapshot' }).first().click();
  await dialog().getByLabel('Name').fill(name);
  await dialog().getByRole('button', { name: 'Take snapshot' }).click();
  await dialog().waitFor({ state: 'detached' });
  await page.getByRole('tab', { name: 'Snapshots' }).click();
  await item(name).waitFor();
}

async function restore(name: string): Promise<void> {
  await page.getByRole('tab', { name: 'Snapshots' }).click();
  await item(name).click();
  await page.getByRole('button', { name: 'Restore…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Restore', exact: true }).click();
  await page.getByRole('alertdialog').waitFor({ state: 'detached' });
  await status('Running');
}

describe('snapshots in the interface', () => {
  it('a file that was changed after a snapshot has its old content again after the restore', async () => {
    await run('mount -t ext4 /dev/vda /mnt; echo moun""ted', /^mounted$/m);
    await run('echo "first" > /mnt/file; sync; cat /mnt/file', /^first$/m);
    await take('clean');
    await run('echo "sec""ond" > /mnt/file; sync; cat /mnt/file', /^second$/m);
    await restore('clean');
    await run('echo 3 > /proc/sys/vm/drop_caches; echo "now: $(cat /mnt/file)"', /^now: first$/m);
  });

  it('a branch goes on beside the snapshots that were there', async () => {
    await run('echo branch > /mnt/branch; sync; echo bra""nched', /^branched$/m);
    await take('branch');
    await restore('clean');
    await take('other');
    await run('ls /mnt/branch; echo lis""ted', /No such file[^]*^listed$/m);
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await item('other').waitFor();
    await expect.poll(() => page.getByRole('treeitem').evaluateAll((rows) => rows.map((row) => row.getAttribute('aria-level')))).toEqual(['1', '2', '2']);
  });

  it('shows what its console showed, and every control has a name', async () => {
    await item('branch').click();
    await page.getByLabel('What its console showed').getByText('branched').waitFor();
    expect(await namelessControls(page)).toEqual([]);
  });

  it('two are compared by page, by field and by file, and by the names of what lies in the kernel', async () => {
    await run('clear; grep -E " (_text|_stext|entry_SYSCALL_64|jiffies|_end|__bss_stop)$" /proc/kallsyms; echo sym""bols', /^symbols$/m);
    writeFileSync(join(folder, 'kallsyms'), await screenText(page));
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await item('branch').click();
    await page.getByRole('button', { name: 'Compare…' }).click();
    await dialog().getByRole('combobox', { name: 'Compared with' }).click();
    await page.getByRole('option', { name: /^other/ }).click();
    await dialog().getByRole('region', { name: 'Memory' }).waitFor();
    await dialog().getByRole('cell', { name: '/branch' }).waitFor();
    await dialog().getByRole('cell', { name: 'vcpu 0.instructions' }).waitFor();
    const symbols = dialog().getByRole('textbox', { name: /^Symbols of its Linux/ });
    await symbols.fill(join(folder, 'disk.img'));
    await dialog().getByText(/has not the symbols of a 64-bit Linux kernel/).waitFor();
    await symbols.fill(join(folder, 'kallsyms'));
    await dialog().getByRole('columnheader', { name: 'What lies there' }).waitFor();
    await dialog().getByRole('cell', { name: /jiffies/ }).first().waitFor();
    await page.keyboard.press('Escape');
    await dialog().waitFor({ state: 'detached' });
  });

  it('the machine is suspended, and goes on where it was', async () => {
    // A dialog that closes gives the page back a moment later: until then it takes no keys.
    await page.getByRole('tab', { name: 'Snapshots' }).waitFor();
    await page.keyboard.press('Alt+S');
    await status('Suspended');
    await page.getByRole('button', { name: 'Resume' }).first().click();
    await status('Running');
    await run('echo "here: $(cat /mnt/file)"', /^here: first$/m);
  });

  it('is renamed and deleted, by its buttons and their questions', async () => {
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await item('branch').click();
    await page.getByRole('button', { name: 'Rename and notes…' }).click();
    await dialog().getByLabel('Name').fill('renamed');
    await dialog().getByRole('button', { name: 'Save' }).click();
    await item('renamed').click();
    await page.getByRole('button', { name: 'Delete snapshot…' }).click();
    await dialog().getByRole('button', { name: 'Delete', exact: true }).click();
    await item('renamed').waitFor({ state: 'detached' });
  });

  it('are taken by themselves, as the configuration says, also of a machine that runs', async () => {
    await page.getByRole('tab', { name: 'Configuration' }).click();
    await page.getByRole('switch', { name: 'Take snapshots by itself' }).click();
    await page.getByLabel('Every').fill('0');
    await page.getByText('at least a minute').waitFor();
    await page.getByLabel('Every').fill('30');
    await page.getByLabel('Keep').fill('3');
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    const { stdout } = await vanderpool(['vm', 'show', 'Debian 12', '--library', library, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ config: { schedule: { minutes: 30, keep: 3 } } });
    // There is none of the last 30 minutes. Until it is whole, nothing else can be done with the machine's snapshots.
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await item('Scheduled').filter({ hasText: 'MiB' }).waitFor();
  });

  it('becomes a machine of its own that needs no image of the first one', async () => {
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await item('clean').click();
    await page.getByRole('button', { name: 'Clone…' }).click();
    await dialog().getByLabel('Name of the new machine').fill('Copy');
    await dialog().getByRole('switch', { name: /^Full/ }).click();
    await dialog().getByRole('button', { name: 'Clone', exact: true }).click();
    await page.getByRole('option', { name: /^Copy/ }).waitFor();
    const { stdout } = await vanderpool(['vm', 'show', 'Copy', '--library', library, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ state: 'suspended', config: { disks: [{ path: expect.stringContaining(library) }] } });
  });

  it('goes into a file, and comes back as a machine from the wizard', async () => {
    const file = join(folder, 'clean.vpsnap');
    await page.getByRole('option', { name: /^Debian 12,/ }).click();
    await item('clean').click();
    await page.getByRole('button', { name: /^Export/ }).click();
    await dialog().getByLabel('File', { exact: true }).fill('clean.vpsnap');
    await dialog().getByRole('button', { name: 'Export', exact: true }).click();
    await dialog().getByText('names no folder').waitFor();
    await dialog().getByLabel('File', { exact: true }).fill(file);
    await dialog().getByRole('button', { name: 'Export', exact: true }).click();
    await dialog().waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'New virtual machine' }).first().click();
    await dialog().getByRole('radio', { name: /^Import/ }).click();
    await dialog().getByRole('textbox', { name: 'File to import', exact: true }).fill(file);
    await dialog().getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('heading', { name: 'clean', level: 1 }).waitFor();
    await page.getByText('Suspended', { exact: true }).first().waitFor();
  });
});
