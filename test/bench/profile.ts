/**
 * Chooses the interpreter's hot forms: counts what the guests execute while they boot and in each phase, weighs every phase alike, and
 * rewrites core/cpu/interpreter/hot.ts, and cold.ts with the forms that were executed besides.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createOpenMachine } from '../../core/machine/create.ts';
import type { Guest } from '../helpers/guests.ts';
import { printTable } from './table.ts';

/** Cases of the switch: V8's optimising compiler takes 0.3 s for about 250 of them and several seconds for a thousand. */
const LIMIT = 230;
const SHOWN = 30;
const TAKE_MS = 1000;
const HOT_FILE = new URL('../../core/cpu/interpreter/hot.ts', import.meta.url);
const COLD_FILE = new URL('../../core/cpu/interpreter/cold.ts', import.meta.url);

type Counts = Map<string, number>;

/** Forms of the interpreter's two functions: 64-bit code, and the rest. */
const modes = [{ list: 'HOT_LONG', has: (form: string) => form.startsWith('64 ') }, { list: 'HOT_LEGACY', has: (form: string) => !form.startsWith('64 ') }];

export async function profile(guests: readonly (Guest & { readonly name: string })[], rewrite: boolean): Promise<void> {
  const weights: Counts = new Map();
  for (const guest of guests) {
    const phases = await countPhases(guest);
    for (const [phase, counts] of phases) {
      const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
      console.log(`${guest.name}, ${phase}: ${(total / 1e6).toFixed(0)} million`);
      for (const mode of modes) addShares(weights, [...counts].filter(([form]) => mode.has(form)), total);
    }
  }
  const sorted = [...weights].sort((a, b) => b[1] - a[1]);
  const lists = modes.map((mode) => ({ ...mode, forms: sorted.filter(([form]) => mode.has(form)) }));
  for (const { list, forms } of lists) {
    const all = forms.reduce((sum, [, weight]) => sum + weight, 0);
    let covered = 0;
    printTable([list, 'share', 'together'], forms.slice(0, SHOWN).map(([form, weight]) => {
      covered += weight;
      return [form, `${((100 * weight) / all).toFixed(2)} %`, `${((100 * covered) / all).toFixed(1)} %`];
    }));
    const kept = forms.slice(0, LIMIT).reduce((sum, [, weight]) => sum + weight, 0);
    console.log(`${Math.min(LIMIT, forms.length)} of ${forms.length} forms cover ${((100 * kept) / all).toFixed(2)} %`);
  }
  if (!rewrite) return;
  const head = 'Forms that are cases of the interpreter\'s switch, most frequent first, measured on real guests: written by `npm run bench -- profile`.';
  writeFileSync(HOT_FILE, source(head, lists.map(({ list, forms }) => ({ list, names: forms.slice(0, LIMIT).map(([form]) => form) }))));
  const rest = lists.flatMap(({ forms }) => forms.slice(LIMIT).map(([form]) => form));
  writeFileSync(COLD_FILE, source('Other forms that real guests execute, which the build compiles: written by `npm run bench -- profile`.', [{ list: 'COLD_FORMS', names: rest.sort() }]));
}

/** A phase's forms by their share of all it executed; a mode that a guest hardly uses weighs little. */
function addShares(weights: Counts, counts: readonly (readonly [string, number])[], total: number): void {
  for (const [form, count] of counts) weights.set(form, (weights.get(form) ?? 0) + count / total);
}

/** Runs a guest's benchmark in this process; executed forms by phase. */
async function countPhases(guest: Guest & { readonly name: string }): Promise<Map<string, Counts>> {
  const phases = new Map<string, Counts>();
  let phase = 'boot';
  let line = '';
  const take = (): void => {
    const counts = phases.get(phase) ?? new Map<string, number>();
    // The interpreter's own operations (ends of pages and the like) are no forms of instructions.
    for (const { name, count } of machine.cpu.takeProfile()) if (!name.startsWith('operation')) counts.set(name, (counts.get(name) ?? 0) + count);
    phases.set(phase, counts);
  };
  const machine = await createOpenMachine({
    memoryBytes: 512 << 20, cpus: 1, cpuModel: '', jit: 'off', clock: 'wall',
    boot: { kind: 'image', kernel: readFileSync(guest.kernel), initrd: readFileSync(guest.initramfs), append: 'console=ttyS0 quiet', modules: [] },
  }, {
    serialOutput: (_port, bytes) => {
      for (const byte of bytes) {
        if (byte !== 10) {
          line += String.fromCharCode(byte);
          continue;
        }
        const [, name] = /^BEGIN (\w+)/.exec(line) ?? [];
        if (name !== undefined) {
          take();
          phase = name;
          console.error(`${guest.name}: ${name}`);
        }
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
    return phases;
  }
}

function source(head: string, lists: readonly { readonly list: string; readonly names: readonly string[] }[]): string {
  const body = lists.map(({ list, names }) => `export const ${list}: readonly string[] = [\n${names.map((name) => `  '${name}',\n`).join('')}];\n`);
  return `/**\n * ${head}\n */\n${body.join('')}`;
}
