import { describe, expect, it } from 'vitest';
import { keyNumber } from '../../../core/contract/keys.ts';
import { VirtioKeyboard, VirtioTablet } from '../../../core/devices/virtio/input.ts';
import { keyCode } from '../../../core/devices/virtio/inputCodes.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';
import type { VirtioKind } from '../../../core/devices/virtio/device.ts';

const buffers = 0x2000;
const config = 0x2000;

/** A driver with so many buffers for events. */
function listening(kind: VirtioKind, count = 8): VirtioDriver {
  const driver = new VirtioDriver(kind);
  driver.start();
  offerBuffers(driver, count);
  return driver;
}

function offerBuffers(driver: VirtioDriver, count: number): void {
  for (let index = 0; index < count; index++) driver.submit(0, [{ address: buffers + index * 8, length: 8, writable: true }]);
}

/** Type, code and value of the first events in the buffers. */
function events({ view }: VirtioDriver, count: number): number[][] {
  return Array.from({ length: count }, (_, index) => [view.getUint16(buffers + index * 8, true), view.getUint16(buffers + index * 8 + 2, true), view.getInt32(buffers + index * 8 + 4, true)]);
}

/** What the device says to a selection. */
function ask(driver: VirtioDriver, select: number, subselect: number): number[] {
  driver.write(config, 1, select);
  driver.write(config + 1, 1, subselect);
  return Array.from({ length: driver.read(config + 2, 1) }, (_, index) => driver.read(config + 8 + index, 1));
}

describe('virtio keyboard', () => {
  it('tells of keys, each with the end of its report', () => {
    const keyboard = new VirtioKeyboard('virtio-keyboard');
    keyboard.setKey('KeyA', true);
    const driver = listening(keyboard);
    keyboard.setKey('ArrowUp', true);
    keyboard.setKey('ArrowUp', false);
    keyboard.setKey('LaunchMail', true);
    expect(events(driver, 5)).toEqual([[1, 103, 1], [0, 0, 0], [1, 103, 0], [0, 0, 0], [0, 0, 0]]);
    expect(driver.used(0).map(({ length }) => length)).toEqual([8, 8, 8, 8]);
  });

  it('keeps what comes while there is no buffer, through a snapshot as well, and forgets what is too much', () => {
    const keyboard = new VirtioKeyboard('virtio-keyboard');
    const driver = listening(keyboard, 1);
    for (let time = 0; time < 200; time++) keyboard.setKey('KeyB', time % 2 === 0);
    const copy = new VirtioDriver(new VirtioKeyboard('virtio-keyboard'), new Uint8Array(driver.ram));
    copy.device.loadState(JSON.parse(JSON.stringify(driver.device.saveState())));
    expect(copy.device.saveState()).toEqual(driver.device.saveState());
    offerBuffers(driver, 4);
    expect(events(driver, 4)).toEqual([[0, 0, 0], [1, 48, 0], [0, 0, 0], [1, 48, 1]]);
  });

  it('says what it is and which keys it has', () => {
    const driver = listening(new VirtioKeyboard('virtio-keyboard'));
    expect(Buffer.from(ask(driver, 0x01, 0)).toString()).toBe('Vanderpool Virtio Keyboard');
    const keys = ask(driver, 0x11, 1);
    expect(['Escape', 'KeyA', 'MetaLeft'].map((place) => ((keys[(keyCode(place) ?? 0) >> 3] ?? 0) >> ((keyCode(place) ?? 0) & 7)) & 1)).toEqual([1, 1, 1]);
    expect([(keys[0] ?? 0) & 1, ask(driver, 0x11, 3), ask(driver, 0x12, 0), ask(driver, 0x99, 0)]).toEqual([0, [], [], []]);
  });

  it('has the lights that the driver sets', () => {
    const keyboard = new VirtioKeyboard('virtio-keyboard');
    const driver = listening(keyboard);
    const light = (code: number, value: number): void => {
      [0x11, code, value, 0].forEach((half, index) => driver.view.setUint16(0x8000 + index * 2, half, true));
      driver.submit(1, [{ address: 0x8000, length: 8, writable: false }]);
    };
    light(1, 1);
    light(2, 1);
    light(1, 0);
    light(9, 1);
    expect(keyboard.lights).toBe(4);
  });

  it('knows the keys that a PC keyboard has', () => {
    const places = ['Escape', 'Digit0', 'Enter', 'Semicolon', 'Slash', 'F12', 'Numpad5', 'NumpadEnter', 'Delete', 'Pause', 'MetaRight', 'IntlYen', 'KanaMode', 'AltRight'];
    expect(places.filter((place) => keyNumber(place) === undefined || keyCode(place) === undefined)).toEqual([]);
    expect(['KeyZ', 'Numpad5', 'F11', 'Delete', 'ContextMenu', 'IntlYen'].map(keyCode)).toEqual([44, 76, 87, 111, 127, 124]);
  });
});

describe('virtio tablet', () => {
  it('tells where the pointer is, which buttons changed, and the wheel', () => {
    const tablet = new VirtioTablet('virtio-tablet');
    const driver = listening(tablet);
    tablet.setPointer(100, 40_000, 5, -1);
    expect(events(driver, 6)).toEqual([[3, 0, 100], [3, 1, 0x7fff], [1, 0x110, 1], [1, 0x112, 1], [2, 8, -1], [0, 0, 0]]);
    driver.used(0);
    // Two buffers are left of the first eight.
    tablet.setPointer(100, 50, 1);
    expect([driver.used(0).length, events(driver, 8).slice(6)]).toEqual([2, [[3, 0, 100], [3, 1, 50]]]);
  });

  it('says how far places go', () => {
    const driver = listening(new VirtioTablet('virtio-tablet'));
    expect([ask(driver, 0x12, 1).slice(0, 8), ask(driver, 0x12, 5), ask(driver, 0x11, 3)]).toEqual([[0, 0, 0, 0, 0xff, 0x7f, 0, 0], [], [3]]);
  });
});
