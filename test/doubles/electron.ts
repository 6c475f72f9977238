/** Stands in for the `electron` module where no Electron binary is: records what the shell asks of it, and lets a test play the system. */
import { EventEmitter } from 'node:events';
import { vi } from 'vitest';

/** A port of a message channel; what is posted on one end arrives at the other in a later turn. */
export class StandInPort extends EventEmitter {
  other: StandInPort | null = null;
  #started = false;
  #waiting: unknown[] = [];
  closed = false;

  postMessage(message: unknown): void {
    const copy = structuredClone(message);
    setTimeout(() => this.other?.arrive(copy), 0);
  }

  arrive(message: unknown): void {
    if (this.#started) this.emit('message', { data: message, ports: [] });
    else this.#waiting.push(message);
  }

  start(): void {
    this.#started = true;
    for (const message of this.#waiting.splice(0)) this.emit('message', { data: message, ports: [] });
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.emit('close');
    this.other?.close();
  }
}

export class StandInChannel {
  readonly port1 = new StandInPort();
  readonly port2 = new StandInPort();

  constructor() {
    this.port1.other = this.port2;
    this.port2.other = this.port1;
  }
}

export class StandInUtilityProcess extends EventEmitter {
  readonly stdout = new EventEmitter();
  readonly stderr = new EventEmitter();
  readonly posted: unknown[] = [];
  readonly program: string;
  readonly args: readonly string[];
  readonly options: unknown;
  pid: number | undefined;
  killed = false;

  constructor(program: string, args: readonly string[], options: unknown) {
    super();
    this.program = program;
    this.args = args;
    this.options = options;
  }

  postMessage(message: unknown): void {
    this.posted.push(structuredClone(message));
  }

  kill(): boolean {
    this.killed = true;
    return true;
  }
}

export class StandInFrame {
  url = 'vanderpool://app/index.html';
  readonly posted: { readonly channel: string; readonly ports: readonly StandInPort[] }[] = [];

  postMessage(channel: string, _message: unknown, ports: readonly StandInPort[] = []): void {
    this.posted.push({ channel, ports });
  }
}

export class StandInContents extends EventEmitter {
  readonly mainFrame = new StandInFrame();
  openHandler: ((details: { readonly url: string }) => { readonly action: string }) | null = null;

  getURL(): string {
    return this.mainFrame.url;
  }

  setWindowOpenHandler(handler: StandInContents['openHandler']): void {
    this.openHandler = handler;
  }
}

export class StandInWindow extends EventEmitter {
  static readonly all: StandInWindow[] = [];
  readonly webContents = new StandInContents();
  readonly options: { readonly webPreferences: Readonly<Record<string, unknown>> };
  address = '';
  shown = false;
  destroyed = false;

  constructor(options: StandInWindow['options']) {
    super();
    this.options = options;
    StandInWindow.all.push(this);
    electron.app.emit('web-contents-created', {}, this.webContents);
  }

  loadURL(address: string): Promise<void> {
    this.address = address;
    return Promise.resolve();
  }

  isDestroyed(): boolean {
    return this.destroyed;
  }

  isMinimized(): boolean {
    return false;
  }

  restore(): void {
    this.shown = true;
  }

  show(): void {
    this.shown = true;
  }

  focus(): void {
    this.emit('focus');
  }

  close(): void {
    this.destroyed = true;
    this.emit('closed');
  }
}

/** The IPC of the main process: a test calls `invoke` in the page's name. */
class StandInIpc {
  readonly #handlers = new Map<string, (event: unknown, ...args: unknown[]) => unknown>();

  handle(channel: string, handler: (event: unknown, ...args: unknown[]) => unknown): void {
    this.#handlers.set(channel, handler);
  }

  async invoke(channel: string, event: unknown, ...args: unknown[]): Promise<unknown> {
    return this.#handlers.get(channel)?.(event, ...args);
  }
}

class StandInApp extends EventEmitter {
  sandboxed = false;
  quits = 0;
  single = true;

  enableSandbox(): void {
    this.sandboxed = true;
  }

  requestSingleInstanceLock(): boolean {
    return this.single;
  }

  quit(): void {
    this.quits += 1;
  }

  whenReady(): Promise<void> {
    return Promise.resolve();
  }
}

type Handler = (...args: never[]) => unknown;

/** A session that keeps the handlers it is given, by the name of their setter. */
class StandInSession {
  readonly handlers: Record<string, Handler | null> = {};
  readonly webRequest = { onBeforeRequest: (handler: Handler): void => void (this.handlers['request'] = handler) };

  setPermissionRequestHandler(handler: Handler): void {
    this.handlers['permissionRequest'] = handler;
  }

  setPermissionCheckHandler(handler: Handler): void {
    this.handlers['permissionCheck'] = handler;
  }

  setDevicePermissionHandler(handler: Handler): void {
    this.handlers['device'] = handler;
  }

  setDisplayMediaRequestHandler(handler: Handler | null): void {
    this.handlers['display'] = handler;
  }
}

export const utilityProcesses: StandInUtilityProcess[] = [];

/** The module itself; `vi.mock('electron', () => electron)` puts it in place. */
export const electron = {
  app: new StandInApp(),
  BrowserWindow: StandInWindow,
  MessageChannelMain: StandInChannel,
  Menu: { buildFromTemplate: (template: unknown) => template, setApplicationMenu: vi.fn() },
  Tray: class { setToolTip = vi.fn(); setContextMenu = vi.fn(); on = vi.fn(); destroy = vi.fn(); },
  nativeImage: { createFromPath: () => ({ resize: () => ({}) }) },
  nativeTheme: { shouldUseDarkColors: true },
  clipboard: { readText: vi.fn(() => 'from the clipboard') },
  dialog: {
    showOpenDialog: vi.fn(async (): Promise<{ canceled: boolean; filePaths: string[] }> => ({ canceled: false, filePaths: ['/boot/vmlinuz'] })),
    showMessageBox: vi.fn(async (): Promise<{ response: number; checkboxChecked: boolean }> => ({ response: 2, checkboxChecked: false })),
  },
  ipcMain: new StandInIpc(),
  protocol: { registerSchemesAsPrivileged: vi.fn(), handle: vi.fn() },
  session: { defaultSession: new StandInSession() },
  shell: { openExternal: vi.fn(async () => undefined) },
  utilityProcess: {
    fork: (program: string, args: readonly string[], options: unknown): StandInUtilityProcess => {
      const child = new StandInUtilityProcess(program, args, options);
      utilityProcesses.push(child);
      return child;
    },
  },
};
