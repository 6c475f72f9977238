import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { clearConsole, savedLog, screenText, typeLine, waitForText } from '../helpers/browser.ts';
import { useInterface } from '../helpers/interface.ts';
import { machineDouble } from '../helpers/command-line.ts';

/** The real interface against the real engine; in the place of a processor stands a machine that obeys words on COM1. */
let library = '';
let page: Page;
const app = useInterface((opened) => ({ page, library } = opened), { VANDERPOOL_MACHINE: machineDouble });

beforeAll(async () => {
  writeFileSync(join(library, 'vmlinuz'), 'a kernel, as far as the double cares');
  writeFileSync(join(library, 'initrd.img'), 'an initrd');
});

const status = (text: string): Promise<void> => page.getByRole('status', { name: `State: ${text}` }).waitFor();

describe('the interface against the engine', () => {
  it('finds the built-in monitor in a new library', async () => {
    await page.getByRole('option', { name: /^Monitor/ }).waitFor();
  });

  it('takes the token out of the address', () => expect(page.url()).not.toContain('token'));

  it('creates a VM from kernel and initrd, and starts it', async () => {
    await page.getByRole('button', { name: 'New virtual machine' }).first().click();
    await page.getByRole('radio', { name: /Kernel and initrd/ }).click();
    await page.getByLabel('Kernel', { exact: true }).fill(join(library, 'vmlinuz'));
    await page.getByLabel(/Initial RAM disk/).fill(join(library, 'initrd.img'));
    await page.getByLabel('Kernel command line').fill('console=ttyS0 quiet');
    await page.getByLabel('Name', { exact: true }).fill('Debian');
    await page.getByLabel('Memory', { exact: true }).fill('256M');
    await page.getByRole('button', { name: 'Create and start' }).click();
    await waitForText(page, 'READY 256M console=ttyS0 quiet');
    await status('Running');
  });

  it('types into the console and shows the answer', async () => {
    await typeLine(page, 'say hello, world');
    await waitForText(page, /^hello, world$/m);
  });

  it('shows when a line came, from when somebody asks until nobody does', async () => {
    const toggle = async (name: string): Promise<void> => {
      await page.getByRole('button', { name: 'Console actions' }).click();
      await page.getByRole('menuitem', { name }).click();
    };
    await toggle('Show the times of lines');
    await typeLine(page, 'say timed');
    await waitForText(page, /^\d\d:\d\d:\d\d\.\d{3} timed$/m);
    await toggle('Hide the times of lines');
    await typeLine(page, 'say untimed');
    await waitForText(page, /^untimed$/m);
    await clearConsole(page);
    await typeLine(page, 'say hello, world');
    await waitForText(page, /^hello, world$/m);
  });

  it('keeps the scrollback over detach and attach', async () => {
    const before = await screenText(page);
    await page.getByRole('button', { name: 'Detach console' }).click();
    await page.getByText('COM1 is detached').waitFor();
    await page.getByRole('button', { name: 'Attach console' }).click();
    await waitForText(page, 'hello, world');
    await expect.poll(() => screenText(page)).toBe(before);
  });

  it('shows what was printed while nobody watched', async () => {
    await page.getByRole('button', { name: 'Detach console' }).click();
    await page.getByRole('button', { name: 'Attach console' }).click();
    await typeLine(page, 'say again');
    await waitForText(page, /^again$/m);
  });

  it('survives more output than fits any buffer', async () => {
    await typeLine(page, 'flood 400000');
    await typeLine(page, 'say after the flood');
    await waitForText(page, 'after the flood');
    expect((await savedLog(page)).length).toBeGreaterThan(200_000);
  });

  it('pauses and resumes', async () => {
    await page.getByRole('button', { name: 'Pause' }).click();
    await status('Paused');
    await page.getByRole('button', { name: 'Resume' }).first().click();
    await status('Running');
    await typeLine(page, 'say awake');
    await waitForText(page, /^awake$/m);
  });

  it('asks before it stops, and the power button ends the guest', async () => {
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByRole('alertdialog', { name: 'Stop “Debian”?' }).waitFor();
    await page.keyboard.press('Escape');
    await status('Running');
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByRole('button', { name: 'Press the power button' }).click();
    await status('Stopped');
    await page.getByText('This is what the console showed').waitFor();
    await waitForText(page, 'POWER BUTTON');
  });

  it('edits the configuration and refuses what cannot be', async () => {
    await page.getByRole('tab', { name: 'Configuration' }).click();
    await page.getByLabel('Memory', { exact: true }).fill('9000G');
    await page.getByRole('alert').filter({ hasText: 'more than the supported' }).waitFor();
    await expect.poll(() => page.getByRole('button', { name: 'Save changes' }).isDisabled()).toBe(true);
    await page.getByLabel('Memory', { exact: true }).fill('128M');
    await page.getByLabel('Notes').fill('For the end-to-end test.');
    await page.getByRole('combobox', { name: 'Connection of COM2' }).click();
    await page.getByRole('option', { name: /^Terminal/ }).click();
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('tab', { name: 'COM2' }).waitFor();
  });

  it('finds the VM, its configuration and its console again after the app was restarted', async () => {
    await app.quit();
    await page.getByText('The engine does not answer.', { exact: true }).waitFor();
    await page.context().close();
    await app.open();
    await page.getByRole('option', { name: /^Debian/ }).click();
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByText('128 MiB', { exact: true }).waitFor();
    await page.getByText('For the end-to-end test.').waitFor();
    await page.getByText('console=ttyS0 quiet').waitFor();
    await page.getByRole('tab', { name: 'COM1' }).click();
    await waitForText(page, 'POWER BUTTON');
  });

  it('shows a VM process that died as crashed, and starts it again', async () => {
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    await status('Running');
    await waitForText(page, 'READY 128M');
    await typeLine(page, 'die');
    await status('Crashed');
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    await status('Running');
  });

  it('shows the last registers of a guest that ended in a triple fault', async () => {
    await typeLine(page, 'triple');
    await page.getByText('Ended by a triple fault').first().waitFor();
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByText('RIP=0000000000007c00').waitFor();
  });

  it('names a kernel that is not there, at its field', async () => {
    await page.keyboard.press('n');
    await page.getByRole('radio', { name: /Kernel and initrd/ }).click();
    await page.getByLabel('Kernel', { exact: true }).fill(join(library, 'missing'));
    await page.getByRole('dialog').getByRole('alert').filter({ hasText: 'missing' }).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
  });

  it('chooses a file in the file chooser', async () => {
    await page.keyboard.press('n');
    await page.getByRole('radio', { name: /Kernel and initrd/ }).click();
    await page.getByLabel('Kernel', { exact: true }).fill(join(library, 'x'));
    await page.getByRole('button', { name: 'Browse for kernel' }).click();
    await page.getByRole('option', { name: /vmlinuz/ }).dblclick();
    await expect.poll(() => page.getByLabel('Kernel', { exact: true }).inputValue()).toBe(join(library, 'vmlinuz'));
    writeFileSync(join(library, '.hidden'), '');
    await page.getByRole('button', { name: 'Browse for kernel' }).click();
    await page.getByRole('option', { name: /vmlinuz/ }).waitFor();
    expect(await page.getByRole('option', { name: '.hidden' }).count()).toBe(0);
    await page.getByRole('button', { name: 'Hidden files' }).click();
    await page.getByRole('option', { name: '.hidden' }).waitFor();
    // A file's name, typed or pasted, is as good as a choice in the list.
    await page.getByLabel('Folder', { exact: true }).fill(join(library, '.hidden'));
    await page.keyboard.press('Enter');
    await expect.poll(() => page.getByLabel('Kernel', { exact: true }).inputValue()).toBe(join(library, '.hidden'));
    await page.getByRole('button', { name: 'Cancel' }).click();
  });

  it('refuses a second VM of the same name, at its field', async () => {
    await page.keyboard.press('n');
    await page.getByLabel('Name', { exact: true }).fill('Debian');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('dialog').getByRole('alert').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
  });

  it('deletes a VM only after a question', async () => {
    await page.getByRole('option', { name: /^Debian/ }).click();
    await page.getByRole('option', { name: /^Debian/ }).press('Delete');
    const question = page.getByRole('alertdialog', { name: 'Delete “Debian”?' });
    // Enter, pressed once more by mistake, deletes nothing.
    await page.keyboard.press('Enter');
    await question.waitFor({ state: 'detached' });
    await page.getByRole('option', { name: /^Debian/ }).press('Delete');
    await question.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('option', { name: /^Debian/ }).waitFor({ state: 'detached' });
    await page.getByRole('option', { name: /^Monitor/ }).waitFor();
  });
});
