/** Every command of the window as a row: its title, its shortcut, when it is possible, and what it does. */
import {
  Activity, Cable, Camera, CirclePlus, Clock, Copy, CopyPlus, Cpu, Eraser, FolderInput, Keyboard, LayoutDashboard, Microscope, Monitor, Moon, FileOutput, PanelLeft, Pause, Pencil, Play, Power, RotateCcw, Save, ScanEye, Search,
  Settings, SlidersHorizontal, SquareSplitHorizontal, SquareSplitVertical, SquareTerminal, Sun, SunMoon, Trash2, Unplug, Zap,
} from 'lucide-react';
import type { LucideIcon } from 'lucide-react';
import type { Settings as SettingsData, Vm } from '../../core/contract/index.ts';
import { copyText } from '../console/session.ts';
import { attachedSession, detach } from '../console/sessions.ts';
import { saveLog } from '../console/save-log.ts';
import { sendBreak } from '../console/send-break.ts';
import { toggleSplit } from '../console/split.ts';
import { engine } from '../engine/engine.ts';
import { changeVmLayout, layoutOf, openDialog, portTab, select, tabPort, toggleDock, toggleLineTimes, useLayout } from '../state/layout.ts';
import { vmsInSight } from '../library/groups.ts';
import { findVm } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';
import { possibleActions, requestStop, startVm, suspendVm, togglePause } from '../vm/actions.ts';
import type { VmActionName } from '../vm/actions.ts';
import { useFind } from '../console/find-state.ts';

export interface Command {
  readonly id: string;
  readonly title: string;
  readonly icon: LucideIcon;
  readonly group: 'Machine' | 'View' | 'Console' | 'Library' | 'Window';
  readonly shortcut?: string;
  /** Works while a console has the focus; other shortcuts are the guest's then. */
  readonly inConsole?: boolean;
  readonly possible: () => boolean;
  readonly run: () => void;
}

const always = (): boolean => true;

function selectedVm(): Vm | undefined {
  return findVm(useLayout.getState().selected);
}

/** A command on the selected VM. */
function vmCommand(row: Omit<Command, 'possible' | 'run' | 'group'> & { readonly group?: Command['group'] },
  possible: (vm: Vm) => boolean, run: (vm: Vm) => void): Command {
  return {
    group: 'Machine',
    ...row,
    possible: () => {
      const vm = selectedVm();
      return vm !== undefined && possible(vm);
    },
    run: () => {
      const vm = selectedVm();
      if (vm && possible(vm)) run(vm);
    },
  };
}

const can = (action: VmActionName) => (vm: Vm): boolean => possibleActions(vm).has(action);
const any = (): boolean => true;
const hasConsole = (vm: Vm): boolean => currentPort(vm) !== null;

function currentPort(vm: Vm): number | null {
  return tabPort(layoutOf(vm.id).tab);
}

function onConsole(vm: Vm, act: (port: number) => void): void {
  const port = currentPort(vm);
  if (port !== null) act(port);
}

function setTheme(theme: SettingsData['theme']): void {
  engine.call('settings.set', { changes: { theme } }).catch(notifyError);
}

function moveSelection(by: number): void {
  const ids = vmsInSight().map((vm) => vm.id);
  const at = ids.indexOf(useLayout.getState().selected ?? '');
  const next = ids[(at + by + ids.length) % ids.length];
  if (next !== undefined) select(next);
}

const machine: readonly Command[] = [
  vmCommand({ id: 'start', title: 'Start', icon: Play, shortcut: 'Mod+Enter' }, can('start'), (vm) => void startVm(vm)),
  vmCommand({ id: 'pause', title: 'Pause', icon: Pause, shortcut: 'Alt+P' }, can('pause'), togglePause),
  vmCommand({ id: 'resume', title: 'Resume', icon: Play, shortcut: 'Alt+P' }, can('resume'), togglePause),
  vmCommand({ id: 'suspend', title: 'Suspend', icon: Moon, shortcut: 'Alt+S' }, can('suspend'), (vm) => void suspendVm(vm)),
  vmCommand({ id: 'take-snapshot', title: 'Take snapshot…', icon: Camera, shortcut: 'Alt+T', inConsole: true }, any, (vm) => openDialog({ kind: 'take-snapshot', vm: vm.id })),
  vmCommand({ id: 'stop', title: 'Stop…', icon: Power, shortcut: 'Alt+Q' }, can('stop'), requestStop),
  vmCommand({ id: 'force-stop', title: 'Force stop…', icon: Zap }, can('force-stop'), (vm) => openDialog({ kind: 'force-stop', vm: vm.id })),
  vmCommand({ id: 'reset', title: 'Reset…', icon: RotateCcw, shortcut: 'Alt+R' }, can('reset'), (vm) => openDialog({ kind: 'reset', vm: vm.id })),
  vmCommand({ id: 'rename', title: 'Rename…', icon: Pencil, shortcut: 'F2' }, any, (vm) => openDialog({ kind: 'rename', vm: vm.id })),
  vmCommand({ id: 'clone', title: 'Clone…', icon: CopyPlus, shortcut: 'Alt+C' }, any, (vm) => openDialog({ kind: 'clone', vm: vm.id })),
  vmCommand({ id: 'export', title: 'Export…', icon: FileOutput }, any, (vm) => openDialog({ kind: 'export', vm: vm.id })),
  vmCommand({ id: 'group', title: 'Group and tags…', icon: FolderInput, shortcut: 'Alt+G' }, any, (vm) => openDialog({ kind: 'group', vm: vm.id })),
  vmCommand({ id: 'remove', title: 'Delete…', icon: Trash2, shortcut: 'Delete' }, can('remove'), (vm) => openDialog({ kind: 'remove', vm: vm.id })),
];

const view: readonly Command[] = [
  vmCommand({ id: 'overview', title: 'Show overview', icon: LayoutDashboard, shortcut: 'Alt+1', inConsole: true, group: 'View' }, any,
    (vm) => changeVmLayout(vm.id, { tab: 'overview' })),
  ...[0, 1, 2, 3].map((port) => vmCommand(
    { id: `com${port + 1}`, title: `Show console COM${port + 1}`, icon: SquareTerminal, shortcut: `Alt+${port + 2}`, inConsole: true, group: 'View' },
    (vm) => vm.config.serial[port]?.attach === 'console',
    (vm) => changeVmLayout(vm.id, { tab: portTab(port) }),
  )),
  vmCommand({ id: 'configuration', title: 'Edit configuration', icon: SlidersHorizontal, shortcut: 'Alt+6', inConsole: true, group: 'View' }, any,
    (vm) => changeVmLayout(vm.id, { tab: 'configuration' })),
  vmCommand({ id: 'activity', title: 'Show activity', icon: Activity, shortcut: 'Alt+7', inConsole: true, group: 'View' }, any,
    (vm) => changeVmLayout(vm.id, { tab: 'activity' })),
  vmCommand({ id: 'snapshots', title: 'Show snapshots', icon: Camera, shortcut: 'Alt+8', inConsole: true, group: 'View' }, any,
    (vm) => changeVmLayout(vm.id, { tab: 'snapshots' })),
  vmCommand({ id: 'display', title: 'Show display', icon: Monitor, shortcut: 'Alt+9', inConsole: true, group: 'View' }, (vm) => vm.config.display !== 'none',
    (vm) => changeVmLayout(vm.id, { tab: 'display' })),
  vmCommand({ id: 'devices', title: 'Show devices', icon: Cable, shortcut: 'Alt+0', inConsole: true, group: 'View' }, any,
    (vm) => changeVmLayout(vm.id, { tab: 'devices' })),
  vmCommand({ id: 'exits', title: 'Show or hide VM exits', icon: ScanEye, shortcut: 'Alt+E', inConsole: true, group: 'View' }, any, () => toggleDock('exits')),
  vmCommand({ id: 'inspector', title: 'Show or hide the inspector', icon: Microscope, shortcut: 'Alt+I', inConsole: true, group: 'View' }, any, () => toggleDock('inspector')),
];

const consoleRows: readonly Command[] = [
  vmCommand(
    { id: 'find', title: 'Find in console', icon: Search, shortcut: 'Mod+Shift+F', inConsole: true, group: 'Console' },
    hasConsole,
    (vm) => onConsole(vm, (port) => useFind.setState({ open: `${vm.id}/${port}/main` }))),
  vmCommand(
    { id: 'copy', title: 'Copy selection', icon: Copy, shortcut: 'Mod+Shift+C', inConsole: true, group: 'Console' },
    hasConsole,
    (vm) => onConsole(vm, (port) => {
      const text = focusedSelection(vm, port);
      if (text !== '') void copyText(text);
    })),
  vmCommand(
    { id: 'split-right', title: 'Split console right', icon: SquareSplitHorizontal, shortcut: 'Mod+Shift+E', inConsole: true, group: 'Console' },
    hasConsole,
    (vm) => toggleSplit(vm, 'row')),
  vmCommand(
    { id: 'split-down', title: 'Split console down', icon: SquareSplitVertical, shortcut: 'Mod+Shift+O', inConsole: true, group: 'Console' },
    hasConsole,
    (vm) => toggleSplit(vm, 'column')),
  vmCommand(
    { id: 'line-times', title: 'Show or hide the times of lines', icon: Clock, inConsole: true, group: 'Console' }, hasConsole, toggleLineTimes),
  vmCommand(
    { id: 'break', title: 'Send a break', icon: Zap, inConsole: true, group: 'Console' },
    (vm) => hasConsole(vm) && vm.state === 'running',
    (vm) => onConsole(vm, (port) => sendBreak(vm, port))),
  vmCommand(
    { id: 'clear', title: 'Clear console', icon: Eraser, shortcut: 'Mod+Shift+L', inConsole: true, group: 'Console' },
    hasConsole,
    (vm) => onConsole(vm, (port) => void attachedSession(vm.id, port)?.clear().catch(notifyError))),
  vmCommand(
    { id: 'save-log', title: 'Save console log', icon: Save, shortcut: 'Mod+Shift+S', inConsole: true, group: 'Console' },
    hasConsole,
    (vm) => onConsole(vm, (port) => saveLog(vm, port, 'main'))),
  vmCommand(
    { id: 'detach', title: 'Detach console', icon: Unplug, shortcut: 'Mod+Shift+U', inConsole: true, group: 'Console' },
    hasConsole,
    (vm) => onConsole(vm, (port) => detach(vm.id, port, 'main'))),
];

function focusedSelection(vm: Vm, port: number): string {
  const split = layoutOf(vm.id).split;
  const main = attachedSession(vm.id, port)?.terminal.getSelection() ?? '';
  return main !== '' || !split ? main : (attachedSession(vm.id, split.port, 'split')?.terminal.getSelection() ?? '');
}

const rest: readonly Command[] = [
  { id: 'create', title: 'New virtual machine…', icon: CirclePlus, group: 'Library', shortcut: 'N', possible: always,
    run: () => openDialog({ kind: 'create' }) },
  { id: 'search', title: 'Search the library', icon: Search, group: 'Library', shortcut: '/', possible: always, run: focusSearch },
  { id: 'next', title: 'Next virtual machine', icon: Cpu, group: 'Library', shortcut: 'Alt+ArrowDown', inConsole: true, possible: always,
    run: () => moveSelection(1) },
  { id: 'previous', title: 'Previous virtual machine', icon: Cpu, group: 'Library', shortcut: 'Alt+ArrowUp', inConsole: true, possible: always,
    run: () => moveSelection(-1) },
  { id: 'palette', title: 'Command palette', icon: Search, group: 'Window', shortcut: 'Mod+K', possible: always,
    run: () => openDialog({ kind: 'palette' }) },
  { id: 'palette-anywhere', title: 'Command palette, from a console', icon: Search, group: 'Window', shortcut: 'Mod+Shift+P', inConsole: true, possible: always,
    run: () => openDialog({ kind: 'palette' }) },
  { id: 'sidebar', title: 'Show or hide the library', icon: PanelLeft, group: 'Window', shortcut: 'Mod+B', possible: always,
    run: () => useLayout.setState(({ sidebarHidden }) => ({ sidebarHidden: !sidebarHidden })) },
  { id: 'settings', title: 'Settings…', icon: Settings, group: 'Window', shortcut: 'Mod+,', possible: always,
    run: () => openDialog({ kind: 'settings' }) },
  { id: 'shortcuts', title: 'Keyboard shortcuts', icon: Keyboard, group: 'Window', shortcut: '?', possible: always,
    run: () => openDialog({ kind: 'shortcuts' }) },
  { id: 'theme-dark', title: 'Dark theme', icon: Moon, group: 'Window', possible: always, run: () => setTheme('dark') },
  { id: 'theme-light', title: 'Light theme', icon: Sun, group: 'Window', possible: always, run: () => setTheme('light') },
  { id: 'theme-system', title: 'Theme of the system', icon: SunMoon, group: 'Window', possible: always, run: () => setTheme('system') },
];

function focusSearch(): void {
  useLayout.setState({ sidebarHidden: false });
  // At once where the field is there: what is typed next belongs into it.
  const focus = (): void => document.getElementById('library-search')?.focus();
  focus();
  requestAnimationFrame(focus);
}

export const commands: readonly Command[] = [...machine, ...view, ...consoleRows, ...rest];

export function commandById(id: string): Command | undefined {
  return commands.find((command) => command.id === id);
}

/** The shortcut of a command, for tooltips and menus. */
export function shortcutOf(id: string): string | undefined {
  return commandById(id)?.shortcut;
}
