/** `npm run fuzz`: hostile guests, drivers, frames and tables, and the loss of power or of processes; a fault is reported with the seed that repeats it. */
import { parseArgs } from 'node:util';
import { fuzzDevices } from './devices/run.ts';
import { fuzzVtd } from './vtd/run.ts';
import { fuzzNet } from './net/run.ts';
import { fuzzUsb } from './usb/run.ts';
import { fuzzKills } from './snapshots/kills.ts';
import { fuzzStore } from './snapshots/main.ts';
import { fuzzGuests } from './guests.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: {
    guests: text, seed: text, instructions: text, nested: { type: 'boolean' }, vtd: text, usb: text, net: text, devices: text, only: text, snapshots: text, kills: text,
    help: { type: 'boolean', short: 'h' },
  },
});
const seed = Number(values.seed ?? 1);

interface Kind {
  readonly option: 'guests' | 'vtd' | 'devices' | 'usb' | 'net' | 'snapshots' | 'kills';
  /** What the option's number counts, and further options. */
  readonly words: string;
  readonly what: string;
  /** A line about what was done; null: faults were found, and told. @throws Error with the first fault */
  readonly run: (count: number) => string | null | Promise<string | null>;
}

const KINDS: readonly Kind[] = [
  { option: 'guests', words: 'N [--instructions N] [--nested]', what: 'hostile guests in every tier and model, or hypervisors with hostile guests', run: runGuests },
  { option: 'snapshots', words: 'N', what: 'snapshots on a disk that loses its power, is full or read-only after any number of steps', run: (count) => fuzzStore(seed, count) },
  { option: 'kills', words: 'N', what: '`kill -9` of engine and machines at random moments of snapshots', run: (count) => fuzzKills(seed, count) },
  { option: 'vtd', words: 'STEPS', what: 'random remapping tables, requests and invalidations, against a model that knows no caches', run: runVtd },
  { option: 'devices', words: 'STEPS [--only NAME]', what: 'hostile drivers of every device of the table in test/fuzz/devices', run: runDevices },
  { option: 'usb', words: 'STEPS', what: 'hostile drivers of the USB host controller', run: runUsb },
  { option: 'net', words: 'STEPS', what: 'hostile frames and drivers of network interfaces', run: runNet },
];

const listed = (counts: Iterable<readonly [string | number, number]>): string => [...counts].map(([what, count]) => `${what} ${count}`).join(', ');

async function runGuests(count: number): Promise<string | null> {
  const instructions = Number(values.instructions ?? 5_000_000);
  const { outcomes, faults } = await fuzzGuests({ count, seed, instructions, nested: values.nested === true }, (done) => {
    if (process.stdout.isTTY) process.stdout.write(`\r${done} of ${count} guests `);
  });
  for (const fault of faults) console.error(fault);
  const line = `${count} hostile guests: ${listed(outcomes)}`;
  if (faults.length === 0) return line;
  console.log(line);
  return null;
}

function runVtd(count: number): string {
  const { steps, answers, hits, walks } = fuzzVtd(seed, count);
  return `${steps} steps, the same answers: ${listed([...answers].sort())}; ${hits} from the IOTLB, ${walks} by walks`;
}

function runDevices(count: number): string {
  const { steps, devices } = fuzzDevices(seed, count, values.only);
  return `${devices} devices, ${steps} steps each`;
}

function runUsb(count: number): string {
  const { steps, events } = fuzzUsb(seed, count);
  return `${steps} steps; events by type and completion code: ${listed([...events].sort())}`;
}

async function runNet(count: number): Promise<string> {
  const { steps, answers, load } = await fuzzNet(seed, count);
  return `${steps} steps; frames to the guest: ${listed([...answers].sort())}; at most ${load.tcp} connections, ${load.udp} sockets, ${load.fragments} packets in pieces`;
}

if (values.help === true) {
  const lines = KINDS.map(({ option, words, what }) => `  npm run fuzz -- --${`${option} ${words}`.padEnd(41)} ${what}`);
  console.log(`Each with [--seed N], which repeats a run (default: 1). Without options: --guests 300.\n${lines.join('\n')}`);
  process.exit(0);
}
const kind = KINDS.find(({ option }) => values[option] !== undefined) ?? KINDS[0]!;
const line = await kind.run(Number(values[kind.option] ?? 300));
if (line !== null) console.log(line);
process.exit(line === null ? 1 : 0);
