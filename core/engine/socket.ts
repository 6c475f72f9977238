/** The local socket (a named pipe on Windows) that carries the contract: one line of JSON a message. */
import { createHash } from 'node:crypto';
import { chmodSync, realpathSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import { decodeText, encodeText } from '../contract/wire.ts';
import type { Transport } from '../contract/wire.ts';
import { makeOwnFolder } from '../host/ownFolder.ts';

/** A Unix socket's address has room for about 104 bytes. */
const PATH_MAXIMUM = 100;
/** The longest line that is read: console input and large answers fit well. */
const LINE_MAXIMUM = 16 * 1024 * 1024;

/** Where the engine of a library listens. The folder exists. @throws ContractError when a place for it cannot be had */
export function socketPath(folder: string): string {
  const real = realpathSync(folder);
  const hash = createHash('sha256').update(real).digest('hex').slice(0, 24);
  if (process.platform === 'win32') return `\\\\.\\pipe\\vanderpool-${hash}`;
  const near = join(real, 'engine.sock');
  if (Buffer.byteLength(near) <= PATH_MAXIMUM) return near;
  const own = join(tmpdir(), `vanderpool-${userInfo().uid}`);
  if (makeOwnFolder(own)) return join(own, `${hash}.sock`);
  // Whoever may write to it could put a socket of his own there, and would be told everything.
  throw new ContractError('library-unusable', `The folder "${own}", for the engine's socket, is open to others.`, 'Remove it, or choose a library folder with a shorter path (--library): the socket then lies in that.');
}

/** Listens for clients. The caller holds the library's lock, so a socket that is there already was left by the dead. */
export function listen(path: string, accept: (transport: Transport) => void): Promise<Server> {
  if (process.platform !== 'win32') rmSync(path, { force: true });
  const server = createServer((socket) => accept(socketTransport(socket)));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      if (process.platform !== 'win32') chmodSync(path, 0o600);
      resolve(server);
    });
  });
}

/** Connects to an engine; null when none listens there. */
export function dial(path: string): Promise<Transport | null> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('error', () => resolve(null));
    socket.once('connect', () => resolve(socketTransport(socket)));
  });
}

function socketTransport(socket: Socket): Transport {
  let pieces: string[] = [];
  let length = 0;
  let listener: (message: unknown) => void = () => undefined;
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  const receive = (line: string): void => {
    try {
      listener(decodeText(line));
    } catch {
      socket.destroy();
    }
  };
  socket.on('data', (chunk: string) => {
    const lines = chunk.split('\n');
    const rest = lines.pop() ?? '';
    for (const line of lines) {
      receive(pieces.join('') + line);
      pieces = [];
      length = 0;
    }
    pieces.push(rest);
    length += rest.length;
    if (length > LINE_MAXIMUM) socket.destroy();
  });
  return {
    send: (message) => {
      if (socket.writable) socket.write(`${encodeText(message)}\n`);
    },
    onMessage: (next) => void (listener = next),
    onClose: (closed) => void socket.once('close', closed),
    close: () => void socket.end(),
  };
}
