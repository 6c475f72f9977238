/** What a desktop shell lends to the page that it shows, as `window.vanderpool`; a browser lends nothing. */
export interface Shell {
  readonly platform: string;
  readonly version: string;
  /** Asks for a port to the engine; it arrives as a window message whose data is `SHELL_PORT_MESSAGE`. Answers why there is none (an `ErrorShape`), or null. */
  connect(): Promise<unknown>;
  /** Opens the system's dialog for a file, or with `folder` for a folder; null when it was left without a choice. */
  chooseFile(title: string, folder: boolean): Promise<string | null>;
  /** The text on the clipboard; the page itself is not permitted to read it. */
  readClipboard(): Promise<string>;
}

export const SHELL_PORT_MESSAGE = 'vanderpool:port';
