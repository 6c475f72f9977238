/** A VM's display, keyboard and pointer, as viewers and scripts use them. */
import { z } from 'zod';

/** `vga`: with a PS/2 keyboard and mouse; `virtio`: the same, with a GPU, a keyboard and a tablet of virtio besides. */
export const displayKind = z.enum(['none', 'vga', 'virtio']);

/**
 * Keys by the browser's names of their places (KeyboardEvent.code): the code of scan code set 1, with E0H above it for keys of the
 * extended keyboard.
 */
const keyRows: readonly (readonly [first: number, names: string])[] = [
  [0x01, 'Escape Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal Backspace'],
  [0x0f, 'Tab KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Enter ControlLeft'],
  [0x1e, 'KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backquote ShiftLeft Backslash'],
  [0x2c, 'KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash ShiftRight NumpadMultiply AltLeft Space CapsLock'],
  [0x3b, 'F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NumLock ScrollLock Numpad7 Numpad8 Numpad9 NumpadSubtract Numpad4 Numpad5 Numpad6 NumpadAdd'],
  [0x4f, 'Numpad1 Numpad2 Numpad3 Numpad0 NumpadDecimal'],
  [0x56, 'IntlBackslash F11 F12'],
  [0x70, 'KanaMode'], [0x73, 'IntlRo'], [0x79, 'Convert'], [0x7b, 'NonConvert'], [0x7d, 'IntlYen'],
  [0xe01c, 'NumpadEnter ControlRight'], [0xe035, 'NumpadDivide'], [0xe037, 'PrintScreen AltRight'],
  [0xe047, 'Home ArrowUp PageUp'], [0xe04b, 'ArrowLeft'], [0xe04d, 'ArrowRight'], [0xe04f, 'End ArrowDown PageDown Insert Delete'],
  [0xe05b, 'MetaLeft MetaRight ContextMenu'], [0xe11d, 'Pause'],
];

const keys: ReadonlyMap<string, number> = new Map(keyRows.flatMap(([first, names]) => names.split(' ').map((name, index) => [name, first + index] as const)));

/** The number of a key, undefined for one that no PC keyboard has. */
export function keyNumber(code: string): number | undefined {
  return keys.get(code);
}

export const keyEvent = z.strictObject({ code: z.string().refine((code) => keys.has(code), 'this key is on no PC keyboard'), down: z.boolean() });
export type KeyEvent = z.infer<typeof keyEvent>;

/** The right and the bottom edge of the screen. */
export const POINTER_PLACE_MAXIMUM = 0x7fff;

const counts = z.int().min(-4096).max(4096);
/** Counts to the right, down, and of the wheel towards the user since the last; buttons left, right, middle as bits. */
export const pointerEvent = z.strictObject({ dx: counts, dy: counts, dz: counts, buttons: z.int().min(0).max(7) });
export type PointerEvent = z.infer<typeof pointerEvent>;

/** Where the pointer is, from the left and the top edge of the screen to the right and the bottom one; wheel and buttons as of `pointerEvent`. */
const fraction = z.int().min(0).max(POINTER_PLACE_MAXIMUM);
export const pointerPlace = z.strictObject({ x: fraction, y: fraction, dz: counts, buttons: z.int().min(0).max(7) });
export type PointerPlace = z.infer<typeof pointerPlace>;

export const DISPLAY_WIDTH_MAXIMUM = 2560;
export const DISPLAY_HEIGHT_MAXIMUM = 1600;
/** The size in pixels that a virtio display asks its guest for. */
export const screenSize = z.strictObject({
  width: z.int().min(320, 'a screen is 320 pixels wide at least').max(DISPLAY_WIDTH_MAXIMUM, `a screen is ${DISPLAY_WIDTH_MAXIMUM} pixels wide at most`),
  height: z.int().min(200, 'a screen is 200 pixels high at least').max(DISPLAY_HEIGHT_MAXIMUM, `a screen is ${DISPLAY_HEIGHT_MAXIMUM} pixels high at most`),
});
export type ScreenSize = z.infer<typeof screenSize>;

/** Keys in their order, then the pointer: moved, or put to a place where the machine has a tablet; then the screen. */
export const displayInput = z.strictObject({ keys: z.array(keyEvent).max(64).optional(), pointer: pointerEvent.optional(), place: pointerPlace.optional(), size: screenSize.optional() });
export type DisplayInput = z.infer<typeof displayInput>;

const place = z.int().min(0).max(DISPLAY_WIDTH_MAXIMUM);

/** A part of the screen as a PNG file at (x, y), and how large the whole is. */
export const picture = z.strictObject({ width: place, height: place, x: place, y: place, png: z.instanceof(Uint8Array) });
export type Picture = z.infer<typeof picture>;

export const displayEvent = z.discriminatedUnion('kind', [
  /** The first one, and one after each change of size, is of the whole screen. */
  z.strictObject({ kind: z.literal('picture'), picture }),
  /** The VM does not run: there is nothing to show. */
  z.strictObject({ kind: z.literal('off') }),
]);
export type DisplayEvent = z.infer<typeof displayEvent>;
