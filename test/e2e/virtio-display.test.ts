import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { encodePng } from '../../core/machine/pictures.ts';
import { openBrowser, openPage } from '../helpers/browser.ts';
import { root } from '../helpers/command-line.ts';
import { startScriptedEngine } from './scripted-engine.ts';
import type { ScriptedEngine } from './scripted-engine.ts';

/** A virtio display in the interface: its guest is asked for a screen as large as the pane, and hears where the pointer is. */
const width = 640;
const height = 400;
const half = 0x7fff / 2;

let browser: Browser;
let engine: ScriptedEngine;
let page: Page;
let problems: readonly string[] = [];

beforeAll(async () => {
  const pixels = Uint32Array.from({ length: width * height }, (_, at) => (0xff000000 | ((at % width) >> 2) | ((Math.floor(at / width) >> 1) << 16)) >>> 0);
  const png = encodePng({ width, height, pixels }, { x: 0, y: 0, width, height });
  engine = await startScriptedEngine(join(root, 'dist/renderer'), [
    { config: { name: 'Debian', display: 'virtio' }, state: 'running', picture: { width, height, x: 0, y: 0, png } },
  ]);
  browser = await openBrowser();
  ({ page, problems } = await openPage(browser, engine.url));
  await page.getByRole('option', { name: /^Debian/ }).click();
  await page.getByRole('tab', { name: 'Display' }).click();
});
afterAll(async () => {
  await browser.close();
  await engine.close();
});
afterEach(() => expect(problems).toEqual([]));

const sizes = () => engine.displayInputs().flatMap(({ size }) => (size === undefined ? [] : [size]));
const pane = () => page.locator('.display-body').evaluate((body) => ({ width: body.clientWidth, height: body.clientHeight }));

it('asks the guest for a screen as large as the pane, again when that changes, and not when a person wants none of it', async () => {
  await expect.poll(() => sizes().at(-1)).toEqual(await pane());
  await page.setViewportSize({ width: 1100, height: 700 });
  await expect.poll(() => sizes().at(-1)?.width).toBe((await pane()).width);
  const fit = page.getByRole('button', { name: 'Fit the guest\'s screen to this pane' });
  await expect.poll(() => fit.getAttribute('aria-pressed')).toBe('true');
  await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? tmpdir(), 'vanderpool-virtio-display.png') });
  await fit.click();
  const asked = sizes().length;
  await page.setViewportSize({ width: 1000, height: 640 });
  await page.waitForTimeout(600);
  expect(sizes()).toHaveLength(asked);
  await fit.click();
  await expect.poll(() => sizes().at(-1)).toEqual(await pane());
});

it('tells where the pointer is without taking it away', async () => {
  const screen = page.getByLabel(/^Screen of Debian/);
  const box = await screen.boundingBox();
  if (box === null) throw new Error('there is no screen');
  await screen.click({ position: { x: box.width / 2, y: box.height / 2 } });
  await expect.poll(() => engine.displayInputs().some(({ place }) => place !== undefined && Math.abs(place.x - half) < 200 && Math.abs(place.y - half) < 200 && place.buttons === 0)).toBe(true);
  expect(engine.displayInputs().some(({ place }) => place?.buttons === 1)).toBe(true);
  expect(await page.evaluate(() => document.pointerLockElement)).toBeNull();
  await page.keyboard.press('KeyQ');
  await expect.poll(() => engine.displayInputs().flatMap(({ keys = [] }) => keys)).toEqual([{ code: 'KeyQ', down: true }, { code: 'KeyQ', down: false }]);
});
