/** The saved state of a whole machine: every component by its name, and when it was saved. */
import { ContractError } from '../contract/errors.ts';
import { PageMap } from '../snapshot/pageMap.ts';
import { MapError } from '../snapshot/runs.ts';
import { PageSource } from '../snapshot/pageSource.ts';
import { CHUNK_BYTES, SegmentError } from '../snapshot/segment.ts';
import { StateError, StateReader } from '../platform/state.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { savedSlots } from './hotPlugSlots.ts';
import type { Pager } from './pager.ts';
import type { Pc } from './pc.ts';
import type { Sources } from './sources.ts';
import type { RestorePoint } from './types.ts';
import type { WallTime } from './wallTime.ts';

const HOST = { name: 'host', version: 1 } as const;

/** Between slices only. Plain data that can be written as JSON. */
export function saveMachine({ pc, root, sources, wallTime }: Omit<RestoredMachine, 'pager'>): Record<string, unknown> {
  const components = root.components.map((component) => [component.name, component.saveState()]);
  return { ...pc.saveState(), ...Object.fromEntries(components), [HOST.name]: { version: HOST.version, wallMs: wallTime.followed, chance: sources.chance === null ? null : sources.chance >>> 0 } };
}

export interface RestoredMachine {
  readonly pc: Pc;
  readonly root: Vmm;
  readonly pager: Pager;
  readonly sources: Sources;
  readonly wallTime: WallTime;
}

/**
 * Puts a snapshot into a machine that was just made, or reset.
 * @param from the encoded map of the last snapshot of its memory; null: there is none. `new`: the machine was just made, and its memory is zeros
 * @throws ContractError `snapshot-damaged` saying what of it does not fit
 */
export function restoreMachine({ state, map, segments }: RestorePoint, { pc, root, pager, sources, wallTime }: RestoredMachine, from: Uint8Array | 'new' | null): void {
  try {
    const states = new Map(Object.entries(typeof state === 'object' && state !== null ? state : {}));
    const host = StateReader.open(HOST, states.get(HOST.name));
    const wallMs = host.integer('wallMs', 0, 8.64e15);
    if (sources.chance !== null) sources.chance = host.integer('chance', 1, 0xffffffff) | 0;
    if (savedSlots(state) !== pc.slots.count) throw new StateError(`the saved machine has ${savedSlots(state)} slots, this one has ${pc.slots.count}`);
    const base = from instanceof Uint8Array ? pager.mapOf(from) : new PageMap(pager.memory.bytes / CHUNK_BYTES);
    pager.restore(new PageSource(pager.mapOf(map), new Map(segments)), base, from === 'new');
    // The processor before the clock: with the instruction clock, time is counted from its instructions.
    for (const component of root.components) load(states, component);
    pc.loadState(state);
    wallTime.restored(wallMs);
  } catch (error) {
    if (error instanceof StateError || error instanceof MapError || error instanceof SegmentError) throw damagedSnapshot(error.message);
    throw error;
  }
}

/** A snapshot that cannot be restored, or not wholly. */
export function damagedSnapshot(reason: string): ContractError {
  return new ContractError('snapshot-damaged', `The snapshot cannot be restored: ${reason.replace(/\.$/, '')}.`, 'Run `vanderpool doctor` to see what is lost; other snapshots are not affected.');
}

function load(states: ReadonlyMap<string, unknown>, component: { readonly name: string; loadState(state: unknown): void }): void {
  if (!states.has(component.name)) throw new StateError(`the saved machine has no state of ${component.name}`);
  component.loadState(states.get(component.name));
}
