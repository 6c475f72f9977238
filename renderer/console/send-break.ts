import type { Vm } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';
import { notifyError } from '../state/notices.ts';

/** To the UART of a port; the focus stays where the next character is typed. */
export function sendBreak(vm: Vm, port: number): void {
  engine.call('console.break', { vm: vm.id, port }).catch(notifyError);
}
