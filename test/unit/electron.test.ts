import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ContractError } from '../../core/contract/errors.ts';
import { electron, StandInChannel, StandInContents, StandInFrame, StandInWindow, utilityProcesses } from '../doubles/electron.ts';

vi.mock('electron', async () => (await import('../doubles/electron.ts')).electron);

const { channels } = await import('../../electron/channels.ts');
const { bridge } = await import('../../electron/bridge.ts');
const { createEngineHost } = await import('../../electron/engine-host.ts');
const { answerPage } = await import('../../electron/ipc.ts');
const { askLeaving } = await import('../../electron/leave.ts');
const { createSchemeHandler, contentSecurityPolicy } = await import('../../electron/scheme.ts');
const { denyPermissions, hardenContents } = await import('../../electron/security.ts');
const { libraryArgument, runShell, unpacked } = await import('../../electron/shell.ts');
const { createVmLauncher } = await import('../../electron/vm-launcher.ts');
const { openWindow } = await import('../../electron/window.ts');

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-electron-'));
  utilityProcesses.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the page’s scheme', () => {
  const page = async (path: string, method = 'GET'): Promise<Response> => createSchemeHandler(join(folder, 'renderer'))({ url: `vanderpool://app${path}`, method });
  beforeEach(() => {
    mkdirSync(join(folder, 'renderer/assets'), { recursive: true });
    writeFileSync(join(folder, 'renderer/index.html'), '<!doctype html>');
    writeFileSync(join(folder, 'renderer/assets/index.js'), 'export {};');
    writeFileSync(join(folder, 'secret.js'), 'no');
  });

  it('serves built files with their type and with isolation headers', async () => {
    const answer = await page('/index.html');
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toContain('text/html');
    expect(answer.headers.get('cross-origin-opener-policy')).toBe('same-origin');
    expect(answer.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    expect(answer.headers.get('content-security-policy')).toBe(contentSecurityPolicy);
    expect((await page('/assets/index.js')).headers.get('content-type')).toContain('javascript');
  });

  it('permits no script from elsewhere and none inline; only styles may be inline', () => {
    expect(contentSecurityPolicy).toContain("default-src 'none'");
    const scripts = contentSecurityPolicy.split('; ').find((directive) => directive.startsWith('script-src'));
    expect(scripts).toBe("script-src 'self'");
    expect(contentSecurityPolicy.match(/unsafe-/g)).toEqual(['unsafe-']);
  });

  it.each(['/../secret.js', '/%2e%2e/secret.js', '/..%2fsecret.js', '/assets/%00.js', '/nothing.js', '/assets', '/'])('does not find %s', async (path) => {
    expect((await page(path)).status).toBe(404);
  });

  it('follows no link out of its folder', async () => {
    symlinkSync(join(folder, 'secret.js'), join(folder, 'renderer/assets/link.js'));
    expect((await page('/assets/link.js')).status).toBe(404);
  });

  it('answers no other host and no other method', async () => {
    const handler = createSchemeHandler(join(folder, 'renderer'));
    expect((await handler({ url: 'vanderpool://other/index.html', method: 'GET' })).status).toBe(404);
    expect((await page('/index.html', 'POST')).status).toBe(404);
  });
});

describe('what pages are denied', () => {
  const ask = (name: string, ...args: unknown[]): unknown => (electron.session.defaultSession.handlers[name] as (...given: unknown[]) => unknown)(...args);
  beforeEach(() => denyPermissions(electron.session.defaultSession as never));

  it.each(['media', 'geolocation', 'notifications', 'clipboard-read', 'usb', 'openExternal', 'fullscreen'])('denies the permission %s', (permission) => {
    let granted: unknown;
    ask('permissionRequest', new StandInContents(), permission, (answer: unknown) => (granted = answer));
    expect(granted).toBe(false);
    expect(ask('permissionCheck', null, permission, 'vanderpool://app')).toBe(false);
  });

  it('lets the own page, and no other, copy text', () => {
    const own = new StandInContents();
    const foreign = new StandInContents();
    foreign.mainFrame.url = 'https://example.org/';
    const answers: unknown[] = [];
    ask('permissionRequest', own, 'clipboard-sanitized-write', (answer: unknown) => answers.push(answer));
    ask('permissionRequest', foreign, 'clipboard-sanitized-write', (answer: unknown) => answers.push(answer));
    expect(answers).toEqual([true, false]);
  });

  it('denies every device', () => expect(ask('device', {})).toBe(false));

  it.each([['https://example.org/x.js', true], ['http://127.0.0.1:1/', true], ['file:///etc/passwd', true], ['vanderpool://app/index.html', false]])(
    'request for %s: cancelled is %s', (url, cancelled) => {
      let answer: unknown;
      ask('request', { url }, (given: unknown) => (answer = given));
      expect(answer).toEqual({ cancel: cancelled });
    });

  it('prevents navigation, redirects and web views, and opens no window', () => {
    hardenContents(electron.app as never);
    const contents = new StandInContents();
    electron.app.emit('web-contents-created', {}, contents);
    const prevented = (event: string, url: string): boolean => {
      const details = { url, preventDefault: vi.fn() };
      contents.emit(event, details);
      return details.preventDefault.mock.calls.length > 0;
    };
    expect(prevented('will-navigate', 'https://example.org/')).toBe(true);
    expect(prevented('will-navigate', 'vanderpool://app.example.org/')).toBe(true);
    expect(prevented('will-navigate', 'vanderpool://app/index.html')).toBe(false);
    expect(prevented('will-redirect', 'vanderpool://app/index.html')).toBe(true);
    expect(prevented('will-attach-webview', '')).toBe(true);
    expect(contents.openHandler?.({ url: 'https://example.org/' })).toEqual({ action: 'deny' });
    expect(electron.shell.openExternal).toHaveBeenLastCalledWith('https://example.org/');
    electron.shell.openExternal.mockClear();
    contents.openHandler?.({ url: 'file:///etc/passwd' });
    contents.openHandler?.({ url: 'javascript:alert(1)' });
    expect(electron.shell.openExternal).not.toHaveBeenCalled();
  });
});

describe('the window', () => {
  it('isolates the page', () => {
    openWindow('/app/dist/electron');
    const window = StandInWindow.all.at(-1);
    expect(window?.address).toBe('vanderpool://app/index.html');
    expect(window?.options.webPreferences).toMatchObject({
      contextIsolation: true, sandbox: true, nodeIntegration: false, nodeIntegrationInWorker: false, nodeIntegrationInSubFrames: false,
      webSecurity: true, allowRunningInsecureContent: false, webviewTag: false, navigateOnDragDrop: false,
    });
  });
});

describe('messages from the page', () => {
  const window = new StandInWindow({ webPreferences: {} });
  const openPort = vi.fn(async () => new StandInChannel().port2);
  const trusted = (): object => ({ sender: window.webContents, senderFrame: window.webContents.mainFrame });
  beforeEach(() => {
    openPort.mockClear();
    window.webContents.mainFrame.url = 'vanderpool://app/index.html';
    answerPage({ window: () => window as never, openPort: openPort as never });
  });

  it('gives the main frame of the own page a port to the engine', async () => {
    expect(await electron.ipcMain.invoke(channels.connect, trusted())).toBeNull();
    expect(window.webContents.mainFrame.posted.map(({ channel }) => channel)).toEqual([channels.port]);
  });

  it('tells it in the engine’s own words why there is none', async () => {
    const refusal = { code: 'library-newer', message: 'The library is newer.', hint: 'Update.' } as const;
    openPort.mockRejectedValueOnce(new ContractError(refusal.code, refusal.message, refusal.hint));
    expect(await electron.ipcMain.invoke(channels.connect, trusted())).toEqual(refusal);
  });

  const strangers: readonly (readonly [string, () => object])[] = [
    ['a frame inside the page', () => ({ sender: window.webContents, senderFrame: new StandInFrame() })],
    ['another window', () => ({ sender: new StandInContents(), senderFrame: new StandInFrame() })],
    ['a frame that is gone', () => ({ sender: window.webContents, senderFrame: null })],
    ['a page that was navigated away', () => {
      window.webContents.mainFrame.url = 'https://example.org/';
      return trusted();
    }],
  ];

  it.each(strangers)('refuses %s', async (_who, event) => {
    electron.dialog.showOpenDialog.mockClear();
    const sent = event();
    await expect(electron.ipcMain.invoke(channels.connect, sent)).rejects.toThrow('Refused');
    expect(openPort).not.toHaveBeenCalled();
    await expect(electron.ipcMain.invoke(channels.chooseFile, sent, 'Kernel')).rejects.toThrow('Refused');
    await expect(electron.ipcMain.invoke(channels.readClipboard, sent)).rejects.toThrow('Refused');
    expect(electron.dialog.showOpenDialog).not.toHaveBeenCalled();
  });

  it('chooses a file or a folder, or answers null when the dialog was left', async () => {
    expect(await electron.ipcMain.invoke(channels.chooseFile, trusted(), 'Kernel')).toBe('/boot/vmlinuz');
    expect(electron.dialog.showOpenDialog).toHaveBeenLastCalledWith(expect.anything(), expect.objectContaining({ properties: ['openFile', 'showHiddenFiles'] }));
    await electron.ipcMain.invoke(channels.chooseFile, trusted(), 'Folder', true);
    expect(electron.dialog.showOpenDialog).toHaveBeenLastCalledWith(expect.anything(), expect.objectContaining({ properties: ['openDirectory', 'showHiddenFiles'] }));
    electron.dialog.showOpenDialog.mockResolvedValueOnce({ canceled: true, filePaths: [] });
    expect(await electron.ipcMain.invoke(channels.chooseFile, trusted(), 'Kernel')).toBeNull();
  });

  it('refuses a title that is none', async () => {
    await expect(electron.ipcMain.invoke(channels.chooseFile, trusted(), { toString: () => 'x' })).rejects.toThrow();
    await expect(electron.ipcMain.invoke(channels.chooseFile, trusted(), 'x'.repeat(1000))).rejects.toThrow();
  });
});

describe('the engine’s utility process', () => {
  it('is ready when it says so, and its end is known', async () => {
    const host = createEngineHost('/app/dist');
    const ready = host.launch(folder);
    await vi.waitFor(() => expect(utilityProcesses).toHaveLength(1));
    const engine = utilityProcesses[0];
    expect(engine?.program).toBe('/app/dist/electron-engine.js');
    expect(engine?.args).toEqual([folder]);
    engine?.emit('message', { type: 'ready' });
    await ready;
    expect(host.alive).toBe(true);
    engine?.emit('exit', 1);
    expect(host.alive).toBe(false);
  });

  it('passes on the engine’s own refusal', async () => {
    const refused = createEngineHost('/app/dist').launch(folder);
    await vi.waitFor(() => expect(utilityProcesses).toHaveLength(1));
    utilityProcesses[0]?.emit('message', { type: 'failed', error: { code: 'library-newer', message: 'The library is newer.', hint: 'Update.' } });
    await expect(refused).rejects.toMatchObject({ code: 'library-newer' });
  });

  it('starts VM processes for it, passes messages both ways, and tells when one ends', async () => {
    const ready = createEngineHost('/app/dist').launch(folder);
    await vi.waitFor(() => expect(utilityProcesses).toHaveLength(1));
    const engine = utilityProcesses[0];
    engine?.emit('message', { type: 'ready' });
    await ready;
    engine?.emit('message', { type: 'launch', id: 1, logFile: join(folder, 'vm.log') });
    const vm = utilityProcesses[1];
    expect(vm?.program).toBe('/app/dist/vm.js');
    if (vm) vm.pid = 4711;
    vm?.emit('spawn');
    engine?.emit('message', { type: 'to-vm', id: 1, message: { type: 'start' } });
    vm?.emit('message', { type: 'started' });
    vm?.emit('exit', 3);
    expect(vm?.posted).toEqual([{ type: 'start' }]);
    expect(engine?.posted).toEqual([
      { type: 'started', id: 1, processId: 4711 }, { type: 'from-vm', id: 1, message: { type: 'started' } }, { type: 'exit', id: 1, how: 'status 3' },
    ]);
  });

  it('takes its VMs with it when it dies', async () => {
    const ready = createEngineHost('/app/dist').launch(folder);
    await vi.waitFor(() => expect(utilityProcesses).toHaveLength(1));
    utilityProcesses[0]?.emit('message', { type: 'ready' });
    await ready;
    utilityProcesses[0]?.emit('message', { type: 'launch', id: 1, logFile: join(folder, 'vm.log') });
    utilityProcesses[0]?.emit('exit', 9);
    expect(utilityProcesses[1]?.killed).toBe(true);
  });

  it('ignores messages that are not of this channel', async () => {
    const ready = createEngineHost('/app/dist').launch(folder);
    await vi.waitFor(() => expect(utilityProcesses).toHaveLength(1));
    for (const message of [null, 'launch', { type: 'launch' }, { type: 'launch', id: 1, logFile: '/x', extra: 1 }]) utilityProcesses[0]?.emit('message', message);
    utilityProcesses[0]?.emit('message', { type: 'ready' });
    await ready;
    expect(utilityProcesses).toHaveLength(1);
  });
});

describe('the engine’s VM launcher', () => {
  it('speaks to each VM by its number until that VM ends', () => {
    const sent: unknown[] = [];
    let arrive: (message: unknown) => void = () => undefined;
    const launch = createVmLauncher({ send: (message) => sent.push(message), onMessage: (listener) => (arrive = listener), onClose: () => undefined, close: () => undefined });
    const first = launch('/a.log');
    const second = launch('/b.log');
    const heard: unknown[] = [];
    second.onMessage((message) => heard.push(message));
    second.onExit((how) => heard.push(how));
    arrive({ type: 'started', id: 2, processId: 99 });
    arrive({ type: 'from-vm', id: 1, message: 'for the first' });
    arrive({ type: 'from-vm', id: 2, message: 'for the second' });
    second.send('hello');
    arrive({ type: 'exit', id: 2, how: 'status 0' });
    second.send('too late');
    expect(first.processId).toBeNull();
    expect(second.processId).toBe(99);
    expect(heard).toEqual(['for the second', 'status 0']);
    expect(sent).toEqual([{ type: 'launch', id: 1, logFile: '/a.log' }, { type: 'launch', id: 2, logFile: '/b.log' }, { type: 'to-vm', id: 2, message: 'hello' }]);
  });
});

describe('the bridge between page and engine', () => {
  it('carries messages both ways and ends both ends together', async () => {
    const { port1, port2 } = new StandInChannel();
    const toEngine: unknown[] = [];
    let fromEngine: (message: unknown) => void = () => undefined;
    let engineGone: () => void = () => undefined;
    bridge(port1 as never, {
      send: (message) => void toEngine.push(message), onMessage: (listener) => (fromEngine = listener), onClose: (listener) => (engineGone = listener), close: () => undefined,
    });
    const toPage: unknown[] = [];
    port2.on('message', ({ data }: { data: unknown }) => toPage.push(data));
    port2.start();
    port2.postMessage({ type: 'request' });
    fromEngine({ type: 'event', event: new Uint8Array([1, 2]) });
    await vi.waitFor(() => expect([toEngine, toPage]).toEqual([[{ type: 'request' }], [{ type: 'event', event: new Uint8Array([1, 2]) }]]));
    engineGone();
    expect(port2.closed).toBe(true);
  });
});

describe('leaving', () => {
  const forget = (): void => { throw new Error('nobody asked to remember'); };

  it('quits without a question when nothing runs', async () => {
    electron.dialog.showMessageBox.mockClear();
    expect(await askLeaving({ running: 0, quitting: 'suspend' }, forget)).toBe('quit');
    expect(electron.dialog.showMessageBox).not.toHaveBeenCalled();
  });

  it.each([[0, 'background'], [1, 'suspend'], [2, 'quit'], [3, 'stay']])('asks while machines run: answer %i means %s', async (response, meaning) => {
    electron.dialog.showMessageBox.mockResolvedValueOnce({ response, checkboxChecked: false });
    expect(await askLeaving({ running: 2, quitting: 'ask' }, forget)).toBe(meaning);
  });

  it.each(['background', 'suspend'] as const)('does as the settings say, without a question: %s', async (quitting) => {
    electron.dialog.showMessageBox.mockClear();
    expect(await askLeaving({ running: 2, quitting }, forget)).toBe(quitting);
    expect(electron.dialog.showMessageBox).not.toHaveBeenCalled();
  });

  it('remembers an answer that is to hold from now on, and never that plugs are pulled', async () => {
    const remembered: string[] = [];
    for (const response of [0, 1, 2, 3]) {
      electron.dialog.showMessageBox.mockResolvedValueOnce({ response, checkboxChecked: true });
      await askLeaving({ running: 1, quitting: 'ask' }, (quitting) => remembered.push(quitting));
    }
    expect(remembered).toEqual(['background', 'suspend']);
  });
});

describe('the shell', () => {
  it('leaves at once when it is the second instance, and opens no window', () => {
    const windows = StandInWindow.all.length;
    electron.app.single = false;
    runShell({ folder, args: [] });
    electron.app.single = true;
    expect(electron.app.quits).toBe(1);
    expect(StandInWindow.all).toHaveLength(windows);
  });

  it('sandboxes everything, serves its scheme and opens one window, which a second start brings to the front', async () => {
    runShell({ folder, args: ['--library', join(folder, 'library')] });
    expect(electron.app.sandboxed).toBe(true);
    await vi.waitFor(() => expect(electron.protocol.handle).toHaveBeenCalledWith('vanderpool', expect.any(Function)));
    const windows = StandInWindow.all.length;
    electron.app.emit('second-instance');
    expect(StandInWindow.all).toHaveLength(windows);
    expect(StandInWindow.all.at(-1)?.shown).toBe(true);
  });

  it('reads the library’s folder from its arguments', () => {
    expect(libraryArgument(['.', '--library', '/a'])).toBe('/a');
    expect(libraryArgument(['--library=/b'])).toBe('/b');
    expect(libraryArgument(['.'])).toBeUndefined();
  });

  it('finds utility programs outside the archive', () => {
    expect(unpacked('/opt/v/resources/app.asar/dist')).toBe('/opt/v/resources/app.asar.unpacked/dist');
    expect(unpacked('/home/me/vanderpool/dist')).toBe('/home/me/vanderpool/dist');
  });
});
