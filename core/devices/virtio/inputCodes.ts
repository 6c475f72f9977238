/** Keys by the browser's names of their places, and the codes by which virtio's input devices tell of them (those of Linux' input events). */

const rows: readonly (readonly [first: number, names: string])[] = [
  [1, 'Escape Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal Backspace'],
  [15, 'Tab KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Enter ControlLeft'],
  [30, 'KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backquote ShiftLeft Backslash'],
  [44, 'KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash ShiftRight NumpadMultiply AltLeft Space CapsLock'],
  [59, 'F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NumLock ScrollLock Numpad7 Numpad8 Numpad9 NumpadSubtract Numpad4 Numpad5 Numpad6 NumpadAdd'],
  [79, 'Numpad1 Numpad2 Numpad3 Numpad0 NumpadDecimal'],
  [86, 'IntlBackslash F11 F12 IntlRo'], [92, 'Convert KanaMode NonConvert'],
  [96, 'NumpadEnter ControlRight NumpadDivide PrintScreen AltRight'],
  [102, 'Home ArrowUp PageUp ArrowLeft ArrowRight End ArrowDown PageDown Insert Delete'],
  [119, 'Pause'], [124, 'IntlYen MetaLeft MetaRight ContextMenu'],
];

const codes: ReadonlyMap<string, number> = new Map(rows.flatMap(([first, names]) => names.split(' ').map((name, index) => [name, first + index] as const)));

export const keyCodes: readonly number[] = [...codes.values()];

/** The code of a key, undefined for one that no PC keyboard has. */
export function keyCode(place: string): number | undefined {
  return codes.get(place);
}
