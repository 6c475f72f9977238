/** What every page of this program is denied, whoever wrote it: permissions, navigation, new windows, embedded views. */
import { shell } from 'electron';
import type { App, Event, Session, WebContents } from 'electron';
import { PAGE_ORIGIN } from './scheme.ts';

/** Copying text is all that the page may ask of the system; reading the clipboard goes through the shell, on a person's command. */
const permitted: ReadonlySet<string> = new Set(['clipboard-sanitized-write']);

export function isOwnPage(address: string): boolean {
  return address.startsWith(`${PAGE_ORIGIN}/`);
}

export function denyPermissions(session: Session): void {
  session.setPermissionRequestHandler((contents, permission, answer) => answer(permitted.has(permission) && isOwnPage(contents.getURL())));
  session.setPermissionCheckHandler((_contents, permission, origin) => permitted.has(permission) && isOwnPage(`${origin.replace(/\/$/, '')}/`));
  session.setDevicePermissionHandler(() => false);
  session.setDisplayMediaRequestHandler(null);
  // The page needs nothing from the network: it has its files and a port to the engine.
  session.webRequest.onBeforeRequest((details, answer) => answer({ cancel: !isLocal(details.url) }));
}

function isLocal(address: string): boolean {
  return isOwnPage(address) || address.startsWith(`blob:${PAGE_ORIGIN}/`) || address.startsWith('devtools:');
}

/** Links in consoles open in the person's browser, and only those of the web. */
export function openOutside(address: string): void {
  if (/^https?:\/\//i.test(address)) void shell.openExternal(address);
}

/** Applies to every page as soon as it exists. */
export function hardenContents(app: App): void {
  app.on('web-contents-created', (_event: Event, contents: WebContents) => {
    contents.setWindowOpenHandler(({ url }) => {
      openOutside(url);
      return { action: 'deny' };
    });
    contents.on('will-navigate', (details) => {
      if (!isOwnPage(details.url)) details.preventDefault();
    });
    contents.on('will-redirect', (details) => details.preventDefault());
    contents.on('will-attach-webview', (event) => event.preventDefault());
  });
}
