/** `npm run soak -- [--snapshots N] [--restores N] [--seed N] [--nested]`: a Debian guest under load, snapshotted live and put back at random. */
import { parseArgs } from 'node:util';
import { soak } from './soak.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { snapshots: text, restores: text, seed: text, nested: { type: 'boolean' } } });
const snapshots = Number(values.snapshots ?? 100);
const restores = Number(values.restores ?? snapshots / 2);

console.log(await soak({ snapshots, restores, seed: Number(values.seed ?? 1), nested: values.nested === true, tell: (line) => console.log(line) }));
process.exit(0);
