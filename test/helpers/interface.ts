/** The interface on a new library, for all tests of a file. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { newLibrary, openBrowser, openPage, removeLibrary, serveApp } from './browser.ts';
import type { App } from './browser.ts';

/** What the tests of a file drive. */
export interface Interface {
  readonly page: Page;
  readonly library: string;
}

/**
 * A new library, the interface on it and a browser's page, for all tests of a file; errors of the page fail the test that made them.
 * @param opened is told when a page is open: before the first test, and again after each restart
 * @param environment variables of the server, and so of the engine and its machines
 * @returns `quit`, as a person quits, and `open`, which opens the same library again
 */
export function useInterface(opened: (opened: Interface) => void, environment: Readonly<Record<string, string>> = {}): { quit(): Promise<void>; open(): Promise<void> } {
  let browser: Browser;
  let library = '';
  let app: App | undefined;
  let problems: readonly string[] = [];
  let page: Page | undefined;
  const open = async (): Promise<void> => {
    app = await serveApp(library, environment);
    const { page: shown, problems: found } = await openPage(browser, app.url);
    page = shown;
    problems = found;
    opened({ page, library });
  };
  const quit = async (): Promise<void> => {
    await app?.quit();
    app = undefined;
  };
  beforeAll(async () => {
    browser = await openBrowser();
    library = await newLibrary();
    await open();
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.error(`The page shows:\n${await page?.locator('body').innerText().catch(String)}`);
    expect(problems).toEqual([]);
  });
  afterAll(async () => {
    await quit();
    await browser.close();
    await removeLibrary(library);
  });
  return { quit, open };
}
