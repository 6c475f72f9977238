/** `npm run bench -- passthrough`: random reads of 4 KB in Debian from an image that is assigned as NVMe, against the same on virtio-blk. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCpio } from '../../build/guests/cpio.ts';
import { vanderpool } from '../helpers/command-line.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { GuestShell } from '../helpers/guests.ts';
import { median } from './phases.ts';
import { printTable } from './table.ts';

const IMAGE_BYTES = 64 << 20;
const READS = 10_000;

/** Lines of the table: what the guest is told, and whether it has a unit of its own in front of both. */
const setups = [
  { name: 'without a unit of the guest', words: '', machine: 'iommu=off' },
  { name: 'behind the guest\'s unit', words: 'intel_iommu=on', machine: 'iommu=on' },
] as const;

export async function passthrough(runs: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-bench-'));
  const library = join(folder, 'library');
  const command = async (...words: readonly string[]): Promise<string> => {
    const { status, stdout, stderr } = await vanderpool([...words, '--library', library]);
    if (status !== 0) throw new Error(stderr);
    return stdout;
  };
  /** What has passed the guest's unit so far. */
  const counts = async (vm: string): Promise<{ readonly requests: number; readonly walks: number }> => {
    const shown = await command('iommu', 'show', vm);
    const count = (name: string): number => Number(new RegExp(`^${name} +(\\d+)`, 'm').exec(shown)?.[1] ?? 0);
    return { requests: count('requests'), walks: count('walks') };
  };
  try {
    const images = ['virtio.raw', 'assigned.raw'].map((name) => join(folder, name));
    for (const image of images) writeFileSync(image, Buffer.alloc(IMAGE_BYTES, 'vanderpool'));
    const [virtio = '', assigned = ''] = images;
    const guest = await driverGuest('amd64', folder);
    const program = join(folder, 'randomRead');
    execFileSync('gcc', ['-O1', '-static', '-o', program, join(import.meta.dirname, 'randomRead.c')], { stdio: 'pipe' });
    // The kernel unpacks one archive after another.
    const initrd = join(folder, 'initrd');
    writeFileSync(initrd, Buffer.concat([readFileSync(guest.initramfs), writeCpio([{ kind: 'file', path: 'randomRead', data: readFileSync(program), executable: true }])]));
    await command('device', 'add', 'disk', assigned);
    const rows: string[][] = [];
    for (const [index, { name, words, machine }] of setups.entries()) {
      const vm = `bench-${index}`;
      await command('vm', 'create', vm, '--kernel', guest.kernel, '--initrd', initrd, '--append', `console=ttyS0 quiet ${words}`, '--machine', machine, '--disk', `${virtio},format=raw`);
      await command('device', 'assign', assigned, vm);
      await command('vm', 'start', vm);
      const shell = new GuestShell(['console', vm, '--library', library]);
      await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
      const rates: Record<'vda' | 'nvme0n1', number[]> = { vda: [], nvme0n1: [] };
      const before = await counts(vm);
      // In turn, and the first time for warmth.
      for (let run = 0; run <= runs; run++) {
        for (const node of ['vda', 'nvme0n1'] as const) {
          const rate = Number(/RATE (\d+)/.exec(await shell.ask(`/randomRead /dev/${node} ${READS}`))?.[1]);
          if (run > 0) rates[node].push(rate);
        }
      }
      const after = await counts(vm);
      await command('vm', 'stop', vm, '--force');
      await command('device', 'release', assigned);
      shell.child.kill('SIGKILL');
      const [own, given] = [median(rates.vda), median(rates.nvme0n1)];
      const requests = after.requests - before.requests;
      const hits = requests === 0 ? '' : `${((1 - (after.walks - before.walks) / requests) * 100).toFixed(1)} %`;
      rows.push([name, own.toFixed(0), given.toFixed(0), (given / own).toFixed(2), hits]);
    }
    printTable(['4 KB random reads a second', 'virtio-blk', 'assigned NVMe', 'ratio', 'IOTLB hits of the guest\'s unit'], rows);
  } finally {
    await vanderpool(['engine', 'stop', '--force', '--library', library]);
    rmSync(folder, { recursive: true, force: true });
  }
}
