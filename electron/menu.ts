/** The application's menu: what the systems expect, so that copy and paste work everywhere. */
import type { MenuItemConstructorOptions } from 'electron';

export interface MenuActions {
  readonly open: () => void;
  readonly quit: () => void;
}

export function menuTemplate(platform: NodeJS.Platform, { open, quit }: MenuActions): MenuItemConstructorOptions[] {
  const leave: MenuItemConstructorOptions = { label: 'Quit Vanderpool', accelerator: platform === 'darwin' ? 'Command+Q' : 'Control+Q', click: quit };
  const first: MenuItemConstructorOptions = platform === 'darwin'
    ? { label: 'Vanderpool', submenu: [{ role: 'about' }, { type: 'separator' }, { role: 'hide' }, { role: 'hideOthers' }, { role: 'unhide' }, { type: 'separator' }, leave] }
    : { label: '&File', submenu: [{ label: 'Open window', click: open }, { type: 'separator' }, leave] };
  return [
    first,
    // No accelerators here but the system's own: every other key may belong to a guest.
    { label: '&Edit', submenu: [{ role: 'cut', registerAccelerator: false }, { role: 'copy', registerAccelerator: platform === 'darwin' }, { role: 'paste', registerAccelerator: platform === 'darwin' }] },
    { label: '&Window', submenu: [{ role: 'minimize', registerAccelerator: platform === 'darwin' }, { role: 'togglefullscreen' }] },
  ];
}
