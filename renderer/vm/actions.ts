/** What a person can do to a VM: when it is possible, and the requests that do it. */
import { asContractError } from '../../core/contract/index.ts';
import type { Vm, VmConfig } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';
import { changeVmLayout, layoutOf, openDialog, portTab, tabPort } from '../state/layout.ts';
import type { TabName } from '../state/layout.ts';
import { isAlive, setError, useLibrary } from '../state/library.ts';

export type VmActionName = 'start' | 'stop' | 'force-stop' | 'pause' | 'resume' | 'suspend' | 'reset' | 'remove';

/** The actions that make sense in the VM's state. */
export function possibleActions(vm: Vm): ReadonlySet<VmActionName> {
  switch (vm.state) {
    case 'stopped':
    case 'crashed': return new Set(['start', 'remove']);
    case 'starting': return new Set(['force-stop']);
    case 'running': return new Set(['stop', 'force-stop', 'pause', 'suspend', 'reset']);
    case 'paused': return new Set(['resume', 'force-stop', 'suspend', 'reset']);
    case 'stopping': return new Set(['force-stop']);
    case 'suspended': return new Set(['resume', 'force-stop', 'remove']);
  }
}

/** Runs a request on a VM; its error is shown in the VM's own view. */
async function onVm(id: string, request: () => Promise<unknown>): Promise<boolean> {
  setError(id, null);
  try {
    await request();
    return true;
  } catch (thrown) {
    setError(id, asContractError(thrown).toShape());
    return false;
  }
}

/** Where a VM speaks first: firmware on its display, a kernel on its first console; null when it has neither. */
export function voiceOf({ display, firmware, serial }: VmConfig): TabName | null {
  const port = serial.findIndex(({ attach }) => attach === 'console');
  if (display !== 'none' && (firmware !== '' || port < 0)) return 'display';
  return port < 0 ? null : portTab(port);
}

/** Starts the VM and shows where it speaks, unless a console or the display is on the screen already; one that does not start goes back to where the person was. */
export async function startVm(vm: Vm, withoutMissing = false): Promise<void> {
  const { tab } = layoutOf(vm.id);
  const voice = tab === 'display' || tabPort(tab) !== null ? tab : voiceOf(vm.config) ?? tab;
  changeVmLayout(vm.id, { tab: voice });
  const started = await onVm(vm.id, () => engine.call('vm.start', { vm: vm.id, withoutMissing }));
  if (!started && layoutOf(vm.id).tab === voice) changeVmLayout(vm.id, { tab });
  if (useLibrary.getState().errors[vm.id]?.code === 'device-missing') openDialog({ kind: 'start-without', vm: vm.id });
}

export function stopVm(vm: Vm): Promise<boolean> {
  return onVm(vm.id, () => engine.call('vm.stop', { vm: vm.id, force: false }));
}

export function forceStopVm(vm: Vm): Promise<boolean> {
  return onVm(vm.id, () => engine.call('vm.stop', { vm: vm.id, force: true }));
}

export function pauseVm(vm: Vm): Promise<boolean> {
  return onVm(vm.id, () => engine.call('vm.pause', { vm: vm.id }));
}

export function resumeVm(vm: Vm): Promise<boolean> {
  return onVm(vm.id, () => engine.call('vm.resume', { vm: vm.id }));
}

export function suspendVm(vm: Vm): Promise<boolean> {
  return onVm(vm.id, () => engine.call('vm.suspend', { vm: vm.id }));
}

export function resetVm(vm: Vm): Promise<boolean> {
  return onVm(vm.id, () => engine.call('vm.reset', { vm: vm.id }));
}

export function removeVm(vm: Vm): Promise<boolean> {
  return onVm(vm.id, () => engine.call('vm.remove', { vm: vm.id }));
}

/** Stops as the settings say: asks first, or presses the power button at once. */
export function requestStop(vm: Vm): void {
  if (useLibrary.getState().settings.confirmStop) openDialog({ kind: 'stop', vm: vm.id });
  else void stopVm(vm);
}

export function togglePause(vm: Vm): void {
  if (vm.state === 'paused' || vm.state === 'suspended') void resumeVm(vm);
  else if (vm.state === 'running') void pauseVm(vm);
}

/** Whether a VM's last run ended as nobody wished. */
export function endedBadly({ state, exit }: Vm): boolean {
  return state === 'crashed' || (state === 'stopped' && (exit?.reason === 'triple-fault' || exit?.reason === 'failed-to-start'));
}

/** One line about a VM for lists: what it does, or how it ended. */
export function stateLine(vm: Vm): string {
  if (vm.state === 'suspended') return 'Suspended';
  if (vm.problem !== null) return 'Paused: a disk of the host is full';
  if (isAlive(vm)) return vm.state.charAt(0).toUpperCase() + vm.state.slice(1);
  switch (vm.exit?.reason) {
    case 'power-off': return 'Powered off';
    case 'debug-exit': return `Ended by its exit port${vm.exit.value === undefined ? '' : `, value ${vm.exit.value}`}`;
    case 'triple-fault': return 'Ended by a triple fault';
    case 'failed-to-start': return 'Failed to start';
    case 'killed': return 'Stopped by force';
    default: return vm.state === 'crashed' ? 'Crashed' : 'Stopped';
  }
}
