import { beforeEach, describe, expect, it } from 'vitest';
import { InterruptSystem } from '../../../core/platform/interruptSystem.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import type { LocalApic } from '../../../core/platform/localApic.ts';
import { flatTopology } from '../../../core/platform/topology.ts';

const reg = {
  id: 0x20, version: 0x30, tpr: 0x80, ppr: 0xa0, eoi: 0xb0, ldr: 0xd0, dfr: 0xe0, svr: 0xf0, isr: 0x100, tmr: 0x180, irr: 0x200, esr: 0x280, icr: 0x300,
  icrHigh: 0x310, timer: 0x320, lint0: 0x350, lint1: 0x360, error: 0x370, initial: 0x380, current: 0x390, divide: 0x3e0,
};
const apicBase = 0x1b;
const deadline = 0x6e0;

let time: ManualTime;
let clock: VirtualClock;
let system: InterruptSystem;
let bsp: LocalApic;

function apic(index: number): LocalApic {
  const found = system.localApics[index];
  if (found === undefined) throw new Error(`no APIC ${index}`);
  return found;
}

function enable(target: LocalApic): void {
  target.writeRegister(reg.svr, 4, 0x1ff);
}

/** Sends an IPI from the boot processor. */
function ipi(low: number, destination = 0): void {
  bsp.writeRegister(reg.icrHigh, 4, (destination << 24) >>> 0);
  bsp.writeRegister(reg.icr, 4, low);
}

function pass(ns: number): void {
  time.pass(ns);
  clock.runDue();
}

beforeEach(() => {
  time = new ManualTime();
  clock = new VirtualClock(time);
  system = new InterruptSystem(clock, flatTopology(4), 40);
  bsp = apic(0);
  system.localApics.forEach(enable);
});

describe('local APIC: priorities', () => {
  it('delivers the highest vector first, and nested only what is above the one in service', () => {
    ipi(0x40041);
    ipi(0x40052);
    expect(bsp.pendingVector()).toBe(0x52);
    expect(bsp.acknowledge()).toBe(0x52);
    expect(bsp.readRegister(reg.ppr, 4)).toBe(0x50);
    expect(bsp.pendingVector()).toBe(-1);
    ipi(0x4005f);
    expect(bsp.pendingVector(), 'the same priority class does not nest').toBe(-1);
    ipi(0x40061);
    expect(bsp.acknowledge()).toBe(0x61);
    bsp.writeRegister(reg.eoi, 4, 0);
    bsp.writeRegister(reg.eoi, 4, 0);
    expect(bsp.acknowledge()).toBe(0x5f);
  });

  it('holds back what the task priority forbids; CR8 is its upper half', () => {
    bsp.writeCr8(5);
    expect(bsp.readRegister(reg.tpr, 4)).toBe(0x50);
    ipi(0x40055);
    expect(bsp.pendingVector()).toBe(-1);
    bsp.writeCr8(4);
    expect(bsp.pendingVector()).toBe(0x55);
    bsp.writeRegister(reg.tpr, 4, 0x73);
    expect(bsp.readCr8()).toBe(7);
  });

  it('calls for the vCPU when something became deliverable', () => {
    let calls = 0;
    apic(1).onInterruptRequest = () => calls++;
    ipi(0x41, 1);
    expect(calls).toBeGreaterThan(0);
  });

  it('shows requests in IRR and services in ISR', () => {
    ipi(0x40085);
    expect(bsp.readRegister(reg.irr + 0x40, 4)).toBe(0x20);
    bsp.acknowledge();
    expect(bsp.readRegister(reg.irr + 0x40, 4)).toBe(0);
    expect(bsp.readRegister(reg.isr + 0x40, 4)).toBe(0x20);
  });
});

describe('local APIC: interprocessor interrupts', () => {
  const pending = (): number[] => system.localApics.map(target => target.pendingVector());

  it('physical destination, and its broadcast', () => {
    ipi(0x41, 2);
    expect(pending()).toEqual([-1, -1, 0x41, -1]);
    ipi(0x42, 0xff);
    expect(pending()).toEqual([0x42, 0x42, 0x42, 0x42]);
  });

  it('shorthands: self, all, all others', () => {
    ipi(0x40051);
    expect(pending()).toEqual([0x51, -1, -1, -1]);
    ipi(0xc0061);
    expect(pending()).toEqual([0x51, 0x61, 0x61, 0x61]);
    ipi(0x80071);
    expect(pending()).toEqual([0x71, 0x71, 0x71, 0x71]);
  });

  it('logical destination in the flat model', () => {
    system.localApics.forEach((target, index) => target.writeRegister(reg.ldr, 4, (1 << (24 + index)) >>> 0));
    ipi(0x841, 0b1010);
    expect(pending()).toEqual([-1, 0x41, -1, 0x41]);
  });

  it('logical destination in the cluster model', () => {
    system.localApics.forEach((target, index) => {
      target.writeRegister(reg.dfr, 4, 0x0fffffff);
      target.writeRegister(reg.ldr, 4, (((index >> 1) << 4) | (1 << (index & 1))) << 24 >>> 0);
    });
    ipi(0x841, 0x13);
    expect(pending()).toEqual([-1, -1, 0x41, 0x41]);
    ipi(0x842, 0xf1);
    expect(pending()).toEqual([0x42, -1, 0x42, 0x41]);
  });

  it('lowest priority goes to one processor only: the one with the lowest priority', () => {
    system.localApics.forEach((target, index) => target.writeRegister(reg.tpr, 4, index === 2 ? 0x10 : 0x40));
    ipi(0x151, 0xff);
    expect(pending()).toEqual([-1, -1, 0x51, -1]);
  });

  it('NMI, SMI, INIT and start-up', () => {
    ipi(0x400, 1);
    expect([apic(1).nmiPending, apic(1).takeNmi(), apic(1).takeNmi()]).toEqual([true, true, false]);
    ipi(0x4500, 1);
    expect([apic(1).takeInit(), apic(1).takeInit()]).toEqual([true, false]);
    expect(apic(1).readRegister(reg.svr, 4), 'INIT resets the registers').toBe(0xff);
    ipi(0x8500, 1);
    expect(apic(1).takeInit(), 'INIT level de-assert is no INIT').toBe(false);
    ipi(0x469a, 1);
    expect([apic(1).takeStartUp(), apic(1).takeStartUp()]).toEqual([0x9a, -1]);
    ipi(0x200, 1);
    expect(apic(1).takeSmi()).toBe(true);
  });

  it('an illegal vector is reported to sender', () => {
    bsp.writeRegister(reg.error, 4, 0xfe);
    ipi(0x40005);
    expect(bsp.pendingVector()).toBe(0xfe);
    expect(bsp.readRegister(reg.esr, 4), 'errors show when ESR is written').toBe(0);
    bsp.writeRegister(reg.esr, 4, 0);
    expect(bsp.readRegister(reg.esr, 4)).toBe(0x20);
    bsp.writeRegister(reg.esr, 4, 0);
    expect(bsp.readRegister(reg.esr, 4)).toBe(0);
  });

  it('a processor whose APIC is disabled by software takes no vectors', () => {
    apic(1).writeRegister(reg.svr, 4, 0xff);
    ipi(0x41, 1);
    expect(pending()).toEqual([-1, -1, -1, -1]);
    expect(apic(1).readRegister(reg.timer, 4) & 0x10000, 'and its LVT is masked').toBe(0x10000);
  });
});

describe('local APIC: timer', () => {
  it('one-shot: counts at the crystal over the divider, and interrupts once', () => {
    bsp.writeRegister(reg.timer, 4, 0x40);
    bsp.writeRegister(reg.divide, 4, 0x3);
    bsp.writeRegister(reg.initial, 4, 1000);
    pass(8000);
    expect(bsp.readRegister(reg.current, 4)).toBe(500);
    expect(bsp.pendingVector()).toBe(-1);
    pass(8000);
    expect(bsp.acknowledge()).toBe(0x40);
    bsp.writeRegister(reg.eoi, 4, 0);
    pass(100_000);
    expect(bsp.pendingVector()).toBe(-1);
    expect(bsp.readRegister(reg.current, 4)).toBe(0);
  });

  it('periodic: interrupts each period and reloads', () => {
    bsp.writeRegister(reg.timer, 4, 0x20040);
    bsp.writeRegister(reg.divide, 4, 0xb);
    bsp.writeRegister(reg.initial, 4, 100_000);
    for (let period = 0; period < 5; period++) {
      pass(99_999);
      expect(bsp.pendingVector()).toBe(-1);
      pass(1);
      expect(bsp.acknowledge()).toBe(0x40);
      bsp.writeRegister(reg.eoi, 4, 0);
    }
    expect(bsp.readRegister(reg.current, 4)).toBe(100_000);
  });

  it('a masked timer counts without interrupting', () => {
    bsp.writeRegister(reg.timer, 4, 0x10040);
    bsp.writeRegister(reg.divide, 4, 0xb);
    bsp.writeRegister(reg.initial, 4, 1000);
    pass(2000);
    expect(bsp.pendingVector()).toBe(-1);
    expect(bsp.readRegister(reg.current, 4)).toBe(0);
  });

  it('TSC-deadline: interrupts when the time-stamp counter passes the deadline, and disarms', () => {
    bsp.writeRegister(reg.timer, 4, 0x40040);
    bsp.writeMsr(deadline, 20_000, 0);
    expect(bsp.readMsr(deadline)).toEqual({ low: 20_000, high: 0 });
    pass(9_999);
    expect(bsp.pendingVector()).toBe(-1);
    pass(1);
    expect(bsp.pendingVector()).toBe(0x40);
    expect(bsp.readMsr(deadline)).toEqual({ low: 0, high: 0 });
  });

  it('a deadline in the past is due at once; the offset of the TSC counts', () => {
    bsp.setTscOffset(1_000_000n);
    bsp.writeRegister(reg.timer, 4, 0x40040);
    bsp.writeMsr(deadline, 999_999, 0);
    pass(0);
    expect(bsp.pendingVector()).toBe(0x40);
  });

  it('in TSC-deadline mode the initial count is ignored, and in the others the deadline', () => {
    bsp.writeMsr(deadline, 1, 0);
    expect(bsp.readMsr(deadline)).toEqual({ low: 0, high: 0 });
    bsp.writeRegister(reg.timer, 4, 0x40040);
    bsp.writeRegister(reg.initial, 4, 1000);
    expect(bsp.readRegister(reg.current, 4)).toBe(0);
    expect(clock.nextDeadlineNs()).toBeNull();
  });
});

describe('local APIC: modes', () => {
  it('its page can be moved, and disappears when disabled or in x2APIC mode', () => {
    let changes = 0;
    bsp.onApicPageChange = () => changes++;
    expect(bsp.apicPage).toBe(0xfee00000);
    expect(bsp.writeMsr(apicBase, 0xe0000900, 0)).toBe(true);
    expect([bsp.apicPage, changes]).toEqual([0xe0000000, 1]);
    expect(bsp.writeMsr(apicBase, 0xfee00100, 0)).toBe(true);
    expect([bsp.apicPage, changes]).toEqual([-1, 2]);
  });

  it('refuses reserved bits and illegal transitions', () => {
    expect(bsp.writeMsr(apicBase, 0xfee00901, 0)).toBe(false);
    expect(bsp.writeMsr(apicBase, 0xfee00900, 0x100)).toBe(false);
    expect(bsp.writeMsr(apicBase, 0xfee00500, 0), 'x2APIC without enable').toBe(false);
    expect(bsp.writeMsr(apicBase, 0xfee00d00, 0)).toBe(true);
    expect(bsp.writeMsr(apicBase, 0xfee00900, 0), 'x2APIC back to xAPIC').toBe(false);
    expect(bsp.writeMsr(apicBase, 0xfee00100, 0)).toBe(true);
    expect(bsp.writeMsr(apicBase, 0xfee00d00, 0), 'disabled straight to x2APIC').toBe(false);
  });

  it('x2APIC registers exist in x2APIC mode alone', () => {
    expect(bsp.readMsr(0x802)).toBeNull();
    expect(bsp.writeMsr(0x808, 0x20, 0)).toBe(false);
    apic(3).writeMsr(apicBase, 0xfee00c00, 0);
    expect(apic(3).readMsr(0x802)).toEqual({ low: 3, high: 0 });
    expect(apic(3).readMsr(0x80d), 'the logical ID derives from the ID').toEqual({ low: 8, high: 0 });
  });

  it('x2APIC: reserved bits, read-only and write-only registers give #GP', () => {
    bsp.writeMsr(apicBase, 0xfee00d00, 0);
    const refused: readonly (readonly [number, number, number])[] = [
      [0x802, 0, 0], [0x808, 0x100, 0], [0x80b, 1, 0], [0x80e, 0, 0], [0x828, 1, 0], [0x831, 0, 0], [0x832, 0x80000000, 0], [0x839, 0, 0], [0x83f, 0x100, 0], [0x808, 0, 1],
    ];
    for (const [msr, low, high] of refused) expect(bsp.writeMsr(msr, low, high), msr.toString(16)).toBe(false);
    for (const msr of [0x80b, 0x80e, 0x831, 0x83f, 0x840]) expect(bsp.readMsr(msr), msr.toString(16)).toBeNull();
  });

  it('x2APIC: 64-bit ICR, self IPI, cluster addressing', () => {
    for (const target of system.localApics) target.writeMsr(apicBase, target.index === 0 ? 0xfee00d00 : 0xfee00c00, 0);
    expect(bsp.writeMsr(0x830, 0x41, 2)).toBe(true);
    expect(apic(2).pendingVector()).toBe(0x41);
    expect(bsp.readMsr(0x830)).toEqual({ low: 0x41, high: 2 });
    bsp.writeMsr(0x83f, 0x61, 0);
    expect(bsp.pendingVector()).toBe(0x61);
    bsp.writeMsr(0x830, 0x842, 0b1010);
    expect(system.localApics.map(target => target.pendingVector())).toEqual([0x61, 0x42, 0x41, 0x42]);
    bsp.writeMsr(0x830, 0x71, 0xffffffff);
    expect(system.localApics.map(target => target.pendingVector())).toEqual([0x71, 0x71, 0x71, 0x71]);
  });

  it('a register that does not exist is an error', () => {
    bsp.readRegister(0x0, 4);
    bsp.writeRegister(reg.esr, 4, 0);
    expect(bsp.readRegister(reg.esr, 4)).toBe(0x80);
  });

  it('registers are 32 bits wide on 16-byte boundaries', () => {
    expect(bsp.readRegister(reg.version, 1)).toBe(0x15);
    expect(bsp.readRegister(reg.version + 2, 2)).toBe(0x0105);
    expect(bsp.readRegister(reg.version + 4, 4)).toBe(0);
    bsp.writeRegister(reg.tpr, 1, 0x40);
    expect(bsp.readRegister(reg.tpr, 4)).toBe(0);
  });
});

describe('interrupt system: the 8259A, the I/O APIC and the local APICs together', () => {
  function redirect(pin: number, low: number, destination = 0): void {
    system.ioApic.write(0, 4, 0x11 + pin * 2);
    system.ioApic.write(0x10, 4, (destination << 24) >>> 0);
    system.ioApic.write(0, 4, 0x10 + pin * 2);
    system.ioApic.write(0x10, 4, low);
  }

  function entry(pin: number): number {
    system.ioApic.write(0, 4, 0x10 + pin * 2);
    return system.ioApic.read(0x10, 4);
  }

  function startPic(): void {
    for (const [base, vectors, cascade] of [[0, 0x20, 4], [2, 0x28, 2]] as const) {
      system.pic.write(base, 1, 0x11);
      for (const word of [vectors, cascade, 1, 0]) system.pic.write(base + 1, 1, word);
    }
  }

  it('ExtINT through LINT0 in virtual wire mode, whatever the task priority', () => {
    startPic();
    bsp.enterVirtualWireMode();
    bsp.writeCr8(15);
    const wire = system.isaWire(4);
    wire.set(true);
    expect(bsp.pendingVector()).toBe(0x24);
    expect(apic(1).pendingVector()).toBe(-1);
    expect(bsp.acknowledge()).toBe(0x24);
    expect(bsp.pendingVector()).toBe(-1);
  });

  it('is as after a reset when it was disabled: its ID too', () => {
    bsp.writeRegister(0x20, 4, 7 << 24);
    const changed = bsp.readRegister(0x20, 4);
    bsp.writeMsr(apicBase, 0xfee00100, 0);
    bsp.writeMsr(apicBase, 0xfee00900, 0);
    expect([changed, bsp.readRegister(0x20, 4), bsp.readRegister(reg.svr, 4)]).toEqual([7 << 24, 0, 0xff]);
  });

  it('a disabled APIC passes the 8259A through', () => {
    startPic();
    bsp.writeMsr(apicBase, 0xfee00100, 0);
    system.isaWire(4).set(true);
    expect(bsp.acknowledge()).toBe(0x24);
  });

  it('masked LINT0 keeps the 8259A out', () => {
    startPic();
    system.isaWire(4).set(true);
    expect(bsp.pendingVector()).toBe(-1);
  });

  it('the timer is on pin 2', () => {
    redirect(2, 0x31, 1);
    system.isaWire(0).set(true);
    expect(apic(1).pendingVector()).toBe(0x31);
  });

  it('edge: one interrupt for each rise; masked edges are lost', () => {
    const wire = system.isaWire(4);
    redirect(4, 0x10041);
    wire.set(true);
    redirect(4, 0x41);
    expect(bsp.pendingVector()).toBe(-1);
    wire.set(false);
    wire.set(true);
    expect(bsp.acknowledge()).toBe(0x41);
  });

  it('level: remote IRR until EOI, then again while the line is up', () => {
    const wire = system.pinWire(16);
    redirect(16, 0x8051);
    wire.set(true);
    expect(entry(16) & 0x4000).toBe(0x4000);
    expect(bsp.acknowledge()).toBe(0x51);
    expect(bsp.readRegister(reg.tmr + 0x20, 4)).toBe(1 << 17);
    bsp.writeRegister(reg.eoi, 4, 0);
    expect(bsp.acknowledge()).toBe(0x51);
    wire.set(false);
    bsp.writeRegister(reg.eoi, 4, 0);
    expect(bsp.pendingVector()).toBe(-1);
    expect(entry(16) & 0x4000).toBe(0);
  });

  it('with EOI broadcast suppressed, the EOI register ends the interrupt', () => {
    bsp.writeRegister(reg.svr, 4, 0x11ff);
    const wire = system.pinWire(16);
    redirect(16, 0x8051);
    wire.set(true);
    bsp.acknowledge();
    wire.set(false);
    bsp.writeRegister(reg.eoi, 4, 0);
    expect(entry(16) & 0x4000).toBe(0x4000);
    system.ioApic.write(0x40, 4, 0x51);
    expect(entry(16) & 0x4000).toBe(0);
  });

  it('wires that share an interrupt are or-ed', () => {
    redirect(16, 0x8051);
    const [first, second] = [system.pinWire(16), system.pinWire(16)];
    first.set(true);
    second.set(true);
    first.set(false);
    bsp.acknowledge();
    bsp.writeRegister(reg.eoi, 4, 0);
    expect(bsp.pendingVector(), 'the second still asks').toBe(0x51);
  });

  it('a message-signalled interrupt reaches the processor its address names', () => {
    expect(system.writeMsi(0xfee02000, 0x4071)).toBe(true);
    expect(apic(2).pendingVector()).toBe(0x71);
    expect(system.writeMsi(0xfed00000, 0x71)).toBe(false);
  });

  it('version and size of the I/O APIC', () => {
    system.ioApic.write(0, 4, 1);
    expect(system.ioApic.read(0x10, 4)).toBe(0x00170020);
  });
});
