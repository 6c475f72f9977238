/**
 * Two machines in lock step: the same guest in compiled regions and in the interpreter alone. By the instruction clock every VM entry ends at the
 * same instruction in both, so registers are compared after each, and memory from time to time. Where they differ, the run is repeated up to
 * that entry, which is then looked at instruction by instruction.
 */
import { disassemble } from '../../core/isa/disassembler.ts';
import { CODE_SIZE, RIP } from '../../core/cpu/layout.ts';
import { REGISTER_SETS } from '../../core/gdb/registers.ts';
import { createOpenMachine } from '../../core/machine/create.ts';
import type { OpenMachine } from '../../core/machine/create.ts';
import type { MachineConfig, SliceResult } from '../../core/machine/types.ts';

export interface LockstepOptions {
  /** A machine, anew each time, as its images become its own; tier and clock are set here. One vCPU. */
  readonly config: () => Omit<MachineConfig, 'jit' | 'clock' | 'cpus'>;
  /** Of the machine that is compared with the interpreter. */
  readonly tier: 'on' | 'always';
  /** Where to end, if the guest does not before. */
  readonly instructions: number;
  /** Told now and then how far it is. */
  readonly progress?: (instructions: number) => void;
  /** Called with each compiling machine that is made: tests break it there. */
  readonly prepare?: (machine: OpenMachine) => void;
}

export interface Agreement {
  readonly kind: 'agreed';
  readonly instructions: number;
  readonly entries: number;
  readonly regions: number;
  /** Regions that were taken over from an earlier run. */
  readonly kept: number;
}

export interface Disagreement {
  readonly kind: 'differs';
  /** The count of instructions at which both still agreed, and the first at which they do not. */
  readonly agreed: number;
  readonly differs: number;
  /** What differs there: registers by name and memory by guest-physical address, in hexadecimal. */
  readonly values: readonly { readonly what: string; readonly compiled: string; readonly interpreted: string }[];
  /** What the interpreter carried out between the two; `suspect`: where what differs most likely went wrong. */
  readonly trace: readonly { readonly rip: bigint; readonly text: string; readonly suspect: boolean }[];
}

/** VM entries between two comparisons of memory. */
const MEMORY_EVERY = 2_000;
const PAGE_SIZE = 4096;
/** Bytes of memory that are followed through an entry: as many places as differ behind it, at most. */
const PLACES = 4;
/** Instructions of the longest trace. */
const STEPS = 4_096;
const CODE_SIZES = [16, 32, 64] as const;
const ROWS = REGISTER_SETS.amd64;

type Values = ReadonlyMap<string, string>;

class Side {
  readonly machine: OpenMachine;
  output = '';

  private constructor(machine: OpenMachine) {
    this.machine = machine;
    machine.vmm.sliceMs = 0;
  }

  static async start({ config, tier, prepare }: LockstepOptions, compiled: boolean): Promise<Side> {
    let side: Side | null = null;
    const machine = await createOpenMachine({ ...config(), cpus: 1, clock: 'instructions', jit: compiled ? tier : 'off' }, {
      serialOutput: (_port, bytes) => {
        if (side) side.output += Buffer.from(bytes).toString('latin1');
      },
    });
    if (compiled) prepare?.(machine);
    side = new Side(machine);
    return side;
  }

  get count(): number {
    return this.machine.cpu.instructions;
  }

  entry(): SliceResult {
    return this.machine.runSlice();
  }

  /** All registers; `places` in memory, too. */
  values(places: readonly number[] = []): Values {
    const { cpu } = this.machine;
    const bytes = new Uint8Array(16);
    const values = new Map<string, string>();
    for (const row of ROWS) {
      bytes.fill(0);
      row.read(cpu, bytes);
      values.set(row.name, Buffer.from(bytes.subarray(0, Math.ceil(row.bits / 8))).reverse().toString('hex'));
    }
    for (const place of places) values.set(`memory ${place.toString(16)}`, cpu.ram[place]!.toString(16).padStart(2, '0'));
    return values;
  }

  get rip(): bigint {
    return this.machine.cpu.view.getBigUint64(RIP, true);
  }

  /** The instruction at RIP as text. */
  next(): string {
    const { cpu } = this.machine;
    const gpa = cpu.call('sampleAddress', 0) >>> 0;
    if (gpa >= cpu.ram.length) return '(cannot be fetched)';
    const page = cpu.ram.subarray(gpa, (gpa & ~(PAGE_SIZE - 1)) + PAGE_SIZE);
    return disassemble(page, 0, CODE_SIZES[cpu.view.getUint32(CODE_SIZE, true)] ?? 32, this.rip).text;
  }
}

function differences(compiled: Values, interpreted: Values): Disagreement['values'] {
  return [...compiled].filter(([what, value]) => interpreted.get(what) !== value).map(([what, value]) => ({ what, compiled: value, interpreted: interpreted.get(what) ?? '' }));
}

/** Guest-physical addresses of the first bytes of memory that differ. */
function differingMemory(compiled: Uint8Array, interpreted: Uint8Array): number[] {
  const places: number[] = [];
  for (let at = 0; at < compiled.length && places.length < PLACES; at += PAGE_SIZE) {
    if (Buffer.compare(compiled.subarray(at, at + PAGE_SIZE), interpreted.subarray(at, at + PAGE_SIZE)) === 0) continue;
    for (let i = at; i < at + PAGE_SIZE && places.length < PLACES; i++) if (compiled[i] !== interpreted[i]) places.push(i);
  }
  return places;
}

export async function lockstep(options: LockstepOptions): Promise<Agreement | Disagreement> {
  const sides = async (): Promise<readonly [Side, Side]> => [await Side.start(options, true), await Side.start(options, false)];

  /** Runs both until something differs, memory looked at in each entry from `closely` on: the entry, and where memory differs. */
  const run = async (closely: number): Promise<Agreement | { readonly entry: number; readonly lookedAt: number; readonly places: readonly number[] }> => {
    const [compiled, interpreted] = await sides();
    let lookedAt = 0;
    for (let entry = 1; ; entry++) {
      const results = [compiled.entry(), interpreted.entry()] as const;
      const registers = results[0].kind !== results[1].kind || compiled.count !== interpreted.count || compiled.output !== interpreted.output
        || differences(compiled.values(), interpreted.values()).length > 0;
      const ends = results[0].kind === 'stopped' || results[0].kind === 'halted' || compiled.count >= options.instructions;
      if (registers || ends || entry >= closely || entry % MEMORY_EVERY === 0) {
        const places = differingMemory(compiled.machine.cpu.ram, interpreted.machine.cpu.ram);
        if (registers || places.length > 0) return { entry, lookedAt, places };
        lookedAt = entry;
        if (ends) {
          const { regions = 0, kept = 0 } = compiled.machine.cpu.jit?.counters ?? {};
          compiled.machine.ended?.(true);
          return { kind: 'agreed', instructions: compiled.count, entries: entry, regions, kept };
        }
        options.progress?.(compiled.count);
      }
    }
  };

  const found = await run(Infinity);
  if ('kind' in found) return found;
  // Memory may have been different since it was last looked at.
  const exact = await run(found.lookedAt + 1);
  if ('kind' in exact) throw new Error('the two machines differed, but did not when they ran again');
  return inspect(await sides(), () => Side.start(options, false), exact.entry, exact.places);
}

/** Looks at the entry in which two machines part. */
async function inspect([compiled, interpreted]: readonly [Side, Side], again: () => Promise<Side>, entry: number, places: readonly number[]): Promise<Disagreement> {
  const stops = (side: Side): Map<number, Values> => {
    for (let i = 1; i < entry; i++) side.entry();
    const seen = new Map<number, Values>([[side.count, side.values(places)]]);
    side.machine.cpu.observe(() => void seen.set(side.count, side.values(places)));
    side.entry();
    side.machine.cpu.observe(null);
    return seen.set(side.count, side.values(places));
  };
  const left = stops(compiled);
  const right = stops(interpreted);
  const common = [...left.keys()].filter((count) => right.has(count)).sort((a, b) => a - b);
  const differs = common.find((count) => differences(left.get(count)!, right.get(count)!).length > 0) ?? Math.max(compiled.count, interpreted.count);
  const agreed = common.filter((count) => count < differs).at(-1) ?? 0;
  const values = differences(left.get(differs) ?? compiled.values(places), right.get(differs) ?? interpreted.values(places));
  return { kind: 'differs', agreed, differs, values, trace: trace(await again(), entry, agreed, differs, values.map(({ what }) => what), places) };
}

/** Steps the interpreter from one count of instructions to another. */
function trace(side: Side, entry: number, from: number, to: number, what: readonly string[], places: readonly number[]): Disagreement['trace'] {
  const { machine: { cpu } } = side;
  for (let i = 1; i < entry; i++) side.entry();
  if (side.count < from) {
    cpu.observe(() => {
      if (side.count >= from) cpu.debug.stop = { kind: 'interrupt' };
    });
    side.entry();
    cpu.observe(null);
  }
  const steps: { readonly rip: bigint; readonly text: string; readonly wrote: readonly string[] }[] = [];
  for (let before = side.values(places); side.count < to && steps.length < STEPS;) {
    const { rip } = side;
    const text = side.next();
    cpu.debug.resume(cpu.linearRip, true);
    side.entry();
    const after = side.values(places);
    steps.push({ rip, text, wrote: what.filter((name) => name !== 'rip' && before.get(name) !== after.get(name)) });
    before = after;
  }
  // A wrong value makes others wrong: of the instructions that wrote last what differs, the first.
  const last = what.map((name) => steps.findLastIndex(({ wrote }) => wrote.includes(name))).filter((i) => i >= 0);
  const suspect = Math.min(...last);
  return steps.map(({ rip, text }, i) => ({ rip, text, suspect: i === suspect }));
}
