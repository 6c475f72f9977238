/** A 16550A UART: FIFOs, modem lines, loopback; at the width of a byte on an ISA bus. */

import { StateReader } from '../platform/state.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from '../platform/device.ts';
import type { LevelInterrupt } from '../platform/interrupts.ts';
import type { Timer, VirtualClock } from '../platform/clock.ts';

/** Where a PC has its four serial ports. COM1 and COM3, COM2 and COM4 share their interrupts. */
export const comPorts = [
  { name: 'com1', base: 0x3f8, irq: 4 },
  { name: 'com2', base: 0x2f8, irq: 3 },
  { name: 'com3', base: 0x3e8, irq: 4 },
  { name: 'com4', base: 0x2e8, irq: 3 },
] as const;

/** What sets UARTs of this family apart. */
export interface UartModel {
  /** Bytes of each FIFO. */
  readonly fifo: number;
  /** Receive trigger levels, by FCR bits 7:6. */
  readonly triggers: readonly [number, number, number, number];
  /** Bits a second with a divisor of one. */
  readonly baud: number;
  /** A real line: it brings characters no faster than the guest has set, and none while RTS is off. Otherwise they come as the guest takes them. */
  readonly line: boolean;
}

const parities = ['odd', 'even', 'mark', 'space'] as const;
export type Parity = 'none' | (typeof parities)[number];

/** How the guest has set the line: by LCR, the divisor latch and MCR. */
export interface LineSettings {
  /** Bits a second. */
  readonly baud: number;
  readonly dataBits: number;
  readonly stopBits: 1 | 2;
  readonly parity: Parity;
  readonly break: boolean;
  readonly dtr: boolean;
  readonly rts: boolean;
}

/** What the other end of a real line says. */
export interface ModemLines {
  readonly cts: boolean;
  readonly dsr: boolean;
  readonly ring: boolean;
  readonly carrier: boolean;
}

const uart16550A: UartModel = { fifo: 16, triggers: [1, 4, 8, 14], baud: 115_200, line: false };

const lsr = {
  dataReady: 0x01, overrun: 0x02, parity: 0x04, framing: 0x08, breakReceived: 0x10, thrEmpty: 0x20, idle: 0x40, fifoError: 0x80,
} as const;
const ier = { data: 0x01, thrEmpty: 0x02, line: 0x04, modem: 0x08 } as const;
const iir = { none: 0x01, line: 0x06, data: 0x04, timeout: 0x0c, thrEmpty: 0x02, modem: 0x00, fifos: 0xc0 } as const;
const lcr = { stop: 0x04, parity: 0x08, break: 0x40, divisorAccess: 0x80 } as const;
const mcr = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loop: 0x10 } as const;
/** A received break, in the FIFO as an entry with its error bits above the byte. */
const breakEntry = lsr.breakReceived << 8;
const entryErrors = lsr.parity | lsr.framing | lsr.breakReceived;
/** CTS, DSR and DCD: the other side is always there and ready. */
const peerReady = 0xb0;

/** Bytes gathered before they are handed on; a batch also ends with each slice. */
const outputBatch = 4096;

interface UartState {
  ier: number;
  lcr: number;
  mcr: number;
  lsrErrors: number;
  msrDeltas: number;
  msrLines: number;
  scratch: number;
  divisor: number;
  fifoControl: number;
  /** Received and not yet read: bytes, with the error bits of LSR above them. */
  received: number[];
  thrPending: boolean;
  timeoutPending: boolean;
}

function powerOn(): UartState {
  return {
    ier: 0, lcr: 0, mcr: 0, lsrErrors: 0, msrDeltas: 0, msrLines: peerReady, scratch: 0, divisor: 12, fifoControl: 0,
    received: [], thrPending: false, timeoutPending: false,
  };
}

export class Uart16550 implements Device {
  readonly name: string;
  readonly version = 1;
  readonly ranges: readonly DeviceRange[];
  private readonly model: UartModel;
  private readonly clock: VirtualClock;
  private readonly irq: LevelInterrupt;
  private readonly output: (bytes: Uint8Array) => void;
  private readonly timeout: Timer;
  /** Wakes a machine that sleeps when the line can bring more. */
  private readonly arrival: Timer;
  /** Until when the line was busy with what it has brought. */
  private lineNs = 0;
  private readonly batch = new Uint8Array(outputBatch);
  private batched = 0;
  private state = powerOn();
  /** Called when the guest has set a real line otherwise, behind what it sent before. */
  onSettings: (settings: LineSettings) => void = () => {};
  private told = '';
  /** The inputs CTS, DSR, RI and DCD, as MSR has them. */
  private peer = peerReady;

  /** @param output takes what the guest sent; the bytes are the callee's to keep */
  constructor(row: { readonly name: string; readonly base: number }, clock: VirtualClock, irq: LevelInterrupt, output: (bytes: Uint8Array) => void, model = uart16550A) {
    this.model = model;
    this.name = row.name;
    this.ranges = [{ space: 'port', base: row.base, length: 8, offset: 0, width: 1 }];
    this.clock = clock;
    this.irq = irq;
    this.output = output;
    this.arrival = clock.timer(`${row.name} line`, () => {});
    this.timeout = clock.timer(`${row.name} timeout`, () => {
      this.state.timeoutPending = this.state.received.length > 0;
      this.update();
    });
  }

  /** Hands on what was sent since the last call. Called after each slice. */
  flush(): void {
    if (this.batched === 0) return;
    const bytes = this.batch.slice(0, this.batched);
    this.batched = 0;
    this.output(bytes);
  }

  /** Offers received bytes; returns how many fitted. In loopback the line is cut off and nothing is taken. */
  receive(bytes: Uint8Array): number {
    if ((this.state.mcr & mcr.loop) !== 0) return 0;
    const room = this.fifosEnabled ? this.model.fifo : 1;
    const taken = Math.max(0, Math.min(bytes.length, room - this.state.received.length, this.lineRoom()));
    if (this.model.line) this.occupyLine(taken, taken < bytes.length);
    for (let index = 0; index < taken; index++) this.state.received.push(bytes[index] ?? 0);
    if (taken > 0) this.arrived();
    return taken;
  }

  /** Characters that the line can have brought by now. */
  private lineRoom(): number {
    if (!this.model.line) return Number.POSITIVE_INFINITY;
    return (this.state.mcr & mcr.rts) === 0 ? 0 : Math.floor((this.clock.nowNs() - this.lineNs) / this.characterNs());
  }

  private occupyLine(taken: number, more: boolean): void {
    const character = this.characterNs();
    const now = this.clock.nowNs();
    // A line that was idle brings at once what fills the FIFO.
    this.lineNs = Math.max(this.lineNs + taken * character, now - this.model.fifo * character);
    if (more) this.arrival.arm(now + this.model.triggers[2] * character);
  }

  /** A break on the line: a zero character with the break bit. */
  receiveBreak(): void {
    if ((this.state.mcr & mcr.loop) === 0) this.push(breakEntry);
  }

  reset(): void {
    this.timeout.cancel();
    this.arrival.cancel();
    this.state = powerOn();
    this.update();
  }

  read(offset: number, _size: AccessSize): number {
    const { state } = this;
    switch (offset) {
      case 0:
        return this.divisorAccess ? state.divisor & 0xff : this.readData();
      case 1:
        return this.divisorAccess ? state.divisor >> 8 : state.ier;
      case 2:
        return this.readIdentification();
      case 3:
        return state.lcr;
      case 4:
        return state.mcr;
      case 5: {
        const status = this.lineStatus();
        state.lsrErrors = 0;
        if (state.received[0] !== undefined) state.received[0] &= 0xff;
        this.update();
        return status;
      }
      case 6: {
        const status = this.modemLines() | state.msrDeltas;
        state.msrDeltas = 0;
        this.update();
        return status;
      }
      default:
        return state.scratch;
    }
  }

  write(offset: number, _size: AccessSize, value: number): void {
    const { state } = this;
    switch (offset) {
      case 0:
        if (this.divisorAccess) state.divisor = (state.divisor & 0xff00) | value;
        else this.transmit(value);
        break;
      case 1:
        if (this.divisorAccess) state.divisor = (value << 8) | (state.divisor & 0xff);
        else this.writeEnable(value);
        break;
      case 2:
        this.writeFifoControl(value);
        break;
      case 3:
        state.lcr = value;
        this.tellSettings();
        break;
      case 4:
        state.mcr = value & 0x1f;
        this.modemChanged();
        this.tellSettings();
        break;
      case 7:
        state.scratch = value;
        break;
      default:
      // LSR and MSR are read-only.
    }
    this.update();
  }

  saveState(): DeviceState {
    return { version: this.version, ...this.state, received: [...this.state.received], timeoutNs: this.timeout.deadlineNs };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const next: UartState = {
      ier: reader.uint('ier', 4), lcr: reader.uint('lcr', 8), mcr: reader.uint('mcr', 5), lsrErrors: reader.uint('lsrErrors', 8) & lsr.overrun,
      msrDeltas: reader.uint('msrDeltas', 4), msrLines: reader.uint('msrLines', 8) & 0xf0, scratch: reader.uint('scratch', 8),
      divisor: reader.uint('divisor', 16), fifoControl: reader.uint('fifoControl', 8), received: reader.uints('received', 13, this.model.fifo, false),
      thrPending: reader.boolean('thrPending'), timeoutPending: reader.boolean('timeoutPending'),
    };
    const timeout = reader.timeOrNull('timeoutNs');
    this.state = next;
    this.timeout.set(timeout);
    this.update();
  }

  private get fifosEnabled(): boolean {
    return (this.state.fifoControl & 1) !== 0;
  }

  private get divisorAccess(): boolean {
    return (this.state.lcr & lcr.divisorAccess) !== 0;
  }

  private get settings(): LineSettings {
    const { lcr: format, mcr: control, divisor } = this.state;
    const lines = (control & mcr.loop) === 0 ? control : 0;
    return {
      baud: Math.round(this.model.baud / (divisor || 0x10000)), dataBits: 5 + (format & 3), stopBits: (format & lcr.stop) !== 0 ? 2 : 1,
      parity: (format & lcr.parity) === 0 ? 'none' : parities[(format >> 4) & 3] ?? 'none', break: (format & lcr.break) !== 0,
      dtr: (lines & mcr.dtr) !== 0, rts: (lines & mcr.rts) !== 0,
    };
  }

  /** While the divisor latch is open its two bytes need not belong together. */
  private tellSettings(): void {
    if (!this.model.line || this.divisorAccess) return;
    const { settings } = this;
    const text = JSON.stringify(settings);
    if (text === this.told) return;
    this.told = text;
    this.flush();
    this.onSettings(settings);
  }

  /** Nanoseconds a character takes on the line: start, data, parity and stop bits. */
  private characterNs(): number {
    const { lcr: format } = this.state;
    const bits = 1 + 5 + (format & 3) + ((format & lcr.parity) !== 0 ? 1 : 0) + ((format & lcr.stop) !== 0 ? 2 : 1);
    return Math.ceil((bits * (this.state.divisor || 0x10000) * 1e9) / this.model.baud);
  }

  // ---- Receiver -----------------------------------------------------------------------------------------------------

  private push(entry: number): void {
    const { state } = this;
    if (state.received.length >= (this.fifosEnabled ? this.model.fifo : 1)) {
      state.lsrErrors |= lsr.overrun;
      // Without FIFOs the new character replaces the one that was not read.
      if (!this.fifosEnabled) state.received[0] = entry;
    } else {
      state.received.push(entry);
    }
    this.arrived();
  }

  private arrived(): void {
    this.state.timeoutPending = false;
    if (this.fifosEnabled) this.timeout.arm(this.clock.nowNs() + 4 * this.characterNs());
    this.update();
  }

  private readData(): number {
    const { state } = this;
    const entry = state.received.shift() ?? 0;
    state.timeoutPending = false;
    if (state.received.length > 0 && this.fifosEnabled) this.timeout.arm(this.clock.nowNs() + 4 * this.characterNs());
    else this.timeout.cancel();
    this.update();
    return entry & 0xff;
  }

  private lineStatus(): number {
    const { state } = this;
    const first = state.received[0];
    const errors = this.fifosEnabled && state.received.some(entry => entry > 0xff) ? lsr.fifoError : 0;
    // The transmitter is never busy: characters leave as they are written.
    return lsr.thrEmpty | lsr.idle | state.lsrErrors | errors | (first === undefined ? 0 : lsr.dataReady | ((first >> 8) & entryErrors));
  }

  // ---- Transmitter --------------------------------------------------------------------------------------------------

  private transmit(value: number): void {
    if ((this.state.mcr & mcr.loop) !== 0) {
      this.push(value);
    } else {
      this.batch[this.batched++] = value;
      if (this.batched === outputBatch) this.flush();
    }
    this.state.thrPending = true;
  }

  private writeEnable(value: number): void {
    const before = this.state.ier;
    this.state.ier = value & 0x0f;
    // Enabling the interrupt while the holding register is empty raises it.
    if ((before & ier.thrEmpty) === 0 && (value & ier.thrEmpty) !== 0) this.state.thrPending = true;
  }

  private writeFifoControl(value: number): void {
    const { state } = this;
    // Switching the FIFOs on or off empties them; the other bits count only while they are on.
    const switched = ((state.fifoControl ^ value) & 1) !== 0;
    if (switched || (value & 0x02) !== 0) {
      state.received = [];
      state.timeoutPending = false;
      this.timeout.cancel();
    }
    state.fifoControl = (value & 1) !== 0 ? value & 0xc9 : 0;
  }

  // ---- Modem lines --------------------------------------------------------------------------------------------------

  /** In loopback the outputs DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD. */
  private modemLines(): number {
    const { mcr: control } = this.state;
    if ((control & mcr.loop) === 0) return this.peer;
    return (
      ((control & mcr.dtr) !== 0 ? 0x20 : 0) | ((control & mcr.rts) !== 0 ? 0x10 : 0) | ((control & mcr.out1) !== 0 ? 0x40 : 0) |
      ((control & mcr.out2) !== 0 ? 0x80 : 0)
    );
  }

  /** The other end has changed its modem lines. */
  setPeer({ cts, dsr, ring, carrier }: ModemLines): void {
    this.peer = (cts ? 0x10 : 0) | (dsr ? 0x20 : 0) | (ring ? 0x40 : 0) | (carrier ? 0x80 : 0);
    this.modemChanged();
    this.update();
  }

  private modemChanged(): void {
    const { state } = this;
    const lines = this.modemLines();
    const changed = lines ^ state.msrLines;
    // The ring indicator's delta bit marks its trailing edge alone.
    const ringEnded = (changed & 0x40) !== 0 && (lines & 0x40) === 0 ? 0x04 : 0;
    state.msrDeltas |= ((changed >> 4) & 0x0b) | ringEnded;
    state.msrLines = lines;
  }

  // ---- Interrupts ---------------------------------------------------------------------------------------------------

  /** The interrupt of the highest priority, as IIR shows it. */
  private cause(): number {
    const { state } = this;
    if ((state.ier & ier.line) !== 0 && (this.lineStatus() & (lsr.overrun | entryErrors)) !== 0) return iir.line;
    if ((state.ier & ier.data) !== 0) {
      const trigger = this.fifosEnabled ? (this.model.triggers[state.fifoControl >> 6] ?? 1) : 1;
      if (state.received.length >= trigger) return iir.data;
      if (state.timeoutPending && state.received.length > 0) return iir.timeout;
    }
    if ((state.ier & ier.thrEmpty) !== 0 && state.thrPending) return iir.thrEmpty;
    if ((state.ier & ier.modem) !== 0 && state.msrDeltas !== 0) return iir.modem;
    return iir.none;
  }

  private readIdentification(): number {
    const cause = this.cause();
    // Reading IIR while it shows the transmitter's interrupt clears that interrupt.
    if (cause === iir.thrEmpty) {
      this.state.thrPending = false;
      this.update();
    }
    return cause | (this.fifosEnabled ? iir.fifos : 0);
  }

  /** On a PC, OUT2 gates the interrupt line. The wire follows the register bit in loopback, too, where systems test their interrupts. */
  private update(): void {
    this.irq.set((this.state.mcr & mcr.out2) !== 0 && this.cause() !== iir.none);
  }
}
