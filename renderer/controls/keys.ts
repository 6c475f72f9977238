/** Keyboard shortcuts as data: parsed once, matched against events, written the way the platform writes them. */

export interface Shortcut {
  /** Control, or Command on a Mac. */
  readonly mod: boolean;
  readonly alt: boolean;
  readonly shift: boolean;
  /** `KeyboardEvent.key`, letters in lower case. */
  readonly key: string;
}

/** The parts of a keyboard event that decide. */
export interface KeyPress {
  readonly key: string;
  readonly code: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  readonly shiftKey: boolean;
}

export const isMac = typeof navigator !== 'undefined' && /mac|iphone|ipad/i.test(navigator.platform);

/** Reads `Mod+Shift+P`. A plain `+` is written `Plus`. */
export function parseShortcut(text: string): Shortcut {
  const parts = text.split('+');
  const key = parts.at(-1) ?? '';
  const has = (name: string): boolean => parts.slice(0, -1).includes(name);
  return { mod: has('Mod'), alt: has('Alt'), shift: has('Shift'), key: key === 'Plus' ? '+' : key.length === 1 ? key.toLowerCase() : key };
}

/** Whether a key press is the shortcut. With Alt held, layouts compose other characters, so the physical key counts too. */
export function matches(shortcut: Shortcut, press: KeyPress, mac = isMac): boolean {
  const mod = mac ? press.metaKey : press.ctrlKey;
  const otherMod = mac ? press.ctrlKey : press.metaKey;
  if (mod !== shortcut.mod || otherMod || press.altKey !== shortcut.alt) return false;
  const symbol = shortcut.key.length === 1 && !/[a-z0-9]/.test(shortcut.key);
  if (!symbol && press.shiftKey !== shortcut.shift) return false;
  if ((press.key.length === 1 ? press.key.toLowerCase() : press.key) === shortcut.key) return true;
  return physicalKey(press.code) === shortcut.key && (shortcut.alt || shortcut.shift);
}

function physicalKey(code: string): string {
  if (code.startsWith('Key')) return code.slice(3).toLowerCase();
  if (code.startsWith('Digit')) return code.slice(5);
  return '';
}

const symbols: Readonly<Record<string, string>> = { ArrowUp: '↑', ArrowDown: '↓', ArrowLeft: '←', ArrowRight: '→', Enter: '↵', Delete: 'Del', Escape: 'Esc' };

/** The caps to show, in the platform's order. */
export function keyCaps(text: string, mac = isMac): readonly string[] {
  const { mod, alt, shift, key } = parseShortcut(text);
  const caps: string[] = [];
  if (mod) caps.push(mac ? '⌘' : 'Ctrl');
  if (alt) caps.push(mac ? '⌥' : 'Alt');
  if (shift) caps.push(mac ? '⇧' : 'Shift');
  caps.push(symbols[key] ?? (key.length === 1 ? key.toUpperCase() : key));
  return caps;
}

/** The value of `aria-keyshortcuts`. */
export function ariaShortcut(text: string, mac = isMac): string {
  return text.replace('Mod', mac ? 'Meta' : 'Control');
}
