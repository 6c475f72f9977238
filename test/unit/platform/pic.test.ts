import { beforeEach, describe, expect, it } from 'vitest';
import { Pic } from '../../../core/platform/pic.ts';
import { Wire } from '../../doubles/wire.ts';

const master = 0;
const slave = 2;

let intr: Wire;
let pic: Pic;

function command(chip: number, value: number): void {
  pic.write(chip, 1, value);
}

function mask(chip: number, value: number): void {
  pic.write(chip + 1, 1, value);
}

function initialise(icw4 = 0x01): void {
  for (const [chip, vectors, cascade] of [[master, 0x20, 4], [slave, 0x28, 2]] as const) {
    command(chip, 0x11);
    for (const word of [vectors, cascade, icw4, 0]) mask(chip, word);
  }
}

function inService(chip: number): number {
  command(chip, 0x0b);
  return pic.read(chip, 1);
}

function requests(chip: number): number {
  command(chip, 0x0a);
  return pic.read(chip, 1);
}

beforeEach(() => {
  intr = new Wire();
  pic = new Pic(intr);
  initialise();
});

describe('8259A pair', () => {
  it('delivers a rising edge once, at the vector base plus the input', () => {
    pic.input(1).set(true);
    expect(intr.level).toBe(true);
    expect(pic.acknowledge()).toBe(0x21);
    expect(intr.level).toBe(false);
    command(master, 0x20);
    expect(intr.level, 'the line is still high, but that is no new edge').toBe(false);
    pic.input(1).set(false);
    pic.input(1).set(true);
    expect(intr.level).toBe(true);
  });

  it('holds back what the mask forbids, and delivers it when the mask is lifted', () => {
    mask(master, 0x02);
    pic.input(1).set(true);
    expect(intr.level).toBe(false);
    expect(requests(master)).toBe(0x02);
    mask(master, 0);
    expect(pic.acknowledge()).toBe(0x21);
  });

  it('lets only higher priorities interrupt a service', () => {
    pic.input(3).set(true);
    expect(pic.acknowledge()).toBe(0x23);
    pic.input(5).set(true);
    expect(intr.level).toBe(false);
    pic.input(1).set(true);
    expect(pic.acknowledge()).toBe(0x21);
    expect(inService(master)).toBe(0x0a);
    command(master, 0x20);
    expect(inService(master), 'a non-specific EOI ends the highest').toBe(0x08);
    command(master, 0x63);
    expect(inService(master)).toBe(0);
    expect(pic.acknowledge()).toBe(0x25);
  });

  it('serves the slave through input 2', () => {
    pic.input(12).set(true);
    expect(pic.acknowledge()).toBe(0x2c);
    expect(inService(master)).toBe(0x04);
    expect(inService(slave)).toBe(0x10);
  });

  it('gives vector 7 and no in-service bit when a request goes before it is acknowledged', () => {
    pic.input(4).set(true);
    pic.input(4).set(false);
    expect(pic.acknowledge()).toBe(0x27);
    expect(inService(master)).toBe(0);
  });

  it('asks again after EOI while a level-triggered input stays high', () => {
    pic.write(5, 1, 0x02);
    pic.input(9).set(true);
    expect(pic.acknowledge()).toBe(0x29);
    command(slave, 0x20);
    command(master, 0x20);
    expect(intr.level).toBe(true);
    pic.input(9).set(false);
    expect(intr.level).toBe(false);
  });

  it('keeps timer, keyboard, cascade, RTC and coprocessor edge-triggered', () => {
    pic.write(4, 1, 0xff);
    pic.write(5, 1, 0xff);
    expect([pic.read(4, 1), pic.read(5, 1)]).toEqual([0xf8, 0xde]);
  });

  it('ends interrupts by itself in automatic EOI mode', () => {
    initialise(0x03);
    pic.input(1).set(true);
    expect(pic.acknowledge()).toBe(0x21);
    expect(inService(master)).toBe(0);
  });

  it('rotates priorities on a rotating EOI', () => {
    pic.input(0).set(true);
    pic.acknowledge();
    command(master, 0xa0);
    pic.input(0).set(false);
    pic.input(0).set(true);
    pic.input(1).set(true);
    expect(pic.acknowledge(), 'input 0 has the lowest priority now').toBe(0x21);
  });

  it('takes the lowest priority by command', () => {
    command(master, 0xc3);
    pic.input(3).set(true);
    pic.input(4).set(true);
    expect(pic.acknowledge()).toBe(0x24);
  });

  it('lets lower priorities through in special mask mode when the one in service is masked', () => {
    pic.input(1).set(true);
    pic.acknowledge();
    pic.input(6).set(true);
    expect(intr.level).toBe(false);
    command(master, 0x68);
    mask(master, 0x02);
    expect(pic.acknowledge()).toBe(0x26);
  });

  it('acknowledges by polling', () => {
    command(master, 0x0c);
    expect(pic.read(master, 1)).toBe(0);
    pic.input(5).set(true);
    command(master, 0x0c);
    expect(pic.read(master, 1)).toBe(0x85);
    expect(inService(master)).toBe(0x20);
  });

  it('clears mask and in-service bits when initialised, and needs ICW4 only if ICW1 says so', () => {
    mask(master, 0xff);
    command(master, 0x12);
    mask(master, 0x40);
    expect(pic.read(1, 1), 'the next write is the mask already').toBe(0);
    mask(master, 0xfe);
    pic.input(0).set(true);
    expect(pic.acknowledge()).toBe(0x40);
  });
});
