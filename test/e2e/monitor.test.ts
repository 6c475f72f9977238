import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { clearConsole, forceStop, screenText, typeLine, waitForText } from '../helpers/browser.ts';
import { useInterface } from '../helpers/interface.ts';

/** The first start: a new library, nothing downloaded, the built-in guest. */
let page: Page;
useInterface((opened) => ({ page } = opened));

beforeAll(async () => {
  await page.getByRole('option', { name: /^Monitor/ }).click();
});

async function clear(): Promise<void> {
  await clearConsole(page);
  // The line of the prompt stays.
  await expect.poll(async () => (await screenText(page)).trim().length).toBeLessThan(20);
}

async function stopAndClear(): Promise<void> {
  await forceStop(page);
  await clear();
}

describe('the monitor in the interface', () => {
  it('answers at its prompt after a click on Start, and after a force stop and another', async () => {
    for (let start = 0; start < 2; start++) {
      if (start > 0) await stopAndClear();
      await page.getByRole('button', { name: 'Start', exact: true }).first().click();
      await waitForText(page, /Look around[^]*monitor>/);
    }
    await typeLine(page, 'help');
    await waitForText(page, 'switch the machine off');
  });

  it('tells what it runs on', async () => {
    await typeLine(page, 'cpu');
    await waitForText(page, 'Vanderpool x86-64-v2 processor');
  });

  it('provokes VM exits, which the overview counts', async () => {
    await typeLine(page, 'exits');
    await waitForText(page, /exits[^]*monitor>\s*$/);
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByRole('cell', { name: 'CPUID', exact: true }).waitFor();
    await page.getByRole('cell', { name: 'I/O instruction', exact: true }).waitFor();
    await page.getByRole('tab', { name: 'COM1' }).click();
    await waitForText(page, /monitor>\s*$/);
  });

  it('stands still while it is paused', async () => {
    await clear();
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByRole('status', { name: 'State: Paused' }).waitFor();
    const before = await screenText(page);
    await typeLine(page, 'mem');
    await page.waitForTimeout(300);
    expect(await screenText(page)).toBe(before);
    await page.getByRole('button', { name: 'Resume' }).first().click();
    await waitForText(page, /monitor> mem/);
  });

  it('starts over when it is reset', async () => {
    await clear();
    await page.getByRole('button', { name: 'Reset' }).click();
    await page.getByRole('alertdialog', { name: 'Reset “Monitor”?' }).getByRole('button', { name: 'Reset' }).click();
    await waitForText(page, /Vanderpool monitor[^]*monitor>/);
  });

  it('switches itself off, and the library says so', async () => {
    await typeLine(page, 'off');
    await page.getByRole('option', { name: 'Monitor, Powered off' }).waitFor();
  });

  it('is created again in two clicks, under a free name', async () => {
    await page.getByRole('button', { name: 'New virtual machine' }).click();
    await page.getByRole('button', { name: 'Create and start' }).click();
    await page.getByRole('heading', { name: 'Monitor 2', level: 1 }).waitFor();
    await waitForText(page, 'monitor>');
    // The console has the keyboard: nothing needs to be clicked first.
    await page.keyboard.type('time');
    await page.keyboard.press('Enter');
    await waitForText(page, /monitor> time\n[^]*monitor>/);
  });
});
