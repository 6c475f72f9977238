/** `vanderpool snapshot ...`: the snapshots of the library's VMs. */
import { resolve } from 'node:path';
import { formatMemory } from '../contract/memory.ts';
import type { DiskDifference, FieldDifference, Snapshot, SnapshotDifference } from '../contract/snapshot.ts';
import { show, table, time } from './output.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';
import { badArgument, Status } from './status.ts';
import { saving, transferring } from './progress.ts';

interface TakeOptions extends CommonOptions {
  readonly notes?: string;
}

export async function takeSnapshot(vm: string, name: string, options: TakeOptions): Promise<void> {
  const { notes } = options;
  const taken = await saving(options, vm, (client) => client.call('snapshot.take', { vm, name, ...(notes === undefined ? {} : { notes }) }));
  show(taken, options.json === true, ({ power, usedBytes, pauseMilliseconds }) => {
    return power === 'off' ? `Took "${name}": the configuration of a VM that is off.` : `Took "${name}": ${size(usedBytes)} of memory; the guest stood still for ${pauseMilliseconds.toFixed(1)} ms.`;
  });
}

export async function listSnapshots(vm: string, options: CommonOptions): Promise<void> {
  const snapshots = await withEngine(options, (client) => client.call('snapshot.list', { vm }));
  show(snapshots, options.json === true, (all) => {
    if (all.length === 0) return `There is no snapshot of "${vm}". Take one with \`vanderpool snapshot take ${vm} NAME\`.`;
    const rows = inTree(all).map(({ snapshot, depth }) => [
      `${snapshot.current ? '*' : ' '} ${'  '.repeat(depth)}${snapshot.name}`, time(snapshot.createdAt), snapshot.power, size(snapshot.usedBytes), size(snapshot.exclusiveBytes),
    ]);
    return table(['  NAME', 'TAKEN', 'WAS', 'MEMORY', 'WOULD FREE'], rows);
  });
}

export async function restoreSnapshot(vm: string, snapshot: string, options: CommonOptions & { readonly paused?: boolean }): Promise<void> {
  const restored = await withEngine(options, (client) => client.call('snapshot.restore', { vm, snapshot, paused: options.paused === true }));
  show(restored, options.json === true, ({ config, state }) => `"${config.name}" is back in "${snapshot}" and ${state}.`);
}

export async function removeSnapshot(vm: string, snapshot: string, options: CommonOptions): Promise<void> {
  await withEngine(options, (client) => client.call('snapshot.remove', { vm, snapshot }));
  show({ removed: snapshot }, options.json === true, () => `Deleted "${snapshot}". What went on from it goes on from its parent.`);
}

export async function editSnapshot(vm: string, snapshot: string, options: CommonOptions & { readonly name?: string; readonly notes?: string }): Promise<void> {
  const { name, notes } = options;
  if (name === undefined && notes === undefined) throw badArgument('There is nothing to change.', 'Give --name or --notes.');
  const changes = { ...(name === undefined ? {} : { name }), ...(notes === undefined ? {} : { notes }) };
  const edited = await withEngine(options, (client) => client.call('snapshot.edit', { vm, snapshot, ...changes }));
  show(edited, options.json === true, () => `Changed "${edited.name}".`);
}

export async function cloneSnapshot(vm: string, snapshot: string, name: string, options: CommonOptions & { readonly full?: boolean }): Promise<void> {
  const made = await saving(options, vm, (client) => client.call('snapshot.clone', { vm, snapshot, name, full: options.full === true }));
  show(made, options.json === true, ({ state }) => `Created "${name}" from "${snapshot}"; it is ${state}.`);
}

export async function diffSnapshots(vm: string, from: string, to: string | undefined, options: CommonOptions & { readonly symbols?: string }): Promise<void> {
  const symbols = options.symbols === undefined ? {} : { symbols: resolve(options.symbols) };
  const difference = await withEngine(options, (client) => client.call('snapshot.diff', { vm, from, to: to ?? null, ...symbols }));
  show(difference, options.json === true, describeDifference);
}

export async function exportSnapshot(vm: string, snapshot: string, file: string, options: CommonOptions): Promise<void> {
  const path = resolve(file);
  const answer = await transferring(options, path, (client) => client.call('snapshot.export', { vm, snapshot, path }));
  show(answer, options.json === true, ({ bytes }) => `Wrote "${snapshot}" to ${file} (${size(bytes)}).`);
}

export async function importSnapshot(file: string, options: CommonOptions & { readonly name?: string }): Promise<void> {
  const { name } = options;
  const path = resolve(file);
  const made = await transferring(options, path, (client) => client.call('snapshot.import', { path, ...(name === undefined ? {} : { name }) }));
  show(made, options.json === true, ({ config, state }) => `Created "${config.name}"; it is ${state}.`);
}

/** Status 1 when something is wrong that was not repaired. */
export async function examineLibrary(options: CommonOptions & { readonly repair?: boolean }): Promise<number> {
  const findings = await withEngine(options, (client) => client.call('library.check', { repair: options.repair === true }));
  show(findings, options.json === true, (all) => {
    if (all.length === 0) return 'Everything that was read is as it was written.';
    return all.map(({ severity, what, advice, repaired }) => `${severity}: ${what}\n  ${repaired ? 'Repaired as far as possible. ' : ''}${advice}`).join('\n');
  });
  return findings.every(({ repaired }) => repaired) ? Status.ok : Status.refused;
}

/** Children below their parents, each with its depth. */
function inTree(all: readonly Snapshot[]): { readonly snapshot: Snapshot; readonly depth: number }[] {
  const below = (parent: string | null, depth: number): { readonly snapshot: Snapshot; readonly depth: number }[] => all
    .filter(({ parentId }) => parentId === parent)
    .flatMap((snapshot) => [{ snapshot, depth }, ...below(snapshot.id, depth + 1)]);
  return below(null, 0);
}

function describeDifference({ configuration, state, memory, memoryBytes, disks }: SnapshotDifference): string {
  const section = (title: string, fields: readonly FieldDifference[]): string[] => {
    return fields.length === 0 ? [] : [title, table(['FIELD', 'BEFORE', 'AFTER'], fields.map(({ field, before, after }) => [field, before ?? '-', after ?? '-']))];
  };
  const runs = memory.map(({ address, bytes, owner }) => [`0x${address.toString(16).padStart(9, '0')}`, size(bytes), owner ?? '']);
  const pages = runs.length === 0 ? [] : [`Memory: ${size(memoryBytes)} differ`, table(['ADDRESS', 'SIZE', memory.some(({ owner }) => owner !== null) ? 'OWNER' : ''], runs)];
  const text = [...section('Configuration', configuration), ...section('Registers and devices', state), ...pages, ...disks.flatMap(describeDisk)].join('\n');
  return text === '' ? 'They are the same.' : text;
}

function describeDisk({ path, bytes, clusters, files }: DiskDifference): string[] {
  const runs = clusters.map((run) => [`0x${run.offset.toString(16).padStart(10, '0')}`, size(run.bytes)]);
  const rows = (files ?? []).map((file) => [file.change, file.path, file.before === null ? '-' : size(file.before), file.after === null ? '-' : size(file.after)]);
  const names = files === null ? [] : files.length === 0 ? ['No file differs.'] : [table(['FILE', 'PATH', 'BEFORE', 'AFTER'], rows)];
  return [`Disk ${path}: ${size(bytes)} differ`, ...names, table(['OFFSET', 'SIZE'], runs)];
}

function size(bytes: number): string {
  return bytes < 1024 * 1024 ? `${Math.ceil(bytes / 1024)}K` : formatMemory(bytes);
}
