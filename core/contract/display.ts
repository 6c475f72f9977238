/** A VM's display, keyboard and pointer, as viewers and scripts use them. */
import * as z from 'zod';
import { keyNumber } from './keys.ts';

/** `vga`: with a PS/2 keyboard and mouse; `virtio`: the same, with a GPU, a keyboard and a tablet of virtio besides. */
export const displayKind = z.enum(['none', 'vga', 'virtio']);

export const keyEvent = z.strictObject({ code: z.string().refine((code) => keyNumber(code) !== undefined, 'this key is on no PC keyboard'), down: z.boolean() });
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
