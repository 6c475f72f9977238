import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { namelessControls, openBrowser, openPage, screenText, waitForText } from '../helpers/browser.ts';
import { root } from '../helpers/command-line.ts';
import { diskDefaults } from '../../core/contract/index.ts';
import { NO_KERNEL, startScriptedEngine } from './scripted-engine.ts';
import type { ScriptedEngine } from './scripted-engine.ts';

/** The interface alone, against a scripted engine: names for screen readers, the keyboard, themes, states that are rare. */
let browser: Browser;
let engine: ScriptedEngine;
let page: Page;
let problems: readonly string[] = [];

const screen = ['Linux version 6.1.0', 'see https://www.debian.org/ for more', '~ # uname -a', 'Linux (none) 6.1.0 x86_64 GNU/Linux', '~ # '].join('\r\n');

beforeAll(async () => {
  engine = await startScriptedEngine(join(root, 'dist/renderer'), [
    { config: { name: 'Debian 12', serial: ['COM1', 'kgdb', 'COM3', 'COM4'].map((label, port) => ({ attach: port < 2 ? 'console' as const : 'none' as const, label })) }, state: 'running', screen },
    // Asks the terminal where its cursor is and what it is: the answers must not be typed into the guest on replay.
    { config: { name: 'Asking' }, state: 'running', screen: 'who are you?\x1b[6n\x1b[c\x1b[5n done' },
    { config: { name: 'Broken' }, state: 'crashed', exit: { reason: 'triple-fault', detail: 'RIP=ffffffff81000110', at: 1_760_000_000_000 } },
    { config: { name: 'Idle' }, state: 'stopped' },
    { config: { name: 'Wide' }, state: 'running', screen: 'W'.repeat(2000) },
    { config: { name: 'Firmware', firmware: 'bios', display: 'vga', cpus: 4, disks: ['/vms/root.qcow2', '/vms/data.img'].map((path) => ({ ...diskDefaults, path })) }, state: 'stopped' },
    { config: { name: 'Unbootable', boot: { kind: 'image', kernel: NO_KERNEL, initrd: null, append: '', modules: [] } }, state: 'stopped' },
  ]);
  browser = await openBrowser();
  ({ page, problems } = await openPage(browser, engine.url));
  await page.getByRole('option', { name: /^Debian/ }).waitFor();
});
afterAll(async () => {
  await browser.close();
  await engine.close();
});
afterEach(() => expect(problems).toEqual([]));

const vm = (name: string): ReturnType<Page['getByRole']> => page.getByRole('option', { name: new RegExp(`^${name}`) });

describe('every control has a name', () => {
  const places: readonly (readonly [string, () => Promise<void>])[] = [
    ['the overview', async () => vm('Debian').click()],
    ['a console', async () => page.getByRole('tab', { name: 'COM1' }).click()],
    ['a split console with its find bar', async () => {
      await page.keyboard.press('Control+Shift+E');
      await page.getByRole('region', { name: 'Console COM2, second pane' }).waitFor();
      await page.keyboard.press('Control+Shift+F');
      await page.getByRole('search', { name: 'Find in console' }).waitFor();
    }],
    ['the configuration', async () => {
      await page.keyboard.press('Escape');
      await page.keyboard.press('Control+Shift+E');
      await page.getByRole('tab', { name: 'Configuration' }).click();
    }],
    ['the activity', async () => page.getByRole('tab', { name: 'Activity' }).click()],
    ['a crashed machine', async () => vm('Broken').click()],
    ['the create wizard', async () => {
      await vm('Broken').press('n');
      await page.getByRole('dialog', { name: 'New virtual machine' }).getByRole('radio', { name: /Kernel/ }).click();
    }],
    ['the settings', async () => {
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Settings' }).click();
    }],
    ['the shortcuts', async () => {
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
    }],
    ['the command palette', async () => {
      await page.keyboard.press('Escape');
      await page.keyboard.press('Control+K');
      await page.getByRole('dialog', { name: 'Command palette' }).waitFor();
    }],
    ['a menu', async () => {
      await page.keyboard.press('Escape');
      await page.getByRole('dialog').waitFor({ state: 'detached' });
      await vm('Debian').click({ button: 'right' });
      await page.getByRole('menu').waitFor();
    }],
    ['a question', async () => {
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Stop', exact: true }).click();
    }],
  ];
  it.each(places)('in %s', async (_place, go) => {
    await go();
    expect(await namelessControls(page)).toEqual([]);
  });
  afterAll(async () => page.keyboard.press('Escape'));
});

describe('imports and exports', () => {
  const goesUntilCancelled = async (what: 'import' | 'export'): Promise<void> => {
    const dialog = page.getByRole('dialog');
    await expect.poll(() => dialog.getByRole('progressbar', { name: `Progress of the ${what}` }).getAttribute('aria-valuenow')).toBe('42');
    await page.keyboard.press('Escape');
    await dialog.getByRole('button', { name: `Cancel the ${what}` }).click();
    await dialog.getByRole('progressbar').waitFor({ state: 'detached' });
    expect(await dialog.getByRole('alert').count()).toBe(0);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  };

  it('of snapshots show how far they are, and can be cancelled', async () => {
    await vm('Debian').press('n');
    await page.getByRole('radio', { name: /^Import/ }).click();
    await page.getByRole('textbox', { name: 'File to import', exact: true }).fill('/vms/clean.vpsnap');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await goesUntilCancelled('import');
    await vm('Idle').click();
    await page.getByRole('tab', { name: 'Snapshots' }).click();
    await page.getByRole('button', { name: /^Export/ }).click();
    await page.getByRole('button', { name: 'Export', exact: true }).click();
    await goesUntilCancelled('export');
    await page.getByRole('tab', { name: 'Overview' }).click();
  });
});

describe('the keyboard', () => {
  it('walks the library with the arrows, and opens the menu key’s menu', async () => {
    await vm('Debian').click();
    await vm('Debian').press('ArrowDown');
    await page.getByRole('heading', { name: 'Asking', level: 1 }).waitFor();
    await page.keyboard.press('End');
    await page.getByRole('heading', { name: 'Unbootable', level: 1 }).waitFor();
    await page.keyboard.press('Home');
    await page.getByRole('heading', { name: 'Debian 12', level: 1 }).waitFor();
  });

  it('leaves no tooltip over the window when a dialog closes', async () => {
    await page.keyboard.press('Escape');
    await page.mouse.move(700, 500);
    await page.getByRole('button', { name: 'New virtual machine' }).first().focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'New virtual machine' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.waitForTimeout(700);
    expect(await page.getByRole('tooltip').count()).toBe(0);
  });

  it('reaches every command by its name', async () => {
    await page.keyboard.press('Control+K');
    await page.keyboard.type('configur');
    await page.keyboard.press('Enter');
    await page.getByRole('tab', { name: 'Configuration', selected: true }).waitFor();
  });

  it('finds a machine from the palette', async () => {
    await page.keyboard.press('Control+K');
    await page.keyboard.type('broken');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Broken', level: 1 }).waitFor();
  });

  it('searches with / and goes to the first match with Enter', async () => {
    await vm('Broken').focus();
    await page.keyboard.press('/');
    await page.keyboard.type('debian');
    await expect.poll(() => page.getByRole('option').count()).toBe(1);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Debian 12', level: 1 }).waitFor();
    await page.getByRole('searchbox', { name: 'Search the library' }).fill('');
  });

  it('leaves to the guest what is not the window’s while a console has the focus', async () => {
    await page.keyboard.press('Alt+2');
    await waitForText(page, 'uname -a');
    const before = engine.typed();
    await page.keyboard.type('n/');
    await page.keyboard.press('Control+K');
    await page.keyboard.press('Control+C');
    await page.keyboard.press('F2');
    await expect.poll(() => engine.typed().slice(before.length)).toBe('n/\x0b\x03\x1bOQ');
    await page.keyboard.press('Alt+1');
    await page.getByRole('tab', { name: 'Overview', selected: true }).waitFor();
  });

  it('gives the focus back when a dialog closes', async () => {
    const settings = page.getByRole('button', { name: 'Settings' });
    await settings.focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'Settings' }).waitFor();
    await page.keyboard.press('Escape');
    await expect.poll(() => settings.evaluate((node) => node === document.activeElement)).toBe(true);
  });
});

describe('groups', () => {
  const join = async (name: string, group: string): Promise<void> => {
    await vm(name).click();
    await vm(name).press('Alt+g');
    await page.getByRole('dialog', { name: new RegExp(`^Group and tags of .${name}`) }).getByRole('combobox', { name: /^Group/ }).fill(group);
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  };
  const names = (): Promise<readonly string[]> => page.getByRole('option').evaluateAll((rows) => rows.map((row) => row.getAttribute('aria-label')?.split(',')[0] ?? ''));

  it('stand below the machines that have none, in their order, and take what is moved into them', async () => {
    await join('Idle', 'Lab');
    await join('Asking', 'Lab');
    await expect.poll(names).toEqual(['Debian 12', 'Broken', 'Wide', 'Firmware', 'Unbootable', 'Asking', 'Idle']);
    await expect.poll(() => page.getByRole('group', { name: 'Lab' }).getByRole('option').count()).toBe(2);
    expect(await namelessControls(page)).toEqual([]);
  });

  it('fold to their names, which the keyboard then passes by, and open for a search', async () => {
    const head = page.getByRole('button', { name: 'Group Lab, 1 of 2 running' });
    await head.focus();
    await page.keyboard.press('Enter');
    await expect.poll(names).not.toContain('Idle');
    await vm('Unbootable').click();
    await vm('Unbootable').press('ArrowDown');
    await page.getByRole('heading', { name: 'Unbootable', level: 1 }).waitFor();
    await page.getByRole('searchbox', { name: 'Search the library' }).fill('lab');
    await expect.poll(names).toEqual(['Asking', 'Idle']);
    await page.getByRole('searchbox', { name: 'Search the library' }).fill('');
    await head.click();
    await expect.poll(names).toContain('Idle');
  });

  it('fold and open by the arrows as well', async () => {
    await vm('Idle').click();
    await vm('Idle').press('ArrowLeft');
    await expect.poll(names).not.toContain('Idle');
    await page.keyboard.press('ArrowRight');
    await expect.poll(names).toContain('Idle');
  });

  it('are left by dragging to a machine without one, and gone when nobody is in them', async () => {
    await vm('Idle').dragTo(vm('Firmware'));
    await join('Asking', '');
    await page.getByRole('group', { name: 'Lab' }).waitFor({ state: 'detached' });
    await expect.poll(names).toEqual(['Debian 12', 'Asking', 'Broken', 'Wide', 'Firmware', 'Idle', 'Unbootable']);
  });
});

describe('tags', () => {
  const names = (): Promise<readonly string[]> => page.getByRole('option').evaluateAll((rows) => rows.map((row) => row.getAttribute('aria-label')?.split(',')[0] ?? '').sort());
  const search = (): ReturnType<Page['getByRole']> => page.getByRole('searchbox', { name: 'Search the library' });
  const dialog = (): ReturnType<Page['getByRole']> => page.getByRole('dialog', { name: /^Group and tags of/ });

  it('are typed beside the group, checked, and offered to the next machine', async () => {
    await vm('Idle').click();
    await vm('Idle').press('Alt+g');
    await dialog().getByRole('textbox', { name: /^Tags/ }).fill('web, <b>');
    await page.keyboard.press('Enter');
    await dialog().getByText('A tag starts with a letter or digit').waitFor();
    await dialog().getByRole('textbox', { name: /^Tags/ }).fill('web, Production web');
    await page.keyboard.press('Enter');
    await dialog().waitFor({ state: 'detached' });
    await page.getByRole('option', { name: /^Idle, .*, tags web Production$/ }).waitFor();
    await vm('Wide').click();
    await vm('Wide').press('Alt+g');
    await dialog().getByRole('button', { name: 'Add the tag Production' }).click();
    expect(await namelessControls(page)).toEqual([]);
    await page.keyboard.press('Tab');
    await dialog().getByRole('button', { name: 'Save' }).click();
    await page.getByRole('option', { name: /^Wide, .*, tags Production$/ }).waitFor();
  });

  it('find machines: as a word, as the whole tag, and by a click in the head', async () => {
    await search().fill('prod');
    await expect.poll(names).toEqual(['Idle', 'Wide']);
    await search().fill('tag:prod');
    await expect.poll(names).toEqual([]);
    await search().fill('TAG:production tag:web');
    await expect.poll(names).toEqual(['Idle']);
    await search().fill('');
    await vm('Wide').click();
    await page.getByRole('group', { name: 'Tags' }).getByRole('button', { name: 'Production' }).click();
    await expect.poll(names).toEqual(['Idle', 'Wide']);
    await expect.poll(() => search().inputValue()).toBe('tag:Production');
    await search().fill('');
  });
});

describe('a console', () => {
  it('does not answer, on replay, what the guest once asked the terminal', async () => {
    const before = engine.typed();
    await vm('Asking').click();
    await page.getByRole('tab', { name: 'COM1' }).click();
    await waitForText(page, 'done');
    await page.waitForTimeout(200);
    expect(engine.typed()).toBe(before);
  });

  it('is left by the mouse without the ring that is the keyboard’s', async () => {
    await page.getByRole('region', { name: 'Console COM1', exact: true }).getByRole('textbox').focus();
    await page.keyboard.type('x');
    await page.getByRole('tab', { name: 'Overview' }).click();
    expect(await page.getByRole('tab', { name: 'Overview' }).evaluate((tab) => [tab === document.activeElement, tab.matches(':focus-visible')])).toEqual([true, false]);
  });

  it('finds text and counts the matches', async () => {
    await vm('Debian').click();
    await page.keyboard.press('Alt+2');
    await waitForText(page, 'uname -a');
    await page.keyboard.press('Control+Shift+F');
    await page.getByRole('textbox', { name: 'Find', exact: true }).fill('linux');
    await page.getByText(/[123] of 3/).waitFor();
    await page.keyboard.press('Escape');
  });

  it('copies the selection and pastes', async () => {
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Console actions' }).click();
    await page.getByRole('menuitem', { name: 'Select all' }).click();
    await page.getByRole('button', { name: 'Console actions' }).click();
    await page.getByRole('menuitem', { name: 'Copy' }).click();
    await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toContain('Linux version 6.1.0');
    await page.evaluate(() => navigator.clipboard.writeText('echo pasted'));
    const before = engine.typed();
    await page.getByRole('button', { name: 'Console actions' }).click();
    await page.getByRole('menuitem', { name: 'Paste' }).click();
    await expect.poll(() => engine.typed().slice(before.length)).toBe('echo pasted');
  });

  it('is cleared', async () => {
    await page.getByRole('button', { name: 'Console actions' }).click();
    await page.getByRole('menuitem', { name: 'Clear' }).click();
    await expect.poll(() => screenText(page)).not.toContain('Linux version');
  });

  it.each([1280, 1277, 1003])('shows its last column whole in a window of %i', async (width) => {
    await page.setViewportSize({ width, height: 800 });
    await vm('Wide').click();
    await page.keyboard.press('Alt+2');
    await waitForText(page, /^W{60,}$/m);
    await expect.poll(() => page.locator('.xterm-rows').evaluate((rows) => {
      const glyphs = document.createRange();
      glyphs.selectNodeContents(rows.firstElementChild ?? rows);
      return glyphs.getBoundingClientRect().right - rows.getBoundingClientRect().right;
    })).toBeLessThan(1);
    await page.setViewportSize({ width: 1280, height: 800 });
  });
});

describe('starting a machine', () => {
  it('shows the display of one that firmware starts', async () => {
    await vm('Firmware').click();
    await page.getByText('Start it and its display opens.').waitFor();
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    await page.getByRole('tab', { name: 'Display', selected: true }).waitFor();
  });

  it('shows why it failed where the person is, and the way to what is wrong', async () => {
    await vm('Unbootable').click();
    await page.getByRole('button', { name: 'Start', exact: true }).first().click();
    await page.getByText('there is no such file').waitFor();
    await page.getByRole('tab', { name: 'Overview', selected: true }).waitFor();
    await page.getByRole('button', { name: 'Edit configuration' }).click();
    await page.getByRole('textbox', { name: 'Kernel', exact: true }).waitFor();
    await page.getByRole('button', { name: 'Dismiss' }).click();
  });

  it('says how processors are arranged when nobody chose', async () => {
    await vm('Firmware').click();
    await page.getByRole('tab', { name: 'Configuration' }).click();
    await expect.poll(() => page.getByLabel('Arrangement').textContent()).toBe('A core for each');
  });
});

describe('a configuration that is typed and not saved', () => {
  it('is there again after a look at something else, marked on its tab, until it is discarded', async () => {
    await vm('Idle').click();
    await page.getByRole('tab', { name: 'Configuration' }).click();
    await page.getByLabel('Notes').fill('half a sentence');
    await vm('Asking').click();
    await vm('Idle').click();
    await page.getByRole('tab', { name: 'Overview' }).click();
    await page.getByRole('tab', { name: 'Configuration not saved' }).click();
    await expect.poll(() => page.getByLabel('Notes').inputValue()).toBe('half a sentence');
    await page.getByRole('button', { name: 'Discard' }).click();
    await page.getByRole('tab', { name: 'Configuration', exact: true }).waitFor();
    await expect.poll(() => page.getByLabel('Notes').inputValue()).toBe('');
    await page.getByLabel('Notes').fill('a whole sentence');
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('tab', { name: 'Configuration', exact: true }).waitFor();
    await expect.poll(() => page.getByLabel('Notes').inputValue()).toBe('a whole sentence');
    await page.getByRole('tab', { name: 'Overview' }).click();
  });
});

describe('the settings', () => {
  it('have what quitting does, which the engine keeps', async () => {
    await page.getByRole('button', { name: 'Settings' }).click();
    const quitting = page.getByRole('dialog', { name: 'Settings' }).getByRole('combobox', { name: 'Quitting' });
    await expect.poll(() => quitting.textContent()).toBe('Ask');
    await quitting.click();
    await page.getByRole('option', { name: 'Suspend them' }).click();
    await expect.poll(() => quitting.textContent()).toBe('Suspend them');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  });

  it('have whether compiled code is kept, which the engine keeps', async () => {
    await page.getByRole('button', { name: 'Settings' }).click();
    const keeps = page.getByRole('dialog', { name: 'Settings' }).getByRole('switch', { name: 'Keep compiled code' });
    await expect.poll(() => keeps.getAttribute('aria-checked')).toBe('true');
    await keeps.click();
    await expect.poll(() => keeps.getAttribute('aria-checked')).toBe('false');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  });
});

describe('a small window', () => {
  it.each(['Overview', 'Configuration', 'Devices', 'Activity'])('needs no sideways scrolling: %s', async (name) => {
    await page.setViewportSize({ width: 720, height: 480 });
    await vm('Firmware').click();
    await page.getByRole('tab', { name }).click();
    await expect.poll(() => page.locator('.page').evaluate((body) => body.scrollWidth - body.clientWidth)).toBe(0);
  });

  it('is told where a machine would have more memory than the host', async () => {
    await vm('Idle').press('n');
    await page.getByLabel('Memory', { exact: true }).fill('1G');
    await page.getByText('16M to 3G.', { exact: true }).waitFor();
    await page.getByLabel('Memory', { exact: true }).fill('2G');
    await page.getByText(/This host has 2G in all/).waitFor();
    await page.keyboard.press('Escape');
  });

  it('has the head and the foot of a dialog in sight', async () => {
    await vm('Idle').press('n');
    const dialog = page.getByRole('dialog', { name: 'New virtual machine' });
    await dialog.getByRole('radio', { name: /Kernel/ }).click();
    // Pixels between the dialog's edges and its parts, once it stands.
    await expect.poll(() => dialog.evaluate((outer) => {
      const edges = outer.getBoundingClientRect();
      const [head, foot] = ['.dialog-head', '.dialog-foot'].map((part) => outer.querySelector(part)?.getBoundingClientRect());
      return [Math.round((head?.top ?? 0) - edges.top), Math.round(edges.bottom - (foot?.bottom ?? 0))];
    })).toEqual([1, 1]);
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 1280, height: 800 });
  });
});

describe('the theme', () => {
  const shown = (): Promise<string | undefined> => page.evaluate(() => document.documentElement.dataset['theme']);

  it('follows the system until it is chosen', async () => {
    expect(await shown()).toBe('dark');
    await page.emulateMedia({ colorScheme: 'light' });
    await expect.poll(shown).toBe('light');
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.getByRole('button', { name: 'Switch between dark and light' }).click();
    await expect.poll(shown).toBe('light');
  });

  it('is there at once after a reload', async () => {
    await page.reload();
    expect(await shown()).toBe('light');
    await page.getByRole('button', { name: 'Switch between dark and light' }).click();
  });

  it.each(['dark', 'light'])('has enough contrast: %s', async (theme) => {
    await page.evaluate((name) => (document.documentElement.dataset['theme'] = name), theme);
    const ratios = await page.evaluate(contrasts);
    for (const { pair, ratio } of ratios) expect(ratio, pair).toBeGreaterThanOrEqual(4.5);
  });
});

describe('when the engine goes away', () => {
  it('says so, and connects again by itself', async () => {
    await engine.vanish();
    try {
      await page.getByRole('alert').filter({ hasText: 'The engine does not answer' }).first().waitFor();
      expect(await namelessControls(page)).toEqual([]);
    } finally {
      // The next test needs it, whatever becomes of this one.
      await engine.listen();
    }
    await page.getByRole('alert').filter({ hasText: 'The engine does not answer' }).first().waitFor({ state: 'detached' });
    await vm('Idle').click();
    await page.getByText('This machine has not run yet').waitFor();
  });

  it('says what to do when the address has no token, or an old one', async () => {
    const other = await openPage(browser, engine.url.replace(/\?.*/, ''));
    await other.page.getByRole('alert').filter({ hasText: 'lacks its token' }).waitFor();
    await other.page.context().close();
  });
});

/** Runs in the page: contrast of text colours against the grounds that they stand on. */
function contrasts(): { pair: string; ratio: number }[] {
  const style = getComputedStyle(document.documentElement);
  const probe = document.body.appendChild(document.createElement('span'));
  const luminance = (name: string): number => {
    probe.style.color = style.getPropertyValue(name);
    const channels = getComputedStyle(probe).color.match(/[\d.]+/g)?.slice(0, 3).map((text) => Number(text) / 255) ?? [];
    const [red = 0, green = 0, blue = 0] = channels.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const texts = ['--text', '--text-soft', '--text-faint', '--accent', '--fail'];
  const grounds = ['--ground', '--side', '--raised', '--sunken', '--overlay'];
  const pairs = texts.flatMap((text) => grounds.map((ground) => [text, ground] as const));
  const ratios = [...pairs, ['--on-accent', '--accent-strong'] as const].map(([text, ground]) => {
    const [one, two] = [luminance(text), luminance(ground)];
    return { pair: `${text} on ${ground}`, ratio: (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05) };
  });
  probe.remove();
  return ratios;
}
