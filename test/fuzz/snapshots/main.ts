/** Many faults, each after another number of steps; says how they ended. */
import { runStore } from './store.ts';

/** Steps of the longest run of `runStore`: faults are spread over them. */
const STEPS = 90;

/** @throws Error with the seed that repeats it when anything that was listed was lost. */
export async function fuzzStore(seed: number, runs: number): Promise<string> {
  const outcomes = new Map<string, number>();
  let verified = 0;
  for (let i = 0; i < runs; i += 1) {
    const fault = i % 4 === 3 ? 'full' : 'power';
    // Every moment is as likely as any other, the first ones included.
    const operations = (i * 37) % STEPS;
    try {
      const run = await runStore(seed + i, operations, fault);
      outcomes.set(run.outcome, (outcomes.get(run.outcome) ?? 0) + 1);
      verified += run.verified;
    } catch (error) {
      throw new Error(`seed ${seed + i}, a fault (${fault}) after ${operations} steps: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  return `${runs} faults: ${[...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', ')}; ${verified} snapshots read back whole`;
}
