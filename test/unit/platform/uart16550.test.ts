import { beforeEach, describe, expect, it } from 'vitest';
import { ManualTime } from '../../doubles/manualTime.ts';
import { PciUart } from '../../../core/devices/pciUart.ts';
import { Uart16550, comPorts } from '../../../core/devices/uart16550.ts';
import type { LineSettings } from '../../../core/devices/uart16550.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { Wire } from '../../doubles/wire.ts';

const data = 0;
const ier = 1;
const iir = 2;
const fcr = 2;
const lcr = 3;
const mcr = 4;
const lsr = 5;
const msr = 6;

let time: ManualTime;
let clock: VirtualClock;
let irq: Wire;
let sent: number[];
let uart: Uart16550;

function write(register: number, value: number): void {
  uart.write(register, 1, value);
}

function read(register: number): number {
  return uart.read(register, 1);
}

function bytes(count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, index) => index + 1);
}

beforeEach(() => {
  time = new ManualTime();
  clock = new VirtualClock(time);
  irq = new Wire();
  sent = [];
  uart = new Uart16550(comPorts[0], clock, irq, chunk => sent.push(...chunk));
  write(mcr, 0x08);
});

describe('16550A: transmitter', () => {
  it('hands on what was sent, in batches', () => {
    for (const byte of [72, 105]) write(data, byte);
    expect(sent).toEqual([]);
    uart.flush();
    expect(sent).toEqual([72, 105]);
    uart.flush();
    expect(sent).toEqual([72, 105]);
  });

  it('does not hold more than a batch', () => {
    for (let index = 0; index < 5000; index++) write(data, index & 0xff);
    expect(sent.length).toBe(4096);
    uart.flush();
    expect(sent.length).toBe(5000);
  });

  it('enabling the transmitter interrupt raises it; reading IIR takes it back; sending raises it again', () => {
    write(ier, 0x02);
    expect(irq.level).toBe(true);
    expect(read(iir)).toBe(0x02);
    expect([irq.level, read(iir)]).toEqual([false, 0x01]);
    write(data, 65);
    expect(irq.level).toBe(true);
  });

  it('is always empty', () => {
    expect(read(lsr) & 0x60).toBe(0x60);
  });
});

describe('16550A: receiver', () => {
  it('takes one byte without FIFOs, sixteen with them, and refuses the rest', () => {
    expect(uart.receive(bytes(20))).toBe(1);
    expect(read(data)).toBe(1);
    write(fcr, 0x01);
    expect(uart.receive(bytes(20))).toBe(16);
    expect(uart.receive(bytes(4))).toBe(0);
    expect([read(data), read(data)]).toEqual([1, 2]);
    expect(uart.receive(bytes(4))).toBe(2);
  });

  it('interrupts at the trigger level and drops below it', () => {
    write(fcr, 0x81);
    write(ier, 0x01);
    uart.receive(bytes(7));
    expect(irq.level).toBe(false);
    uart.receive(bytes(1));
    expect([irq.level, read(iir)]).toEqual([true, 0xc4]);
    read(data);
    expect(irq.level).toBe(false);
  });

  it('interrupts for fewer bytes when four character times have passed without another', () => {
    write(lcr, 0x83);
    write(data, 1);
    write(1, 0);
    write(lcr, 0x03);
    write(fcr, 0xc1);
    write(ier, 0x01);
    uart.receive(bytes(2));
    // 115,200 bits a second, ten bits a character.
    const fourCharacters = Math.ceil((40 * 1e9) / 115_200);
    time.pass(fourCharacters - 10);
    clock.runDue();
    expect(irq.level).toBe(false);
    time.pass(20);
    clock.runDue();
    expect([irq.level, read(iir)]).toEqual([true, 0xcc]);
    read(data);
    expect(irq.level).toBe(false);
    read(data);
    expect(read(lsr) & 1).toBe(0);
  });

  it('reports a break with its character', () => {
    write(ier, 0x05);
    uart.receiveBreak();
    expect(read(iir)).toBe(0x06);
    expect(read(lsr) & 0x11).toBe(0x11);
    expect(read(lsr) & 0x11, 'the error is told once').toBe(0x01);
    expect(read(data)).toBe(0);
  });

  it('resetting the FIFO empties it', () => {
    write(fcr, 0x01);
    uart.receive(bytes(5));
    write(fcr, 0x03);
    expect(read(lsr) & 1).toBe(0);
  });

  it('switching the FIFOs off empties them', () => {
    write(fcr, 0x01);
    uart.receive(bytes(5));
    write(fcr, 0x00);
    expect([read(lsr) & 1, read(iir)]).toEqual([0, 0x01]);
  });
});

describe('a UART on a real line', () => {
  it('tells how the guest has set it: once, whole, and behind what was sent before', () => {
    const told: LineSettings[] = [];
    const line = new PciUart('serial', clock, chunk => sent.push(...chunk));
    line.uart.onSettings = settings => {
      told.push(settings);
      sent.push(-1);
    };
    const set = (register: number, value: number): void => line.uart.write(register, 1, value);
    set(data, 65);
    // 921,600 / 16, seven bits, even parity, two stop bits.
    set(lcr, 0x9e);
    set(data, 16);
    set(ier, 0);
    set(lcr, 0x1e);
    set(lcr, 0x1e);
    set(mcr, 0x03);
    set(lcr, 0x5e);
    expect(sent).toEqual([65, -1, -1, -1]);
    const first = { baud: 57_600, dataBits: 7, stopBits: 2, parity: 'even', break: false, dtr: false, rts: false };
    expect(told).toEqual([first, { ...first, dtr: true, rts: true }, { ...first, dtr: true, rts: true, break: true }]);
    // In loopback the outputs are off the line.
    set(mcr, 0x13);
    expect(told.at(-1)).toMatchObject({ dtr: false, rts: false });
  });
});

describe('16550A: registers', () => {
  it('is recognised as a 16550A: scratch register, FIFO bits', () => {
    write(7, 0x5a);
    expect(read(7)).toBe(0x5a);
    expect(read(iir) & 0xc0).toBe(0);
    write(fcr, 0x01);
    expect(read(iir) & 0xc0).toBe(0xc0);
  });

  it('the divisor latch hides data and interrupt enable', () => {
    write(ier, 0x0f);
    write(lcr, 0x80);
    write(0, 0x34);
    write(1, 0x12);
    expect([read(0), read(1)]).toEqual([0x34, 0x12]);
    write(lcr, 0x03);
    expect(read(ier)).toBe(0x0f);
    uart.flush();
    expect(sent).toEqual([]);
  });

  it('loopback returns what is sent and cuts off the line', () => {
    write(mcr, 0x18);
    write(data, 0x77);
    expect(read(data)).toBe(0x77);
    expect(uart.receive(bytes(1))).toBe(0);
    uart.flush();
    expect(sent).toEqual([]);
  });

  it('overrun in loopback keeps the FIFO and sets the error', () => {
    write(mcr, 0x18);
    write(fcr, 0x01);
    for (let index = 0; index < 17; index++) write(data, index);
    expect(read(lsr) & 0x02).toBe(0x02);
    expect(read(data)).toBe(0);
  });

  it('loopback wires the modem outputs to the inputs, with deltas', () => {
    write(mcr, 0x10);
    read(msr);
    write(mcr, 0x1b);
    expect(read(msr) & 0xf0).toBe(0xb0);
    read(msr);
    write(mcr, 0x14);
    expect(read(msr), 'CTS, DSR and DCD changed; RI rose').toBe(0x4b);
    write(mcr, 0x10);
    expect(read(msr), 'RI fell').toBe(0x04);
  });

  it('the other end sets the modem inputs, which interrupts', () => {
    read(msr);
    write(mcr, 0x08);
    write(ier, 0x08);
    uart.setPeer({ cts: false, dsr: true, ring: false, carrier: false });
    expect(irq.level).toBe(true);
    expect(read(msr), 'CTS and DCD fell').toBe(0x29);
    expect(irq.level).toBe(false);
    uart.setPeer({ cts: false, dsr: true, ring: false, carrier: false });
    expect(irq.level).toBe(false);
    write(mcr, 0x18);
    uart.setPeer({ cts: true, dsr: true, ring: false, carrier: true });
    write(mcr, 0x08);
    expect(read(msr) & 0xf0, 'what was set during loopback').toBe(0xb0);
  });

  it('without OUT2 no interrupt reaches the machine', () => {
    write(mcr, 0x00);
    write(ier, 0x02);
    expect(irq.level).toBe(false);
    write(mcr, 0x08);
    expect(irq.level).toBe(true);
  });
});
