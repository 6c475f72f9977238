/** What a monitor says of itself: one block with the size that its window has. @edid 1.4 */

const BLOCK_BYTES = 128;
/** Three letters of five bits each: VPL. */
const maker = ((22 << 10) | (16 << 5) | 12) & 0xffff;
/** Pixels of 96 to the inch. */
const MILLIMETRES_A_PIXEL = 25.4 / 96;
const REFRESH = 60;
/** Blanking that any link carries. */
const blanking = { width: 160, syncOffset: 48, syncWidth: 32, height: 23, lineOffset: 3, lineWidth: 6 } as const;

export function edid(width: number, height: number): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  block.set([0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
  const [across, down] = [Math.round(width * MILLIMETRES_A_PIXEL), Math.round(height * MILLIMETRES_A_PIXEL)];
  // Maker, product, serial number, week and year (2026), version 1.4.
  block.set([maker >> 8, maker & 0xff, 1, 0, 1, 0, 0, 0, 1, 2026 - 1990, 1, 4], 8);
  // Digital, eight bits a colour; centimetres; gamma 2.2; sRGB, the first timing is the preferred one.
  block.set([0xa0, Math.min(255, Math.round(across / 10)), Math.min(255, Math.round(down / 10)), 120, 0x06], 20);
  // Colours of sRGB.
  block.set([0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54], 25);
  // No established timings, no standard ones.
  block.fill(0x01, 38, 54);
  block.set(detailedTiming(width, height, across, down), 54);
  block.set(name('Vanderpool'), 72);
  block.set(unused, 90);
  block.set(unused, 108);
  block[127] = -block.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return block;
}

/** @edid 3.10.2 */
function detailedTiming(width: number, height: number, across: number, down: number): Uint8Array {
  const clock = Math.min(0xffff, Math.round(((width + blanking.width) * (height + blanking.height) * REFRESH) / 10_000));
  const high = (first: number, second: number): number => (((first >> 8) & 15) << 4) | ((second >> 8) & 15);
  return Uint8Array.of(
    clock & 0xff, clock >> 8,
    width & 0xff, blanking.width, high(width, blanking.width),
    height & 0xff, blanking.height, high(height, blanking.height),
    blanking.syncOffset, blanking.syncWidth, (blanking.lineOffset << 4) | blanking.lineWidth, 0,
    across & 0xff, down & 0xff, high(across, down), 0, 0, 0x1e,
  );
}

const unused = Uint8Array.of(0, 0, 0, 0x10, 0, ...Array.from({ length: 13 }, () => 0));

function name(text: string): Uint8Array {
  return Uint8Array.of(0, 0, 0, 0xfc, 0, ...Buffer.from(`${text}\n`.padEnd(13)));
}
