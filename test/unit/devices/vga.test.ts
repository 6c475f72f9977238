import { inflateSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { ManualTime } from '../../doubles/manualTime.ts';
import { Pictures, encodePng } from '../../../core/machine/pictures.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { Vga } from '../../../core/devices/vga/vga.ts';
import type { Frame } from '../../../core/devices/vga/render.ts';

const memoryBytes = 1 << 20;
const black = 0xff000000;

let vga: Vga;
let mapped: Map<number, Uint8Array>;

const port = (address: number, value: number): void => vga.write(0x20000 + address - 0x3b0, 1, value);
const read = (address: number): number => vga.read(0x20000 + address - 0x3b0, 1);
const indexed = (address: number, index: number, value: number): void => {
  port(address, index);
  port(address + 1, value);
};
const dispi = (index: number, value: number): void => {
  vga.write(0x20100, 2, index);
  vga.write(0x20101, 2, value);
};
const dispiAt = (index: number): number => {
  vga.write(0x20100, 2, index);
  return vga.read(0x20101, 2);
};
const colour = (index: number, red: number, green: number, blue: number): void => {
  port(0x3c8, index);
  for (const value of [red, green, blue]) port(0x3c9, value);
};

/** What a video BIOS does before any mode: colour addresses, everything on. */
function start(): void {
  port(0x3c2, 0x67);
  indexed(0x3c4, 2, 0x0f);
  for (let index = 0; index < 16; index++) {
    read(0x3da);
    port(0x3c0, index);
    port(0x3c0, index);
  }
  read(0x3da);
  port(0x3c0, 0x20);
  colour(1, 0, 0, 63);
  colour(15, 63, 63, 63);
}

beforeEach(() => {
  mapped = new Map();
  vga = new Vga({
    clock: new VirtualClock(new ManualTime()), memoryBytes,
    map: (address, bytes) => {
      const memory = new Uint8Array(bytes);
      mapped.set(address, memory);
      return { memory, unmap: () => mapped.delete(address) };
    },
  });
  start();
});

describe('VGA', () => {
  it('shows text: characters of the font in plane 2 in their colours', () => {
    const crtc: readonly (readonly [number, number])[] = [[0x01, 1], [0x07, 0], [0x09, 1], [0x12, 3], [0x13, 1], [0x0a, 0x20]];
    for (const [index, value] of crtc) indexed(0x3d4, index, value);
    indexed(0x3c4, 1, 1);
    // The font: character 1 is a bar on the left in its first line.
    indexed(0x3c4, 4, 0x06);
    indexed(0x3c4, 2, 0x04);
    indexed(0x3ce, 5, 0);
    indexed(0x3ce, 6, 0x04);
    indexed(0x3ce, 8, 0xff);
    vga.write(32, 1, 0xf0);
    // Text: odd and even addresses are planes 0 and 1.
    indexed(0x3c4, 2, 0x03);
    indexed(0x3ce, 5, 0x10);
    indexed(0x3ce, 6, 0x0e);
    vga.write(0x18000, 1, 1);
    vga.write(0x18001, 1, 0x1f);
    const { width, height, pixels } = vga.frame();
    expect([width, height]).toEqual([16, 4]);
    expect([...pixels.subarray(0, 8)]).toEqual([...Array<number>(4).fill(0xffffffff), ...Array<number>(4).fill(0xffff0000)]);
  });

  it('planes: write mode 0 masks bits, mode 1 copies latches, mode 2 fills, read mode 1 compares', () => {
    indexed(0x3c4, 4, 0x06);
    indexed(0x3ce, 5, 2);
    indexed(0x3ce, 6, 0x05);
    indexed(0x3ce, 8, 0xff);
    vga.write(0, 1, 5);
    expect([...vga.memory.subarray(0, 4)]).toEqual([255, 0, 255, 0]);
    indexed(0x3ce, 5, 0);
    indexed(0x3ce, 8, 0x0f);
    vga.read(0, 1);
    vga.write(0, 1, 0);
    expect([...vga.memory.subarray(0, 4)]).toEqual([0xf0, 0, 0xf0, 0]);
    indexed(0x3ce, 5, 1);
    vga.read(0, 1);
    vga.write(9, 1, 0);
    expect([...vga.memory.subarray(36, 40)]).toEqual([0xf0, 0, 0xf0, 0]);
    indexed(0x3ce, 5, 8);
    indexed(0x3ce, 2, 5);
    indexed(0x3ce, 7, 0x0f);
    expect(vga.read(9, 1)).toBe(0xf0);
  });

  it('a linear mode is what was asked for, cleared, and its pixels are those of the frame buffer', () => {
    vga.memory.fill(0x55);
    for (const [index, value] of [[1, 320], [2, 200], [3, 32], [4, 0x41]] as const) dispi(index, value);
    expect([dispiAt(0), dispiAt(6), dispiAt(10)]).toEqual([0xb0c5, 320, memoryBytes >> 16]);
    vga.memory.set([0x10, 0x20, 0x30], 4);
    const { width, height, pixels } = vga.frame();
    expect([width, height, pixels[0], pixels[1]]).toEqual([320, 200, black, 0xff102030]);
  });

  it('a mode that the memory does not hold is not switched on', () => {
    for (const [index, value] of [[1, 2560], [2, 1600], [3, 32], [4, 0x41]] as const) dispi(index, value);
    expect(dispiAt(4) & 1).toBe(0);
    expect(() => vga.frame()).not.toThrow();
  });

  it('the window below 1 MiB shows a bank of the linear memory', () => {
    for (const [index, value] of [[1, 640], [2, 480], [3, 8], [4, 0x01], [5, 2]] as const) dispi(index, value);
    vga.write(3, 1, 0x99);
    expect(vga.memory[0x20003]).toBe(0x99);
  });

  it('video memory goes along when its base address register moves', () => {
    vga.memory[5] = 7;
    vga.writeConfig(0x10, 4, 0xd0000000);
    vga.writeConfig(4, 2, 2);
    expect(mapped.get(0xd0000000)?.[5]).toBe(7);
    mapped.get(0xd0000000)?.fill(9, 6, 7);
    vga.writeConfig(4, 2, 0);
    expect([mapped.size, vga.memory[5], vga.memory[6]]).toEqual([0, 7, 9]);
  });
});

describe('pictures of a screen', () => {
  const frame = (fill: number): Frame => ({ width: 20, height: 10, pixels: new Uint32Array(200).fill(fill) });

  it('a viewer gets all of it first, then what has changed, then nothing', () => {
    const pictures = new Pictures();
    expect(pictures.next(1, frame(black))).toMatchObject({ width: 20, height: 10, x: 0, y: 0 });
    const changed = frame(black);
    changed.pixels[3 * 20 + 4] = 1;
    changed.pixels[5 * 20 + 9] = 1;
    const part = pictures.next(1, changed);
    expect(part).toMatchObject({ x: 4, y: 3 });
    expect(Buffer.from(part?.png ?? []).readUInt32BE(16)).toBe(6);
    expect(pictures.next(1, changed)).toBeNull();
    expect(pictures.next(2, changed), 'another viewer has seen nothing').toMatchObject({ x: 0, y: 0 });
  });

  it('a PNG file holds red, green and blue of each pixel', () => {
    const png = Buffer.from(encodePng(frame(0xff302010), { x: 1, y: 1, width: 2, height: 2 }));
    const at = png.indexOf('IDAT');
    const rows = inflateSync(png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4)));
    expect([...rows]).toEqual([0, 0x10, 0x20, 0x30, 0x10, 0x20, 0x30, 0, 0x10, 0x20, 0x30, 0x10, 0x20, 0x30]);
  });
});
