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
  /** Leave the reference evaluator out. */
  readonly withoutReference?: boolean;
}

export interface Difference {
  readonly number: number;
  readonly row: string;
  readonly between: 'the native processor and the interpreter' | 'the interpreter and the reference evaluator';
  readonly item: Case;
  readonly lines: readonly string[];
}

export class Session {
  readonly machine: EmulatedMachine;
  readonly generator: Generator;
  readonly rowCount: number;
  private readonly pattern: Uint8Array;
  private readonly options: SessionOptions;
  /** Cases by row name and by vector, for the report. */
  readonly covered = new Map<number, number>();
  readonly vectors = new Map<number, number>();

  constructor(options: SessionOptions) {
    this.options = options;
    const tested = testedRows(hostFeatures(), options.rows ?? '');
    this.rowCount = tested.length;
    this.generator = new Generator(options.seed, tested);
    this.pattern = patternOf(options.seed);
    this.machine = new EmulatedMachine(this.pattern);
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
    const reference = this.options.withoutReference === true ? null : this.machine.run(item, 'reference', number % 8 === 1);
    const apart = reference ? differences(item, reference, ours, EXACT) : [];
    const lines = differences(item, ours, native, { undefinedFlags: undefinedFlagsOf(row), tolerances: tolerancesOf(row, item, ours, native), exact: false });
    if (lines.length > 0) found.push({ number, row: name, between: 'the native processor and the interpreter', item, lines });
    if (apart.length > 0) found.push({ number, row: name, between: 'the interpreter and the reference evaluator', item, lines: apart });
    return found;
  }
}
