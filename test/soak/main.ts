/** `npm run soak`: hours of a guest's life, shortened. */
import { parseArgs } from 'node:util';
import { changingCode } from './changingCode.ts';
import { soak } from './soak.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { code: text, snapshots: text, restores: text, suspensions: text, seed: text, nested: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });

const usage = `npm run soak -- [--snapshots N] [--restores N] [--suspensions N] [--seed N] [--nested]   a Debian guest under load, snapshotted live and put back at random
npm run soak -- --code SECONDS                                                            a guest whose code changes all the time, and what memory that takes`;

const snapshots = Number(values.snapshots ?? 100);
const restores = Number(values.restores ?? snapshots / 2);
const suspensions = Number(values.suspensions ?? snapshots / 10);

const tell = (line: string): void => console.log(line);

if (values.help === true) console.log(usage);
else if (values.code !== undefined) console.log(await changingCode(Number(values.code), tell));
else console.log(await soak({ snapshots, restores, suspensions, seed: Number(values.seed ?? 1), nested: values.nested === true, tell }));
process.exit(0);
