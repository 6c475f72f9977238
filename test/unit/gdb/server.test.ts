import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { GdbServer } from '../../../core/gdb/server.ts';
import { freePort } from '../../helpers/ports.ts';

const servers: GdbServer[] = [];
const sockets: Socket[] = [];

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** A server before a machine that echoes packets, and is silent on `c` until it is held. */
async function serve() {
  const port = await freePort();
  const machine = {
    hold: vi.fn(() => Promise.resolve()), release: vi.fn(() => Promise.resolve()),
    packet: vi.fn((data: Uint8Array) => Promise.resolve(Buffer.from(data).toString() === 'c' ? null : data)),
  };
  const server = await GdbServer.listen(port, machine);
  servers.push(server);
  return { port, machine, server };
}

function dial(port: number): { readonly socket: Socket; said(): string; readonly closed: Promise<void> } {
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  let said = '';
  socket.on('data', (data) => void (said += String(data)));
  socket.on('error', () => undefined);
  return { socket, said: () => said, closed: new Promise((resolve) => socket.on('close', () => resolve())) };
}

describe('the port for GDB', () => {
  it('holds the guest for whoever connects, answers packets, and lets the guest go afterwards', async () => {
    const { port, machine } = await serve();
    const { socket, said } = dial(port);
    socket.write('+$qC#b4');
    await vi.waitFor(() => expect(said()).toBe('+$qC#b4'));
    expect(machine.hold).toHaveBeenCalledOnce();
    socket.destroy();
    await vi.waitFor(() => expect(machine.release).toHaveBeenCalledOnce());
  });

  it('tells of a stop only when it is waited for', async () => {
    const { port, server } = await serve();
    const { socket, said } = dial(port);
    socket.write('$qC#b4');
    await vi.waitFor(() => expect(said()).toContain('$qC'));
    server.held();
    socket.write('$c#63');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(said()).toBe('+$qC#b4+');
    server.held();
    await vi.waitFor(() => expect(said()).toBe('+$qC#b4+$?#3f'));
  });

  it('asks again for what was damaged, and stops acknowledging when told to', async () => {
    const { port } = await serve();
    const { socket, said } = dial(port);
    socket.write('$qC#00');
    await vi.waitFor(() => expect(said()).toBe('-'));
    socket.write('$QStartNoAckMode#b0');
    await vi.waitFor(() => expect(said()).toBe('-+$QStartNoAckMode#b0'));
    socket.write('$qC#b4');
    await vi.waitFor(() => expect(said()).toBe('-+$QStartNoAckMode#b0$qC#b4'));
  });

  it('hangs up on who does not speak the protocol, and on a second debugger; the guest goes on', async () => {
    const { port, machine } = await serve();
    const first = dial(port);
    first.socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await first.closed;
    await vi.waitFor(() => expect(machine.release).toHaveBeenCalledOnce());
    const second = dial(port);
    second.socket.write('$qC#b4');
    await vi.waitFor(() => expect(second.said()).toContain('$qC'));
    await dial(port).closed;
    expect(machine.packet).toHaveBeenCalledOnce();
  });

  it('says why it cannot be had', async () => {
    const { port, machine } = await serve();
    await expect(GdbServer.listen(port, machine)).rejects.toMatchObject({ code: 'bad-field', field: 'gdb', message: expect.stringContaining('another program has it') as unknown });
  });
});
