/** How long a click on Start takes until the built-in guest's prompt stands in the console, in a browser on a new library. */
import { setTimeout as sleep } from 'node:timers/promises';
import { clearConsole, forceStop, newLibrary, openBrowser, openPage, removeLibrary, serveApp, waitForText } from '../helpers/browser.ts';
import { vanderpool } from '../helpers/command-line.ts';
import { median } from './phases.ts';
import { printTable } from './table.ts';

/** Between two starts, as a person takes it: the engine has the next process ready by then. */
const PAUSE_MS = 3000;

async function milliseconds(step: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await step();
  return performance.now() - from;
}

/** The peer is a process of Node's that starts, says its version and ends: what no start of a VM can be shorter than. */
export async function startToPrompt(runs: number): Promise<void> {
  const library = await newLibrary();
  const app = await serveApp(library);
  const browser = await openBrowser();
  const clicks: number[] = [];
  const processes: number[] = [];
  try {
    const { page } = await openPage(browser, app.url);
    await page.getByRole('option', { name: /^Monitor/ }).click();
    for (let run = 0; run < runs; run++) {
      await sleep(PAUSE_MS);
      processes.push(await milliseconds(() => vanderpool(['--version'])));
      const start = page.getByRole('button', { name: 'Start', exact: true }).first();
      await start.waitFor();
      clicks.push(await milliseconds(async () => {
        await start.click();
        await waitForText(page, /Look around[^]*monitor>/);
      }));
      await forceStop(page);
      await clearConsole(page);
    }
  } finally {
    await browser.close();
    await app.quit();
    await removeLibrary(library);
  }
  const row = (values: readonly number[]): string[] => [median(values), Math.min(...values), Math.max(...values)].map((value) => value.toFixed(0));
  const ratio = median(clicks) / median(processes);
  printTable(['ms', 'median', 'least', 'most', 'ratio'], [['click on Start to the prompt', ...row(clicks), ratio.toFixed(1)], ['`vanderpool --version`', ...row(processes), '1']]);
}
