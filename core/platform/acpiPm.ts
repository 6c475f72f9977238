/** The ACPI fixed hardware: PM1 events and control, the PM timer, a general-purpose event block, the SMI command port. @acpi 4.8 */

import { StateReader } from './state.ts';
import { TickRate } from './clock.ts';
import { extract, insert } from './device.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';
import type { MachineEvents } from './machineEvents.ts';
import type { Timer, VirtualClock } from './clock.ts';

/** Where the fixed hardware is; the FADT tells guests, and the LPC bridge's PMBASE agrees. */
export const acpiPorts = {
  base: 0x600, length: 0x80, pm1Event: 0x600, pm1Control: 0x604, pmTimer: 0x608, gpe0: 0x620, gpe0Length: 16,
  smiCommand: 0xb2, enable: 0xa1, disable: 0xa0,
} as const;

/** SLP_TYP values of the DSDT's sleep packages. OVMF powers off by S5's, which it takes to be that of QEMU's PCs. */
export const sleepType = { s5: 0, s3: 1, s0: 4 } as const;

const sleepWords = ['awake', 'asleep', 'waking'] as const;
/** `asleep`: suspended to RAM, nothing but what can wake it lives; `waking`: the processor is to go on at the waking vector. */
export type Sleep = (typeof sleepWords)[number];

export const sciIrq = 9;

const pm1 = {
  timer: 0x0001, busMaster: 0x0010, globalLock: 0x0020, powerButton: 0x0100, sleepButton: 0x0200, rtc: 0x0400, wake: 0x8000,
} as const;
const pm1Status = pm1.timer | pm1.busMaster | pm1.globalLock | pm1.powerButton | pm1.sleepButton | pm1.rtc | pm1.wake;
const pm1Enable = pm1.timer | pm1.globalLock | pm1.powerButton | pm1.sleepButton | pm1.rtc;
const sciEnable = 0x0001;
const sleepEnable = 0x2000;

const rate = new TickRate(3_579_545);
/** The timer status bit is set each time bit 31 of the 32-bit timer changes. */
const carryTicks = 0x80000000;
const smiOffset = 0x80;
/** APMC_EN of SMI_EN. @ich9 13.8.3.8 */
const smiEnabled = 0x20;

export class AcpiPm implements Device {
  readonly name = 'acpi-pm';
  readonly version = 2;
  readonly ranges: readonly DeviceRange[] = [
    { space: 'port', base: acpiPorts.base, length: acpiPorts.length, offset: 0, width: 4 },
    { space: 'port', base: acpiPorts.smiCommand, length: 2, offset: smiOffset, width: 1 },
  ];
  private readonly clock: VirtualClock;
  private readonly sci: LevelInterrupt;
  private readonly events: MachineEvents;
  private readonly timer: Timer;
  private status = 0;
  private enable = 0;
  private control = 0;
  private gpeStatus = 0;
  private gpeEnable = 0;
  private smiStatus = 0;
  private state: Sleep = 'awake';
  /** The carries of the timer that `status` knows of. */
  private carries = 0;

  constructor(clock: VirtualClock, sci: LevelInterrupt, events: MachineEvents) {
    this.clock = clock;
    this.sci = sci;
    this.events = events;
    this.timer = clock.timer('acpi-pm', () => this.update());
    this.reset();
  }

  get sleep(): Sleep {
    return this.state;
  }

  /** Presses and releases the power button. It wakes a machine that is suspended to RAM. */
  pressPowerButton(): void {
    this.status |= pm1.powerButton;
    this.wake();
    this.update();
  }

  pressSleepButton(): void {
    this.status |= pm1.sleepButton;
    this.wake();
    this.update();
  }

  /** The real-time clock's interrupt has come: an alarm wakes a machine that wants that. */
  alarm(): void {
    this.status |= pm1.rtc;
    if ((this.enable & pm1.rtc) !== 0) this.wake();
    this.update();
  }

  /** Wakes a machine that is suspended to RAM; nothing happens to another. */
  wake(): void {
    if (this.state !== 'asleep') return;
    this.state = 'waking';
    this.status |= pm1.wake;
  }

  /** The processor is on its way to the waking vector. */
  woken(): void {
    this.state = 'awake';
  }

  /** Raises a general-purpose event, 0 to 63. */
  raiseEvent(event: number): void {
    if (event < 32) this.gpeStatus = (this.gpeStatus | (1 << event)) >>> 0;
    this.update();
  }

  reset(): void {
    this.status = 0;
    this.enable = 0;
    this.control = 0;
    this.gpeStatus = 0;
    this.gpeEnable = 0;
    this.smiStatus = 0;
    this.state = 'awake';
    this.carries = this.currentCarries();
    this.update();
  }

  read(offset: number, size: AccessSize): number {
    if (offset === smiOffset) return 0;
    if (offset === smiOffset + 1) return this.smiStatus;
    const byte = offset & 3;
    if (byte + size > 4) return 0;
    return extract(this.register(offset & ~3), byte, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= smiOffset) this.writeSmi(offset - smiOffset, value);
    else if ((offset & 3) + size <= 4) this.writeRegister(offset & ~3, offset & 3, size, value);
    this.update();
  }

  saveState(): DeviceState {
    this.update();
    const { status, enable, control, gpeStatus, gpeEnable, smiStatus, carries, state } = this;
    return { version: this.version, status, enable, control, gpeStatus, gpeEnable, smiStatus, carries, state };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const next = {
      status: reader.uint('status', 16) & pm1Status, enable: reader.uint('enable', 16) & pm1Enable, control: reader.uint('control', 16),
      gpeStatus: reader.uint('gpeStatus', 32), gpeEnable: reader.uint('gpeEnable', 32), smiStatus: reader.uint('smiStatus', 8),
      carries: reader.uint('carries', 48), state: reader.word('state', sleepWords),
    };
    Object.assign(this, next);
    this.update();
  }

  /** The 32-bit register at a multiple of four. Status and enable share a word, as PM1_STS and PM1_EN do. */
  private register(offset: number): number {
    switch (offset) {
      case 0x00:
        this.update();
        return this.status | (this.enable << 16);
      case 0x04:
        return this.control;
      case 0x08:
        return rate.ticksAt(this.clock.nowNs()) % 2 ** 32;
      case 0x20:
        return this.gpeStatus;
      case 0x28:
        return this.gpeEnable;
      case 0x30:
        // SMI_EN: firmware takes SMIs for set up already, and so leaves system management mode, which does not exist, alone.
        return smiEnabled;
      default:
        return 0;
    }
  }

  private writeRegister(offset: number, byte: number, size: AccessSize, value: number): void {
    switch (offset) {
      case 0x00: {
        const cleared = insert(0, byte, size, value);
        this.status &= ~(cleared & 0xffff);
        this.enable = (insert(this.enable << 16, byte, size, value) >>> 16) & pm1Enable;
        break;
      }
      case 0x04: {
        const control = insert(this.control, byte, size, value) & 0xffff;
        // Firmware owns SCI_EN: it changes by the SMI command alone. SLP_EN and GBL_RLS read as zero.
        this.control = (control & 0x1c02) | (this.control & sciEnable);
        if ((control & sleepEnable) !== 0) this.fallAsleep((control >> 10) & 7);
        break;
      }
      case 0x20:
        this.gpeStatus = (this.gpeStatus & ~insert(0, byte, size, value)) >>> 0;
        break;
      case 0x28:
        this.gpeEnable = insert(this.gpeEnable, byte, size, value);
        break;
      default:
    }
  }

  private fallAsleep(type: number): void {
    if (type === sleepType.s5) this.events.powerOff();
    else if (type === sleepType.s3) this.state = 'asleep';
  }

  /** What firmware's SMI handler would do with the two commands the FADT names. */
  private writeSmi(offset: number, value: number): void {
    if (offset === 1) this.smiStatus = value;
    else if (value === acpiPorts.enable) this.control |= sciEnable;
    else if (value === acpiPorts.disable) this.control &= ~sciEnable;
  }

  private currentCarries(): number {
    return Math.floor(rate.ticksAt(this.clock.nowNs()) / carryTicks);
  }

  private update(): void {
    const carries = this.currentCarries();
    if (carries !== this.carries) this.status |= pm1.timer;
    this.carries = carries;
    const event = (this.status & this.enable) !== 0 || (this.gpeStatus & this.gpeEnable) !== 0;
    this.sci.set(event && (this.control & sciEnable) !== 0);
    const waits = (this.enable & pm1.timer) !== 0 && (this.status & pm1.timer) === 0;
    this.timer.set(waits ? rate.nsAt((carries + 1) * carryTicks) : null);
  }
}
