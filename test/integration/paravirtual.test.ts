/** Debian with the devices that only its own drivers use: consoles, balloon, sockets, shared folders, and media that change. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { diskDefaults, defaultSerial } from '../../core/contract/index.ts';
import type { VmConfig } from '../../core/contract/index.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { DebianVm } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { history, startTestEngine, type, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { GuestShell, guestOptions } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';
import { refused } from '../helpers/refusal.ts';

const VM = 'Debian';
const TEST_MS = 240_000;
const BOOT_MS = 120_000;
const ANSWER_MS = 60_000;
const MIB = 1 << 20;

let folder = '';
let guest: Guest;
let test: TestEngine;
let debian: DebianVm;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-paravirtual-'));
  guest = await driverGuest('amd64', folder, undefined, ['virtio_console', 'virtio_balloon', 'vmw_vsock_virtio_transport']);
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const call: TestEngine['client']['call'] = (operation, input) => test.client.call(operation, input);

async function start(more: Partial<VmConfig>): Promise<void> {
  debian = await DebianVm.create(test.client, VM, guest, { memoryBytes: 512 * MIB, ...more });
  await debian.boot(BOOT_MS);
}

const ask = (command: string): Promise<string> => debian.ask(command);

/** An image of 4 MiB that begins with these bytes. */
function image(name: string, contents: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  truncateSync(path, 4 * MIB);
  return path;
}

describe('Debian in a VM of the library', () => {
  beforeEach(async () => {
    test = await startTestEngine(undefined, machineModuleUrl());
  });
  afterEach(() => test.end());

  it('uses a virtio console, gives memory back, and talks to its host by sockets', async () => {
    const program = join(folder, 'vsock');
    execFileSync('gcc', ['-O1', '-static', '-o', program, join(import.meta.dirname, '../guests/vsock.c')], { stdio: 'pipe' });
    const socket = join(test.folder, 'v');
    const serial = defaultSerial.map((port, index) => (index === 1 ? { attach: 'console' as const, label: 'second', device: 'virtio' as const } : port));
    await start({ serial, balloon: true, vsock: socket, disks: [{ ...diskDefaults, bus: 'scsi', path: image('vsock.raw', readFileSync(program)), format: 'raw', readOnly: true }] });

    // The console: a port with a name, both ways.
    expect(await ask('cat /sys/class/virtio-ports/*/name')).toBe('second\n');
    await ask('echo out by virtio > /dev/hvc0');
    await until(async () => (await history(test.client, VM, 1)).includes('out by virtio'), 'the second console shows it');
    const typed = ask('head -n 1 /dev/hvc0');
    await call('console.write', { vm: VM, port: 1, data: new Uint8Array(Buffer.from('in by virtio\n')) });
    expect(await typed).toContain('in by virtio');

    // A break is the magic key of Linux: what follows is its command. A virtio console has none.
    await call('console.break', { vm: VM, port: 0 });
    await call('console.write', { vm: VM, port: 0, data: new Uint8Array(Buffer.from('h')) });
    await until(async () => (await history(test.client, VM)).includes('sysrq: HELP'), 'Linux has heard the break', ANSWER_MS);
    expect(await refused(call('console.break', { vm: VM, port: 1 }))).toMatchObject({ code: 'bad-field', field: 'port' });

    // The balloon: the guest has less.
    const available = async (): Promise<number> => Number(await ask("sed -n 's/MemFree: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"));
    const before = await available();
    expect(await call('vm.balloon', { vm: VM, bytes: 256 * MIB })).toMatchObject({ targetBytes: 256 * MIB });
    await until(async () => (await call('vm.balloon', { vm: VM, bytes: null })).inflatedBytes === 256 * MIB, 'the balloon is full', ANSWER_MS);
    expect(before - (await available())).toBeGreaterThan(250 * 1024);
    await call('vm.balloon', { vm: VM, bytes: 0 });
    await until(async () => (await call('vm.balloon', { vm: VM, bytes: null })).inflatedBytes === 0, 'the balloon is empty', ANSWER_MS);
    const resident = async (): Promise<number> => {
      const { processId } = await call('vm.get', { vm: VM });
      return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${processId ?? 0}/status`, 'utf8'))?.[1]) / 1024;
    };
    await ask('dd if=/dev/zero of=/tmp/fill bs=1M count=200 2>/dev/null');
    const full = await resident();
    await ask('rm /tmp/fill');
    // Linux reports free pages two seconds later.
    await until(async () => full - (await resident()) > 120, 'free pages are back with the host', ANSWER_MS);

    // Sockets: from the guest, and to it.
    await ask('dd if=/dev/sda of=/tmp/vsock bs=1M 2>/dev/null; chmod +x /tmp/vsock');
    const server = createServer((peer) => peer.once('data', (bytes) => peer.end(`the host heard ${bytes.toString()}`))).listen(`${socket}_99`);
    onTestFinished(() => void server.close());
    expect(await ask('/tmp/vsock connect 99 hello; /tmp/vsock connect 98 nobody')).toMatch(/heard the host heard hello\n.*connect: /s);
    const listening = ask('/tmp/vsock listen 1234');
    await until(async () => (await history(test.client, VM)).includes('listening'), 'the guest listens');
    const peer = connect(socket);
    let said = '';
    peer.on('data', (bytes) => void (said += bytes.toString()));
    peer.write('CONNECT 1234\nfrom the host\n');
    expect(await listening).toContain('heard from the host');
    await until(() => said.includes('answer to from the host'), 'the host hears the answer');
    expect(said).toMatch(/^OK \d+\n/);
  }, TEST_MS);

  it('goes on from a snapshot with its console and its balloon', async () => {
    const socket = join(test.folder, 'v');
    await start({ serial: defaultSerial.map((port, index) => (index === 1 ? { attach: 'console' as const, label: 'second', device: 'virtio' as const } : port)), balloon: true, vsock: socket });
    await call('vm.balloon', { vm: VM, bytes: 64 * MIB });
    await until(async () => (await call('vm.balloon', { vm: VM, bytes: null })).inflatedBytes === 64 * MIB, 'the balloon is full', ANSWER_MS);
    await call('snapshot.take', { vm: VM, name: 'inflated' });
    await call('vm.balloon', { vm: VM, bytes: 0 });
    await until(async () => (await call('vm.balloon', { vm: VM, bytes: null })).inflatedBytes === 0, 'the balloon is empty', ANSWER_MS);
    await call('snapshot.restore', { vm: VM, snapshot: 'inflated', paused: false });
    expect(await call('vm.balloon', { vm: VM, bytes: null })).toEqual({ targetBytes: 64 * MIB, inflatedBytes: 64 * MIB });
    await ask('echo after the restore > /dev/hvc0');
    await until(async () => (await history(test.client, VM, 1)).includes('after the restore'), 'the second console shows it');
    await call('vm.balloon', { vm: VM, bytes: 0 });
    await until(async () => (await call('vm.balloon', { vm: VM, bytes: null })).inflatedBytes === 0, 'the balloon is empty again', ANSWER_MS);
  }, TEST_MS);

  it('finds another disc in its drive, and keeps one that it has mounted', async () => {
    const [first, second] = [image('first.iso', 'first disc\n'), image('second.iso', 'second disc\n')];
    await start({ disks: [{ ...diskDefaults, kind: 'cdrom', bus: 'scsi', path: '', format: 'raw', readOnly: true }] });
    expect(await ask('head -n 1 /dev/sr0 2>&1')).toMatch(/No medium found/);
    const put = (path: string, force = false) => call('vm.medium', { vm: VM, disk: 0, path, force });
    expect((await put(first)).config.disks).toMatchObject([{ path: first }]);
    expect(await ask('head -n 1 /dev/sr0')).toBe('first disc\n');
    await put(second);
    expect(await ask('head -n 1 /dev/sr0')).toBe('second disc\n');
    await type(test.client, VM, 'sleep 1000 < /dev/sr0 &\n');
    await ask('sleep 1');
    expect((await refused(put(first))).message).toContain('holds the medium');
    await put('', true);
    expect(await ask('kill %1; sleep 1; head -n 1 /dev/sr0 2>&1')).toMatch(/No medium found/);
    await refused(put(join(folder, 'missing.iso')));
    expect((await call('vm.get', { vm: VM })).config.disks).toMatchObject([{ path: '' }]);
  }, TEST_MS);
});

it('a shared folder is the guest\'s, as far as it was given, and nothing outside it', async () => {
  const i386 = await driverGuest('i386', folder, undefined, ['virtio_pci', '9p', '9pnet_virtio']);
  const [reading, writing] = [join(folder, 'reading'), join(folder, 'writing')];
  for (const path of [reading, writing]) mkdirSync(path);
  writeFileSync(join(folder, 'secret'), 'secret');
  writeFileSync(join(reading, 'file'), 'from the host\n');
  symlinkSync('../secret', join(reading, 'link'));
  const shell = new GuestShell([...guestOptions(i386, '', 280), '--share', reading, '--share', `${writing},tag=w,write`]);
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  await shell.ask('mkdir -p /r /w; mount -t 9p -o trans=virtio,version=9p2000.L reading /r; mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 w /w');
  expect(await shell.ask('cat /r/file; readlink /r/link; cat /r/link 2>&1; echo no > /r/new 2>&1')).toMatch(/^from the host\n\.\.\/secret\n.*No such file.*Read-only/s);
  const sum = await shell.ask('cat /bin/busybox /bin/busybox > /w/data; mkdir /w/d; mv /w/data /w/d/moved; md5sum < /w/d/moved; sync');
  expect(execFileSync('md5sum', [], { input: readFileSync(join(writing, 'd', 'moved')), encoding: 'utf8' })).toBe(sum);
  expect(await shell.ask('cd /w/d; ln -s /etc/passwd out; rm moved; ls; cd /; umount /w; umount /r; echo done')).toBe('out\ndone\n');
}, TEST_MS);
