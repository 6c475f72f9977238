/** Sockets between guest and host: Unix sockets at one end, a driver's queues at the other. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VirtioVsock } from '../../../core/devices/virtio/vsock.ts';
import { FrameLink } from '../../../core/net/frameLink.ts';
import { VsockHost } from '../../../core/vsock/host.ts';
import { PACKET_HEADER, operation, readPacket, writePacket } from '../../../core/vsock/packet.ts';
import type { Packet } from '../../../core/vsock/packet.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

const RECEIVE = 0;
const TRANSMIT = 1;
const EVENT = 2;
const BUFFER = 4096;
const ROOM = 65536;

let folder: string;
let path: string;
let host: VsockHost;
let kind: VirtioVsock;
let driver: VirtioDriver;
const servers: Server[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-vsock-'));
  path = join(folder, 'sock');
  host = await VsockHost.open(path);
  host.serve(() => {});
  kind = new VirtioVsock(new FrameLink(host.buffer));
  driver = new VirtioDriver(kind);
  driver.start();
  used = [];
  for (let index = 0; index < 4; index++) offerBuffer(index);
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await host.close();
  rmSync(folder, { recursive: true, force: true });
});

function offerBuffer(index: number): void {
  driver.submit(RECEIVE, [{ address: 0x1000 + index * BUFFER * 2, length: BUFFER, writable: true }]);
}

let used: { readonly head: number; readonly length: number }[] = [];

/** The next packet that the guest gets. */
async function received(): Promise<Packet> {
  for (let tries = 0; tries < 2000; tries++) {
    kind.poll();
    used.push(...driver.used(RECEIVE));
    const first = used.shift();
    if (first) {
      const at = driver.view.getUint32(0x10000 + first.head * 16, true);
      const packet = readPacket(driver.ram.slice(at, at + first.length));
      offerBuffer((at - 0x1000) / (BUFFER * 2));
      if (packet) return packet;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error('the guest got nothing');
}

/** The next packet that is no news of credit. */
async function receivedBesidesCredit(): Promise<Packet> {
  for (;;) {
    const packet = await received();
    if (packet.operation !== operation.creditUpdate) return packet;
  }
}

function send(what: number, ports: { readonly guest: number; readonly host: number }, more: Partial<Packet> = {}): void {
  const bytes = writePacket({
    sourceCid: 3, targetCid: 2, sourcePort: ports.guest, targetPort: ports.host, type: 1, operation: what, flags: 0, bufferBytes: ROOM, takenBytes: 0, data: new Uint8Array(0), ...more,
  });
  driver.ram.set(bytes, 0x40000);
  driver.submit(TRANSMIT, [{ address: 0x40000, length: PACKET_HEADER, writable: false }, ...(bytes.length > PACKET_HEADER ? [{ address: 0x40000 + PACKET_HEADER, length: bytes.length - PACKET_HEADER, writable: false }] : [])]);
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

async function listenAt(port: number): Promise<{ readonly connected: Promise<Socket> }> {
  const server = createServer({ allowHalfOpen: true });
  servers.push(server);
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(`${path}_${port}`, resolve));
  return { connected };
}

/** A program of the host that has reached a port of the guest. */
async function dial(port: number): Promise<{ readonly socket: Socket; readonly ports: { readonly guest: number; readonly host: number }; readonly said: () => string }> {
  const socket = connect({ path, allowHalfOpen: true });
  let said = '';
  socket.on('data', (bytes) => void (said += bytes.toString()));
  socket.write(`CONNECT ${port}\nearly`);
  const request = await received();
  expect(request).toMatchObject({ operation: operation.request, sourceCid: 2, targetCid: 3, targetPort: port, type: 1 });
  const ports = { guest: port, host: request.sourcePort };
  send(operation.response, ports);
  return { socket, ports, said: () => said };
}

async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; tries < 2000 && !done(); tries++) {
    kind.poll();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(done()).toBe(true);
}

describe('sockets of a guest', () => {
  it('a program of the host reaches a port of the guest, and both talk', async () => {
    const { socket, ports, said } = await dial(1234);
    expect(text((await received()).data)).toBe('early');
    send(operation.data, ports, { data: Buffer.from('hello') });
    await until(() => said() === `OK ${ports.host}\nhello`);
    expect(await received()).toMatchObject({ operation: operation.creditUpdate, takenBytes: 5 });
    socket.end();
    expect(await receivedBesidesCredit()).toMatchObject({ operation: operation.shutdown, flags: 2 });
    send(operation.shutdown, ports, { flags: 3 });
    expect(await receivedBesidesCredit()).toMatchObject({ operation: operation.reset });
  });

  it('a guest reaches a program of the host', async () => {
    const { connected } = await listenAt(80);
    const ports = { guest: 5555, host: 80 };
    send(operation.request, ports);
    expect(await received()).toMatchObject({ operation: operation.response, sourcePort: 80, targetPort: 5555 });
    const socket = await connected;
    let said = '';
    socket.on('data', (bytes) => void (said += bytes.toString()));
    send(operation.data, ports, { data: Buffer.from('request') });
    await until(() => said === 'request');
    socket.write('answer');
    expect(text((await receivedBesidesCredit()).data)).toBe('answer');
    send(operation.shutdown, ports, { flags: 2 });
    await until(() => socket.readableEnded);
    socket.end('end');
    expect(text((await receivedBesidesCredit()).data)).toBe('end');
  });

  it('nobody listens: the guest is refused', async () => {
    send(operation.request, { guest: 5555, host: 81 });
    expect(await received()).toMatchObject({ operation: operation.reset, sourcePort: 81, targetPort: 5555 });
    send(operation.data, { guest: 5555, host: 81 }, { data: Buffer.from('stray') });
    expect(await received()).toMatchObject({ operation: operation.reset });
    send(operation.request, { guest: 5555, host: 81 }, { targetCid: 77 });
    expect(await received()).toMatchObject({ operation: operation.reset, sourceCid: 77 });
  });

  it('a guest gets no more than it has room for, in pieces of its buffers', async () => {
    const { socket, ports } = await dial(7);
    expect(text((await received()).data)).toBe('early');
    socket.write(Buffer.alloc(ROOM * 2, 'x'));
    let got = 5;
    while (got < ROOM) {
      const { data } = await received();
      expect(data.length).toBeLessThanOrEqual(BUFFER - PACKET_HEADER);
      got += data.length;
    }
    expect(got).toBe(ROOM);
    await new Promise((resolve) => setTimeout(resolve, 20));
    kind.poll();
    expect(driver.used(RECEIVE)).toEqual([]);
    send(operation.creditUpdate, ports, { takenBytes: got });
    expect((await received()).data.length).toBeGreaterThan(0);
  });

  it('a guest that sends more than it was given room for loses the connection', async () => {
    const { ports, socket } = await dial(9);
    socket.pause();
    for (let sent = 0; sent <= 2 * 1024 * 1024; sent += 60_000) {
      send(operation.data, ports, { data: new Uint8Array(60_000) });
      kind.poll();
      driver.used(TRANSMIT);
      if (sent % 600_000 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    for (;;) {
      const packet = await received();
      if (packet.operation === operation.reset) break;
    }
  });

  it('after a restore the guest is told that its connections are gone', () => {
    driver.device.loadState(JSON.parse(JSON.stringify(driver.device.saveState())));
    driver.submit(EVENT, [{ address: 0x3f000, length: 4, writable: true }]);
    expect(driver.used(EVENT)).toHaveLength(1);
  });

  it('its socket replaces one that a dead process has left, and no other file', async () => {
    await expect(VsockHost.open(path)).rejects.toThrow(/another program listens/);
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await expect(VsockHost.open(file)).rejects.toThrow(/no socket/);
    await expect(VsockHost.open(join(folder, 'x'.repeat(120)))).rejects.toThrow(/at most 100 bytes/);
    expect(existsSync(file)).toBe(true);
  });
});
