/**
 * `npm run differential -- [--cases N] [--seed N] [--rows NAME] [--first N] [--limit N] [--native-only]`: runs generated instructions on
 * this machine's processor, on the interpreter, in compiled regions and on the reference evaluator, and prints what differs.
 */
import { parseArgs } from 'node:util';
import { describeCase } from './describe.ts';
import { nativeObstacle } from './harness.ts';
import type { Difference } from './session.ts';
import { Session } from './session.ts';

const BATCH = 4096;

function number(text: string | undefined, otherwise: number, name: string): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    console.error(`--${name} takes a whole number, not '${text}'.`);
    process.exit(2);
  }
  return value;
}

const { values } = parseArgs({
  options: {
    cases: { type: 'string' }, seed: { type: 'string' }, rows: { type: 'string' }, first: { type: 'string' }, limit: { type: 'string' },
    'native-only': { type: 'boolean' },
  },
});
const obstacle = nativeObstacle();
if (obstacle) {
  console.error(`Differential testing cannot run here: ${obstacle}.`);
  process.exit(2);
}
const cases = number(values.cases, 100_000, 'cases');
const first = number(values.first, 0, 'first');
const limit = number(values.limit, 3, 'limit');
const session = new Session({
  seed: number(values.seed, 1, 'seed'), nativeOnly: values['native-only'] === true, ...(values.rows === undefined ? {} : { rows: values.rows }),
});

/** Differences by row; each row's first ones are printed. */
const byRow = new Map<string, number>();
let different = 0;
const started = performance.now();
let reported = started;

function print(difference: Difference): void {
  different++;
  const seen = byRow.get(difference.row) ?? 0;
  byRow.set(difference.row, seen + 1);
  if (seen >= limit) return;
  console.log(`case ${difference.number}: ${difference.row}: between ${difference.between}`);
  for (const line of difference.lines) console.log(`    ${line}`);
  console.log(describeCase(session, difference));
}

for (let done = 0; done < cases;) {
  const count = Math.min(BATCH, cases - done);
  for (const difference of session.run(first + done, count)) print(difference);
  done += count;
  const now = performance.now();
  if (now - reported > 5000 || done === cases) {
    reported = now;
    const seconds = (now - started) / 1000;
    console.log(`${done} cases, ${Math.round(done / seconds)} a second, ${different} differences`);
  }
}
const vectors = [...session.vectors].sort(([a], [b]) => a - b).map(([vector, count]) => `#${vector}: ${count}`).join(', ');
console.log(`${session.covered.size} of ${session.rowCount} rows, ${session.compiled} cases in compiled regions; ends by vector: ${vectors}`);
for (const line of session.passing) console.log(`only once: ${line}`);
for (const [row, count] of [...byRow].sort(([, a], [, b]) => b - a)) console.log(`${count} differences: ${row}`);
process.exit(different > 0 ? 1 : 0);
