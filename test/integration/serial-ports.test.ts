/** Serial ports that are connected with programs of this machine: each hears the guest and types into it, beside the port's console. */
import { closeSync, constants, existsSync, openSync, readFileSync, readSync, readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultSerial } from '../../core/contract/index.ts';
import type { SerialLine } from '../../core/contract/index.ts';
import { history, startTestEngine, type, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { freePort } from '../helpers/ports.ts';
import { refused } from '../helpers/refusal.ts';

const VM = 'Lines';
let test: TestEngine;
const sockets: Socket[] = [];

beforeEach(async () => {
  test = await startTestEngine();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await test.end();
});

const call: TestEngine['client']['call'] = (operation, input) => test.client.call(operation, input);

/** Starts the double, which echoes what is typed and obeys lines of COM1. */
async function start(line: SerialLine): Promise<void> {
  await call('vm.create', { config: { name: VM, serial: [{ attach: 'console', label: 'COM1', line }, ...defaultSerial.slice(1)] } });
  await call('vm.start', { vm: VM });
}

async function stop(): Promise<void> {
  await call('vm.stop', { vm: VM, force: true });
  await until(async () => (await call('vm.get', { vm: VM })).state === 'stopped', 'the machine is off');
}

/** What a socket receives, as text. */
function listening(socket: Socket): () => string {
  sockets.push(socket);
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
  socket.on('error', () => undefined);
  return () => text;
}

describe('a serial port that is connected', () => {
  it('is a TCP server: several programs hear the guest and type, as the console does', async () => {
    const port = await freePort();
    await start({ kind: 'tcp-server', port });
    const [first, second] = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
    const [heardFirst, heardSecond] = [listening(first), listening(second)];
    await Promise.all([first, second].map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    first.write('say from a socket\n');
    await until(() => heardFirst().includes('from a socket\r\n') && heardSecond().includes('from a socket\r\n'), 'both hear it');
    await type(test.client, VM, 'say from the console\n');
    await until(() => heardSecond().includes('from the console\r\n'), 'the socket hears what the console typed');
    expect(await history(test.client, VM)).toContain('from a socket');
    const closed = new Promise((resolve) => first.once('close', resolve));
    await stop();
    await closed;
    await expect(new Promise((resolve, reject) => connect(port, '127.0.0.1').once('connect', resolve).once('error', reject))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('carries a megabyte to a program that reads slowly, and loses nothing', async () => {
    const port = await freePort();
    await start({ kind: 'tcp-server', port });
    const socket = connect(port, '127.0.0.1');
    sockets.push(socket);
    await new Promise((resolve) => socket.once('connect', resolve));
    let received = 0;
    socket.on('data', (data: Buffer) => {
      received += data.filter((byte) => byte === 46).length;
      socket.pause();
      setTimeout(() => socket.resume(), 2);
    });
    socket.write('flood 1000000\n');
    await until(() => received === 1_000_000, 'all of it is there', 60_000);
  }, 180_000);

  it('is a TCP client, which tries until somebody listens', async () => {
    const port = await freePort();
    await start({ kind: 'tcp-client', port });
    const peer = new Promise<Socket>((resolve) => {
      const server = createServer((socket) => {
        resolve(socket);
        server.close();
      }).listen(port, '127.0.0.1');
    });
    const heard = listening(await peer);
    (await peer).write('say hello\n');
    await until(() => heard().includes('hello\r\n'), 'the answer');
  });

  it('is a pseudoterminal behind a link, which goes with the machine', async () => {
    const path = join(test.folder, 'com1');
    await start({ kind: 'pty', path });
    expect(readlinkSync(path)).toMatch(/^\/dev\//);
    const terminal = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    writeSync(terminal, 'say by a terminal\n');
    const buffer = Buffer.alloc(4096);
    let text = '';
    await until(() => {
      try {
        text += buffer.toString('latin1', 0, readSync(terminal, buffer));
      } catch {
        // Nothing is there yet.
      }
      return text.includes('by a terminal\r\n');
    }, 'the answer');
    closeSync(terminal);
    await stop();
    expect(existsSync(path)).toBe(false);
  });

  it('is a file, to which what the guest sends is appended', async () => {
    const path = join(test.folder, 'com1.log');
    writeFileSync(path, 'before\n');
    await start({ kind: 'file', path });
    await until(() => readFileSync(path, 'latin1').includes('READY'), 'the first line');
    await type(test.client, VM, 'say to a file\n');
    await until(() => /^before\n[^]*to a file\r\n/.test(readFileSync(path, 'latin1')), 'the answer');
  });

  it('refuses to start where the other end cannot be had, and says which', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    expect(await refused(start({ kind: 'tcp-server', port }))).toMatchObject({ code: 'bad-field', field: 'serial.0.line.port' });
    server.close();
    const path = join(test.folder, 'taken');
    writeFileSync(path, 'mine');
    const serial = (line: SerialLine) => [{ attach: 'console' as const, label: 'COM1', line }, ...defaultSerial.slice(1)];
    for (const line of [{ kind: 'pty', path }, { kind: 'file', path: test.folder }, { kind: 'file', path: join(path, 'below') }] as const) {
      await call('vm.edit', { vm: VM, changes: { serial: serial(line) } });
      expect(await refused(call('vm.start', { vm: VM }))).toMatchObject({ code: 'bad-field', field: 'serial.0.line.path' });
    }
    expect([readFileSync(path, 'utf8'), (await call('vm.get', { vm: VM })).state]).toEqual(['mine', 'stopped']);
  });
});
