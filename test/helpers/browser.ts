/** Drives the interface in Debian's Chromium, and serves it the way `vanderpool serve` does. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, Locator, Page } from 'playwright-core';
import { start, vanderpool } from './command-line.ts';

const programs = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
/** Quiet: the browser talks to the page's server and to nobody else. */
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** On a machine that is busy with other things an interface answers late. */
const PATIENCE_MS = 90_000;

export function openBrowser(): Promise<Browser> {
  const executablePath = programs.find((path) => existsSync(path));
  if (executablePath === undefined) throw new Error('Chromium is missing. On Debian: apt-get install chromium.');
  return chromium.launch({ executablePath, args: quiet });
}

/** Opens the interface at an address; errors of the page fail the test through `problems`. */
export async function openPage(browser: Browser, url: string): Promise<{ readonly page: Page; readonly problems: readonly string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'dark', acceptDownloads: true });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/WebSocket|net::ERR_/.test(message.text())) problems.push(message.text());
  });
  await page.goto(url);
  return { page, problems };
}

export interface App {
  readonly url: string;
  readonly library: string;
  /** Ends the server and the engine, as quitting does; the library stays. */
  quit(): Promise<void>;
}

export function newLibrary(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'vanderpool-e2e-'));
}

export async function removeLibrary(library: string): Promise<void> {
  await rm(library, { recursive: true, force: true });
}

/** Starts `vanderpool serve` on a library and waits for its address. */
export function serveApp(library: string, environment: Readonly<Record<string, string>> = {}): Promise<App> {
  const server = start(['serve', '--json', '--library', library], environment);
  let said = '';
  return new Promise((resolve, reject) => {
    server.stderr.on('data', (piece: Buffer) => void (said += piece.toString()));
    server.once('exit', (status) => reject(new Error(`serve ended with status ${status}: ${said}${engineLog(library)}`)));
    server.stdout.on('data', (piece: Buffer) => {
      said += piece.toString();
      const url = /http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]+/.exec(said)?.[0];
      if (url === undefined) return;
      const quit = async (): Promise<void> => {
        await vanderpool(['engine', 'stop', '--force', '--library', library]);
        server.kill('SIGTERM');
      };
      resolve({ url, library, quit });
    });
  });
}

function engineLog(library: string): string {
  const file = join(library, 'engine.log');
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

/** The rows of a console that are on the screen, as text: without a graphics processor the terminal draws with the DOM. */
export async function screenText(page: Page, port = 1): Promise<string> {
  const rows = page.getByRole('region', { name: `Console COM${port}`, exact: true }).locator('.xterm-rows > div');
  return (await rows.allTextContents()).map((row) => row.replaceAll('\u00a0', ' ').trimEnd()).join('\n');
}

/** Waits until a console shows a text. */
export async function waitForText(page: Page, wanted: string | RegExp, timeoutMs = PATIENCE_MS): Promise<string> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    const text = await screenText(page);
    if (typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text)) return text;
    if (Date.now() > until) throw new Error(`The console did not show ${String(wanted)} within ${timeoutMs} ms. It shows:\n${text}`);
    await page.waitForTimeout(50);
  }
}

/** Types into the focused console; `\n` presses Enter. */
export async function typeLine(page: Page, line: string): Promise<void> {
  // A menu that closes gives the focus back to its button.
  await page.getByRole('menu').waitFor({ state: 'hidden' });
  await page.getByRole('region', { name: 'Console COM1', exact: true }).getByRole('textbox').focus();
  await page.keyboard.type(line);
  await page.keyboard.press('Enter');
}

/** Pulls the plug of the machine that is shown, and waits until it has stopped. */
export async function forceStop(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Force stop' }).click();
  await page.getByRole('status', { name: 'State: Stopped' }).waitFor();
}

/** Empties the console that is shown but for its last line. */
export async function clearConsole(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Console actions' }).click();
  await page.getByRole('menuitem', { name: 'Clear' }).click();
}

/** Everything a console holds, scrollback included, by way of "Save log". */
export async function savedLog(page: Page): Promise<string> {
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Console actions' }).first().click();
  await page.getByRole('menuitem', { name: /Save log/ }).click();
  const file = await (await download).path();
  return readFileSync(file, 'utf8');
}

/** Controls that a screen reader could not name. */
export async function namelessControls(page: Page): Promise<readonly string[]> {
  const controls: Locator = page.locator('button, [role="button"], [role="tab"], [role="option"], [role="menuitem"], [role="switch"], [role="radio"], [role="combobox"], input, textarea, select, [role="dialog"], [role="alertdialog"]');
  const nameless: string[] = [];
  for (const control of await controls.all()) {
    if (!(await control.isVisible()) || (await control.evaluate((node) => node.closest('[aria-hidden="true"]') !== null))) continue;
    // `- button "Start"`: the name stands in quotes, or the node has none.
    const snapshot = await control.ariaSnapshot();
    if (!/^- (?:'|)?[a-z]+ (?:"|\/)/.test(snapshot)) nameless.push(`${snapshot.split('\n')[0]} ${await control.evaluate((node) => node.outerHTML.slice(0, 160))}`);
  }
  return nameless;
}
