/** What a guest costs that waits at its prompt, in a process as the engine starts them: CPU share, wake-ups, memory beside its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RAM_BASE } from '../../core/cpu/layout.ts';
import { ALLOCATOR_ENVIRONMENT } from '../../core/machine/processSettings.ts';
import { GuestShell, guestOptions } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';
import { statusValue, touchedGuestBytes, usageOf, wakeUps } from './processes.ts';
import { printTable } from './table.ts';

/** Time for the guest's own start-up work to end, and time that is measured. */
const SETTLE_MS = 5000;
const MEASURE_MS = 20_000;
const GUEST_BYTES = 512 << 20;

export async function idle(name: string, guest: Guest, tiers: readonly string[]): Promise<void> {
  const rows: string[][] = [];
  for (const tier of tiers) {
    const shell = new GuestShell([...guestOptions(guest, 'shell', 300), '--jit', tier], ALLOCATOR_ENVIRONMENT);
    try {
      rows.push([tier, ...await watch(shell)]);
    } finally {
      shell.child.kill('SIGKILL');
    }
  }
  printTable([`${name} at its prompt, jit`, 'share of a core', 'wake-ups a second', 'process', 'guest memory touched', 'beside it', 'guest clock against the host\'s'], rows);
}

async function watch(shell: GuestShell): Promise<string[]> {
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  const id = shell.child.pid ?? 0;
  const clock = async (): Promise<number> => Number((await shell.ask('cut -d" " -f1 /proc/uptime 2>/dev/null || busybox cut -d" " -f1 /proc/uptime')).trim());
  const guestBefore = await clock();
  const hostBefore = performance.now();
  await sleep(SETTLE_MS);
  const from = { cpu: usageOf(id).cpuSeconds, wakes: wakeUps(id), at: performance.now() };
  await sleep(MEASURE_MS);
  const seconds = (performance.now() - from.at) / 1000;
  const share = (usageOf(id).cpuSeconds - from.cpu) / seconds;
  const wakes = (wakeUps(id) - from.wakes) / seconds;
  const resident = statusValue(`/proc/${id}/status`, 'VmRSS') * 1024;
  const touched = touchedGuestBytes(id, RAM_BASE, GUEST_BYTES);
  const drift = (await clock() - guestBefore) - (performance.now() - hostBefore) / 1000;
  const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;
  return [`${(share * 100).toFixed(1)} %`, wakes.toFixed(0), megabytes(resident), megabytes(touched), megabytes(resident - touched), `${drift >= 0 ? '+' : ''}${drift.toFixed(2)} s`];
}
