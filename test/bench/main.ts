/** `npm run bench`: times guests on ours and on peers; `profile`, `idle` and `memory` are measurements of their own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { provideGuest } from '../helpers/guests.ts';
import { dma } from './dma.ts';
import { exits } from './exits.ts';
import { idle } from './idle.ts';
import { ours, provide, qemu, v86 } from './peers.ts';
import type { Peer } from './peers.ts';
import { benchIo } from './io.ts';
import { passthrough } from './passthrough.ts';
import { measure, median } from './phases.ts';
import type { GuestRun } from './phases.ts';
import { profile } from './profile.ts';
import { snapshots } from './snapshot.ts';
import { startToPrompt } from './start.ts';
import { printTable } from './table.ts';

const usage = `Usage: npm run bench [-- options]            boot and phases of each guest, ours and QEMU's translator in turn
       npm run bench -- profile [--dry-run]  counts executed instruction forms and rewrites the list of hot forms
       npm run bench -- dma                  requests of a device without and with remapping units
       npm run bench -- passthrough          random reads of an assigned NVMe against virtio-blk
       npm run bench -- exits                VM exits to root mode, and from a nested guest to its hypervisor
       npm run bench -- idle                 CPU share and memory of a guest idle at its prompt
       npm run bench -- start                click on Start to the monitor's prompt, in a browser, and the start of a process
       npm run bench -- disk | net           throughput and small accesses of virtual disks and networks, ours and QEMU's
       npm run bench -- snapshot             snapshots of a guest with 300 MB in use, and QEMU's savevm and loadvm

  --guests amd64,i386     guests
  --peers qemu,v86|none   what is measured beside ours (default: qemu)
  --jit on,off            tiers of ours, each measured (default: on,again,off); 'again' is what is on, with the code that runs before have compiled
  --runs N                runs of each; medians are shown (default: 3)
  --together              all at once on one core: what a busy host takes away they share, so ratios scatter by a few percent where they differ
                          by half else; only CPU time means anything then, and each has less of the caches
  --json FILE             writes every figure`;

const tiers = ['on', 'off', 'always', 'again'];
const ON_ONE_CORE = ['taskset', '-c', '0'] as const;
/** Runs before those of 'again' that are measured. */
const RUNS_BEFORE = 4;
const guestNames = ['amd64', 'i386'] as const;
type GuestName = (typeof guestNames)[number];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    guests: { type: 'string', default: 'amd64,i386' }, peers: { type: 'string', default: 'qemu' }, jit: { type: 'string', default: 'on,again,off' },
    runs: { type: 'string', default: '3' }, json: { type: 'string' }, together: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false }, 'dry-run': { type: 'boolean', default: false },
  },
});

/** Words of a list option. @throws Error naming a word that is none of the known */
function words<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((word) => {
    const found = known.find((candidate) => candidate === word);
    if (found === undefined) throw new Error(`--${option}: '${word}' is none of ${known.join(', ')}`);
    return found;
  });
}

function chosenPeers(): Peer[] {
  const mine = words('jit', values.jit, tiers).map(contender);
  const others = values.peers === 'none' ? [] : words('peers', values.peers, ['qemu', 'v86']).map((name) => (name === 'qemu' ? qemu : v86));
  others.forEach(provide);
  return [...mine, ...others];
}

function contender(tier: string): Peer {
  if (tier !== 'again') return ours(`ours, jit ${tier}`, ['--jit', tier], { environment: { VANDERPOOL_TRANSLATIONS: 'off' } });
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-bench-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return ours('ours, again', [], { environment: { VANDERPOOL_TRANSLATIONS: folder }, before: RUNS_BEFORE });
}

interface Sample extends GuestRun {
  readonly run: number;
  readonly guest: string;
  readonly peer: string;
}

async function compare(guests: readonly GuestName[]): Promise<void> {
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs: '${values.runs}' is not a number above 0`);
  const peers = chosenPeers();
  const samples: Sample[] = [];
  for (const name of guests) {
    const guest = await provideGuest(name);
    for (const { before = 0, command, environment } of peers) for (let run = 0; run < before; run++) await measure(command(guest, 'console=ttyS0 quiet'), environment);
    for (let run = 1; run <= runs; run++) {
      const able = peers.filter(({ guests: all }) => all.includes(name));
      const time = async ({ name: peer, command, environment }: Peer): Promise<void> => {
        const whole = command(guest, 'console=ttyS0 quiet');
        samples.push({ run, guest: name, peer, ...await measure(values.together ? [...ON_ONE_CORE, ...whole] : whole, environment) });
      };
      if (values.together) {
        console.error(`${name}: run ${run} of ${runs}`);
        await Promise.all(able.map(time));
        continue;
      }
      // In turn, so that a busy spell of the host meets all alike.
      for (const peer of able) {
        console.error(`${name}, ${peer.name}: run ${run} of ${runs}`);
        await time(peer);
      }
    }
  }
  describeHost(peers);
  report(samples, guests, peers.map(({ name }) => name));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ host: hostLine(), date: new Date().toISOString(), samples }, null, 2)}\n`);
}

function hostLine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${cpus().length} x ${model}, ${(totalmem() / 2 ** 30).toFixed(0)} GB, ${process.platform} ${release()}, load ${loadavg().map((load) => load.toFixed(1)).join(' ')}`;
}

function describeHost(peers: readonly Peer[]): void {
  console.log(`${new Date().toISOString().slice(0, 10)}; ${hostLine()}`);
  for (const { name, version } of peers) console.log(`${name}: ${version()}`);
}

function report(samples: readonly Sample[], guests: readonly string[], peers: readonly string[]): void {
  for (const guest of guests) {
    const mine = samples.filter((sample) => sample.guest === guest);
    const phases = [...new Set(mine.flatMap(({ phases: all }) => Object.keys(all)))];
    const value = (peer: string, phase: string, kind: 'cpu' | 'wall') => median(mine.filter((sample) => sample.peer === peer).map((sample) => sample.phases[phase]?.[kind] ?? NaN));
    const cpu = (peer: string, phase: string, run: number) => mine.find((sample) => sample.peer === peer && sample.run === run)?.phases[phase]?.cpu ?? NaN;
    // Of those that ran at once, each run has a ratio.
    const ratio = (peer: string, base: string, phase: string) => (values.together
      ? median([...new Set(mine.map(({ run }) => run))].map((run) => cpu(peer, phase, run) / cpu(base, phase, run)))
      : value(peer, phase, 'cpu') / value(base, phase, 'cpu'));
    const present = peers.filter((peer) => mine.some((sample) => sample.peer === peer));
    const base = present.find((peer) => peer === qemu.name);
    const others = present.filter((peer) => peer !== base);
    const head = [`${guest}: seconds of CPU${values.together ? '' : ' (wall)'}`, ...present, ...(base === undefined ? [] : others.map((peer) => `${peer} : ${base}`))];
    const rows = phases.map((phase) => [
      phase,
      ...present.map((peer) => value(peer, phase, 'cpu').toFixed(2) + (values.together ? '' : ` (${value(peer, phase, 'wall').toFixed(2)})`)),
      ...(base === undefined ? [] : others.map((peer) => ratio(peer, base, phase).toFixed(2))),
    ]);
    const peak = (peer: string) => `${(median(mine.filter((sample) => sample.peer === peer).map(({ peakBytes }) => peakBytes)) / 2 ** 20).toFixed(0)} MB`;
    printTable(head, [...rows, ['peak memory', ...present.map(peak), ...(base === undefined ? [] : others.map(() => ''))]]);
  }
}

async function io(what: 'disk' | 'net'): Promise<void> {
  const peers = chosenPeers();
  describeHost(peers);
  await benchIo(what, Number(values.runs), values.peers !== 'none');
}

async function main(): Promise<void> {
  const [what = 'compare'] = positionals;
  // What earlier runs have compiled is measured where that is asked for.
  process.env['VANDERPOOL_TRANSLATIONS'] ??= 'off';
  const guests = words('guests', values.guests, guestNames);
  if (values.help || !['compare', 'profile', 'idle', 'snapshot', 'dma', 'passthrough', 'exits', 'start', 'disk', 'net'].includes(what)) console.log(usage);
  else if (what === 'profile') await profile(await Promise.all(guests.map(async (name) => ({ name, ...await provideGuest(name) }))), !values['dry-run']);
  else if (what === 'disk' || what === 'net') await io(what);
  else if (what === 'snapshot') await snapshots(await provideGuest('amd64'), Number(values.runs), values.peers !== 'none');
  else if (what === 'dma') dma();
  else if (what === 'passthrough') await passthrough(Number(values.runs));
  else if (what === 'exits') await exits();
  else if (what === 'start') await startToPrompt(Number(values.runs));
  else if (what === 'idle') for (const name of guests) await idle(name, await provideGuest(name), words('jit', values.jit, tiers).filter((tier) => tier !== 'again'));
  else await compare(guests);
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
