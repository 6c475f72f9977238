/**
 * Chooses the interpreter's hot forms and pairs of forms: counts what it carries out while the guests boot and in each phase, beside the compiler,
 * and rewrites core/cpu/interpreter/hot.ts, and cold.ts with the forms that were executed besides.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { COLD_FORMS } from '../../core/cpu/interpreter/cold.ts';
import { HOT_LEGACY, HOT_LONG } from '../../core/cpu/interpreter/hot.ts';
import { programsOf } from '../../core/cpu/interpreter/namedForms.ts';
import { canBeFirst, membersOf } from '../../core/cpu/interpreter/pairs.ts';
import { createOpenMachine } from '../../core/machine/create.ts';
import type { Guest } from '../helpers/guests.ts';
import { printTable } from './table.ts';

/** Cases of the switch: V8's optimising compiler takes 0.3 s for about 250 of them and several seconds for a thousand. */
const LIMIT = 230;
/** Pairs beside them: more are each as rare as the memory that their code takes. */
const PAIR_LIMIT = 120;
const SHOWN = 30;
const TAKE_MS = 1000;
const HOT_FILE = new URL('../../core/cpu/interpreter/hot.ts', import.meta.url);
const COLD_FILE = new URL('../../core/cpu/interpreter/cold.ts', import.meta.url);

type Counts = Map<string, number>;

/** What was carried out. */
interface Profile {
  readonly forms: Counts;
  readonly pairs: Counts;
}

/** Forms of the interpreter's two functions: 64-bit code, and the rest. */
const modes = [
  { suffix: 'LONG', has: (form: string) => form.startsWith('64 ') },
  { suffix: 'LEGACY', has: (form: string) => !form.startsWith('64 ') },
];

export async function profile(guests: readonly (Guest & { readonly name: string })[], rewrite: boolean): Promise<void> {
  const all: Profile = { forms: new Map(), pairs: new Map() };
  for (const guest of guests) await countGuest(guest, all);
  const lists = modes.map(({ suffix, has }) => {
    const forms = mostFrequent(all.forms, has);
    const hot = forms.slice(0, LIMIT);
    show(`HOT_${suffix}`, forms, LIMIT);
    const pairs = mostFrequent(all.pairs, (pair) => {
      const members = membersOf(pair);
      return members.every((member) => hot.includes(member)) && canBeFirst(programsOf([members[0]])[0]!);
    });
    show(`PAIRS_${suffix}`, pairs, PAIR_LIMIT, totalOf(all.forms, has));
    return { suffix, hot, rest: forms.slice(LIMIT), pairs: pairs.slice(0, PAIR_LIMIT) };
  });
  if (!rewrite) return;
  const head = 'Forms that are cases of the interpreter\'s switch, and pairs of them that are one, most frequent first, measured on real guests: written by `npm run bench -- profile`.';
  writeFileSync(HOT_FILE, source(head, lists.flatMap(({ suffix, hot, pairs }) => [{ list: `HOT_${suffix}`, names: hot }, { list: `PAIRS_${suffix}`, names: pairs }])));
  writeFileSync(COLD_FILE, source('Other forms that real guests execute, which the build compiles: written by `npm run bench -- profile`.', [{ list: 'COLD_FORMS', names: coldForms(lists) }]));

  function show(list: string, names: readonly string[], limit: number, of?: number): void {
    const counts = list.startsWith('HOT') ? all.forms : all.pairs;
    const count = (some: readonly string[]): number => some.reduce((sum, name) => sum + counts.get(name)!, 0);
    const whole = of ?? count(names);
    printTable([list, 'share', 'together'], names.slice(0, SHOWN).map((name, index) => [name, percent(count([name]) / whole), percent(count(names.slice(0, index + 1)) / whole)]));
    console.log(`${Math.min(limit, names.length)} of ${names.length} cover ${percent(count(names.slice(0, limit)) / whole)}`);
  }
}

/** Forms that are not hot; what an earlier profile found stays, as what is rare is not met each time. */
function coldForms(lists: readonly { readonly hot: readonly string[]; readonly rest: readonly string[] }[]): string[] {
  const hot = new Set(lists.flatMap((list) => list.hot));
  return [...new Set([...lists.flatMap(({ rest }) => rest), ...HOT_LONG, ...HOT_LEGACY, ...COLD_FORMS])].filter((form) => !hot.has(form)).sort();
}

function mostFrequent(counts: Counts, has: (name: string) => boolean): string[] {
  return [...counts].filter(([name]) => has(name)).sort((a, b) => b[1] - a[1]).map(([name]) => name);
}

function totalOf(counts: Counts, has: (name: string) => boolean): number {
  return [...counts].reduce((sum, [name, count]) => sum + (has(name) ? count : 0), 0);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

/** Runs a guest's benchmark in this process, and adds what was carried out. */
async function countGuest(guest: Guest & { readonly name: string }, all: Profile): Promise<void> {
  let line = '';
  const take = (): void => {
    const { forms, pairs } = machine.cpu.takeProfile();
    for (const [counts, found] of [[all.forms, forms], [all.pairs, pairs]] as const) {
      // The interpreter's own operations (ends of pages and the like) are no forms of instructions.
      for (const { name, count } of found) if (!name.includes('operation')) counts.set(name, (counts.get(name) ?? 0) + count);
    }
  };
  const machine = await createOpenMachine({
    memoryBytes: 512 << 20, cpus: 1, cpuModel: '', jit: 'on', clock: 'wall',
    boot: { kind: 'image', kernel: readFileSync(guest.kernel), initrd: readFileSync(guest.initramfs), append: 'console=ttyS0 quiet', modules: [] },
  }, {
    serialOutput: (_port, bytes) => {
      for (const byte of bytes) {
        if (byte !== 10) {
          line += String.fromCharCode(byte);
          continue;
        }
        const [, name] = /^BEGIN (\w+)/.exec(line) ?? [];
        if (name !== undefined) console.error(`${guest.name}: ${name}`);
        line = '';
      }
    },
  }, true);
  let taken = performance.now();
  for (;;) {
    const result = machine.runSlice();
    if (performance.now() - taken > TAKE_MS) {
      take();
      taken = performance.now();
    }
    if (result.kind === 'halted') await sleep(Math.min(20, (result.wakeInNs ?? 2e7) / 1e6));
    if (result.kind !== 'stopped') continue;
    if (result.exit.reason !== 'power-off') throw new Error(`${guest.name} ended by ${result.exit.reason}`);
    take();
    return;
  }
}

function source(head: string, lists: readonly { readonly list: string; readonly names: readonly string[] }[]): string {
  const body = lists.map(({ list, names }) => `export const ${list}: readonly string[] = [\n${names.map((name) => `  '${name}',\n`).join('')}];\n`);
  return `/**\n * ${head}\n */\n${body.join('')}`;
}
