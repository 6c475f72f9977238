/** Hostile guests, many: in processes of a few each, since machines are made to have a process of their own, and so that one that dies takes no others along. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { MODELS, TIERS, runHostile } from './run.ts';

export interface Guests {
  readonly count: number;
  readonly seed: number;
  readonly instructions: number;
  readonly nested: boolean;
}

/** Guests by how they ended, and what the machine itself did wrong. */
export interface Ends {
  readonly outcomes: Map<string, number>;
  readonly faults: string[];
}

/** Guests of a process; each tier with each model, whole. */
const BATCH = TIERS.length * MODELS.length * 7;
const GUEST_MS = 3000;

/** Runs all of them; `progress` is told how many are done. */
export async function fuzzGuests(guests: Guests, progress: (done: number) => void): Promise<Ends> {
  const ends: Ends = { outcomes: new Map(), faults: [] };
  for (let done = 0; done < guests.count; done += BATCH) {
    const batch = { ...guests, count: Math.min(BATCH, guests.count - done), seed: guests.seed + done };
    const child = fork(join(import.meta.dirname, 'guests.ts'), [JSON.stringify(batch)], { serialization: 'advanced' });
    let told: Ends | null = null;
    child.once('message', (message) => (told = message as Ends));
    const [code, signal] = await once(child, 'exit') as [number | null, string | null];
    const { outcomes, faults } = (told as Ends | null) ?? { outcomes: new Map([['the process died', 1]]), faults: [`seeds ${batch.seed} to ${batch.seed + batch.count - 1}: the process died (${signal ?? code})`] };
    for (const [outcome, count] of outcomes) ends.outcomes.set(outcome, (ends.outcomes.get(outcome) ?? 0) + count);
    ends.faults.push(...faults);
    progress(Math.min(done + BATCH, guests.count));
  }
  return ends;
}

async function runBatch({ count, seed: first, instructions, nested }: Guests): Promise<Ends> {
  const ends: Ends = { outcomes: new Map(), faults: [] };
  for (let i = 0; i < count; i++) {
    const jit = TIERS[i % TIERS.length]!;
    const model = nested ? 'max' : MODELS[Math.floor(i / TIERS.length) % MODELS.length]!;
    let outcome = 'the machine threw';
    try {
      outcome = await runHostile({ seed: first + i, jit, model, instructions, milliseconds: GUEST_MS, nested });
    } catch (error) {
      ends.faults.push(`seed ${first + i}, --jit ${jit}, ${model}: ${error instanceof Error ? error.stack : String(error)}`);
    }
    ends.outcomes.set(outcome, (ends.outcomes.get(outcome) ?? 0) + 1);
  }
  return ends;
}

if (import.meta.main) process.send?.(await runBatch(JSON.parse(process.argv[2] ?? '') as Guests), () => process.exit(0));
