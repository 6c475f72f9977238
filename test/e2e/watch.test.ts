/** The side view: VM exits and the inspector, with the built-in monitor as guest. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { Page } from 'playwright-core';
import { namelessControls, typeLine, useInterface } from '../helpers/browser.ts';
import { vanderpool } from '../helpers/command-line.ts';

const TEST_MS = 60_000;

let library = '';
let page: Page;
useInterface((opened) => ({ page, library } = opened));

describe('the side view', () => {
  beforeAll(async () => {
    await vanderpool(['vm', 'create', 'Watched', '--library', library, '--memory', '64M']);
    await page.getByRole('option', { name: /^Watched,/ }).click();
  }, TEST_MS);

  it('says that a stopped machine has nothing to watch', async () => {
    await page.getByRole('button', { name: 'VM exits' }).click();
    await page.getByText('No exits to watch').waitFor();
  }, TEST_MS);

  it('counts exits beside the console, and opens one of them', async () => {
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    const reasons = page.getByRole('table', { name: 'Reasons' });
    // The machine may be at its prompt before the view counts: it is given work until it does.
    await expect.poll(async () => {
      await typeLine(page, 'help');
      return reasons.getByText('I/O instruction').isVisible();
    }, { interval: 1000, timeout: 30_000 }).toBe(true);
    await page.getByRole('button', { name: /^Open exit \d+: I\/O instruction OUT port 0x3f8/ }).first().click();
    await page.getByRole('heading', { name: 'I/O instruction' }).waitFor();
    await page.getByRole('heading', { name: 'Guest registers' }).waitFor();
    expect(await page.locator('.values').allInnerTexts()).toEqual([
      expect.stringMatching(/Exit qualification 0x3f8[^]*direction\s+OUT[^]*port\s+0x3f8/), expect.stringMatching(/VMCS\s+Exit reason\s+0x1e/), expect.stringMatching(/RIP\s+0x/),
    ]);
    expect(await namelessControls(page)).toEqual([]);
    await page.getByRole('button', { name: 'All exits' }).click();
  }, TEST_MS);

  it('narrows to one reason and back', async () => {
    await page.getByRole('button', { name: 'HLT', exact: true }).click();
    await page.getByRole('button', { name: 'Show all reasons again, not only HLT' }).click();
  }, TEST_MS);

  it('looks into the machine: registers, a page walk, an address that is not there', async () => {
    await page.keyboard.press('Alt+I');
    await page.getByRole('table', { name: 'Control and debug registers' }).getByText('IA32_EFER').waitFor();
    await page.getByRole('combobox', { name: 'What to look at' }).click();
    await page.getByRole('option', { name: /^Page walk/ }).click();
    await page.getByRole('textbox', { name: 'Address', exact: true }).fill('100000');
    await page.getByText('Walk of 0x100000: 4-level paging').waitFor();
    await page.getByRole('combobox', { name: 'What to look at' }).click();
    await page.getByRole('option', { name: /^Physical memory/ }).click();
    await page.getByRole('textbox', { name: 'Address', exact: true }).fill('fee00000');
    await page.getByText('There is no memory at the physical address 0xfee00000.').waitFor();
    expect(await namelessControls(page)).toEqual([]);
  }, TEST_MS);

  it('closes by the key that opened it', async () => {
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Inspector' }).click();
    await page.getByRole('complementary', { name: 'Side view' }).waitFor({ state: 'detached' });
  }, TEST_MS);
});
