/** Runs before the page in its sandbox: lends it a few functions, and no object of Electron or Node. */
import { contextBridge, ipcRenderer } from 'electron';
import { SHELL_PORT_MESSAGE } from '../core/contract/shell.ts';
import type { Shell } from '../core/contract/shell.ts';
import { channels } from './channels.ts';

const shell: Shell = {
  platform: process.platform,
  version: process.env.VANDERPOOL_VERSION ?? 'development',
  connect: (): Promise<unknown> => ipcRenderer.invoke(channels.connect),
  chooseFile: async (title, folder) => {
    const answer: unknown = await ipcRenderer.invoke(channels.chooseFile, String(title), folder === true);
    return typeof answer === 'string' ? answer : null;
  },
  readClipboard: async () => {
    const answer: unknown = await ipcRenderer.invoke(channels.readClipboard);
    return typeof answer === 'string' ? answer : '';
  },
};

contextBridge.exposeInMainWorld('vanderpool', shell);

// A port cannot cross the context bridge; a message of the window itself carries it into the page.
ipcRenderer.on(channels.port, (event) => window.postMessage(SHELL_PORT_MESSAGE, window.location.origin, [...event.ports]));
