/** What a VM's serial ports are connected to besides their consoles: sockets on this machine, pseudoterminals, files. Each is a viewer of the port's console that also types. */
import { closeSync, createWriteStream, existsSync, lstatSync, readlinkSync, rmSync, statSync, symlinkSync, writeSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { ReadStream } from 'node:tty';
import { ContractError } from '../contract/errors.ts';
import type { SerialLine, SerialLineKind } from '../contract/serial.ts';
import type { SerialPortConfig } from '../contract/vm.ts';
import { openPseudoterminal } from '../host/pseudoterminal.ts';
import { unwritableBecause } from '../host/reasons.ts';
import type { Console } from './console.ts';

const ADDRESS = '127.0.0.1';
/** Programs that may be connected to a port at once. */
const CONNECTIONS_MAXIMUM = 8;
const RETRY_MS = 1000;
/** A guest whose receiver is full is offered the rest after this time, and so is a terminal that takes nothing now. */
const AGAIN_MS = 5;

interface Line {
  close(): void;
}

/** Opens a line for a port. @param field of the configuration @throws ContractError when it cannot be had */
type Opener<K extends SerialLineKind> = (line: Extract<SerialLine, { kind: K }>, console: Console, field: string) => Promise<Line> | Line;

const openers: { readonly [K in SerialLineKind]: Opener<K> } = {
  'tcp-server': ({ port }, console, field) => listen(port, console, `${field}.port`),
  'tcp-client': ({ port }, console) => dial(port, console),
  pty: ({ path }, console, field) => openTerminal(path, console, `${field}.path`),
  file: ({ path }, console, field) => openFile(path, console, `${field}.path`),
};

export class SerialLines {
  readonly #lines: Line[] = [];

  /** @throws ContractError naming the port that cannot be connected; none is connected then */
  static async open(ports: readonly SerialPortConfig[], consoles: readonly Console[]): Promise<SerialLines> {
    const lines = new SerialLines();
    try {
      for (const [port, { line }] of ports.entries()) {
        const console = consoles[port];
        if (line !== undefined && console !== undefined) lines.#lines.push(await open(line, console, `serial.${port}.line`));
      }
      return lines;
    } catch (error) {
      lines.close();
      throw error;
    }
  }

  close(): void {
    for (const line of this.#lines.splice(0)) line.close();
  }
}

function open<K extends SerialLineKind>(line: Extract<SerialLine, { kind: K }>, console: Console, field: string): Promise<Line> | Line {
  return openers[line.kind as K](line, console, field);
}

/** Shows a console's output to a peer from now on. What it missed it does not get later: a line has no history. @param write calls back when the peer has taken it */
function follow(console: Console, write: (data: Uint8Array, taken: () => void) => void): () => void {
  const handle = console.attach((event) => {
    const taken = (): void => handle.acknowledge(1);
    if (event.kind === 'data') write(event.data, taken);
    // The first event comes before there is a handle.
    else queueMicrotask(taken);
  });
  return () => handle.close();
}

/** Types what a peer sends into the guest, as fast as that takes it. */
class Typist {
  readonly #console: Console;
  readonly #peer: { pause(): unknown; resume(): unknown };
  #timer: NodeJS.Timeout | undefined;

  constructor(console: Console, peer: { pause(): unknown; resume(): unknown }) {
    this.#console = console;
    this.#peer = peer;
  }

  type(data: Uint8Array): void {
    const taken = this.#console.write(data);
    if (taken === data.length) return;
    this.#peer.pause();
    this.#timer = setTimeout(() => {
      this.#peer.resume();
      this.type(data.subarray(taken));
    }, AGAIN_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** Connects a socket with a port until it closes. */
function join(socket: Socket, console: Console): void {
  socket.setNoDelay(true);
  const typist = new Typist(console, socket);
  const leave = follow(console, (data, taken) => void socket.write(data, () => taken()));
  socket.on('data', (data: Buffer) => typist.type(data));
  socket.on('error', () => socket.destroy());
  socket.once('close', () => {
    typist.stop();
    leave();
  });
}

async function listen(port: number, console: Console, field: string): Promise<Line> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    if (sockets.size >= CONNECTIONS_MAXIMUM) return void socket.destroy();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    join(socket, console);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(portRefused(port, error, field)));
    server.listen(port, ADDRESS, resolve);
  });
  return {
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function dial(port: number, console: Console): Line {
  let closed = false;
  let socket: Socket | null = null;
  let timer: NodeJS.Timeout | undefined;
  const attempt = (): void => {
    const made = connect(port, ADDRESS);
    socket = made;
    made.on('error', () => made.destroy());
    made.once('connect', () => join(made, console));
    made.once('close', () => {
      if (!closed) timer = setTimeout(attempt, RETRY_MS);
    });
  };
  attempt();
  return {
    close: () => {
      closed = true;
      clearTimeout(timer);
      socket?.destroy();
    },
  };
}

function openTerminal(path: string, console: Console, field: string): Line {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === false) {
    throw new ContractError('bad-field', `"${path}" is a file, and would have to become the link to a terminal.`, 'Choose another path, or move the file away.', field);
  }
  const terminal = openPseudoterminal();
  if (terminal === null) throw new ContractError('bad-field', 'This system has no pseudoterminals.', 'Connect the port by TCP.', field);
  try {
    rmSync(path, { force: true });
    symlinkSync(terminal.path, path);
  } catch (error) {
    closeSync(terminal.master);
    terminal.close();
    throw new ContractError('bad-field', `The link "${path}" cannot be made: ${unwritableBecause(error)}.`, 'Choose a path in a folder you may write to.', field);
  }
  const reader = new ReadStream(terminal.master);
  const typist = new Typist(console, reader);
  let timer: NodeJS.Timeout | undefined;
  const write = (data: Uint8Array, taken: () => void): void => {
    const rest = data.subarray(writeNow(terminal.master, data));
    if (rest.length === 0) return taken();
    timer = setTimeout(() => write(rest, taken), AGAIN_MS);
  };
  const waiting: (readonly [Uint8Array, () => void])[] = [];
  const leave = follow(console, (data, taken) => {
    waiting.push([data, taken]);
    if (waiting.length === 1) next();
  });
  function next(): void {
    const [first] = waiting;
    if (first === undefined) return;
    write(first[0], () => {
      waiting.shift();
      first[1]();
      next();
    });
  }
  reader.on('data', (data: Buffer) => typist.type(data));
  reader.on('error', () => undefined);
  return {
    close: () => {
      leave();
      typist.stop();
      clearTimeout(timer);
      reader.destroy();
      terminal.close();
      if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true && readlinkSync(path) === terminal.path) rmSync(path, { force: true });
    },
  };
}

/** How many bytes a descriptor that does not block takes now; all of them, when nobody will ever read them. */
function writeNow(descriptor: number, data: Uint8Array): number {
  try {
    return writeSync(descriptor, data);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EAGAIN' ? 0 : data.length;
  }
}

async function openFile(path: string, console: Console, field: string): Promise<Line> {
  // A pipe would wait for whoever reads it.
  if (existsSync(path) && !statSync(path).isFile()) throw new ContractError('bad-field', `"${path}" is no file.`, 'Choose a file for what the guest sends.', field);
  const stream = createWriteStream(path, { flags: 'a' });
  await new Promise<void>((resolve, reject) => {
    stream.once('open', () => resolve());
    stream.once('error', (error) => reject(new ContractError('bad-field', `"${path}" cannot be written: ${unwritableBecause(error)}.`, 'Choose a file in a folder you may write to.', field)));
  });
  // A disk that is full loses what the guest sends; the console has it.
  stream.on('error', () => undefined);
  const leave = follow(console, (data, taken) => void stream.write(data, () => taken()));
  return {
    close: () => {
      leave();
      stream.end();
    },
  };
}

function portRefused(port: number, error: unknown, field: string): ContractError {
  return new ContractError('bad-field', `The TCP port ${port} of ${ADDRESS} cannot be listened at: ${unwritableBecause(error)}.`, 'Choose another port.', field);
}
