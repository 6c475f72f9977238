/** Debian guests on the network: what the host's network gives them, what it keeps from them, and what they have between themselves. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { resolve4 } from 'node:dns/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { driverGuest } from '../helpers/driver-guest.ts';
import { GuestShell, guestOptions } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';
import { freePort } from '../helpers/ports.ts';

const FETCH_MS = 600_000;
const GUEST_SECONDS = 280;
const TEST_MS = 300_000;
const DOWNLOAD_MB = 200;
const lease = 'ifconfig eth0 up && udhcpc -i eth0 -q -n -f -t 10 2>&1 | tail -1';

let folder = '';
let amd64: Guest;
let i386: Guest;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-network-'));
  amd64 = await driverGuest('amd64', folder);
  i386 = await driverGuest('i386', folder, undefined, ['e1000e', 'af_packet']);
}, FETCH_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function boot(guest: Guest, network: string, words = '', more: readonly string[] = []): Promise<GuestShell> {
  const shell = new GuestShell([...guestOptions(guest, words, GUEST_SECONDS), '--net', network, ...more], { VANDERPOOL_RUNTIME: folder });
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  return shell;
}

/** A web server on a loopback address of the host; what it serves, and the sum of that. */
async function webServer(host: string, megabytes: number): Promise<{ readonly port: number; readonly sum: string }> {
  const content = Buffer.from(crypto.getRandomValues(new Uint8Array(65_536)));
  const body = Buffer.concat(Array.from({ length: (megabytes * 1_000_000) / 62_500 }, () => content.subarray(0, 62_500)));
  const server = createServer((_request, response) => void response.end(body));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, sum: createHash('md5').update(body).digest('hex') };
}

describe('the user network', () => {
  it('gives an address, answers pings and names, downloads 200 MB and serves 100 connections at once; Wireshark reads the recording', async () => {
    const large = await webServer('127.0.0.1', DOWNLOAD_MB);
    const small = await webServer('127.0.0.1', 1);
    const capture = join(folder, 'capture.pcap');
    const shell = await boot(amd64, `user,host-loopback,capture=${capture}`);
    expect(await shell.ask(lease)).toContain('lease of 10.0.2.15 obtained');
    expect(await shell.ask('ping -c 2 10.0.2.2')).toContain('2 packets received');
    const [address] = await resolve4('deb.debian.org').catch(() => []);
    expect(await shell.ask('nslookup -type=a deb.debian.org')).toContain(address ?? "can't");
    expect(await shell.ask(`wget -q -O - http://10.0.2.2:${large.port}/ | md5sum`)).toContain(large.sum);
    const parallel = await shell.ask(`for n in $(seq 1 100); do wget -q -O - http://10.0.2.2:${small.port}/ | md5sum & done; wait`);
    expect(parallel.split(small.sum)).toHaveLength(101);
    await shell.ask('poweroff -f').catch(() => undefined);
    await shell.ended;
    // Random bytes look like any protocol to a heuristic: what the servers send is read as bytes.
    const plain = [large.port, small.port].flatMap((port) => ['-d', `tcp.port==${port},data`]);
    const seen = (filter: string, field = 'frame.protocols'): string[] => {
      const text = execFileSync('tshark', ['-n', '-r', capture, ...plain, '-Y', filter, '-T', 'fields', '-e', field], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      return text.split('\n').filter((line) => line !== '');
    };
    expect(seen('dhcp.option.dhcp == 5')).toEqual(['eth:ethertype:ip:udp:dhcp']);
    expect(seen('icmp.type == 0')).toHaveLength(2);
    expect(seen('dns.flags.response == 1')).not.toEqual([]);
    // A slow host makes the guest ask again: by port each counts once.
    expect(new Set(seen(`tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.dstport == ${small.port}`, 'tcp.srcport')).size).toBe(100);
    expect(seen('_ws.malformed')).toEqual([]);
  }, TEST_MS);

  it('speaks IPv6: an address by itself, pings, TCP', async () => {
    const server = await webServer('::1', 10);
    const shell = await boot(amd64, 'user,host-loopback');
    expect(await shell.ask('ifconfig eth0 up; for i in $(seq 100); do ip -6 addr show eth0 | grep -q "inet6 fd00.*global" && ! ip -6 addr show eth0 | grep -q tentative && break; sleep 0.1; done; ip -6 addr show eth0')).toMatch(/inet6 fd00::\S+\/64 scope global/);
    expect(await shell.ask('ping6 -c 2 fd00::2')).toContain('2 packets received');
    expect(await shell.ask('ip -6 route')).toContain('default via fe80::2');
    expect(await shell.ask(`wget -q -O - 'http://[fd00::2]:${server.port}/' | md5sum`)).toContain(server.sum);
  }, TEST_MS);

  it('keeps services on the loopback from a guest that was not let to them, and forwards a port into it', async () => {
    const server = await webServer('127.0.0.1', 1);
    const free = await freePort();
    const shell = await boot(amd64, `user,forward=tcp:${free}:7000`);
    await shell.ask(lease);
    for (const address of ['10.0.2.2', '10.0.2.3']) expect(await shell.ask(`wget -O - http://${address}:${server.port}/ 2>&1`), address).toContain('refused');
    shell.child.stdin.write('echo from the guest | nc -l -p 7000\n');
    expect(await readFrom(free)).toBe('from the guest\n');
  }, TEST_MS);
});

describe('an interface behind VT-d', () => {
  it.each([['lazy', ''], ['strict', ' iommu.strict=1']])('carries a download and an upload with the right sums, translation %s, and no fault', async (_, strict) => {
    const server = await webServer('127.0.0.1', 20);
    const shell = await boot(amd64, 'user,host-loopback', `intel_iommu=on${strict}`, ['--machine', 'iommu=on']);
    expect(await shell.ask(lease)).toContain('lease of 10.0.2.15 obtained');
    expect(await shell.ask('cat /sys/class/net/eth0/device/../iommu_group/type')).toMatch(strict ? /^DMA$/m : /^DMA-FQ$/m);
    expect(await shell.ask(`wget -q -O /tmp/file http://10.0.2.2:${server.port}/; md5sum /tmp/file`)).toContain(server.sum);
    const sink = await sumOfUpload();
    await shell.ask(`nc 10.0.2.2 ${sink.port} < /tmp/file`);
    expect(await sink.sum).toBe(server.sum);
    expect(await shell.ask('grep virtio /proc/interrupts')).toContain('IR-PCI-MSI');
    expect(await shell.ask('dmesg | grep -i DMAR')).not.toMatch(/DMAR: \[/);
  }, TEST_MS);
});

describe('an e1000e interface', () => {
  it("is driven by Debian's module: lease, ping, a download and an upload with the right sums", async () => {
    const server = await webServer('127.0.0.1', 20);
    const shell = await boot(i386, 'user,host-loopback,model=e1000e');
    expect(await shell.ask(lease)).toContain('lease of 10.0.2.15 obtained');
    expect(await shell.ask('readlink /sys/class/net/eth0/device/driver')).toContain('e1000e');
    expect(await shell.ask('ping -c 2 10.0.2.2')).toContain('2 packets received');
    expect(await shell.ask(`wget -q -O /tmp/file http://10.0.2.2:${server.port}/; md5sum /tmp/file`)).toContain(server.sum);
    const sink = await sumOfUpload();
    await shell.ask(`nc 10.0.2.2 ${sink.port} < /tmp/file`);
    expect(await sink.sum).toBe(server.sum);
  }, TEST_MS);
});

describe('a switch', () => {
  it('connects guests to each other, whatever their interfaces are, and to nothing else', async () => {
    const server = await webServer('127.0.0.1', 1);
    const [one, other] = await Promise.all([boot(amd64, 'switch=lab,dhcp'), boot(i386, 'switch=lab,dhcp,model=e1000e')]);
    const address = /lease of (10\.77\.\d+\.\d+) obtained/.exec(await one.ask(lease))?.[1] ?? '';
    expect(address).not.toBe('');
    expect(await other.ask(lease)).toMatch(/lease of 10\.77\.\d+\.\d+ obtained/);
    expect(await other.ask(`ping -c 3 ${address}`)).toMatch(/[23] packets received/);
    one.child.stdin.write('nc -l -p 7000 > /tmp/received; md5sum < /tmp/received; echo RECEI""VED\n');
    const sent = await other.ask(`sleep 1; dd if=/dev/urandom of=/tmp/sent bs=1M count=8 2>/dev/null; nc ${address} 7000 < /tmp/sent; md5sum < /tmp/sent`);
    await one.waitFor('RECEIVED');
    expect(one.output).toContain(/[0-9a-f]{32}/.exec(sent)?.[0] ?? 'no sum');
    expect(await one.ask(`wget -O - http://10.0.2.2:${server.port}/ 2>&1`)).toContain('unreachable');
  }, TEST_MS);
});

/** Takes one connection and sums what comes. */
async function sumOfUpload(): Promise<{ readonly port: number; readonly sum: Promise<string> }> {
  const done = Promise.withResolvers<string>();
  const server = createTcpServer((socket) => {
    const hash = createHash('md5');
    socket.on('data', (data) => hash.update(data));
    socket.on('end', () => {
      socket.end();
      done.resolve(hash.digest('hex'));
    });
    socket.on('error', done.reject);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, sum: done.promise };
}

/** Everything a port says; asked again until somebody listens behind it. */
async function readFrom(port: number): Promise<string> {
  for (;;) {
    const text = await new Promise<string>((resolve) => {
      let received = '';
      const socket = connect(port, '127.0.0.1');
      socket.on('data', (data) => void (received += data.toString()));
      socket.on('error', () => resolve(''));
      socket.on('end', () => socket.end());
      socket.on('close', () => resolve(received));
    });
    if (text !== '') return text;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
