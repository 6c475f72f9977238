/** How this window is laid out: kept in the browser's storage, for it says nothing about any VM. */
import { create } from 'zustand';
import { persist } from 'zustand/middleware';

export type TabName = 'overview' | 'display' | 'snapshots' | 'devices' | 'configuration' | 'activity' | `com${1 | 2 | 3 | 4}`;

/** What is open at the machine's side. */
export type DockName = 'exits' | 'inspector';

/** A second console beside, or below, the one of the tab. */
export interface Split {
  readonly port: number;
  readonly direction: 'row' | 'column';
  /** Percent of the room that the first pane takes. */
  readonly share: number;
}

export interface VmLayout {
  readonly tab: TabName;
  readonly split: Split | null;
}

export type DialogName =
  | { readonly kind: 'create' }
  | { readonly kind: 'settings' }
  | { readonly kind: 'shortcuts' }
  | { readonly kind: 'palette' }
  | { readonly kind: 'rename' | 'clone' | 'export' | 'group' | 'start-without' | 'stop' | 'force-stop' | 'reset' | 'remove' | 'take-snapshot'; readonly vm: string };

export interface LayoutState {
  readonly selected: string | null;
  readonly sidebarWidth: number;
  readonly sidebarHidden: boolean;
  readonly screenReader: boolean;
  /** Consoles show when each line came. */
  readonly lineTimes: boolean;
  /** Guests that can are asked for a screen as large as their pane. */
  readonly fitScreen: boolean;
  readonly dock: DockName | null;
  readonly dockWidth: number;
  readonly vms: Readonly<Record<string, VmLayout>>;
  /** Groups of the library of which only the name is shown. */
  readonly folded: readonly string[];
  readonly search: string;
  readonly dialog: DialogName | null;
}

export const defaultVmLayout: VmLayout = { tab: 'overview', split: null };

export const useLayout = create<LayoutState>()(persist(
  () => ({ selected: null, sidebarWidth: 264, sidebarHidden: false, screenReader: false, lineTimes: false, fitScreen: true, dock: null, dockWidth: 520, vms: {}, folded: [], search: '', dialog: null }) as LayoutState,
  {
    name: 'vanderpool.layout',
    version: 1,
    partialize: ({ search: _search, dialog: _dialog, ...kept }) => kept,
  },
));

export function layoutOf(id: string): VmLayout {
  return useLayout.getState().vms[id] ?? defaultVmLayout;
}

export function changeVmLayout(id: string, change: Partial<VmLayout>): void {
  useLayout.setState((state) => ({ vms: { ...state.vms, [id]: { ...(state.vms[id] ?? defaultVmLayout), ...change } } }));
}

export function select(id: string | null): void {
  useLayout.setState({ selected: id });
}

/** Shows the machines of a group, or only its name. */
export function toggleGroup(name: string): void {
  useLayout.setState(({ folded }) => ({ folded: folded.includes(name) ? folded.filter((one) => one !== name) : [...folded, name] }));
}

/** From now on: a line that came before has no time. */
export function toggleLineTimes(): void {
  useLayout.setState(({ lineTimes }) => ({ lineTimes: !lineTimes }));
}

/** Opens a view at the machine's side, or closes it when it is there. */
export function toggleDock(name: DockName): void {
  useLayout.setState(({ dock }) => ({ dock: dock === name ? null : name }));
}

export function openDialog(dialog: DialogName | null): void {
  useLayout.setState({ dialog });
}

/** The tab of a serial port: `com1` for port 0. */
export function portTab(port: number): TabName {
  return `com${port + 1}` as TabName;
}

export function tabPort(tab: TabName): number | null {
  return tab.startsWith('com') ? Number(tab.slice(3)) - 1 : null;
}

/** The selection after the library changed: stays where it can, else the neighbour that took its place. */
export function nextSelection(selected: string | null, before: readonly string[], now: readonly string[]): string | null {
  if (selected !== null && now.includes(selected)) return selected;
  if (now.length === 0) return null;
  const index = selected === null ? 0 : Math.max(0, before.indexOf(selected));
  return now[Math.min(index, now.length - 1)] ?? null;
}
