import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { _electron } from 'playwright-core';
import type { ElectronApplication, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newLibrary, removeLibrary } from '../helpers/browser.ts';
import { root, vanderpool } from '../helpers/command-line.ts';

/** Runs wherever Electron's binary is; elsewhere it is reported as skipped. Asking the package for its path would start a download. */
function electronBinary(): string | null {
  const folder = join(root, 'node_modules/electron');
  const pathFile = join(folder, 'path.txt');
  if (!existsSync(pathFile)) return null;
  const program = join(folder, 'dist', readFileSync(pathFile, 'utf8').trim());
  return existsSync(program) ? program : null;
}

const binary = electronBinary();

describe.skipIf(binary === null)('the desktop window, in a real Electron', () => {
  let library = '';
  let app: ElectronApplication;
  let page: Page;

  beforeAll(async () => {
    library = await newLibrary();
    app = await _electron.launch({ executablePath: binary ?? '', args: [root, '--library', library, ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])] });
    page = await app.firstWindow();
  });
  afterAll(async () => {
    // Quitting would ask what becomes of the machine that runs.
    await vanderpool(['engine', 'stop', '--force', '--library', library]);
    await app.close();
    await removeLibrary(library);
  });

  it('shows the library on its own scheme, with no Node in the page', async () => {
    await page.getByRole('option', { name: /^Monitor/ }).waitFor();
    expect(page.url()).toBe('vanderpool://app/index.html');
    expect(await page.evaluate(() => [typeof Reflect.get(globalThis, 'process'), typeof Reflect.get(globalThis, 'require'), globalThis.crossOriginIsolated])).toEqual(['undefined', 'undefined', true]);
  });

  it('starts the monitor in a utility process of its own', async () => {
    await page.getByRole('option', { name: /^Monitor/ }).click();
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    await page.getByRole('status', { name: 'State: Running' }).waitFor();
    const services = await app.evaluate(({ app: main }) => main.getAppMetrics().map((metric) => metric.name ?? metric.serviceName ?? ''));
    expect(services).toEqual(expect.arrayContaining(['Vanderpool engine', 'Vanderpool machine']));
  });
});
