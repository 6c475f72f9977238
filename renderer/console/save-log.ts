import type { Vm } from '../../core/contract/index.ts';
import { attachedSession } from './sessions.ts';
import type { Slot } from './sessions.ts';

/** A file name that every system takes: `Debian 12` on COM1 becomes `Debian-12-COM1.log`. */
export function logName(vmName: string, port: number): string {
  const safe = vmName.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^-+|-+$/g, '');
  return `${safe || 'console'}-COM${port + 1}.log`;
}

/** Offers the console's lines as a text file. */
export function saveLog(vm: Vm, port: number, slot: Slot): void {
  const session = attachedSession(vm.id, port, slot);
  if (!session) return;
  const address = URL.createObjectURL(new Blob([session.text()], { type: 'text/plain;charset=utf-8' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = logName(vm.config.name, port);
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
