import * as fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { ManualTime } from '../../doubles/manualTime.ts';
import { Pc } from '../../../core/machine/pc.ts';
import { StateError } from '../../../core/platform/state.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { bzImage } from '../../doubles/images.ts';
import type { AccessSize } from '../../../core/platform/device.ts';
import { flatTopology } from '../../../core/platform/topology.ts';

const memoryBytes = 32 << 20;

let time: ManualTime;
let output: string[];

function makePc(testDevices = false, slots?: number): Pc {
  time = new ManualTime();
  output = ['', '', '', ''];
  return new Pc({
    memory: new Uint8Array(memoryBytes), topology: flatTopology(2), clock: new VirtualClock(time), physicalAddressBits: 40, wallMs: Date.UTC(2026, 0, 1), keyboard: false, testDevices,
    serialOutput: (port, bytes) => (output[port] += Buffer.from(bytes).toString()),
    ...(slots === undefined ? {} : { slots }),
  });
}

let pc: Pc;

beforeEach(() => {
  pc = makePc();
});

describe('PC', () => {
  it('has its devices where PCs have them', () => {
    expect([pc.ports.read(0x21, 1), pc.ports.read(0xa1, 1)], 'the 8259A pair is masked but for the timer').toEqual([0xfe, 0xff]);
    expect(pc.ports.read(0x64, 1)).toBe(0x14);
    expect(pc.memoryBus.read(0xfed00000, 4)).toBe(0x8086a201);
    pc.memoryBus.write(0xfec00000, 4, 1);
    expect(pc.memoryBus.read(0xfec00010, 4)).toBe(0x00170020);
    pc.ports.write(0xcf8, 4, 0x80000000);
    expect(pc.ports.read(0xcfc, 4)).toBe(0x29c08086);
    expect(pc.ports.read(0x5678, 4), 'nothing').toBe(0xffffffff);
  });

  it('has four slots for cards that come later, or none where none can come', () => {
    const rootPorts = (machine: Pc): number => Array.from({ length: 8 }, (_, fn) => {
      machine.ports.write(0xcf8, 4, 0x80000000 | (28 << 11) | (fn << 8));
      return machine.ports.read(0xcfc, 4);
    }).filter((id) => id !== 0xffffffff).length;
    expect(rootPorts(pc)).toBe(4);
    expect(rootPorts(makePc(false, 0))).toBe(0);
  });

  it('sends the bytes of each serial port to its own output', () => {
    for (const [port, base] of [0x3f8, 0x2f8, 0x3e8, 0x2e8].entries()) for (const byte of Buffer.from(`com${port + 1}`)) pc.ports.write(base, 1, byte);
    pc.flushOutput();
    expect(output).toEqual(['com1', 'com2', 'com3', 'com4']);
  });

  it('takes serial input, with back-pressure', () => {
    expect(pc.serialInput(0, Buffer.from('ab'))).toBe(1);
    expect(pc.ports.read(0x3f8, 1)).toBe(97);
    expect(pc.serialInput(7, Buffer.from('a'))).toBe(0);
  });

  it('a serial interrupt reaches the first processor through the 8259A before a system has set up anything but that', () => {
    pc.ports.write(0x21, 1, 0xef);
    pc.ports.write(0x3fc, 1, 0x08);
    pc.ports.write(0x3f9, 1, 0x02);
    const [first, second] = pc.interrupts.localApics;
    expect([first?.pendingVector(), second?.pendingVector()]).toEqual([0x0c, -1]);
    expect(first?.acknowledge()).toBe(0x0c);
  });

  it('the timer ticks at 18.2 Hz from the start', () => {
    pc.ports.write(0x21, 1, 0xfe);
    const first = pc.interrupts.localApics[0];
    let ticks = 0;
    for (let ms = 0; ms < 1000; ms++) {
      time.pass(1_000_000);
      pc.poll();
      if ((first?.pendingVector() ?? -1) >= 0) {
        expect(first?.acknowledge()).toBe(0x08);
        pc.ports.write(0x20, 1, 0x20);
        ticks++;
      }
    }
    // The output rises once when the counter is set up.
    expect(ticks).toBe(1 + 18);
  });

  it('a PCI interrupt reaches both the I/O APIC and the 8259A pair', () => {
    const wire = pc.interrupts.pciWire(3, 0);
    pc.ports.write(0x21, 1, 0xff);
    pc.memoryBus.write(0xfec00000, 4, 0x10 + 19 * 2);
    pc.memoryBus.write(0xfec00010, 4, 0xa061);
    wire.set(true);
    pc.ports.write(0xa0, 1, 0x0a);
    expect(pc.ports.read(0xa0, 1), 'IRQ 11').toBe(0x08);
    pc.interrupts.localApics[0]?.writeRegister(0xf0, 4, 0x1ff);
    pc.memoryBus.write(0xfec00010, 4, 0xa061);
    expect(pc.interrupts.localApics[0]?.pendingVector()).toBe(0x61);
  });

  it('stops for the reason the guest gives first', () => {
    pc.ports.write(0xf4, 1, 5);
    pc.ports.write(0x64, 1, 0xfe);
    expect(pc.exit).toEqual({ reason: 'debug-exit', value: 5 });
    pc.reset();
    expect(pc.exit).toBeNull();
    pc.ports.write(0xcf9, 1, 6);
    expect(pc.exit).toEqual({ reason: 'reset' });
    pc.reset();
    pc.ports.write(0x604, 2, 0x2000);
    expect(pc.exit).toEqual({ reason: 'power-off' });
  });

  it('the power button is an SCI once ACPI is on', () => {
    pc.ports.write(0xb2, 1, 0xa1);
    pc.ports.write(0x602, 2, 0x100);
    pc.powerButton();
    pc.ports.write(0xa1, 1, 0xfd);
    pc.ports.write(0x21, 1, 0xfb);
    expect(pc.interrupts.localApics[0]?.pendingVector()).toBe(0x71);
  });

  it('resets to what it was at power-on', () => {
    const fresh = makePc();
    fresh.reset();
    const before = fresh.saveState();
    for (let port = 0; port < 0x700; port++) fresh.ports.write(port, 1, port & 0x5a);
    fresh.reset();
    const after = fresh.saveState();
    for (const state of [before, after]) delete state['rtc'];
    expect(after).toEqual(before);
  });

  it('its state travels as JSON', () => {
    for (let port = 0x20; port < 0x400; port += 3) pc.ports.write(port, 1, (port * 7) & 0xff);
    const saved = JSON.parse(JSON.stringify(pc.saveState())) as unknown;
    const other = makePc();
    other.loadState(saved);
    expect(other.saveState()).toEqual(saved);
  });

  it.each([
    ['a timer of the HPET, whose line an edge leaves high', 20, 0x0041, (machine: Pc) => {
      machine.memoryBus.write(0xfed00010, 4, 1);
      if ((machine.memoryBus.read(0xfed00100, 4) & 4) === 0) machine.memoryBus.write(0xfed00100, 4, (20 << 9) | 4);
      machine.memoryBus.writeWide(0xfed00108, machine.memoryBus.read(0xfed000f0, 4) + 1000, 0);
    }],
    ['a PCI device, whose line is high until it is served', 18, 0x8041, (machine: Pc) => {
      const place = 0x8000_f000;
      for (const [register, value] of [[0x10, 0xfe000000], [0x04, 2]] as const) {
        machine.ports.write(0xcf8, 4, place | register);
        machine.ports.write(0xcfc, 4, value);
      }
      machine.memoryBus.write(0xfe000064, 4, 0xffffffff);
      machine.memoryBus.write(0xfe000060, 4, 1);
    }],
  ] as const)('interrupts again after its state was loaded: %s', (_name, pin, entry, raise) => {
    const served = (machine: Pc): number => {
      time.pass(1_000_000);
      machine.poll();
      const apic = machine.interrupts.localApics[0];
      if (apic === undefined || apic.pendingVector() < 0) return -1;
      const vector = apic.acknowledge();
      apic.writeRegister(0xb0, 4, 0);
      return vector;
    };
    const machine = makePc(true);
    machine.ports.write(0x21, 1, 0xff);
    machine.interrupts.localApics[0]?.writeRegister(0xf0, 4, 0x1ff);
    machine.memoryBus.write(0xfec00000, 4, 0x10 + pin * 2);
    machine.memoryBus.write(0xfec00010, 4, entry);
    raise(machine);
    expect(served(machine)).toBe(0x41);
    const saved = JSON.parse(JSON.stringify(machine.saveState())) as unknown;
    const other = makePc(true);
    other.loadState(saved);
    raise(other);
    expect(served(other)).toBe(0x41);
  });

  it('refuses the state of another machine', () => {
    expect(() => pc.loadState(null)).toThrow(StateError);
    expect(() => pc.loadState({})).toThrow(/no state of clock/);
    expect(() => pc.loadState({ ...pc.saveState(), pit: { version: 1 } })).toThrow(/pit/);
  });

  it('boots an image: tables, BIOS data and kernel are in RAM', () => {
    const memory = new Uint8Array(memoryBytes);
    const machine = new Pc({
      memory, topology: flatTopology(1), clock: new VirtualClock(new ManualTime()), physicalAddressBits: 40, wallMs: 0, keyboard: false, serialOutput() {},
    });
    const state = machine.boot({ kernel: bzImage(), append: 'quiet', modules: [] });
    expect(state.rip).toBe(0x1000200);
    expect(Buffer.from(memory.subarray(0xe0000, 0xe0008)).toString()).toBe('RSD PTR ');
    expect(Buffer.from(memory.subarray(0xf0000, 0xf0004)).toString()).toBe('_SM_');
    expect([memory[0x400], memory[0x401]]).toEqual([0xf8, 0x03]);
  });

  it('a refused image leaves memory untouched', () => {
    const memory = new Uint8Array(memoryBytes);
    const machine = new Pc({
      memory, topology: flatTopology(1), clock: new VirtualClock(new ManualTime()), physicalAddressBits: 40, wallMs: 0, keyboard: false, serialOutput() {},
    });
    expect(() => machine.boot({ kernel: bzImage().subarray(0, 9000), append: '', modules: [] })).toThrow(/truncated/);
    expect(memory.every(byte => byte === 0)).toBe(true);
  });

  it('survives whatever a guest writes anywhere', () => {
    const access = fc.record({
      port: fc.oneof(fc.nat(0xffff), fc.constantFrom(0x20, 0x21, 0x40, 0x43, 0x61, 0x70, 0x71, 0xa0, 0x3f8, 0x3f9, 0x3fa, 0x600, 0x604, 0xcf8, 0xcfc)),
      address: fc.oneof(fc.integer({ min: 0xfec00000, max: 0xfec00050 }), fc.integer({ min: 0xfed00000, max: 0xfed00200 })),
      size: fc.constantFrom<AccessSize>(1, 2, 4), value: fc.integer({ min: 0, max: 0xffffffff }), ns: fc.nat(100_000_000),
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 80 }), accesses => {
        const machine = makePc();
        const apic = machine.interrupts.localApics[0];
        for (const { port, address, size, value, ns } of accesses) {
          const part = size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
          machine.ports.write(port, size, part);
          machine.ports.read(port, size);
          machine.memoryBus.write(address, size, part);
          machine.memoryBus.writeWide(address, value, value);
          machine.memoryBus.readWide(address);
          apic?.writeRegister(address & 0xfff, size, part);
          time.pass(ns);
          machine.poll();
          if (apic !== undefined && apic.pendingVector() >= 0) expect(apic.acknowledge()).toBeLessThan(256);
        }
        const saved = JSON.parse(JSON.stringify(machine.saveState())) as unknown;
        makePc().loadState(saved);
      }),
      { numRuns: 60 },
    );
  });
});
