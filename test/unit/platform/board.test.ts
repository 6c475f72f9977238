import { beforeEach, describe, expect, it } from 'vitest';
import { AcpiPm } from '../../../core/platform/acpiPm.ts';
import { DebugExit, Port92 } from '../../../core/platform/systemPorts.ts';
import { KeyboardController } from '../../../core/platform/i8042.ts';
import { PciHost } from '../../../core/platform/pci/host.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { Wire } from '../../doubles/wire.ts';

let calls: string[];
const events = { powerOff: () => calls.push('off'), reset: () => calls.push('reset'), debugExit: (value: number) => calls.push(`exit ${value}`) };

beforeEach(() => {
  calls = [];
});

describe('ACPI fixed hardware', () => {
  let time: ManualTime;
  let clock: VirtualClock;
  let sci: Wire;
  let pm: AcpiPm;

  beforeEach(() => {
    time = new ManualTime();
    clock = new VirtualClock(time);
    sci = new Wire();
    pm = new AcpiPm(clock, sci, events);
  });

  it('the PM timer runs at 3.579545 MHz and wraps at 32 bits', () => {
    time.pass(1_000_000_000);
    expect(pm.read(8, 4)).toBe(3_579_545);
    time.pass(1_200_000_000_000);
    expect(pm.read(8, 4)).toBe((3_579_545 * 1201) % 2 ** 32);
  });

  it('SLP_EN with the type of S5 powers off; other types do not', () => {
    pm.write(4, 2, 0x2000 | (5 << 10));
    expect(calls).toEqual([]);
    pm.write(4, 2, 0x2000);
    expect(calls).toEqual(['off']);
  });

  it('SLP_EN powers off by a byte write, too', () => {
    pm.write(5, 1, 0x20);
    expect(calls).toEqual(['off']);
  });

  it('the SMI command switches SCI_EN, and nothing else does', () => {
    pm.write(4, 2, 1);
    expect(pm.read(4, 2) & 1).toBe(0);
    pm.write(0x80, 1, 0xa1);
    expect(pm.read(4, 2) & 1).toBe(1);
    pm.write(4, 2, 0);
    expect(pm.read(4, 2) & 1).toBe(1);
    pm.write(0x80, 1, 0xa0);
    expect(pm.read(4, 2) & 1).toBe(0);
  });

  it('sleeps with the type of S3, and wakes by a button, or by the alarm where that is enabled', () => {
    const suspend = (): void => {
      pm.write(4, 2, 0x2000 | (1 << 10));
      expect(pm.sleep).toBe('asleep');
    };
    suspend();
    pm.alarm();
    expect(pm.sleep, 'the alarm is not enabled').toBe('asleep');
    pm.pressPowerButton();
    expect([pm.sleep, pm.read(0, 2) & 0x8100]).toEqual(['waking', 0x8100]);
    pm.woken();
    suspend();
    pm.write(2, 2, 0x0400);
    pm.alarm();
    expect(pm.sleep).toBe('waking');
    pm.woken();
    pm.pressSleepButton();
    expect(pm.sleep, 'who is awake cannot wake').toBe('awake');
  });

  it('the power button raises SCI until its status is cleared', () => {
    pm.write(0x80, 1, 0xa1);
    pm.write(2, 2, 0x0100);
    pm.pressPowerButton();
    expect([sci.level, pm.read(0, 2)]).toEqual([true, 0x0100]);
    pm.write(0, 2, 0x0001);
    expect(sci.level).toBe(true);
    pm.write(0, 2, 0x0100);
    expect([sci.level, pm.read(2, 2)]).toEqual([false, 0x0100]);
  });

  it('without SCI_EN there is no SCI', () => {
    pm.write(2, 2, 0x0100);
    pm.pressPowerButton();
    expect(sci.level).toBe(false);
  });

  it('the timer status is set when the top bit changes', () => {
    pm.write(0x80, 1, 0xa1);
    pm.write(2, 2, 0x0001);
    const next = clock.nextDeadlineNs();
    expect(next).toBe(Math.ceil((2 ** 31 * 1e9) / 3_579_545));
    time.pass(next ?? 0);
    clock.runDue();
    expect([sci.level, pm.read(0, 2)]).toEqual([true, 1]);
  });

  it('general-purpose events: status by event, cleared by writing ones', () => {
    pm.write(0x80, 1, 0xa1);
    pm.write(0x28, 1, 0x04);
    pm.raiseEvent(2);
    expect([sci.level, pm.read(0x20, 1)]).toEqual([true, 4]);
    pm.write(0x20, 1, 4);
    expect(sci.level).toBe(false);
  });
});

describe('ways to reset and to stop', () => {
  it('port F4H ends the machine with its value', () => {
    new DebugExit(events).write(0, 4, 0x10);
    expect(calls).toEqual(['exit 16']);
  });

  it('port 92H resets when bit 0 rises', () => {
    const port = new Port92(events);
    port.write(0, 1, 2);
    expect(calls).toEqual([]);
    port.write(0, 1, 3);
    expect(calls).toEqual(['reset']);
  });

  it('the keyboard controller pulses the reset line', () => {
    const controller = new KeyboardController({ keyboard: new Wire(), mouse: new Wire() }, events, false);
    controller.write(1, 1, 0xff);
    expect(calls).toEqual([]);
    controller.write(1, 1, 0xfe);
    expect(calls).toEqual(['reset']);
  });

  it('port CF9H resets when bit 2 rises', () => {
    const host = new PciHost(events);
    host.write(1, 1, 0x02);
    expect(calls).toEqual([]);
    host.write(1, 1, 0x06);
    expect(calls).toEqual(['reset']);
  });
});

describe('8042', () => {
  it('passes its self-test and keeps its command byte', () => {
    const controller = new KeyboardController({ keyboard: new Wire(), mouse: new Wire() }, events, false);
    controller.write(1, 1, 0xaa);
    expect([controller.read(1, 1) & 1, controller.read(0, 1), controller.read(1, 1) & 1]).toEqual([1, 0x55, 0]);
    controller.write(1, 1, 0x60);
    controller.write(0, 1, 0x45);
    controller.write(1, 1, 0x20);
    expect(controller.read(0, 1)).toBe(0x45);
  });

  it('a keyboard answers its reset, and interrupts when enabled', () => {
    const irq = new Wire();
    const controller = new KeyboardController({ keyboard: irq, mouse: new Wire() }, events, true);
    controller.write(1, 1, 0x60);
    controller.write(0, 1, 0x01);
    controller.write(0, 1, 0xff);
    expect(irq.level).toBe(true);
    expect([controller.read(0, 1), controller.read(0, 1)]).toEqual([0xfa, 0xaa]);
    expect(irq.level).toBe(false);
  });
});
