import { beforeEach, describe, expect, it } from 'vitest';
import { VirtioGpu } from '../../../core/devices/virtio/gpu/gpu.ts';
import { edid } from '../../../core/devices/virtio/gpu/edid.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

const request = 0x2000;
const answer = 0x3000;
const entries = 0x4000;
const picture = 0x80000;
const BGRX = 2;
const BGRA = 1;
const ok = 0x1100;
const refusal = { outOfMemory: 0x1201, scanout: 0x1202, resource: 0x1203, parameter: 0x1205 } as const;

let gpu: VirtioGpu;
let driver: VirtioDriver;
let time: ManualTime;
let clock: VirtualClock;

beforeEach(() => {
  time = new ManualTime();
  clock = new VirtualClock(time);
  gpu = new VirtioGpu(clock);
  driver = new VirtioDriver(gpu);
  driver.start(2n);
});

/** Sends a command of 32-bit words behind its header and returns the type of the response. */
function send(type: number, words: readonly number[] = [], { queue = 0, more = 0, fence = 0 } = {}): number {
  [type, fence === 0 ? 0 : 1, fence, 0, 0, 0, ...words].forEach((word, index) => driver.view.setUint32(request + index * 4, word, true));
  driver.view.setUint32(answer, 0, true);
  driver.submit(queue, [
    { address: request, length: 24 + words.length * 4, writable: false }, ...(more === 0 ? [] : [{ address: entries, length: more, writable: false }]),
    { address: answer, length: 0x800, writable: true },
  ]);
  return driver.view.getUint32(answer, true);
}

const word = (offset: number): number => driver.view.getUint32(answer + offset, true);
const create = (id: number, width: number, height: number, format = BGRX): number => send(0x101, [id, format, width, height]);
const scanout = (id: number, x: number, y: number, width: number, height: number): number => send(0x103, [x, y, width, height, 0, id]);
const transfer = (id: number, x: number, y: number, width: number, height: number, offset = 0): number => send(0x105, [x, y, width, height, offset, 0, id, 0]);

/** Puts pieces of guest memory behind a resource. */
function attach(id: number, pieces: readonly (readonly [address: number, length: number])[]): number {
  pieces.forEach(([address, length], index) => [address, 0, length, 0].forEach((value, part) => driver.view.setUint32(entries + index * 16 + part * 4, value, true)));
  return send(0x106, [id, pieces.length], { more: pieces.length * 16 });
}

/** A screen of 4 x 2 pixels in two pieces of memory: 0, 1, 2 and so on in red, green, blue. */
function smallScreen(): void {
  expect([create(1, 4, 2), attach(1, [[picture, 12], [picture + 0x1000, 20]])]).toEqual([ok, ok]);
  for (let pixel = 0; pixel < 8; pixel++) {
    const at = pixel < 3 ? picture + pixel * 4 : picture + 0x1000 + (pixel - 3) * 4;
    driver.view.setUint32(at, ((pixel + 1) << 16) | ((pixel + 0x11) << 8) | (pixel + 0x21), true);
  }
}

const shown = (pixel: number): number => (0xff000000 | (pixel + 1) | ((pixel + 0x11) << 8) | ((pixel + 0x21) << 16)) >>> 0;

describe('virtio-gpu', () => {
  it('shows what a driver transfers from scattered memory', () => {
    expect(gpu.frame()).toBeNull();
    smallScreen();
    expect([transfer(1, 0, 0, 4, 2), scanout(1, 0, 0, 4, 2), send(0x104, [0, 0, 4, 2, 1, 0])]).toEqual([ok, ok, ok]);
    const frame = gpu.frame();
    expect([frame?.width, frame?.height, ...(frame?.pixels ?? [])]).toEqual([4, 2, ...Array.from({ length: 8 }, (_, pixel) => shown(pixel))]);
    expect([send(0x102, [1]), gpu.frame()]).toEqual([ok, null]);
  });

  it('transfers a part, whose rows lie as in the whole, and shows a part', () => {
    smallScreen();
    // The offset of the part's first pixel in memory: row 0, column 1.
    expect([transfer(1, 1, 0, 2, 2, 4), scanout(1, 1, 0, 2, 2)]).toEqual([ok, ok]);
    expect([...(gpu.frame()?.pixels ?? [])]).toEqual([shown(1), shown(2), shown(5), shown(6)]);
  });

  it('tells of its size, asks for another one, and describes a monitor of it', () => {
    expect([send(0x100), word(24 + 8), word(24 + 12), word(24 + 16), word(24 + 24 + 16)]).toEqual([0x1101, 1280, 800, 1, 0]);
    gpu.resize(1027, 555);
    expect([driver.read(0x2000, 4), driver.plug.line]).toEqual([1, true]);
    driver.write(0x2004, 4, 1);
    expect([driver.read(0x2000, 4), send(0x100), word(24 + 8), word(24 + 12)]).toEqual([0, 0x1101, 1024, 554]);
    expect([send(0x10a, [0, 0]), word(24)]).toEqual([0x1104, 128]);
    const block = driver.ram.slice(answer + 32, answer + 32 + 128);
    expect([...block]).toEqual([...edid(1024, 554)]);
    expect([block.reduce((sum, byte) => sum + byte, 0) & 0xff, (block[56] ?? 0) | ((block[58] ?? 0) >> 4 << 8), (block[59] ?? 0) | ((block[61] ?? 0) >> 4 << 8)]).toEqual([0, 1024, 554]);
    gpu.resize(1e6, 1);
    expect([send(0x100), word(24 + 8), word(24 + 12)]).toEqual([0x1101, 2560, 200]);
  });

  it('draws the pointer over the picture, blended by its alpha, also beyond the edges', () => {
    expect([create(1, 128, 64), scanout(1, 0, 0, 128, 64), create(2, 64, 64, BGRA), attach(2, [[picture, 64 * 64 * 4]])]).toEqual([ok, ok, ok, ok]);
    for (let pixel = 0; pixel < 64 * 64; pixel++) driver.view.setUint32(picture + pixel * 4, 0x80400000, true);
    expect([transfer(2, 0, 0, 64, 64), send(0x300, [0, 0xfffffff0, 0, 0, 2, 0, 0, 0], { queue: 1 })]).toEqual([ok, ok]);
    const row = gpu.frame()?.pixels.subarray(0, 128);
    expect([row?.[0], row?.[47], row?.[48]]).toEqual([0xff000040, 0xff000040, 0xff000000]);
    send(0x301, [0, 100, 63, 0, 0, 0, 0, 0], { queue: 1 });
    const frame = gpu.frame();
    expect([frame?.pixels[63 * 128 + 99], frame?.pixels[63 * 128 + 100], frame?.pixels[63 * 128 + 127]]).toEqual([0xff000000, 0xff000040, 0xff000040]);
    send(0x300, [0, 100, 63, 0, 0, 0, 0, 0], { queue: 1 });
    expect(gpu.frame()?.pixels[63 * 128 + 100]).toBe(0xff000000);
  });

  it('refuses what cannot be, and says why', () => {
    smallScreen();
    expect({
      again: create(1, 4, 4), zero: create(0, 4, 4), format: create(2, 4, 4, 99), empty: create(2, 0, 4), wide: create(2, 100_000, 1),
      outside: transfer(1, 3, 0, 2, 1), wrapped: transfer(1, 0xffffffff, 0, 2, 1), beyond: transfer(1, 0, 0, 4, 2, 4), nobody: transfer(9, 0, 0, 1, 1),
      display: send(0x103, [0, 0, 4, 2, 1, 1]), large: scanout(1, 0, 0, 5, 2), twice: attach(1, [[picture, 4]]), cursor: send(0x300, [0, 0, 0, 0, 1, 0, 0, 0], { queue: 1 }), unknown: send(0x999),
    }).toEqual({
      again: refusal.resource, zero: refusal.resource, format: refusal.parameter, empty: refusal.parameter, wide: refusal.parameter,
      outside: refusal.parameter, wrapped: refusal.parameter, beyond: refusal.parameter, nobody: refusal.resource,
      display: refusal.scanout, large: refusal.parameter, twice: 0x1200, cursor: refusal.parameter, unknown: 0x1200,
    });
    expect(driver.status & 0x40).toBe(0);
  });

  it('gives a guest no more than its share of memory, and back what it lets go', () => {
    const made = [1, 2, 3, 4, 5].map((id) => create(id, 2048, 2048));
    expect(made).toEqual([ok, ok, ok, ok, refusal.outOfMemory]);
    expect([send(0x102, [2]), create(5, 2048, 2048)]).toEqual([ok, ok]);
    expect(send(0x106, [1, 0x7fffffff])).toBe(refusal.outOfMemory);
  });

  it('lets the guest run on between commands that move much, and carries all of them out', () => {
    expect([create(1, 2048, 2048), attach(1, Array.from({ length: 64 }, () => [0x40000, 0x40000] as const))]).toEqual([ok, ok]);
    [0x105, 0, 0, 0, 0, 0, 0, 0, 2048, 2048, 0, 0, 1, 0].forEach((value, index) => driver.view.setUint32(request + index * 4, value, true));
    driver.used(0);
    for (let command = 0; command < 5; command++) driver.submit(0, [{ address: request, length: 56, writable: false }, { address: answer, length: 24, writable: true }], false);
    driver.kick(0);
    const counts = [driver.used(0).length];
    for (let turn = 0; turn < 3; turn++) {
      time.pass(1_000_000);
      clock.runDue();
      counts.push(driver.used(0).length);
    }
    expect(counts).toEqual([2, 2, 1, 0]);
  });

  it('goes on elsewhere with the same picture, and after a reset with none', () => {
    smallScreen();
    transfer(1, 0, 0, 4, 2);
    scanout(1, 0, 0, 4, 2);
    const other = new VirtioGpu(clock);
    const copy = new VirtioDriver(other, new Uint8Array(driver.ram));
    copy.device.loadState(JSON.parse(JSON.stringify(driver.device.saveState())));
    expect(other.frame()).toEqual(gpu.frame());
    expect(copy.device.saveState()).toEqual(driver.device.saveState());
    // The memory behind the resource is known, too.
    driver.view.setUint32(picture, 0, true);
    expect([transfer(1, 0, 0, 4, 2), gpu.frame()?.pixels[0]]).toEqual([ok, 0xff000000]);
    driver.write(0x14, 1, 0);
    expect(gpu.frame()).toBeNull();
  });

  it('gives fences back', () => {
    expect([send(0x100, [], { fence: 0x1234 }), word(4), word(8)]).toEqual([0x1101, 1, 0x1234]);
    expect([send(0x100), word(4), word(8)]).toEqual([0x1101, 0, 0]);
  });
});
