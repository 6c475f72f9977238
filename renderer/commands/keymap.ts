/** Listens for shortcuts. In a field only those with a modifier count; in a console only those marked for it. */
import { matches, parseShortcut } from '../controls/keys.ts';
import type { KeyPress } from '../controls/keys.ts';
import { setWindowKeys } from '../console/window-keys.ts';
import { useLayout } from '../state/layout.ts';
import { commands } from './commands.ts';
import type { Command } from './commands.ts';

export type FocusPlace = 'console' | 'field' | 'elsewhere';

const rows = commands.flatMap((command) => (command.shortcut === undefined ? [] : [{ command, shortcut: parseShortcut(command.shortcut) }]));

/** The command of a key press at a place, if one is possible now. */
export function commandFor(press: KeyPress, place: FocusPlace): Command | undefined {
  return rows.find(({ command, shortcut }) => {
    if (place === 'console' && !command.inConsole) return false;
    if (place === 'field' && !shortcut.mod && !shortcut.alt) return false;
    return matches(shortcut, press) && command.possible();
  })?.command;
}

export function focusPlace(target: EventTarget | null): FocusPlace {
  if (!(target instanceof HTMLElement)) return 'elsewhere';
  if (target.closest('.terminal-host')) return 'console';
  return target.closest('input, textarea, select, [contenteditable], [role="menu"], [role="listbox"]:not(.vm-list)') ? 'field' : 'elsewhere';
}

/** Takes effect for the whole window; returns how to end it. */
export function installKeymap(): () => void {
  setWindowKeys((event) => commandFor(event, 'console') !== undefined);
  const press = (event: KeyboardEvent): void => {
    // A dialog has the keyboard for itself.
    if (event.defaultPrevented || event.isComposing || useLayout.getState().dialog !== null) return;
    const command = commandFor(event, focusPlace(event.target));
    if (!command) return;
    event.preventDefault();
    command.run();
  };
  window.addEventListener('keydown', press);
  return () => window.removeEventListener('keydown', press);
}
