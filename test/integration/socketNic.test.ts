/** A socket of the host as an assigned network card: frames behind their lengths, both ways. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FrameLink, createFrameBuffer } from '../../core/net/frameLink.ts';
import { SocketNic } from '../../core/passthrough/socketNic.ts';

let folder = '';
let path = '';
let server: Server;
let nic: SocketNic;
let link: FrameLink;
const peers: Socket[] = [];
let said = Buffer.alloc(0);

async function listen(): Promise<void> {
  server = createServer((socket) => {
    peers.push(socket);
    socket.on('data', (data: Buffer) => void (said = Buffer.concat([said, data])));
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-nic-'));
  path = join(folder, 'socket');
  said = Buffer.alloc(0);
  await listen();
  link = new FrameLink(createFrameBuffer());
  nic = new SocketNic(link, path, () => undefined);
  await expect.poll(() => link.linkUp).toBe(true);
});
afterEach(async () => {
  await nic.close();
  for (const peer of peers.splice(0)) peer.destroy();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Takes a frame that came for the guest. */
function taken(): number[] | null {
  const frame = link.toDevice.peek();
  if (frame === null) return null;
  const bytes = [...frame.bytes];
  link.toDevice.drop();
  return bytes;
}

it('sends each frame behind its length', async () => {
  link.toNetwork.push({ bytes: new Uint8Array(60).fill(1) });
  link.toNetwork.push({ bytes: new Uint8Array(61).fill(2) });
  await expect.poll(() => said.length).toBe(4 + 60 + 4 + 61);
  expect([said.readUInt32BE(0), said.readUInt32BE(64), said[4], said[68]]).toEqual([60, 61, 1, 2]);
});

it('receives frames however the socket cuts them', async () => {
  const [peer] = peers;
  peer?.write(Buffer.from([0, 0]));
  await new Promise((resolve) => setTimeout(resolve, 20));
  peer?.write(Buffer.from([0, 3, 7, 8, 9, 0, 0, 0, 1, 5]));
  await expect.poll(() => link.toDevice.waiting).toBe(true);
  expect([taken(), taken(), taken()]).toEqual([[7, 8, 9], [5], null]);
});

it('pulls the cable when the peer goes or talks nonsense, and puts it in again', async () => {
  peers.splice(0)[0]?.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 0]));
  await expect.poll(() => link.linkUp).toBe(false);
  await expect.poll(() => link.linkUp).toBe(true);
  expect(taken()).toBeNull();
});
