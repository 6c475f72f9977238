import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { namelessControls, newLibrary, openBrowser, openPage, removeLibrary, serveApp, typeLine, waitForText } from '../helpers/browser.ts';
import type { App } from '../helpers/browser.ts';
import { vanderpool } from '../helpers/command-line.ts';
import { provideGuest } from '../helpers/guests.ts';

/** Snapshots of a running Debian guest, by hand: take, change a file, restore, branch, compare, suspend, delete. */
const BOOT_MS = 120_000;

let browser: Browser;
let library = '';
let app: App;
let page: Page;
let problems: readonly string[] = [];

beforeAll(async () => {
  const guest = await provideGuest('amd64');
  browser = await openBrowser();
  library = await newLibrary();
  await vanderpool(['vm', 'create', 'Debian 12', '--library', library, '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet shell', '--memory', '256M']);
  app = await serveApp(library);
  ({ page, problems } = await openPage(browser, app.url));
  await page.getByRole('option', { name: /^Debian 12/ }).click();
  await page.getByRole('button', { name: 'Start', exact: true }).first().click();
  await waitForText(page, /GUEST-READY[^]*#\s*$/, BOOT_MS);
}, 600_000);
afterAll(async () => {
  await app.quit();
  await browser.close();
  await removeLibrary(library);
});
afterEach(() => expect(problems).toEqual([]));

const item = (name: string): ReturnType<Page['getByRole']> => page.getByRole('treeitem', { name: new RegExp(`^${name}`) });
const dialog = (): ReturnType<Page['getByRole']> => page.getByRole('dialog');
const status = (text: string): Promise<void> => page.getByRole('status', { name: `State: ${text}` }).waitFor();

async function run(line: string, answer: RegExp): Promise<void> {
  await page.getByRole('tab', { name: 'COM1' }).click();
  await typeLine(page, line);
  await waitForText(page, answer, 15_000);
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
    await run('echo "first" > /tmp/file; cat /tmp/file', /^first$/m);
    await take('clean');
    await run('echo "sec""ond" > /tmp/file; cat /tmp/file', /^second$/m);
    await restore('clean');
    await run('echo "now: $(cat /tmp/file)"', /^now: first$/m);
  });

  it('a branch goes on beside the snapshots that were there', async () => {
    await run('echo branch > /tmp/branch; sync; echo bra""nched', /^branched$/m);
    await take('branch');
    await restore('clean');
    await take('other');
    await run('ls /tmp/branch; echo lis""ted', /No such file[^]*^listed$/m);
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await item('other').waitFor();
    expect(await page.getByRole('treeitem').evaluateAll((rows) => rows.map((row) => row.getAttribute('aria-level')))).toEqual(['1', '2', '2']);
  });

  it('shows what its console showed, and every control has a name', async () => {
    await item('branch').click();
    await page.getByLabel('What its console showed').getByText('branched').waitFor();
    expect(await namelessControls(page)).toEqual([]);
  });

  it('two are compared by page and by field', async () => {
    await page.getByRole('button', { name: 'Compare…' }).click();
    await dialog().getByLabel('Compared with').selectOption({ label: 'other' });
    await dialog().getByRole('region', { name: 'Memory' }).waitFor();
    await dialog().getByRole('cell', { name: 'vcpu 0.instructions' }).waitFor();
    await page.keyboard.press('Escape');
    await dialog().waitFor({ state: 'detached' });
  });

  it('the machine is suspended, and goes on where it was', async () => {
    await page.keyboard.press('Alt+S');
    await status('Suspended');
    await page.getByRole('button', { name: 'Resume' }).first().click();
    await status('Running');
    await run('echo "here: $(cat /tmp/file)"', /^here: first$/m);
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
});
