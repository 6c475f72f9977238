/** Runs numbered cases through all three processors and gathers what differs. */
import { EXACT, differences, undefinedFlagsOf } from './compare.ts';
import { EmulatedMachine } from './emulated.ts';
import { Generator, patternOf, testedRows } from './generate.ts';
import type { Generated } from './generate.ts';
import type { Case, Outcome } from './layout.ts';
import { hostFeatures, runNative } from './native.ts';
import { tolerancesOf } from './tolerances.ts';

export interface SessionOptions {
  readonly seed: number;
  /** Only rows of this name or opcode. */
  readonly rows?: string;
  /** Leave the reference evaluator and the compiled regions out. */
  readonly nativeOnly?: boolean;
}

export interface Difference {
  readonly number: number;
  readonly row: string;
  readonly between: 'the native processor and the interpreter' | 'the interpreter and the reference evaluator' | 'the interpreter and compiled regions';
  readonly item: Case;
  readonly lines: readonly string[];
}

/** How often more a case is given to the native processor that did not come back from it. */
const NATIVE_TRIES = 5;

export class Session {
  private readonly machine: EmulatedMachine;
  private readonly regions: EmulatedMachine;
  readonly generator: Generator;
  readonly rowCount: number;
  private readonly pattern: Uint8Array;
  private readonly options: SessionOptions;
  /** Cases by row name and by vector, for the report. */
  readonly covered = new Map<number, number>();
  readonly vectors = new Map<number, number>();
  /** Native outcomes that did not come again: a host that let the process wait until it was taken for one that hangs. */
  readonly passing: string[] = [];

  constructor(options: SessionOptions) {
    this.options = options;
    const tested = testedRows(hostFeatures(), options.rows ?? '');
    this.rowCount = tested.length;
    this.generator = new Generator(options.seed, tested);
    this.pattern = patternOf(options.seed);
    this.machine = new EmulatedMachine(this.pattern);
    this.regions = new EmulatedMachine(this.pattern, true);
  }

  /** Cases `first` to `first + count - 1`. */
  run(first: number, count: number): Difference[] {
    const generated = Array.from({ length: count }, (_, i) => this.generator.case(first + i));
    const native = runNative(generated.map(({ item }) => item), this.pattern);
    const found: Difference[] = [];
    generated.forEach((one, i) => {
      this.covered.set(one.row.id, (this.covered.get(one.row.id) ?? 0) + 1);
      this.vectors.set(native[i]!.vector, (this.vectors.get(native[i]!.vector) ?? 0) + 1);
      found.push(...this.check(first + i, one, native[i]!));
    });
    return found;
  }

  /** Runs a case anew everywhere. */
  compare(one: Generated, number: number): Difference[] {
    return this.check(number, one, runNative([one.item], this.pattern)[0]!);
  }

  private check(number: number, { item, row }: Generated, native: Outcome): Difference[] {
    const found: Difference[] = [];
    const name = `${row.opcode} ${row.name} ${row.operands}`;
    const ours = this.machine.run(item, 'interpreter', number % 8 === 0);
    const others = this.options.nativeOnly === true ? [] : this.others(item, number);
    for (const { between, outcome } of others) {
      const apart = differences(item, outcome, ours, EXACT);
      if (apart.length > 0) found.push({ number, row: name, between, item, lines: apart });
    }
    const apart = (outcome: Outcome): string[] =>
      differences(item, ours, outcome, { undefinedFlags: undefinedFlagsOf(row), tolerances: tolerancesOf(row, item, ours, outcome), exact: false });
    const lines = apart(native);
    if (lines.length === 0) return found;
    // One that came back says the same again; one that did not may have been kept waiting more than once.
    const tries = native.failure === undefined ? 1 : NATIVE_TRIES;
    if (Array.from({ length: tries }).some(() => apart(runNative([item], this.pattern)[0]!).length === 0)) this.passing.push(`case ${number}: ${name}: ${lines.join('; ')}`);
    else found.push({ number, row: name, between: 'the native processor and the interpreter', item, lines });
    return found;
  }

  /** The case in the other tiers; stepped instructions never run in regions. */
  private others(item: Case, number: number): { between: Difference['between']; outcome: Outcome }[] {
    const reference = { between: 'the interpreter and the reference evaluator', outcome: this.machine.run(item, 'reference', number % 8 === 1) } as const;
    if (item.stepped) return [reference];
    return [reference, { between: 'the interpreter and compiled regions', outcome: this.regions.run(item, 'interpreter', number % 8 === 2) }];
  }

  /** Cases that ran in a compiled region. */
  get compiled(): number {
    return this.regions.cpu.jit?.counters.regions ?? 0;
  }
}
