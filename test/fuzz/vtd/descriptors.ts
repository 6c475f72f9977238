/** Invalidations as software asks for them: by queue or by register. Each function returns what went wrong, or null. */
import type { VtdUnit } from '../../../core/vtd/unit.ts';
import { layout } from './tables.ts';
import type { Random } from './random.ts';
import type { Tables } from './tables.ts';

const queueEnable = 0x04000000;
const queueBytes = 4096;

export class DescriptorWriter {
  /** Bits of the command register that stay set. */
  command = 0;
  private readonly unit: VtdUnit;
  private readonly tables: Tables;
  private readonly random: Random;
  private step = 16;
  private tail = 0;
  private stamp = 1;

  constructor(unit: VtdUnit, tables: Tables, random: Random) {
    this.unit = unit;
    this.tables = tables;
    this.random = random;
  }

  /** @param registers legacy mode invalidates by registers then */
  begin(registers: boolean): void {
    this.tail = 0;
    this.step = this.tables.scalable || this.random.once(2) ? 32 : 16;
    this.command = registers && !this.tables.scalable ? 0 : queueEnable;
    this.unit.writeWide(0x90, layout.queue * 4096 + (this.step === 32 ? 0x800 : 0), 0);
    this.unit.writeWide(0x88, 0, 0);
    this.unit.write(0x18, 4, this.command);
  }

  everything(): string | null {
    if (this.command === 0) return this.byRegister();
    return this.queue([[1n | (1n << 4n), 0n], ...(this.tables.scalable ? [[7n | (3n << 4n), 0n] as const] : []), [2n | (1n << 4n), 0n], [4n, 0n]]);
  }

  context(shared: readonly number[], all: boolean): string | null {
    return shared.reduce<string | null>((problem, source) => problem ?? this.oneContext(source, all), null);
  }

  private oneContext(source: number, all: boolean): string | null {
    if (this.command === 0) {
      this.unit.writeWide(0x28, (source << 16) >>> 0, all ? 0xa0000000 : 0xe0000000);
      return this.unit.readWide(0x28).high >>> 31 === 0 ? null : 'the context command stays busy';
    }
    // A function mask that names the neighbours, too.
    const mask = BigInt(this.random.below(4));
    return this.queue([[1n | (all ? 1n << 4n : (3n << 4n) | (BigInt(source) << 32n) | (mask << 48n)), 0n]]);
  }

  pages(domain: number, all: boolean): string | null {
    if (this.command === 0) {
      this.unit.writeWide(0xf8, 0, (all ? 0x90000000 : 0xa0000000 | domain) >>> 0);
      return this.unit.readWide(0xf8).high >>> 31 === 0 ? null : 'the IOTLB command stays busy';
    }
    // Every page is within a mask of 2^52 pages.
    const selective = this.random.once(3);
    if (all) return this.queue([[2n | (1n << 4n), 0n]]);
    return this.queue([[2n | (selective ? 3n << 4n : 2n << 4n) | (BigInt(domain) << 16n), selective ? (BigInt(this.random.word()) << 12n) | 52n : 0n]]);
  }

  pasid(domain: number, all: boolean): string | null {
    return this.queue([[7n | (all ? 3n << 4n : 0n) | (BigInt(domain) << 16n), 0n]]);
  }

  interruptEntry(index: number, all: boolean): string | null {
    const mask = this.random.below(3);
    if (this.command === 0) {
      this.unit.write(0x18, 4, 0x80000000 | 0x02000000 | 0x01000000);
      return null;
    }
    return this.queue([[4n | (all ? 0n : (1n << 4n) | (BigInt(mask) << 27n) | (BigInt(index) << 32n)), 0n]]);
  }

  /** Random bits: carried out or refused as the model of a descriptor says; refused ones hold up the queue until software mends them. */
  nonsense(): string | null {
    if (this.command === 0) return null;
    let low = this.random.quad() & (this.random.once(2) ? ~0n : 0x0003ffffffff01ffn);
    if (this.random.once(2)) low = (low & ~0xe0fn) | BigInt(1 + this.random.below(8));
    // A wait with a status write would write anywhere.
    if ((low & 0xfn) === 5n) low &= ~0x20n;
    const high = this.random.once(2) ? 0n : this.random.quad();
    const beyond = this.step === 32 && this.random.once(6) ? 1n : 0n;
    const wrong = beyond !== 0n || isRefused(low, high) || this.unit.options.scalable === false;
    const at = this.tail;
    this.put([low, high], beyond);
    this.unit.writeWide(0x88, this.tail, 0);
    const status = this.unit.read(0x34, 4);
    const stopped = (status & 0x10) !== 0;
    if (stopped !== wrong) return `descriptor ${low.toString(16)} ${high.toString(16)}: ${stopped ? 'refused' : 'carried out'}, and should not be`;
    if (stopped) {
      if (this.unit.read(0x80, 4) !== at) return `the head moved past a refused descriptor to ${this.unit.read(0x80, 4)}`;
      this.tables.put(layout.queue * 4096 + at, 5n);
      this.tables.put(layout.queue * 4096 + at + 8, 0n);
      if (this.step === 32) this.tables.put(layout.queue * 4096 + at + 16, 0n);
    }
    // Also the timeout of a device TLB that nobody has.
    this.unit.write(0x34, 4, 0x70);
    if ((this.unit.read(0x9c, 4) & 1) !== 0) this.unit.write(0x9c, 4, 1);
    return this.everything();
  }

  private byRegister(): string | null {
    this.unit.writeWide(0x28, 0, 0xa0000000);
    this.unit.writeWide(0xf8, 0, 0x90000000);
    this.unit.write(0x18, 4, 0x80000000 | 0x02000000 | 0x01000000);
    return null;
  }

  /** Queues descriptors and a wait behind them, and sees that all is done. */
  private queue(descriptors: readonly (readonly [bigint, bigint])[]): string | null {
    const stamp = this.stamp++ >>> 0;
    for (const descriptor of descriptors) this.put(descriptor, 0n);
    this.put([5n | (1n << 5n) | (BigInt(stamp) << 32n), BigInt(layout.status * 4096)], 0n);
    this.unit.writeWide(0x88, this.tail, 0);
    const status = layout.status * 4096;
    const view = new DataView(this.tables.unit.buffer);
    if (view.getUint32(status, true) !== stamp) return `the wait descriptor wrote ${view.getUint32(status, true)} instead of ${stamp}, status ${this.unit.read(0x34, 4).toString(16)}`;
    if (this.unit.read(0x80, 4) !== this.tail) return 'the head of the queue is behind its tail';
    new DataView(this.tables.model.buffer).setUint32(status, stamp, true);
    return null;
  }

  private put([low, high]: readonly [bigint, bigint], beyond: bigint): void {
    const address = layout.queue * 4096 + this.tail;
    this.tables.put(address, low);
    this.tables.put(address + 8, high);
    if (this.step === 32) {
      this.tables.put(address + 16, beyond);
      this.tables.put(address + 24, 0n);
    }
    this.tail = (this.tail + this.step) % queueBytes;
  }
}

/** Bits that a descriptor may have set, and the granularities that it knows, as strings of the specification's figures: `x` may be set. */
const figures: Readonly<Record<number, { readonly low: readonly (readonly [number, number])[]; readonly high: readonly (readonly [number, number])[]; readonly kinds?: readonly number[] }>> = {
  1: { low: [[4, 5], [16, 31], [32, 47], [48, 49]], high: [], kinds: [1, 2, 3] },
  2: { low: [[4, 5], [6, 6], [7, 7], [16, 31]], high: [[0, 5], [6, 6], [12, 63]], kinds: [1, 2, 3] },
  3: { low: [[12, 15], [16, 20], [32, 47], [48, 63]], high: [[0, 0], [12, 63]] },
  4: { low: [[4, 4], [27, 31], [32, 47]], high: [] },
  5: { low: [[4, 7], [32, 63]], high: [[2, 63]] },
  6: { low: [[4, 5], [16, 31], [32, 51]], high: [[0, 5], [6, 6], [12, 63]], kinds: [2, 3] },
  7: { low: [[4, 5], [16, 31], [32, 51]], high: [], kinds: [0, 1, 3] },
  8: { low: [[4, 8], [12, 15], [16, 31], [32, 51], [52, 63]], high: [[0, 0], [11, 11], [12, 63]] },
};

function isRefused(low: bigint, high: bigint): boolean {
  const type = Number(low & 0xfn);
  const figure = figures[type];
  if (figure === undefined || ((low >> 9n) & 7n) !== 0n) return true;
  const stray = (value: bigint, runs: readonly (readonly [number, number])[], from: number): boolean => {
    for (let bit = from; bit < 64; bit++) {
      if (((value >> BigInt(bit)) & 1n) !== 0n && !runs.some(([first, last]) => bit >= first && bit <= last)) return true;
    }
    return false;
  };
  if (stray(low, figure.low, 4) || stray(high, figure.high, 0)) return true;
  return figure.kinds !== undefined && !figure.kinds.includes(Number((low >> 4n) & 3n));
}
