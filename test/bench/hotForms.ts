/**
 * Chooses the interpreter's hot forms: merges profiles (JSON written by `profile.ts`) and rewrites core/cpu/interpreter/hot.ts.
 * Usage: node test/bench/hotForms.ts PROFILE.json...
 */
import { readFileSync, writeFileSync } from 'node:fs';

/** Cases of the switch: V8's optimising compiler takes 0.3 s for about 250 of them and several seconds for a thousand. */
const LIMIT = 230;

const shares = new Map<string, number>();
for (const file of process.argv.slice(2)) {
  const profile = (JSON.parse(readFileSync(file, 'utf8')) as { name: string; count: number }[]).filter(({ name }) => !name.startsWith('operation'));
  for (const mode of ['64', 'other']) {
    const mine = profile.filter(({ name }) => name.startsWith('64 ') === (mode === '64'));
    const total = mine.reduce((sum, { count }) => sum + count, 0);
    for (const { name, count } of mine) shares.set(name, (shares.get(name) ?? 0) + count / total);
  }
}
const sorted = [...shares].sort((a, b) => b[1] - a[1]).map(([name]) => name);
const list = (names: readonly string[]): string => names.map(name => `  '${name}',\n`).join('');
const long = sorted.filter(name => name.startsWith('64 ')).slice(0, LIMIT);
const legacy = sorted.filter(name => !name.startsWith('64 ')).slice(0, LIMIT);
writeFileSync(new URL('../../core/cpu/interpreter/hot.ts', import.meta.url), `/**
 * Forms that are cases of the interpreter's switch, most frequent first, measured on real guests: written by test/bench/hotForms.ts.
 */
export const HOT_LONG: readonly string[] = [
${list(long)}];
export const HOT_LEGACY: readonly string[] = [
${list(legacy)}];
`);
