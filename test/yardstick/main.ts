/** `npm run yardstick`: runs what others have written on the machine, and says whether it did as it should. */
import { parseArgs } from 'node:util';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { boots } from '../helpers/boots.ts';
import { runBoots } from './boots.ts';
import { diskRows, runDisks } from './disks.ts';
import { onProcessors, outside, readList, runOurs, runQemu } from './kvm-unit-tests.ts';
import type { Outcome } from './kvm-unit-tests.ts';
import { part, pick, whole } from './only.ts';
import { SYSTEMS, runSystems } from './systems.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tests: { type: 'string' }, only: { type: 'string', multiple: true }, seconds: { type: 'string' }, cpus: { type: 'string' }, seed: { type: 'string' }, qemu: { type: 'boolean' }, verbose: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  },
});

const usage = `npm run yardstick -- NAME...               ${SYSTEMS.map(({ name }) => name).join(', ')}, or systems: all of them
npm run yardstick -- boots [--only NAME]   systems from their own media, with firmware
npm run yardstick -- disks [--only NAME] [--seed N]
npm run yardstick -- kvm-unit-tests --tests FOLDER [--only REGEXP]... [--cpus N] [--qemu] [--seconds N] [--verbose] [-- OPTIONS OF run]
    The suite is built beforehand, from its own sources: configure && make in kvm-unit-tests; FOLDER (or VANDERPOOL_KVM_UNIT_TESTS) is its folder x86.`;

function refuse(message: string): never {
  console.error(message);
  process.exit(2);
}

if (values.help === true) {
  console.log(usage);
  process.exit(0);
}

function picked<T extends { readonly name: string }>(rows: readonly T[], matches: (pattern: string) => RegExp): readonly T[] {
  try {
    return pick(rows, values.only, matches);
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const known = ['kvm-unit-tests', 'boots', 'disks', 'systems', ...SYSTEMS.map(({ name }) => name)];
if (!known.includes(positionals[0] ?? '')) refuse(`Name what to run, npm run yardstick -- NAME: ${known.join(', ')}.`);
if (positionals[0] === 'boots') process.exit(await runBoots(picked(boots, whole)) ? 0 : 1);
if (positionals[0] === 'disks') process.exit(await runDisks(picked(diskRows, part), Number(values.seed ?? Date.now())) ? 0 : 1);
if (positionals[0] !== 'kvm-unit-tests') process.exit(await runSystems(SYSTEMS.filter(({ name }) => positionals.includes('systems') || positionals.includes(name))) ? 0 : 1);

const folder = values.tests ?? process.env.VANDERPOOL_KVM_UNIT_TESTS ?? refuse('Say where the built tests lie: --tests FOLDER, or VANDERPOOL_KVM_UNIT_TESTS.');
if (!existsSync(join(folder, 'unittests.cfg'))) refuse(`${folder} has no unittests.cfg: name the folder x86 of a built kvm-unit-tests.`);

const list = readList(folder).map(test => (values.cpus === undefined ? test : onProcessors(test, Number(values.cpus))));
const chosen = values.only === undefined ? list.filter(({ name }) => !name.startsWith('vmx') && !name.startsWith('ept')) : picked(list, whole);
const cell = (outcome: Outcome): string => `${outcome.passed} / ${outcome.failed.length} / ${outcome.skipped} | ${outcome.ending} | ${outcome.seconds.toFixed(1)}`;
/** Where QEMU hangs, it hangs for good. */
const QEMU_SECONDS = 60;
const total = { passed: 0, failed: 0 };
const left: string[] = [];

console.log(`| test | passed / failed / skipped | ending | s |${values.qemu ? ' QEMU TCG: passed / failed / skipped | ending | s |' : ''}`);
console.log(`|---|---|---|---|${values.qemu ? '---|---|---|' : ''}`);
for (const test of chosen) {
  const reason = outside(test, folder);
  if (reason !== '') {
    left.push(`${test.name}: ${reason}`);
    continue;
  }
  const seconds = Number(values.seconds ?? test.seconds);
  const ours = await runOurs(test, folder, seconds, positionals.slice(1));
  const peer = values.qemu ? ` ${cell(await runQemu(test, folder, Math.min(seconds, QEMU_SECONDS)))} |` : '';
  console.log(`| ${test.name} | ${cell(ours)} |${peer}`);
  if (values.verbose) console.log(ours.output);
  for (const line of ours.failed) console.log(`    ${line}`);
  total.passed += ours.passed;
  total.failed += ours.failed.length;
}
console.log(`\n${total.passed} passed, ${total.failed} failed.`);
if (left.length > 0) console.log(`Left out:\n${left.map(line => `- ${line}`).join('\n')}`);
