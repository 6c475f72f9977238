/** Answers the preload script. Every message is checked for who sent it before it is looked at. */
import { clipboard, dialog, ipcMain } from 'electron';
import type { BrowserWindow, IpcMainEvent, IpcMainInvokeEvent, MessagePortMain } from 'electron';
import * as z from 'zod';
import { asContractError } from '../core/contract/index.ts';
import type { ErrorShape } from '../core/contract/index.ts';
import { channels } from './channels.ts';
import { isOwnPage } from './security.ts';

export interface IpcOptions {
  readonly window: () => BrowserWindow | null;
  /** Opens a port to the engine. @throws ContractError why there is none */
  readonly openPort: () => Promise<MessagePortMain>;
}

const title = z.string().min(1).max(100);

/** Whether a message comes from the main frame of our own window, while it shows our own page. */
export function isTrusted(event: Pick<IpcMainEvent | IpcMainInvokeEvent, 'sender' | 'senderFrame'>, window: BrowserWindow | null): boolean {
  const frame = event.senderFrame;
  return window !== null && !window.isDestroyed() && event.sender === window.webContents && frame !== null && frame === window.webContents.mainFrame && isOwnPage(frame.url);
}

export function answerPage({ window, openPort }: IpcOptions): void {
  ipcMain.handle(channels.connect, async (event): Promise<ErrorShape | null> => {
    if (!isTrusted(event, window())) throw new Error('Refused.');
    const frame = event.senderFrame;
    try {
      const port = await openPort();
      // The frame may be gone by the time the engine is there: then the port is closed and the new page asks for its own.
      if (isTrusted(event, window()) && frame) frame.postMessage(channels.port, null, [port]);
      else port.close();
      return null;
    } catch (error) {
      console.error(new Date().toISOString(), error);
      return asContractError(error).toShape();
    }
  });
  ipcMain.handle(channels.chooseFile, async (event, wanted: unknown, folder: unknown) => {
    const own = window();
    if (!own || !isTrusted(event, own)) throw new Error('Refused.');
    const { canceled, filePaths } = await dialog.showOpenDialog(own, { title: title.parse(wanted), properties: folder === true ? ['openDirectory', 'showHiddenFiles'] : ['openFile', 'showHiddenFiles'] });
    return canceled ? null : (filePaths[0] ?? null);
  });
  ipcMain.handle(channels.readClipboard, (event) => {
    if (!isTrusted(event, window())) throw new Error('Refused.');
    return clipboard.readText();
  });
}
