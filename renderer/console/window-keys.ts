/** Which key presses a console leaves to the window; the keymap says so, and consoles need not know the commands. */

let belongsToWindow: (event: KeyboardEvent) => boolean = () => false;

export function setWindowKeys(predicate: (event: KeyboardEvent) => boolean): void {
  belongsToWindow = predicate;
}

export function isWindowKey(event: KeyboardEvent): boolean {
  return belongsToWindow(event);
}
