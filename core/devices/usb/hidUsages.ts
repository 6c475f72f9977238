/** Keys of USB keyboards: usages of the keyboard page by the browser's names of the keys' places. @hut 10 */

const rows: readonly (readonly [first: number, places: string])[] = [
  [0x04, 'KeyA KeyB KeyC KeyD KeyE KeyF KeyG KeyH KeyI KeyJ KeyK KeyL KeyM KeyN KeyO KeyP KeyQ KeyR KeyS KeyT KeyU KeyV KeyW KeyX KeyY KeyZ'],
  [0x1e, 'Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Enter Escape Backspace Tab Space Minus Equal BracketLeft BracketRight Backslash'],
  [0x33, 'Semicolon Quote Backquote Comma Period Slash CapsLock F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 PrintScreen ScrollLock Pause'],
  [0x49, 'Insert Home PageUp Delete End PageDown ArrowRight ArrowLeft ArrowDown ArrowUp NumLock NumpadDivide NumpadMultiply NumpadSubtract NumpadAdd NumpadEnter'],
  [0x59, 'Numpad1 Numpad2 Numpad3 Numpad4 Numpad5 Numpad6 Numpad7 Numpad8 Numpad9 Numpad0 NumpadDecimal IntlBackslash ContextMenu'],
  [0x87, 'IntlRo KanaMode IntlYen Convert NonConvert'],
  [0xe0, 'ControlLeft ShiftLeft AltLeft MetaLeft ControlRight ShiftRight AltRight MetaRight'],
];

const usages: ReadonlyMap<string, number> = new Map(rows.flatMap(([first, places]) => places.split(' ').map((place, index) => [place, first + index] as const)));

/** Undefined: no USB keyboard has such a key. */
export function hidUsage(place: string): number | undefined {
  return usages.get(place);
}
