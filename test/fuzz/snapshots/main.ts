/** Many faults, each after another number of steps; says how they ended. */
import { runDisks } from './disks.ts';
import { runStore } from './store.ts';
import type { Fault } from './disk.ts';
import type { StoreRun } from './store.ts';

/** Most faults are losses of power. */
const faults: readonly Fault[] = ['power', 'power', 'power', 'power', 'power', 'power', 'full', 'full', 'read-only', 'read-only'];
/** What is run, and the steps of its longest run: faults are spread over them. */
const parts: readonly { readonly what: string; readonly steps: number; readonly run: (seed: number, operations: number, fault: Fault) => Promise<StoreRun> }[] = [
  { what: 'memory', steps: 90, run: runStore }, { what: 'disks', steps: 240, run: runDisks },
];

/** @throws Error with the seed that repeats it when anything that was listed was lost. */
export async function fuzzStore(seed: number, runs: number): Promise<string> {
  const outcomes = new Map<string, number>();
  let verified = 0;
  for (let i = 0; i < runs; i += 1) {
    const fault = faults[i % faults.length] ?? 'power';
    const { what, steps, run: runPart } = parts[i % 2] ?? parts[0]!;
    // Every moment is as likely as any other, the first ones included.
    const operations = (i * 37) % steps;
    try {
      const run = await runPart(seed + i, operations, fault);
      outcomes.set(run.outcome, (outcomes.get(run.outcome) ?? 0) + 1);
      verified += run.verified;
    } catch (error) {
      throw new Error(`${what}, seed ${seed + i}, a fault (${fault}) after ${operations} steps: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  return `${runs} faults: ${[...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', ')}; ${verified} snapshots read back whole`;
}
