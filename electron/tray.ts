/** The sign that Vanderpool lives on without a window. */
import { Menu, nativeImage, Tray } from 'electron';
import type { MenuActions } from './menu.ts';

/** Shows the icon; null where the desktop has no place for one. */
export function showTray(iconFile: string, { open, quit }: MenuActions): Tray | null {
  try {
    const image = nativeImage.createFromPath(iconFile).resize({ width: 18, height: 18 });
    const tray = new Tray(image);
    tray.setToolTip('Vanderpool');
    tray.setContextMenu(Menu.buildFromTemplate([{ label: 'Open Vanderpool', click: open }, { type: 'separator' }, { label: 'Quit…', click: quit }]));
    tray.on('click', open);
    return tray;
  } catch {
    return null;
  }
}
