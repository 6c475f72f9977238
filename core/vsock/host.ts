/**
 * The host's side of a guest's sockets: Unix sockets. Whoever connects to the socket and writes `CONNECT 1234` and a line feed reaches port 1234
 * in the guest, and reads `OK` and a number first; a guest that connects to port 1234 of its host reaches the socket whose name ends in `_1234`.
 */
import { chmodSync, existsSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { ContractError } from '../contract/errors.ts';
import type { MachineService } from '../machine/runner.ts';
import { FrameLink, createFrameBuffer } from '../net/frameLink.ts';
import { Connection } from './connection.ts';
import { GUEST_CID, HOST_CID, STREAM, operation, readPacket, writePacket } from './packet.ts';
import type { Packet } from './packet.ts';

/** A guest may not use up the host's descriptors. */
const CONNECTIONS_MAXIMUM = 256;
/** Ports that the host's side of a connection from the host gets. */
const FIRST_PORT = 1 << 30;
/** How long a program of the host may take to say where it wants to go. */
const GREETING_MS = 10_000;
const GREETING_BYTES = 32;
/** Unix has room for no more. */
const PATH_BYTES = 100;

export class VsockHost implements MachineService {
  readonly buffer = createFrameBuffer();
  readonly #link = new FrameLink(this.buffer);
  readonly #path: string;
  readonly #server: Server;
  readonly #connections = new Map<string, Connection>();
  /** Programs that have not said yet where they want to go. */
  readonly #arriving = new Set<Socket>();
  /** Packets that found no room. */
  readonly #waiting: Uint8Array[] = [];
  #wake: () => void = () => {};
  #nextPort = FIRST_PORT;
  #closed = false;

  private constructor(path: string, server: Server) {
    this.#path = path;
    this.#server = server;
    server.on('connection', (socket) => this.#greet(socket));
  }

  /** @throws ContractError when the socket cannot be made there */
  static async open(path: string): Promise<VsockHost> {
    if (Buffer.byteLength(path) > PATH_BYTES) throw refused(path, `a socket's name has at most ${PATH_BYTES} bytes`);
    await clear(path);
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(refused(path, error.message)));
      server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
    return new VsockHost(path, server);
  }

  serve(wake: () => void): void {
    this.#wake = wake;
    void this.#receive();
    void this.#drain();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#link.toNetwork.wake();
    this.#link.toDevice.wake();
    for (const connection of this.#connections.values()) connection.destroy();
    this.#connections.clear();
    for (const socket of this.#arriving) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    rmSync(this.#path, { force: true });
  }

  // ---- Packets ------------------------------------------------------------------------------------------------------

  async #receive(): Promise<void> {
    while (!this.#closed) {
      await this.#link.toNetwork.arrival();
      for (let frame = this.#link.toNetwork.peek(); frame && !this.#closed; frame = this.#link.toNetwork.peek()) {
        const packet = readPacket(frame.bytes.slice());
        this.#link.toNetwork.drop();
        this.#wake();
        if (packet) this.#take(packet);
      }
    }
  }

  #take(packet: Packet): void {
    if (packet.sourceCid !== GUEST_CID || packet.operation === operation.reset) {
      if (packet.sourceCid === GUEST_CID) this.#forget(keyOf(packet.targetPort, packet.sourcePort));
      return;
    }
    const key = keyOf(packet.targetPort, packet.sourcePort);
    const connection = this.#connections.get(key);
    if (packet.targetCid !== HOST_CID || packet.type !== STREAM) return this.#reset(packet);
    if (connection) return packet.operation === operation.request ? this.#reset(packet) : connection.take(packet);
    if (packet.operation !== operation.request || this.#connections.size >= CONNECTIONS_MAXIMUM) return this.#reset(packet);
    const socket = connect({ path: `${this.#path}_${packet.targetPort}`, allowHalfOpen: true });
    this.#add(key, new Connection(socket, { host: packet.targetPort, guest: packet.sourcePort }, packet, this.#events(key)));
  }

  #reset({ sourceCid, targetCid, sourcePort, targetPort, type }: Packet): void {
    this.#send({
      sourceCid: targetCid, targetCid: sourceCid, sourcePort: targetPort, targetPort: sourcePort, type, operation: operation.reset, flags: 0, bufferBytes: 0, takenBytes: 0,
      data: new Uint8Array(0),
    });
  }

  #send(packet: Packet): void {
    const bytes = writePacket(packet);
    if (this.#waiting.length > 0 || !this.#link.toDevice.push({ bytes })) this.#waiting.push(bytes);
    this.#wake();
  }

  /** Sends what waits as the device takes what came before. */
  async #drain(): Promise<void> {
    while (!this.#closed) {
      await this.#link.toDevice.departure();
      let [first] = this.#waiting;
      while (first && this.#link.toDevice.push({ bytes: first })) {
        this.#waiting.shift();
        [first] = this.#waiting;
        this.#wake();
      }
      // Nothing is in the ring: there is nothing to wait for.
      if (!this.#link.toDevice.waiting) await this.#link.toDevice.arrival();
    }
  }

  // ---- Connections --------------------------------------------------------------------------------------------------

  /** The first line of a program of the host says which port of the guest it wants. */
  #greet(socket: Socket): void {
    let text = '';
    const gone = (): void => void socket.destroy();
    const timer = setTimeout(gone, GREETING_MS);
    this.#arriving.add(socket);
    const arrived = (): void => {
      clearTimeout(timer);
      this.#arriving.delete(socket);
    };
    const read = (): void => {
      for (let byte = socket.read(1) as Buffer | null; byte !== null; byte = socket.read(1) as Buffer | null) {
        if (byte[0] !== 10) {
          text += byte.toString('latin1');
          if (text.length <= GREETING_BYTES) continue;
        }
        arrived();
        socket.off('readable', read).off('end', gone);
        return this.#dial(socket, /^CONNECT (\d{1,10})\r?$/.exec(text)?.[1]);
      }
    };
    socket.on('error', gone);
    socket.on('close', arrived);
    socket.on('end', gone);
    socket.on('readable', read);
  }

  #dial(socket: Socket, port: string | undefined): void {
    const guest = Number(port ?? NaN);
    if (!Number.isInteger(guest) || guest >= 2 ** 32 || this.#connections.size >= CONNECTIONS_MAXIMUM) return void socket.destroy();
    const host = this.#nextPort;
    this.#nextPort = host + 1 >= 2 ** 31 ? FIRST_PORT : host + 1;
    const key = keyOf(host, guest);
    this.#add(key, new Connection(socket, { host, guest }, null, this.#events(key)));
  }

  #events(key: string): { send(packet: Packet): void; ended(): void } {
    return { send: (packet) => this.#send(packet), ended: () => void this.#connections.delete(key) };
  }

  #add(key: string, connection: Connection): void {
    this.#connections.set(key, connection);
    connection.begin();
  }

  #forget(key: string): void {
    this.#connections.get(key)?.destroy();
    this.#connections.delete(key);
  }
}

function keyOf(host: number, guest: number): string {
  return `${host} ${guest}`;
}

/** What a dead process has left is removed; a socket that somebody listens at, or another file, stays. */
async function clear(path: string): Promise<void> {
  if (!existsSync(path)) return;
  if (!statSync(path).isSocket()) throw refused(path, 'a file is there that is no socket');
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (answered) throw refused(path, 'another program listens at it');
  rmSync(path, { force: true });
}

function refused(path: string, why: string): ContractError {
  return new ContractError('file-unreadable', `The guest's sockets cannot be offered at "${path}": ${why}.`, 'Choose another path.', 'vsock');
}
