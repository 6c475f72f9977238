/** Drives a unit and the model with the same tables and requests, and compares every answer, every record and every byte of memory. */
import { GuestMemory } from '../../../core/vtd/guestMemory.ts';
import { VtdUnit } from '../../../core/vtd/unit.ts';
import { messageFromMsi } from '../../../core/platform/interrupts.ts';
import type { InterruptMessage } from '../../../core/platform/interrupts.ts';
import { Random } from './random.ts';
import { Tables, hostAddressBits, interruptEntries, layout, pasidNumbers, sources } from './tables.ts';
import { VtdModel } from './model.ts';
import { DescriptorWriter } from './descriptors.ts';
import type { ModelAnswer, ModelRequest } from './model.ts';

export interface VtdFuzzResult {
  readonly steps: number;
  /** How often each answer came: `page`, or the number of the fault in hexadecimal. */
  readonly answers: ReadonlyMap<string, number>;
  readonly hits: number;
  readonly walks: number;
}

/** Steps between two complete fillings of the tables. */
const roundSteps = 400;

class Driver {
  readonly random: Random;
  readonly tables: Tables;
  readonly unit: VtdUnit;
  readonly model: VtdModel;
  readonly writer: DescriptorWriter;
  readonly answers = new Map<string, number>();
  private readonly delivered: InterruptMessage[] = [];
  private extended = false;
  private readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
    this.random = new Random(seed);
    this.tables = new Tables(this.random);
    this.unit = new VtdUnit(
      { hostAddressBits, scalable: true, cachingMode: false, extendedInterruptMode: true },
      { memory: new GuestMemory(this.tables.unit), deliver: message => { this.delivered.push(message); return true; } },
    );
    this.model = new VtdModel(this.tables.model, hostAddressBits);
    this.writer = new DescriptorWriter(this.unit, this.tables, this.random);
  }

  fail(step: number, what: string): never {
    throw new Error(`seed ${this.seed}, step ${step}: ${what}`);
  }

  begin(): void {
    const scalable = this.random.once(2);
    this.tables.fill(scalable);
    this.extended = this.random.once(2);
    this.answered.length = 0;
    const { unit } = this;
    unit.reset();
    // The event interrupts stay masked; RTADDR with its mode, IRTA with its size and mode.
    unit.writeWide(0x20, layout.root * 4096 + (scalable ? 0x400 : 0), 0);
    unit.writeWide(0xb8, layout.interrupts * 4096 + (this.extended ? 0x800 : 0) + Math.log2(interruptEntries) - 1, 0);
    this.writer.begin(this.random.once(3));
    unit.write(0x18, 4, this.writer.command | 0x40000000);
    unit.write(0x18, 4, this.writer.command | 0x01000000);
    unit.write(0x18, 4, this.writer.command | 0x80000000 | 0x02000000);
  }

  step(step: number): void {
    const kind = this.random.below(20);
    if (kind < 14) this.request(step);
    else if (kind < 17) this.interrupt(step);
    else this.change(step);
  }

  /** Requests that were answered with a page: repeated, also with other rights, so that caches answer. */
  private readonly answered: ModelRequest[] = [];

  private newRequest(): ModelRequest {
    const { random } = this;
    if (this.answered.length > 0 && random.once(2)) return { ...random.pick(this.answered), ...(random.once(3) ? { write: random.once(2), privileged: random.once(2) } : {}) };
    return {
      source: random.pick(sources), pasid: this.tables.scalable ? random.pick([null, ...pasidNumbers, 9000]) : random.once(20) ? 5 : null, page: this.tables.address(),
      write: random.once(3), execute: random.once(6), privileged: random.once(3),
    };
  }

  private request(step: number): void {
    const request = this.newRequest();
    const root = layout.root * 4096;
    const expected = this.tables.scalable ? this.model.scalable(root, request) : this.model.legacy(root, request);
    const got = this.unit.translate(request);
    this.count(expected);
    const text = (): string => `${JSON.stringify(request)}: the model says ${JSON.stringify(expected)}, the unit ${JSON.stringify(got)} ${JSON.stringify(this.unit.faults, (_, value: unknown) => (typeof value === 'bigint' ? value.toString(16) : value))}`;
    if ('page' in expected) {
      if (got === null || got.page !== expected.page) this.fail(step, text());
      if (this.answered.length < 24) this.answered.push(request);
      else this.answered[this.random.below(24)] = request;
      return;
    }
    if (got !== null) this.fail(step, text());
    this.checkRecord(step, expected, request.source, BigInt(request.page) << 12n, text);
  }

  private checkRecord(step: number, expected: { readonly fault: number; readonly reported: boolean }, source: number, information: bigint, text: () => string): void {
    const [record, ...others] = this.unit.faults;
    if (!expected.reported) {
      if (record !== undefined) this.fail(step, `recorded although fault processing is disabled: ${text()}`);
      return;
    }
    if (record === undefined || others.length > 0 || record.code !== expected.fault || record.source !== source || record.information !== information) this.fail(step, text());
    // Software reads the record and clears it.
    const status = this.unit.read(0x34, 4);
    const at = 0x220 + (status >>> 8) * 16;
    if ((status & 2) === 0 || this.unit.read(at + 12, 1) !== expected.fault % 256 && this.unit.readWide(at + 8).high % 256 !== expected.fault) this.fail(step, `fault status ${status.toString(16)}: ${text()}`);
    this.unit.write(at + 12, 4, 0x80000000);
    if ((this.unit.read(0x34, 4) & 0x73) !== 0) this.fail(step, 'the fault status stays after its record is cleared');
  }

  private interrupt(step: number): void {
    const { random } = this;
    const source = random.pick(sources);
    const shv = random.once(3);
    const handle = random.once(10) ? random.below(65536) : random.below(interruptEntries);
    const data = shv ? random.below(4) : random.once(8) ? random.word() : 0;
    const address = (0xfee00010 | ((handle & 0x7fff) << 5) | ((handle >> 15) << 2) | (shv ? 8 : 0)) >>> 0;
    const expected = this.model.interrupt(layout.interrupts * 4096, interruptEntries, this.extended, source, address, data);
    const compatible = messageFromMsi(address, data);
    if (compatible === null) return;
    this.delivered.length = 0;
    this.unit.interrupt(source, address, data, compatible);
    const [got] = this.delivered;
    const text = (): string => `interrupt ${address.toString(16)} ${data} of ${source.toString(16)}: the model says ${JSON.stringify(expected)}, the unit ${JSON.stringify(got)}`;
    if (expected !== null && 'fault' in expected) {
      this.count(expected);
      if (got !== undefined) this.fail(step, text());
      this.checkRecord(step, expected, source, BigInt(expected.index & 0xffff) << 48n, text);
      return;
    }
    this.answers.set('interrupt', (this.answers.get('interrupt') ?? 0) + 1);
    const same = expected === null ? got === undefined : got !== undefined && got.vector === expected.vector && got.mode === expected.mode
      && got.level === expected.level && got.logical === expected.logical && got.destination === expected.destination;
    if (!same) this.fail(step, text());
  }

  /** A change of the tables, and the invalidation that it needs: no more, and sometimes everything. */
  private change(step: number): void {
    const { random, tables, writer } = this;
    const all = random.once(8);
    if (random.once(12)) return this.check(step, writer.nonsense());
    switch (random.below(tables.scalable ? 10 : 8)) {
      case 0: case 1: {
        const shared = tables.flipContext();
        return this.passing(step, () => writer.context(shared, all));
      }
      case 2: tables.flipRoot(); return this.passing(step, () => writer.everything());
      case 3: return this.check(step, writer.interruptEntry(tables.changeInterruptEntry(), all));
      case 8: tables.flipDirectory(); return this.passing(step, () => writer.everything());
      case 9: {
        const domain = tables.flipPasid();
        return this.passing(step, () => writer.pasid(domain, all));
      }
      default: return this.check(step, writer.pages(tables.changePageEntry(), all));
    }
  }

  /** A change that would spoil all that follows: some requests under it, then it is taken back. */
  private passing(step: number, invalidate: () => string | null): void {
    this.check(step, invalidate());
    for (let left = 3; left > 0; left--) this.request(step);
    this.tables.unflip();
    this.check(step, invalidate());
  }

  private check(step: number, problem: string | null): void {
    if (problem !== null) this.fail(step, problem);
  }

  compareMemory(step: number): void {
    if (Buffer.compare(this.tables.unit, this.tables.model) === 0) return;
    const at = this.tables.unit.findIndex((byte, index) => byte !== this.tables.model[index]);
    this.fail(step, `memory differs at ${at.toString(16)}: ${this.tables.unit[at]?.toString(16)} in the unit's, ${this.tables.model[at]?.toString(16)} in the model's`);
  }

  private count(answer: ModelAnswer): void {
    const name = 'page' in answer ? 'page' : answer.fault.toString(16).padStart(2, '0');
    this.answers.set(name, (this.answers.get(name) ?? 0) + 1);
  }
}

/** @throws Error naming seed and step where unit and model differ */
export function fuzzVtd(seed: number, steps: number): VtdFuzzResult {
  const driver = new Driver(seed);
  for (let step = 0; step < steps; step++) {
    if (step % roundSteps === 0) driver.begin();
    driver.step(step);
    if (step % 16 === 15) driver.compareMemory(step);
  }
  const { hits, misses } = driver.unit.caches;
  return { steps, answers: driver.answers, hits, walks: misses };
}
