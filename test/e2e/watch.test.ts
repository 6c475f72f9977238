/** The side view: VM exits and the inspector, with the built-in monitor as guest. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Page } from 'playwright-core';
import { namelessControls, typeLine } from '../helpers/browser.ts';
import { useInterface } from '../helpers/interface.ts';
import { vanderpool } from '../helpers/command-line.ts';

const TEST_MS = 180_000;

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
    }, { interval: 1000 }).toBe(true);
    await page.getByRole('button', { name: /^Open exit \d+: I\/O instruction OUT port 0x3f8/ }).first().click();
    await page.getByRole('heading', { name: 'I/O instruction' }).waitFor();
    await page.getByRole('heading', { name: 'Guest registers' }).waitFor();
    // Whether the whole VMCS is there or the exit's own fields alone: the newest only have it.
    const [qualification, information, ...more] = await page.locator('.values').allInnerTexts();
    expect(qualification).toMatch(/Exit qualification 0x3f8[^]*direction\s+OUT[^]*port\s+0x3f8/);
    expect(information).toMatch(/^Root mode's VMCS: VM-exit information[^]*Exit reason\s+0x1e/);
    expect(more.at(-1)).toMatch(/RIP\s+0x/);
    expect(await namelessControls(page)).toEqual([]);
    const number = page.locator('.one-exit .dock-heading .note');
    const first = await number.innerText();
    await page.getByRole('button', { name: 'The exit before' }).click();
    await expect.poll(() => number.innerText()).not.toBe(first);
    await page.getByRole('button', { name: 'All exits' }).click();
  }, TEST_MS);

  it('puts the reasons in order by what is asked for', async () => {
    const reasons = page.getByRole('table', { name: 'Reasons' });
    await reasons.getByRole('button', { name: 'Count' }).click();
    await expect.poll(() => reasons.locator('th[aria-sort=descending]').innerText()).toMatch(/^Count/);
  }, TEST_MS);

  it('records every exit in a file, and says where it is', async () => {
    const path = join(library, 'exits.jsonl');
    await page.getByRole('button', { name: 'Record to a file' }).click();
    await page.getByRole('textbox', { name: 'File' }).fill('exits.jsonl');
    await page.getByRole('button', { name: 'Record', exact: true }).click();
    await page.getByText('"exits.jsonl" names no folder.').waitFor();
    await page.getByRole('textbox', { name: 'File' }).fill(path);
    await page.getByRole('button', { name: 'Record', exact: true }).click();
    await page.getByRole('status').getByText('exits.jsonl').waitFor();
    await typeLine(page, 'help');
    await expect.poll(() => statSync(path).size).toBeGreaterThan(0);
    await page.getByRole('button', { name: 'End the recording' }).click();
    await page.getByText(/^Recorded [\d,]+ exits in exits\.jsonl\.$/).waitFor();
    expect(JSON.parse(readFileSync(path, 'utf8').split('\n')[0]!)).toMatchObject({ vcpu: 0, level: 1, registers: { CPL: '0' } });
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
    await page.getByRole('textbox', { name: 'Address', exact: true }).fill('100000');
    // A row of memory fits into the side view as it opens, text and all.
    const dump = page.getByRole('table', { name: 'Memory at 0x100000 (physical)' });
    await dump.waitFor();
    expect(await dump.evaluate((table) => table.scrollWidth <= (table.parentElement?.clientWidth ?? 0))).toBe(true);
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
