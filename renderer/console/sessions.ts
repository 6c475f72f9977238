/** The consoles of this window, by VM, port and pane; a session stays while its pane is hidden, so nothing flickers. */
import { create } from 'zustand';

import { useLibrary } from '../state/library.ts';
import { createSession } from './session.ts';
import type { ConsoleSession } from './session.ts';
import { isWindowKey } from './window-keys.ts';

export type Slot = 'main' | 'split';

const sessions = new Map<string, ConsoleSession>();

/** Keys of consoles that the person detached; everything else attaches when it is shown. */
export const useDetached = create<{ readonly keys: ReadonlySet<string> }>()(() => ({ keys: new Set() }));

export function sessionKey(vm: string, port: number, slot: Slot): string {
  return `${vm}/${port}/${slot}`;
}

export function sessionFor(vm: string, port: number, slot: Slot): ConsoleSession {
  const key = sessionKey(vm, port, slot);
  const existing = sessions.get(key);
  if (existing) return existing;
  const session = createSession({ vm, port, isWindowKey });
  sessions.set(key, session);
  return session;
}

/** The session if it is attached; commands act on it. */
export function attachedSession(vm: string, port: number, slot: Slot = 'main'): ConsoleSession | undefined {
  return sessions.get(sessionKey(vm, port, slot));
}

/** Ends the viewer; the engine goes on keeping what the port shows. */
export function detach(vm: string, port: number, slot: Slot): void {
  const key = sessionKey(vm, port, slot);
  sessions.get(key)?.dispose();
  sessions.delete(key);
  useDetached.setState(({ keys }) => ({ keys: new Set([...keys, key]) }));
}

export function attach(vm: string, port: number, slot: Slot): void {
  useDetached.setState(({ keys }) => ({ keys: new Set([...keys].filter((key) => key !== sessionKey(vm, port, slot))) }));
}

/** Drops the sessions of VMs that are gone. */
useLibrary.subscribe(({ vms, loaded }) => {
  if (!loaded) return;
  const ids = new Set(vms.map((vm) => vm.id));
  for (const [key, session] of sessions) {
    if (ids.has(key.slice(0, key.indexOf('/')))) continue;
    session.dispose();
    sessions.delete(key);
  }
});
