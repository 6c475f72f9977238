/** What the engine has told this window: the library, settings, and the recent past of each running VM. */
import { create } from 'zustand';
import { settingsDefaults } from '../../core/contract/index.ts';
import type { ErrorShape, HostInfo, LibraryEvent, MetricsEvent, Settings, Vm } from '../../core/contract/index.ts';
import type { ConnectionState } from '../engine/connection.ts';

/** Samples kept per VM: two minutes at one a second. */
export const METRICS_KEPT = 120;

export interface LibraryState {
  readonly connection: ConnectionState;
  /** False until the engine has sent the whole library once. */
  readonly loaded: boolean;
  /** In the list's order. */
  readonly vms: readonly Vm[];
  readonly settings: Settings;
  readonly host: HostInfo | null;
  readonly metrics: Readonly<Record<string, readonly MetricsEvent[]>>;
  /** The last error of each VM, shown in its view until dismissed. */
  readonly errors: Readonly<Record<string, ErrorShape>>;
  /** By VM: changes with each change of its snapshots. */
  readonly snapshotsVersion: Readonly<Record<string, number>>;
  /** By VM: pages of the snapshot that is being taken, done and to do. */
  readonly progress: Readonly<Record<string, { readonly done: number; readonly total: number }>>;
  /** By path: bytes of the file that is being imported or exported, done and to do. */
  readonly transfers: Readonly<Record<string, { readonly done: number; readonly total: number }>>;
  /** Counts the changes of assignable devices: who shows them asks anew when it grows. */
  readonly deviceChanges: number;
}

export const emptyLibrary: LibraryState = {
  connection: { kind: 'connecting' }, loaded: false, vms: [], settings: settingsDefaults, host: null, metrics: {}, errors: {}, snapshotsVersion: {}, progress: {}, transfers: {}, deviceChanges: 0,
};

/** The library after an event of the engine. */
export function applyLibraryEvent(state: LibraryState, event: LibraryEvent): LibraryState {
  switch (event.kind) {
    case 'all':
      return { ...state, loaded: true, vms: inOrder(event.vms), settings: event.settings };
    case 'vm-changed':
      return { ...state, vms: inOrder([...state.vms.filter((vm) => vm.id !== event.vm.id), event.vm]), ...forgetOld(state, event.vm) };
    case 'vm-removed':
      return { ...state, vms: state.vms.filter((vm) => vm.id !== event.id), metrics: without(state.metrics, event.id), errors: without(state.errors, event.id) };
    case 'devices-changed':
      return { ...state, deviceChanges: state.deviceChanges + 1 };
    case 'settings-changed':
      return { ...state, settings: event.settings };
    case 'snapshots-changed':
      return { ...state, snapshotsVersion: { ...state.snapshotsVersion, [event.vmId]: (state.snapshotsVersion[event.vmId] ?? 0) + 1 } };
    case 'snapshot-progress':
      return { ...state, progress: event.total === 0 ? without(state.progress, event.vmId) : { ...state.progress, [event.vmId]: { done: event.done, total: event.total } } };
    case 'transfer-progress':
      return { ...state, transfers: event.total === 0 ? without(state.transfers, event.path) : { ...state.transfers, [event.path]: { done: event.done, total: event.total } } };
    case 'error':
      return event.vmId === null ? state : { ...state, errors: { ...state.errors, [event.vmId]: event.error } };
  }
}

/** The library after one more sample of a VM. */
export function applySample(state: LibraryState, id: string, sample: MetricsEvent): LibraryState {
  const kept = [...(state.metrics[id] ?? []), sample].slice(-METRICS_KEPT);
  return { ...state, metrics: { ...state.metrics, [id]: kept } };
}

/** A VM that starts anew has a new past and no old error. */
function forgetOld(state: LibraryState, vm: Vm): Pick<LibraryState, 'metrics' | 'errors'> {
  const before = state.vms.find((candidate) => candidate.id === vm.id);
  const starts = vm.state === 'starting' && before?.state !== 'starting';
  return starts ? { metrics: without(state.metrics, vm.id), errors: without(state.errors, vm.id) } : { metrics: state.metrics, errors: state.errors };
}

function inOrder(vms: readonly Vm[]): readonly Vm[] {
  return [...vms].sort((left, right) => left.position - right.position || left.createdAt - right.createdAt);
}

function without<T>(record: Readonly<Record<string, T>>, key: string): Readonly<Record<string, T>> {
  const { [key]: _gone, ...rest } = record;
  return rest;
}

export const useLibrary = create<LibraryState>()(() => emptyLibrary);

export function setError(id: string, error: ErrorShape | null): void {
  useLibrary.setState((state) => ({ errors: error ? { ...state.errors, [id]: error } : without(state.errors, id) }));
}

export function findVm(id: string | null): Vm | undefined {
  return useLibrary.getState().vms.find((vm) => vm.id === id);
}

/** A running VM can be watched, typed into, paused and stopped. */
export function isAlive(vm: Vm): boolean {
  return vm.state === 'running' || vm.state === 'paused' || vm.state === 'starting' || vm.state === 'stopping';
}
