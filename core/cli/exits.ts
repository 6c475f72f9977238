/** `vanderpool exits`: where a guest leaves its processor, how often and for how long. */
import type { ExitRecord, ExitRow, ExitsEvent, NamedValue } from '../contract/exits.ts';
import type { InspectSection } from '../contract/inspect.ts';
import { RECENT_EXITS } from '../contract/limits.ts';
import type { Client } from '../contract/client.ts';
import { ContractError } from '../contract/errors.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { sectionText } from '../inspect/text.ts';
import { EXIT_REASONS } from '../vmm/exitReasons.ts';
import { decodeExits } from '../vmm/exitRecords.ts';
import { openExitFile } from '../engine/exitFile.ts';
import type { ExitFile } from '../engine/exitFile.ts';
import { show, table } from './output.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';
import { wholeNumber } from './machine-options.ts';
import { badArgument } from './status.ts';

export interface ExitsOptions extends CommonOptions {
  readonly seconds?: string;
  readonly watch?: boolean;
  readonly record?: string;
  readonly limit: string;
  readonly vcpu?: string;
  readonly level?: string;
  readonly reason?: string;
  readonly open?: boolean | string;
}

/** What was seen: sums, and of the newest exits as many as are to be opened, the newest first. */
interface Watched {
  readonly rows: readonly WatchedRow[];
  readonly newest: readonly ExitRecord[];
}

/** An exit reason over a time that was watched. */
export interface WatchedRow extends ExitRow {
  readonly perSecond: number;
  /** Share of the watched time between this reason's exits and their entries, 0 to 1. */
  readonly share: number;
  readonly meanNs: number;
}

/** With --watch, the time that each table shows. */
const DRAW_MS = 900;
const CLEAR_SCREEN = '\x1b[H\x1b[2J';

/** Watches for a time (one second, with --watch or --record until Ctrl-C) and prints what was seen. */
export async function watchExits(reference: string, options: ExitsOptions): Promise<void> {
  const seconds = secondsOf(options);
  const filter = filterOf(options);
  const opened = openedOf(options);
  const recording = options.record === undefined ? null : openRecording(options.record, options.limit);
  try {
    const { rows, newest } = await withEngine(options, (client) => follow(client, reference, { ...options, seconds, filter, recording, opened }));
    if (options.watch === true) return;
    if (opened > 0) show(newest, options.json === true, exitTexts);
    else show(rows, options.json === true, exitTable);
    if (recording && options.json !== true) process.stderr.write(`${recording.describe()}\n`);
  } finally {
    recording?.close();
  }
}

function openRecording(path: string, limit: string): ExitFile {
  const limitBytes = limitOf(limit);
  try {
    return openExitFile(path, limitBytes);
  } catch (error) {
    throw badArgument(`--record: "${path}" cannot be written: ${unwritableBecause(error)}.`, 'Name a file that does not exist yet, in a folder you may write to.');
  }
}

interface Following extends ExitsOptions {
  readonly recording: ExitFile | null;
  /** How many exits are opened. */
  readonly opened: number;
  readonly filter: (row: { readonly vcpu: number; readonly level: number; readonly name: string }) => boolean;
}

async function follow(client: Client, reference: string, options: Omit<Following, 'seconds'> & { readonly seconds: number }): Promise<Watched> {
  const vm = await client.call('vm.get', { vm: reference });
  if (vm.processId === null) throw new ContractError('wrong-state', `The VM "${vm.config.name}" is ${vm.state}: it has no exits.`, `Start it first: vanderpool vm start "${vm.config.name}".`);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let first: ExitsEvent | null = null;
  let last: ExitsEvent | null = null;
  let drawn: ExitsEvent | null = null;
  let newest: ExitRecord[] = [];
  const { recording } = options;
  const subscription = client.subscribe('exits', { vm: vm.id, wanted: recording ? 'all' : 'recent' }, {
    event: (event) => {
      first ??= event.elapsedMs < 1000 ? startOf(event) : event;
      last = event;
      newest = [...event.recent.filter(options.filter).reverse(), ...newest].slice(0, options.opened);
      if (recording && !recording.add(decodeExits(event.records, event.epochMs).filter(options.filter), event.lost)) resolve();
      if (options.watch === true && event.elapsedMs - (drawn ?? first).elapsedMs >= DRAW_MS) {
        draw(watchedRows(drawn ?? first, event).filter(options.filter), options.json === true);
        drawn = event;
      }
      if (event.elapsedMs - first.elapsedMs >= options.seconds * 1000) resolve();
    },
    end: (error) => (error ? reject(error) : resolve()),
  });
  process.once('SIGINT', resolve);
  const stop = client.subscribe('library', {}, {
    event: (event) => {
      if (event.kind === 'vm-changed' && event.vm.id === vm.id && event.vm.processId === null) resolve();
    },
  });
  await promise.finally(() => {
    process.off('SIGINT', resolve);
    subscription.close();
    stop.close();
  });
  return { rows: first && last ? watchedRows(first, last).filter(options.filter) : [], newest };
}

/** The trace began with this very subscription: everything in it counts. */
function startOf(event: ExitsEvent): ExitsEvent {
  return { ...event, elapsedMs: 0, rows: [] };
}

/** What happened between two events, the longest time first. Minimum and maximum are those of the whole trace. */
export function watchedRows(first: ExitsEvent, last: ExitsEvent): WatchedRow[] {
  const elapsedMs = Math.max(1, last.elapsedMs - first.elapsedMs);
  const rows = last.rows.map((row): WatchedRow => {
    const before = first.rows.find(({ vcpu, level, reason }) => vcpu === row.vcpu && level === row.level && reason === row.reason);
    const count = row.count - (before?.count ?? 0);
    const totalNs = row.totalNs - (before?.totalNs ?? 0);
    const histogram = row.histogram.map((value, i) => value - (before?.histogram[i] ?? 0));
    return { ...row, count, totalNs, histogram, perSecond: count / (elapsedMs / 1000), share: totalNs / (elapsedMs * 1e6), meanNs: count > 0 ? totalNs / count : 0 };
  });
  return rows.filter(({ count }) => count > 0).sort((a, b) => b.totalNs - a.totalNs);
}

export function exitTable(rows: readonly WatchedRow[]): string {
  if (rows.length === 0) return 'No VM exits.';
  return table(['VCPU', 'LEVEL', 'REASON', 'COUNT', 'PER SECOND', 'TIME', 'MIN', 'MEAN', 'MAX'], rows.map((row) => [
    String(row.vcpu), `L${row.level}`, row.name, String(row.count), row.perSecond.toFixed(0), `${(row.share * 100).toFixed(2)} %`,
    duration(row.minNs), duration(row.meanNs), duration(row.maxNs),
  ]));
}

/** Exits with everything that is known of them. */
export function exitTexts(exits: readonly ExitRecord[]): string {
  if (exits.length === 0) return 'No VM exits.';
  return exits.map((exit) => [`${exitTitle(exit)}\n`, ...exitSections(exit).map(sectionText)].join('\n\n')).join('\n\n');
}

function exitTitle({ sequence, name, vcpu, level, summary, rip, ns }: ExitRecord): string {
  const time = ns === null ? 'lasts still' : `${duration(ns)} until the next entry`;
  return `Exit ${sequence}: ${name}${summary === '' ? '' : `, ${summary}`}\nvCPU ${vcpu}, L${level}, RIP ${rip}, ${time}`;
}

function exitSections({ qualification, fields, vmcs, level, registers }: ExitRecord): InspectSection[] {
  const section = (title: string, values: readonly NamedValue[], note = ''): InspectSection => ({ title, columns: ['Field', 'Value'], rows: values.map(({ name, value }) => [name, value]), note });
  const owner = level === 2 ? "Hypervisor's" : "Root mode's";
  return [
    section(`Exit qualification ${qualification}`, fields, fields.length === 0 ? 'This reason defines no fields.' : ''),
    ...[...Map.groupBy(vmcs, ({ group }) => group)].map(([group, values]) => section(`${owner} VMCS: ${group}`, values)),
    section('Guest registers', registers),
  ];
}

export function duration(ns: number): string {
  if (ns < 1e3) return `${ns.toFixed(0)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(1)} us`;
  return ns < 1e9 ? `${(ns / 1e6).toFixed(1)} ms` : `${(ns / 1e9).toFixed(1)} s`;
}

function draw(rows: readonly WatchedRow[], json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify(rows)}\n`);
  else process.stdout.write(`${process.stdout.isTTY ? CLEAR_SCREEN : ''}${exitTable(rows)}\n`);
}

function secondsOf({ seconds, watch, record }: ExitsOptions): number {
  if (seconds === undefined) return watch === true || record !== undefined ? Infinity : 1;
  const value = /^\d+(\.\d+)?$/.test(seconds) ? Number(seconds) : 0;
  if (!(value > 0)) throw badArgument(`--seconds: "${seconds}" is not a number of seconds.`, 'Write a number above 0, such as 10.');
  return value;
}

/** Exits that can be opened: those of a report. */
function openedOf({ open, watch }: ExitsOptions): number {
  if (open === undefined) return 0;
  if (watch === true) throw badArgument('--open and --watch exclude each other.', 'With --open the exits are shown when the time is over.');
  const count = typeof open === 'string' ? wholeNumber('--open', open) : 1;
  if (count < 1 || count > RECENT_EXITS) throw badArgument(`--open: ${count} is outside 1 to ${RECENT_EXITS}.`);
  return count;
}

const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** The size of a recording in bytes; a bare number counts MiB. */
function limitOf(text: string): number {
  const [, count, unit = 'M'] = /^(\d{1,6})([KMG])?$/i.exec(text) ?? [];
  if (count === undefined || Number(count) === 0) throw badArgument(`--limit: "${text}" is no size.`, 'Write a number with a unit, such as 64M.');
  return Number(count) * UNITS[unit.toUpperCase()]!;
}

function filterOf({ vcpu, level, reason }: ExitsOptions): Following['filter'] {
  const processor = vcpu === undefined ? null : wholeNumber('--vcpu', vcpu);
  if (level !== undefined && !/^L?[12]$/i.test(level)) throw badArgument(`--level: "${level}" is no level.`, 'Write 1 or 2.');
  const wanted = level === undefined ? null : Number(level.at(-1));
  if (reason !== undefined && !EXIT_REASONS.some(([, name]) => name === reason)) throw badArgument(`--reason: "${reason}" is no reason of VM exits.`, 'Write it as the table of all exits does, such as io-instruction or ept-violation.');
  return (row) => (processor === null || row.vcpu === processor) && (wanted === null || row.level === wanted) && (reason === undefined || row.name === reason);
}
