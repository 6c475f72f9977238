import { beforeEach, describe, expect, it } from 'vitest';
import { KeyboardController } from '../../../core/platform/i8042.ts';
import { Wire } from '../../doubles/wire.ts';
import { keyNumber } from '../../../core/contract/keys.ts';

let keyboard: Wire;
let mouse: Wire;
let controller: KeyboardController;

const command = (value: number): void => controller.write(1, 1, value);
const data = (value: number): void => controller.write(0, 1, value);
const status = (): number => controller.read(1, 1);

function take(): number[] {
  const bytes: number[] = [];
  while ((status() & 1) !== 0 && bytes.length < 100) bytes.push(controller.read(0, 1));
  return bytes;
}

function press(code: string): number[] {
  const key = keyNumber(code) ?? 0;
  controller.key(key, true);
  controller.key(key, false);
  return take();
}

beforeEach(() => {
  keyboard = new Wire();
  mouse = new Wire();
  controller = new KeyboardController({ keyboard, mouse }, { powerOff() {}, reset() {}, debugExit() {} }, true);
  command(0x60);
  data(0x43);
});

describe('8042 with keyboard and mouse', () => {
  it('keys arrive in set 1 while the controller translates, in set 2 while it does not', () => {
    expect(press('KeyA')).toEqual([0x1e, 0x9e]);
    expect(press('ArrowUp')).toEqual([0xe0, 0x48, 0xe0, 0xc8]);
    expect(press('F7')).toEqual([0x41, 0xc1]);
    expect(press('Pause')).toEqual([0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
    command(0x60);
    data(0x03);
    expect(press('KeyA')).toEqual([0x1c, 0xf0, 0x1c]);
    expect(press('ArrowUp')).toEqual([0xe0, 0x75, 0xe0, 0xf0, 0x75]);
  });

  it('each byte is an edge of its own on the interrupt line', () => {
    controller.key(0x1e, true);
    controller.key(0x1e, false);
    const before = keyboard.rises;
    controller.read(0, 1);
    expect([keyboard.level, keyboard.rises - before]).toEqual([true, 1]);
    controller.read(0, 1);
    expect(keyboard.level).toBe(false);
  });

  it('a disabled port keeps its bytes', () => {
    command(0xad);
    controller.key(0x1e, true);
    expect(status() & 1).toBe(0);
    command(0xae);
    expect(take()).toEqual([0x1e]);
  });

  it('the keyboard identifies itself, changes its set and obeys no unknown command', () => {
    command(0x60);
    data(0x03);
    data(0xf2);
    expect(take()).toEqual([0xfa, 0xab, 0x83]);
    data(0xf0);
    data(0x01);
    expect(take()).toEqual([0xfa, 0xfa]);
    expect(press('KeyA')).toEqual([0x1e, 0x9e]);
    data(0xf1);
    expect(take()).toEqual([0xfe]);
  });

  it('the mouse tells movement, buttons and, after its knock, the wheel', () => {
    const toMouse = (...bytes: number[]): number[] => bytes.flatMap(value => {
      command(0xd4);
      data(value);
      return take();
    });
    command(0xa8);
    expect(toMouse(0xff)).toEqual([0xfa, 0xaa, 0]);
    expect(toMouse(0xf4)).toEqual([0xfa]);
    controller.move({ dx: 5, dy: -3, dz: 0, buttons: 1 });
    expect([status() & 0x20, mouse.level]).toEqual([0x20, true]);
    expect(take()).toEqual([0x29, 5, 0xfd]);
    toMouse(0xf3, 200, 0xf3, 100, 0xf3, 80);
    expect(toMouse(0xf2)).toEqual([0xfa, 3]);
    controller.move({ dx: 600, dy: 0, dz: 1, buttons: 0 });
    expect(take(), 'what a packet does not hold follows in the next').toEqual([0x08, 255, 0, 1, 0x08, 255, 0, 0, 0x08, 90, 0, 0]);
  });

  it('a machine without them says that its ports are dead', () => {
    const bare = new KeyboardController({ keyboard, mouse }, { powerOff() {}, reset() {}, debugExit() {} }, false);
    bare.write(1, 1, 0xab);
    expect(bare.read(0, 1)).toBe(1);
    bare.write(1, 1, 0xa9);
    expect(bare.read(0, 1)).toBe(1);
  });
});
