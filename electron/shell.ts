/** The desktop shell put together: one instance, one window, one engine, and an orderly way out. */
import { join } from 'node:path';
import { app, BrowserWindow, Menu, MessageChannelMain, protocol, session } from 'electron';
import type { MessagePortMain, Tray } from 'electron';
import { findEngine, libraryFolder, reachEngine } from '../core/engine/connect.ts';
import { bridge } from './bridge.ts';
import { createEngineHost } from './engine-host.ts';
import { answerPage } from './ipc.ts';
import { askLeaving, rememberLeaving, stopEngine, tellUnsuspended, whatRuns } from './leave.ts';
import { menuTemplate } from './menu.ts';
import { createSchemeHandler, SCHEME, schemePrivileges } from './scheme.ts';
import { denyPermissions, hardenContents } from './security.ts';
import { showTray } from './tray.ts';
import { openWindow } from './window.ts';

export interface ShellOptions {
  /** Folder of main.js and preload.cjs. */
  readonly folder: string;
  /** Arguments of the program; `--library FOLDER` names the library. */
  readonly args: readonly string[];
}

/** Programs of utility processes lie outside the archive: worker threads and native modules are loaded from real files. */
export function unpacked(path: string): string {
  return path.replace(/([\\/])app\.asar(?=[\\/]|$)/, '$1app.asar.unpacked');
}

/** The value of `--library FOLDER` or `--library=FOLDER`. */
export function libraryArgument(args: readonly string[]): string | undefined {
  const joined = args.find((arg) => arg.startsWith('--library='));
  if (joined !== undefined) return joined.slice('--library='.length);
  const at = args.indexOf('--library');
  return at < 0 ? undefined : args[at + 1];
}

/** Runs the shell. Called once, before the app is ready. */
export function runShell({ folder, args }: ShellOptions): void {
  app.enableSandbox();
  protocol.registerSchemesAsPrivileged([schemePrivileges]);
  if (!app.requestSingleInstanceLock()) return app.quit();
  hardenContents(app);

  const dist = join(folder, '..');
  const library = libraryFolder(libraryArgument(args));
  const host = createEngineHost(unpacked(dist));
  let window: BrowserWindow | null = null;
  let tray: Tray | null = null;
  let leaving = false;

  const show = (): void => {
    tray?.destroy();
    tray = null;
    if (window && !window.isDestroyed()) {
      if (window.isMinimized()) window.restore();
      window.show();
      return window.focus();
    }
    window = openWindow(folder);
    window.on('closed', () => (window = null));
  };
  const find = (): ReturnType<typeof findEngine> => findEngine(library);
  const openPort = async (): Promise<MessagePortMain> => {
    const engine = await reachEngine(library, (at) => host.launch(at));
    const { port1, port2 } = new MessageChannelMain();
    bridge(port1, engine);
    return port2;
  };
  const leave = async (): Promise<void> => {
    // An engine that somebody else started goes on without us; ours ends with us.
    const { running, quitting } = await whatRuns(find);
    // Who quits what is in the background already wants something else than that.
    const stay = { running: host.alive ? running : 0, quitting: tray !== null && quitting === 'background' ? 'ask' as const : quitting };
    const choice = await askLeaving(stay, (answer) => void rememberLeaving(find, answer));
    if (choice === 'stay') return;
    if (choice === 'background') return goOn();
    if (host.alive && !(await stopEngine(find, choice === 'suspend')) && choice === 'suspend') return void tellUnsuspended();
    leaving = true;
    app.quit();
  };
  const goOn = (): void => {
    tray ??= showTray(join(dist, 'icon.png'), { open: show, quit: () => void leave() });
    window?.close();
  };

  app.on('second-instance', show);
  app.on('activate', show);
  app.on('before-quit', (event) => {
    if (leaving) return;
    event.preventDefault();
    void leave();
  });
  app.on('window-all-closed', () => {
    if (leaving) return;
    void whatRuns(find).then(({ running }) => {
      if (running > 0 && host.alive) goOn();
      else if (process.platform !== 'darwin') void leave();
    });
  });
  void app.whenReady().then(() => {
    denyPermissions(session.defaultSession);
    protocol.handle(SCHEME, createSchemeHandler(join(dist, 'renderer')));
    answerPage({ window: () => window, openPort });
    Menu.setApplicationMenu(Menu.buildFromTemplate(menuTemplate(process.platform, { open: show, quit: () => void leave() })));
    show();
  });
}
