/** `npm run bench -- disk` and `-- net`: throughput and small accesses of virtual devices, ours and QEMU's translator on the same image and server. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { driverGuest } from '../helpers/driver-guest.ts';
import type { Guest } from '../helpers/guests.ts';
import { ours, qemu } from './peers.ts';
import { measure, median } from './phases.ts';
import type { GuestRun } from './phases.ts';
import { printTable } from './table.ts';
import { serveTftp } from './tftp.ts';

const DISK_MIB = 512;
const DOWNLOAD_MIB = 1024;
/** Below 65536, where the numbers of blocks begin anew. */
const ROUND_TRIPS = 10_000;
const SMALL = 20_000;
const CONNECTIONS = 100;

interface Device {
  readonly name: string;
  readonly ours: readonly string[];
  readonly qemu: readonly string[];
  /** The block device in the guest; empty for networks. */
  readonly node: string;
}

interface Work {
  /** Of the phase: one word. */
  readonly name: string;
  readonly command: string;
  /** What was moved or done, for the rate: bytes as MiB, or a count. */
  readonly amount: number;
  readonly unit: string;
  /** How often it is done, unmeasured, before it is measured again. */
  readonly between: number;
}

/** The first time most of the guest's code is being translated; so all is measured once more when that is done. */
function rounds(first: readonly Work[]): { readonly work: readonly Work[]; readonly script: string } {
  const later = first.map((row) => ({ ...row, name: `${row.name}Later` }));
  return { work: [...first, ...later], script: phasesOf(first) + first.map(({ command, between }) => `${command}\n`.repeat(between)).join('') + phasesOf(later) };
}

function diskWork(node: string): Work[] {
  const queue = `/sys/block/${node}/queue/read_ahead_kb`;
  return [
    { name: 'write', command: `dd if=/dev/zero of=/dev/${node} bs=1M count=${DISK_MIB / 2} conv=fsync`, amount: DISK_MIB / 2, unit: 'MiB/s', between: 4 },
    { name: 'read', command: `echo 3 > /proc/sys/vm/drop_caches; echo 128 > ${queue}; dd if=/dev/${node} of=/dev/null bs=1M`, amount: DISK_MIB, unit: 'MiB/s', between: 2 },
    // Without read-ahead each read is a request of 4 KiB, one at a time.
    { name: 'small', command: `echo 3 > /proc/sys/vm/drop_caches; echo 0 > ${queue}; dd if=/dev/${node} of=/dev/null bs=4k count=${SMALL}`, amount: SMALL, unit: 'reads/s', between: 8 },
  ];
}

function netWork(port: number, tftp: number): Work[] {
  return [
    { name: 'download', command: `wget -q -O /dev/null http://10.0.2.2:${port}/large`, amount: DOWNLOAD_MIB, unit: 'MiB/s', between: 0 },
    // Some 19,000 instructions of the guest's each, few of them more than once: it takes long until they are worth translating.
    { name: 'roundtrip', command: `tftp -g -r file -l /dev/null 10.0.2.2 ${tftp}`, amount: ROUND_TRIPS, unit: 'round trips/s', between: 6 },
    // Each is a process of its own as well.
    { name: 'connect', command: `n=0; while [ $n -lt ${CONNECTIONS} ]; do wget -q -O /dev/null http://10.0.2.2:${port}/small; n=$((n+1)); done`, amount: CONNECTIONS, unit: 'connections/s', between: 4 },
  ];
}

/** @param runs of each, in turn; medians are shown */
export async function benchIo(what: 'disk' | 'net', runs: number, withQemu: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-bench-'));
  const server = await serve();
  const tftp = await serveTftp(ROUND_TRIPS);
  try {
    const image = join(folder, 'disk.raw');
    writeFileSync(image, '');
    truncateSync(image, DISK_MIB * 1024 * 1024);
    for (const device of what === 'disk' ? diskDevices(image) : netDevices) {
      const { work, script } = what === 'disk' ? rounds(diskWork(device.node)) : netRounds((server.address() as AddressInfo).port, tftp.address().port);
      const guest = await driverGuest('amd64', folder, `${script}echo GUEST-DONE\n`);
      await compare(device, guest, work, runs, withQemu);
    }
  } finally {
    server.close();
    tftp.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function diskDevices(image: string): Device[] {
  const drive = ['-drive', `file=${image},format=raw,if=none,id=d`];
  return [
    { name: 'virtio-blk', node: 'vda', ours: ['--disk', `${image},format=raw`], qemu: [...drive, '-device', 'virtio-blk-pci,drive=d'] },
    { name: 'NVMe', node: 'nvme0n1', ours: ['--disk', `${image},format=raw,bus=nvme`], qemu: [...drive, '-device', 'nvme,drive=d,serial=1'] },
  ];
}

const netDevices: readonly Device[] = [
  { name: 'virtio-net', node: '', ours: ['--net', 'user,host-loopback'], qemu: ['-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n'] },
];

function netRounds(port: number, tftp: number): { readonly work: readonly Work[]; readonly script: string } {
  const { work, script } = rounds(netWork(port, tftp));
  return { work, script: `ifconfig eth0 up\nudhcpc -i eth0 -q -n -f\n${script}` };
}

function phasesOf(work: readonly Work[]): string {
  return work.map(({ name, command }) => `echo BEGIN ${name}\n${command}\necho END ${name}\n`).join('');
}

async function compare(device: Device, guest: Guest, work: readonly Work[], runs: number, withQemu: boolean): Promise<void> {
  const peers = [{ name: 'ours', command: ours('ours', device.ours).command(guest, 'console=ttyS0 quiet') }];
  if (withQemu) peers.push({ name: 'qemu', command: [...qemu.command(guest, 'console=ttyS0 quiet'), ...device.qemu] });
  const samples: { readonly peer: string; readonly run: GuestRun }[] = [];
  for (let run = 1; run <= runs; run++) {
    for (const { name, command } of peers) {
      console.error(`${device.name}, ${name}: run ${run} of ${runs}`);
      samples.push({ peer: name, run: await measure(command) });
    }
  }
  const rate = (peer: string, { name, amount }: Work): number => amount / median(samples.filter((sample) => sample.peer === peer).map(({ run }) => run.phases[name]?.wall ?? NaN));
  printTable([device.name, ...peers.map(({ name }) => name)], work.map((row) => [`${row.name}, ${row.unit}`, ...peers.map(({ name }) => rate(name, row).toFixed(0))]));
}

async function serve(): Promise<Server> {
  const piece = Buffer.alloc(1 << 20, 'vanderpool');
  const server = createServer((request, response) => {
    if (request.url !== '/large') return void response.end('small');
    let left = DOWNLOAD_MIB;
    const more = (): void => {
      while (left > 0) {
        left -= 1;
        if (!response.write(piece)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
