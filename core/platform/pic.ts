/** The pair of 8259A interrupt controllers and the chipset's edge/level registers. */

import { StateReader } from './state.ts';
import type { Device, DeviceRange, DeviceState, AccessSize } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';

/** The input of the master to which the slave's output is wired. */
const cascadeInput = 2;

/** Which inputs may be made level-triggered: not the timer, keyboard and cascade, nor the RTC and the coprocessor. */
const elcrWritable = [0xf8, 0xde] as const;

interface ChipState {
  /** The levels on the eight inputs. */
  lines: number;
  /** Inputs that have risen and were not acknowledged since. */
  edges: number;
  imr: number;
  isr: number;
  elcr: number;
  vectorBase: number;
  /** The input with the lowest priority; the next one up has the highest. */
  lowest: number;
  /** Which initialisation word the next write to the odd port is; 0: none, it is OCW1. */
  expected: number;
  needsIcw4: boolean;
  single: boolean;
  autoEoi: boolean;
  rotateOnAutoEoi: boolean;
  specialFullyNested: boolean;
  specialMask: boolean;
  readIsr: boolean;
  poll: boolean;
}

function powerOn(): ChipState {
  return {
    lines: 0, edges: 0, imr: 0, isr: 0, elcr: 0, vectorBase: 0, lowest: 7, expected: 0, needsIcw4: false, single: false,
    autoEoi: false, rotateOnAutoEoi: false, specialFullyNested: false, specialMask: false, readIsr: false, poll: false,
  };
}

function loadChip(reader: StateReader): ChipState {
  return {
    lines: reader.uint('lines', 8),
    edges: reader.uint('edges', 8),
    imr: reader.uint('imr', 8),
    isr: reader.uint('isr', 8),
    elcr: reader.uint('elcr', 8),
    vectorBase: reader.uint('vectorBase', 8) & 0xf8,
    lowest: reader.integer('lowest', 0, 7),
    expected: reader.integer('expected', 0, 4),
    needsIcw4: reader.boolean('needsIcw4'),
    single: reader.boolean('single'),
    autoEoi: reader.boolean('autoEoi'),
    rotateOnAutoEoi: reader.boolean('rotateOnAutoEoi'),
    specialFullyNested: reader.boolean('specialFullyNested'),
    specialMask: reader.boolean('specialMask'),
    readIsr: reader.boolean('readIsr'),
    poll: reader.boolean('poll'),
  };
}

/** One 8259A. */
class Chip {
  state = powerOn();
  private readonly master: boolean;

  constructor(master: boolean) {
    this.master = master;
  }

  /** Inputs that ask: an edge counts only while its input stays high, as in the 8259A. */
  get irr(): number {
    return this.state.lines & (this.state.elcr | this.state.edges);
  }

  setLine(input: number, asserted: boolean): void {
    const bit = 1 << input;
    if (asserted === ((this.state.lines & bit) !== 0)) return;
    if (asserted) {
      this.state.lines |= bit;
      this.state.edges |= bit;
    } else {
      this.state.lines &= ~bit;
      this.state.edges &= ~bit;
    }
  }

  /** The input to serve next, or -1. */
  pending(): number {
    const { state } = this;
    const requests = this.irr & ~state.imr;
    if (requests === 0) return -1;
    let inService = state.isr;
    // In special mask mode an in-service level that is masked blocks no other.
    if (state.specialMask) inService &= ~state.imr;
    // In special fully nested mode further requests of the same slave pass.
    if (this.master && state.specialFullyNested) inService &= ~(1 << cascadeInput);
    for (let step = 1; step <= 8; step++) {
      const input = (state.lowest + step) & 7;
      if ((inService & (1 << input)) !== 0) return -1;
      if ((requests & (1 << input)) !== 0) return input;
    }
    return -1;
  }

  /** The acknowledge cycle for an input that `pending` returned. */
  take(input: number): void {
    const { state } = this;
    const bit = 1 << input;
    state.edges &= ~bit;
    if (!state.autoEoi) state.isr |= bit;
    else if (state.rotateOnAutoEoi) state.lowest = input;
  }

  readEven(): number {
    return this.state.readIsr ? this.state.isr : this.irr;
  }

  writeEven(value: number): void {
    if ((value & 0x10) !== 0) this.initialise(value);
    else if ((value & 0x08) !== 0) this.operationWord3(value);
    else this.operationWord2(value);
  }

  writeOdd(value: number): void {
    const { state } = this;
    switch (state.expected) {
      case 2:
        state.vectorBase = value & 0xf8;
        state.expected = !state.single ? 3 : state.needsIcw4 ? 4 : 0;
        break;
      case 3:
        // The cascade is soldered: ICW3 is taken and ignored.
        state.expected = state.needsIcw4 ? 4 : 0;
        break;
      case 4:
        state.autoEoi = (value & 0x02) !== 0;
        state.specialFullyNested = (value & 0x10) !== 0;
        state.expected = 0;
        break;
      default:
        state.imr = value;
    }
  }

  /** ICW1: the edge sense circuit, the mask and the modes are cleared; the trigger mode bit yields to the ELCR. */
  private initialise(value: number): void {
    const { lines, elcr, vectorBase } = this.state;
    this.state = { ...powerOn(), lines, elcr, vectorBase, expected: 2, single: (value & 0x02) !== 0, needsIcw4: (value & 0x01) !== 0 };
  }

  private operationWord3(value: number): void {
    const { state } = this;
    if ((value & 0x40) !== 0) state.specialMask = (value & 0x20) !== 0;
    if ((value & 0x04) !== 0) state.poll = true;
    else if ((value & 0x02) !== 0) state.readIsr = (value & 0x01) !== 0;
  }

  private operationWord2(value: number): void {
    const { state } = this;
    const level = value & 7;
    switch (value >> 5) {
      case 0b000:
      case 0b100:
        state.rotateOnAutoEoi = value >> 5 === 0b100;
        break;
      case 0b001:
        state.isr &= ~(1 << this.highestInService());
        break;
      case 0b011:
        state.isr &= ~(1 << level);
        break;
      case 0b101: {
        const served = this.highestInService();
        if (served < 0) break;
        state.isr &= ~(1 << served);
        state.lowest = served;
        break;
      }
      case 0b111:
        state.isr &= ~(1 << level);
        state.lowest = level;
        break;
      case 0b110:
        state.lowest = level;
        break;
      default:
    }
  }

  /** The level a non-specific EOI ends, or -1. In special mask mode it cannot end a masked one. */
  private highestInService(): number {
    const { state } = this;
    const inService = state.specialMask ? state.isr & ~state.imr : state.isr;
    for (let step = 1; step <= 8; step++) {
      const input = (state.lowest + step) & 7;
      if ((inService & (1 << input)) !== 0) return input;
    }
    return -1;
  }
}

/** Both chips, cascaded. Inputs are numbered 0 to 15; input 2 is the cascade and has no wire. */
export class Pic implements Device {
  readonly name = 'pic';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [
    { space: 'port', base: 0x20, length: 2, offset: 0, width: 1 },
    { space: 'port', base: 0xa0, length: 2, offset: 2, width: 1 },
    { space: 'port', base: 0x4d0, length: 2, offset: 4, width: 1 },
  ];
  private readonly output: LevelInterrupt;
  private readonly master = new Chip(true);
  private readonly slave = new Chip(false);

  /** @param output the INTR line to the processor */
  constructor(output: LevelInterrupt) {
    this.output = output;
  }

  /** The wire to one input. */
  input(irq: number): LevelInterrupt {
    const chip = irq < 8 ? this.master : this.slave;
    return {
      set: asserted => {
        chip.setLine(irq & 7, asserted);
        this.update();
      },
    };
  }

  /** Whether INTR is asserted. */
  get asserted(): boolean {
    return this.master.pending() >= 0;
  }

  /** The vector that `acknowledge` would return. */
  peek(): number {
    const { chip, input } = this.select();
    return chip.state.vectorBase | (input < 0 ? 7 : input);
  }

  /** The INTA cycles. A request that has gone in the meantime gives the chip's vector 7 and leaves no in-service bit. */
  acknowledge(): number {
    const { chip, input } = this.select();
    if (chip === this.slave) this.master.take(cascadeInput);
    if (input >= 0) chip.take(input);
    const vector = chip.state.vectorBase | (input < 0 ? 7 : input);
    this.update();
    return vector;
  }

  reset(): void {
    for (const chip of [this.master, this.slave]) chip.state = { ...powerOn(), lines: chip.state.lines };
    this.update();
  }

  read(offset: number, _size: AccessSize): number {
    const chip = this.chip(offset);
    if (offset >= 4) return chip.state.elcr;
    if (chip.state.poll) return this.poll(chip);
    return (offset & 1) === 0 ? chip.readEven() : chip.state.imr;
  }

  write(offset: number, _size: AccessSize, value: number): void {
    const chip = this.chip(offset);
    if (offset >= 4) chip.state.elcr = value & (elcrWritable[offset - 4] ?? 0);
    else if ((offset & 1) === 0) chip.writeEven(value);
    else chip.writeOdd(value);
    this.update();
  }

  saveState(): DeviceState {
    return { version: this.version, master: { ...this.master.state }, slave: { ...this.slave.state } };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const master = loadChip(reader.record('master'));
    const slave = loadChip(reader.record('slave'));
    this.master.state = master;
    this.slave.state = slave;
    this.update();
  }

  /** A poll command turns the chip's next read into an acknowledge: bit 7 tells whether there was a request. */
  private poll(chip: Chip): number {
    chip.state.poll = false;
    const input = chip.pending();
    if (input < 0) return 0;
    chip.take(input);
    this.update();
    return 0x80 | input;
  }

  private select(): { readonly chip: Chip; readonly input: number } {
    const input = this.master.pending();
    return input === cascadeInput ? { chip: this.slave, input: this.slave.pending() } : { chip: this.master, input };
  }

  private chip(offset: number): Chip {
    return offset < 2 || offset === 4 ? this.master : this.slave;
  }

  private update(): void {
    this.master.setLine(cascadeInput, this.slave.pending() >= 0);
    this.output.set(this.master.pending() >= 0);
  }
}
