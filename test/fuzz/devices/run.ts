/**
 * Hostile drivers of devices: random registers, descriptors, configuration space, resets, disks that answer late, states that are saved in the middle and
 * go on elsewhere. Nothing throws, no access leaves the guest's memory, reads give what fits, and no step takes long.
 */
import { isDeepStrictEqual } from 'node:util';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { sizeMask } from '../../../core/platform/device.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import { Random } from '../vtd/random.ts';
import { deviceRows } from './table.ts';
import type { AccessSize } from '../../../core/platform/device.ts';
import type { DeviceRow, Target, Window } from './table.ts';

const RAM = 1 << 16;
/** Bytes on each side of the guest's memory that nobody may touch. */
const GUARD = 4096;
const GUARD_BYTE = 0xa5;
/** A step that takes longer holds its guest up; far more than any needs on a busy host. */
const STEP_MS = 3000;
const sizes: readonly AccessSize[] = [1, 2, 4];

/** What drivers write: addresses in their memory, small numbers, all bits, anything. */
function value(random: Random): number {
  switch (random.below(5)) {
    case 0: return (random.below(RAM) & ~0xf) >>> 0;
    case 1: return random.below(32);
    case 2: return 2 ** random.below(32);
    case 3: return 0xffffffff;
    default: return random.word();
  }
}

class Bench {
  private readonly random: Random;
  private readonly row: DeviceRow;
  private readonly memory = new Uint8Array(RAM + 2 * GUARD).fill(GUARD_BYTE);
  private readonly ram = this.memory.subarray(GUARD, GUARD + RAM);
  private readonly view = new DataView(this.ram.buffer, GUARD, RAM);
  private readonly time = new ManualTime();
  private readonly clock = new VirtualClock(this.time);
  private target: Target;

  constructor(row: DeviceRow, random: Random) {
    this.row = row;
    this.random = random;
    this.ram.fill(0);
    this.target = row.make(this.clock, this.ram);
  }

  step(): void {
    const { random } = this;
    const kind = random.below(100);
    if (kind < 40) this.access();
    else if (kind < 65) this.describe();
    else if (kind < 78) this.ring();
    else if (kind < 86) this.configure();
    else if (kind < 92) this.pass();
    else if (kind < 96) this.start();
    else if (kind < 98) this.settleDisks();
    else if (kind === 98) this.goOnElsewhere();
    else if (random.once(4)) this.target.device.reset();
  }

  check(): void {
    for (const at of [0, GUARD + RAM]) if (this.memory.subarray(at, at + GUARD).some(byte => byte !== GUARD_BYTE)) throw new Error('memory of nobody was written');
  }

  private access(window: Window | undefined = this.target.windows.length > 0 ? this.random.pick(this.target.windows) : undefined): void {
    if (window === undefined) return;
    const { random } = this;
    const size = Math.min(random.pick(sizes), window.width, window.length) as AccessSize;
    // Bytes are anywhere; wider accesses mostly where buses put them.
    const place = random.below(random.once(3) ? window.length : Math.min(window.length, 0x200));
    const aligned = random.once(8) ? place : place - (place % size);
    const offset = window.from + Math.min(aligned, window.length - size);
    if (random.once(3)) {
      const read = window.registers.read(offset, size);
      if (!Number.isInteger(read) || read < 0 || read > sizeMask(size)) throw new Error(`a read of ${size} bytes at 0x${offset.toString(16)} gave ${read}`);
    } else window.registers.write(offset, size, (value(random) & sizeMask(size)) >>> 0);
  }

  /** Part of what a device finds in memory: rings, lists and commands lie from 1000H on, their buffers anywhere. */
  private describe(): void {
    const { random } = this;
    const at = random.once(2) ? 0x1000 + (random.below(0x1000) & ~3) : random.below(RAM - 4) & ~3;
    if (random.once(3)) this.view.setUint16(at, random.below(20), true);
    else this.view.setUint32(at, value(random), true);
  }

  private ring(): void {
    const { doorbells = [] } = this.row;
    const [window] = this.target.windows;
    if (window === undefined || doorbells.length === 0) return this.access();
    const { offer } = this.row;
    if (offer !== undefined && !this.random.once(4)) return this.converse(offer, window, doorbells[0] ?? 0);
    window.registers.write(this.random.pick(doorbells), 4, this.random.once(3) ? value(this.random) : this.random.below(16));
  }

  /** Some requests in a row, each of which may need the ones before. */
  private converse(offer: NonNullable<DeviceRow['offer']>, window: Window, doorbell: number): void {
    for (let left = 1 + this.random.below(24); left > 0; left -= 1) {
      if (!offer(this.random, this.view, window.registers)) this.start();
      window.registers.write(doorbell, 2, 0);
    }
  }

  private start(): void {
    const [window] = this.target.windows;
    this.target.fn?.writeConfig(4, 2, 7);
    for (const [offset, size, number] of this.row.start ?? []) window?.registers.write(offset, size, number);
  }

  private configure(): void {
    const { fn } = this.target;
    if (fn === undefined) return this.access();
    const size = this.random.pick(sizes);
    const offset = this.random.below(this.random.once(4) ? 4096 : 256) & ~(size - 1);
    if (this.random.once(2)) fn.readConfig(offset, size);
    else fn.writeConfig(offset, size, (value(this.random) & sizeMask(size)) >>> 0);
  }

  private pass(): void {
    this.time.pass(this.random.pick([0, 100, 10_000, 1_000_000, 2_000_000_000]));
    this.clock.runDue();
  }

  private settleDisks(): void {
    for (const disk of this.target.disks ?? []) {
      disk.immediate = !this.random.once(3);
      disk.failure = this.random.once(4) ? 'io' : null;
      disk.answer();
    }
  }

  /** A machine that is saved now and goes on in another process. */
  private goOnElsewhere(): void {
    const saved = this.target.device.saveState();
    const other = this.row.make(this.clock, this.ram);
    other.device.loadState(JSON.parse(JSON.stringify(saved)) as unknown);
    const idle = (this.target.disks ?? []).every(({ waiting }) => waiting.length === 0);
    if (idle && this.row.looksAnew !== true && !isDeepStrictEqual(other.device.saveState(), saved)) {
      throw new Error('a restored device differs from the saved one');
    }
    this.target = other;
  }
}

export interface DeviceFuzz {
  readonly steps: number;
  readonly devices: number;
}

/**
 * @param steps of each device, @param only names of rows; absent: all
 * @throws Error that names device, seed and step
 */
export function fuzzDevices(seed: number, steps: number, only?: string): DeviceFuzz {
  const rows = deviceRows.filter(({ name }) => only === undefined || name === only);
  for (const [index, row] of rows.entries()) {
    const bench = new Bench(row, new Random(seed * 1000 + index));
    for (let step = 0; step < steps; step++) {
      const began = performance.now();
      try {
        bench.step();
        if (step % 256 === 0) bench.check();
      } catch (error) {
        throw new Error(`${row.name}, seed ${seed}, step ${step}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
      const took = performance.now() - began;
      if (took > STEP_MS) throw new Error(`${row.name}, seed ${seed}, step ${step}: it took ${took.toFixed(0)} ms`);
    }
    bench.check();
  }
  return { steps, devices: rows.length };
}
