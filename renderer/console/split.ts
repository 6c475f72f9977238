import type { Vm } from '../../core/contract/index.ts';
import { changeVmLayout, layoutOf, tabPort } from '../state/layout.ts';

/** The port that a new second pane shows: the next one with a console, else the same once more. */
export function portForSplit(consolePorts: readonly number[], shown: number): number {
  const others = consolePorts.filter((port) => port !== shown);
  return others.find((port) => port > shown) ?? others[0] ?? shown;
}

export function consolePorts(vm: Vm): readonly number[] {
  return vm.config.serial.flatMap((serial, port) => (serial.attach === 'console' ? [port] : []));
}

/** Opens the second pane in a direction, turns it there, or closes it when it is there already. */
export function toggleSplit(vm: Vm, direction: 'row' | 'column'): void {
  const { split, tab } = layoutOf(vm.id);
  const shown = tabPort(tab);
  if (split) changeVmLayout(vm.id, { split: split.direction === direction ? null : { ...split, direction } });
  else if (shown !== null) changeVmLayout(vm.id, { split: { port: portForSplit(consolePorts(vm), shown), direction, share: 50 } });
}
