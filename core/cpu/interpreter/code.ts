/** The interpreter of one machine: `run` for each code size, and the forms in the table that it calls. */
import type { Program } from '../../isa/ir.ts';
import type { HelperSignatures } from '../helpers.ts';
import { COLD_FORMS } from './cold.ts';
import { buildForms } from './coldForms.ts';
import { HOT_LEGACY, HOT_LONG, PAIRS_LEGACY, PAIRS_LONG } from './hot.ts';
import { numberForms } from './namedForms.ts';
import { HOT_NUMBERS, PairNumbers } from './pairs.ts';
import { COLD_FIRST, emitInterpreter } from './prebuilt.ts';
import type { PrebuiltCode } from './prebuilt.ts';

/** Indexes of the table from here on belong to regions. */
export const COLD_LIMIT = 16384;
/** Where a profile counts operations, and pairs of them behind that: memory that a machine with a profile has free. */
const PROFILE_TABLE = 0xf00000;

/** `run(record)`: one of the results in runLoop.ts. */
export type Run = (record: number) => number;

export interface InterpreterHost {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly helpers: WebAssembly.ModuleImports;
  readonly signatures: HelperSignatures;
  /** Null: all is emitted when it is needed. */
  readonly prebuilt: PrebuiltCode | null;
  /** Index of the table at which there is no more room for forms; absent: COLD_LIMIT. */
  readonly formLimit?: number | undefined;
  /** Operations are counted. */
  readonly profile: boolean;
  /** A region is stale; returns whether its entry leads elsewhere now (jit/manager.ts). */
  dropRegion(index: number): boolean;
}

export class InterpreterCode {
  /** Numbers of the forms that there are from the beginning, by name. */
  readonly numbers: ReadonlyMap<string, number>;
  private readonly longPairs: PairNumbers;
  private readonly legacyPairs: PairNumbers;
  /** Forms that were emitted on demand. */
  formsCompiled = 0;
  /** A form was refused: those emitted on demand must be forgotten. */
  full = false;
  private readonly host: InterpreterHost;
  private long: Run | null = null;
  private legacy: Run | null = null;
  private readonly firstCold: number;
  private nextCold: number;

  constructor(host: InterpreterHost) {
    this.host = host;
    const forms = host.prebuilt ? COLD_FORMS : [];
    if (host.prebuilt) this.instantiateForms(host.prebuilt.forms);
    this.firstCold = COLD_FIRST + forms.length;
    this.nextCold = this.firstCold;
    this.numbers = numberForms([HOT_LONG, HOT_LEGACY], forms, COLD_FIRST);
    // A profile counts forms, and which follow which.
    this.longPairs = new PairNumbers(this.numbers, HOT_LONG.length, host.profile ? [] : PAIRS_LONG);
    this.legacyPairs = new PairNumbers(this.numbers, HOT_LEGACY.length, host.profile ? [] : PAIRS_LEGACY);
  }

  /**
   * Puts a form into the table; its number. Null when there is no room. Programs use some thousand at most, but there are more for who tries: a guest
   * that does must neither end the machine nor fill the host's memory.
   */
  compileForm(program: Program, name: string): number | null {
    if (this.nextCold >= (this.host.formLimit ?? COLD_LIMIT)) {
      this.full = true;
      return null;
    }
    try {
      this.instantiateForms(buildForms([program], this.host.signatures, this.nextCold));
    } catch (error) {
      throw new Error(`the code of '${name}' is not valid: ${error instanceof Error ? error.message : String(error)}`);
    }
    this.formsCompiled++;
    return this.nextCold++;
  }

  /** Makes room: forms that were emitted on demand have no numbers any more. No decoded code may be left. */
  forgetForms(): void {
    for (let number = this.firstCold; number < this.nextCold; number++) this.host.table.set(number, null);
    this.nextCold = this.firstCold;
    this.full = false;
  }

  /** Pairs of 64-bit code, or of all other. */
  pairs(long: boolean): PairNumbers {
    return long ? this.longPairs : this.legacyPairs;
  }

  /** For 64-bit code, or for all other. */
  run(long: boolean): Run {
    return long ? (this.long ??= this.instantiateRun(true)) : (this.legacy ??= this.instantiateRun(false));
  }

  /** How often each operation, and each pair of hot ones (first * HOT_NUMBERS + second), has run since the last call. Counters have 32 bits: ask now and then. */
  takeProfile(): { readonly operations: Map<number, number>; readonly pairs: Map<number, number> } {
    const take = (at: number, length: number): Map<number, number> => {
      const counts = new Map<number, number>();
      const table = new Uint32Array(this.host.memory.buffer, at, length);
      for (const [number, count] of table.entries()) if (count > 0) counts.set(number, count);
      table.fill(0);
      return counts;
    };
    if (!this.host.profile) return { operations: new Map(), pairs: new Map() };
    return { operations: take(PROFILE_TABLE, COLD_LIMIT), pairs: take(PROFILE_TABLE + COLD_LIMIT * 4, HOT_NUMBERS * HOT_NUMBERS) };
  }

  /** The functions of forms are in the table then. */
  private instantiateForms(code: Uint8Array<ArrayBuffer>): void {
    const { memory, table, helpers } = this.host;
    void new WebAssembly.Instance(new WebAssembly.Module(code), { host: { memory, cold: table }, helpers });
  }

  private instantiateRun(long: boolean): Run {
    const { memory, table, helpers, signatures, prebuilt, profile, dropRegion } = this.host;
    const code = prebuilt?.[long ? 'long' : 'legacy'] ?? emitInterpreter(signatures, long, profile ? { operations: PROFILE_TABLE, pairs: PROFILE_TABLE + COLD_LIMIT * 4 } : null);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(code), {
      host: { memory, cold: table }, helpers: { ...helpers, dropRegion: (index: number) => Number(dropRegion(index)) },
    });
    return instance.exports['run'] as Run;
  }
}
