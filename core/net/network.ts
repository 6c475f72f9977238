/** One interface's network on the I/O thread: moves frames between its ring and the address translation, keeps the forwarded ports open. */
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { ContractError } from '../contract/errors.ts';
import type { NetworkConfig, PortForward } from '../contract/hardware.ts';
import { Capture } from './capture.ts';
import { FRAME_BYTES_MAXIMUM, FrameLink } from './frameLink.ts';
import type { FrameSink } from './guestSide.ts';
import { Nat } from './nat.ts';

/** Frames between two turns of the event loop: sockets have work, too. */
const FRAMES_AT_ONCE = 128;
const UDP_PEERS_MAXIMUM = 1024;
const FIRST_UDP_PEER = 20_000;

export class UserNetwork {
  readonly #link: FrameLink;
  readonly #nat: Nat;
  readonly #capture: Capture | null;
  readonly #servers: Server[] = [];
  readonly #sockets: UdpSocket[] = [];
  readonly #udpAnswers: ((peer: number, guestPort: number, data: Uint8Array) => boolean)[] = [];
  #wake: () => void = () => {};
  #stopped = false;
  #waitingForRoom = false;

  private constructor(buffer: SharedArrayBuffer, { hostLoopback, capture, attach }: NetworkConfig) {
    this.#link = new FrameLink(buffer);
    this.#link.linkUp = attach === 'user';
    this.#capture = capture === null ? null : new Capture(capture);
    this.#nat = new Nat(this.#sink(), hostLoopback);
    this.#nat.onForwardedUdp = (peer, guestPort, data) => this.#udpAnswers.some((answer) => answer(peer, guestPort, data));
  }

  /** @throws ContractError `bad-field` naming the forward whose port cannot be had. @param field path of the interface in the configuration */
  static async open(buffer: SharedArrayBuffer, config: NetworkConfig, field: string): Promise<UserNetwork> {
    const network = new UserNetwork(buffer, config);
    try {
      for (const [index, forward] of config.forwards.entries()) {
        await (forward.protocol === 'tcp' ? network.#listenTcp(forward) : network.#listenUdp(forward)).catch((error: unknown) => {
          throw refused(forward, error, `${field}.forwards.${index}.hostPort`);
        });
      }
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  serve(wake: () => void): void {
    this.#wake = wake;
    void this.#move();
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#link.toNetwork.wake();
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.close();
    this.#nat.close();
    await this.#capture?.close();
  }

  async #move(): Promise<void> {
    const { toNetwork } = this.#link;
    while (!this.#stopped) {
      await toNetwork.arrival();
      let count = 0;
      for (let frame = toNetwork.peek(); frame && !this.#stopped && count < FRAMES_AT_ONCE; frame = toNetwork.peek()) {
        this.#capture?.record(frame.bytes.slice());
        this.#nat.receive(frame.bytes);
        toNetwork.drop();
        count += 1;
      }
      this.#nat.settle();
      // The device may wait for room.
      this.#wake();
      if (count === FRAMES_AT_ONCE) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** What the network sends. With the cable out it goes nowhere. */
  #sink(): FrameSink {
    const { toDevice } = this.#link;
    const link = this.#link;
    let nowhere = new Uint8Array(0);
    let frame: Uint8Array | null = null;
    return {
      reserve: (length) => {
        if (!link.linkUp) {
          if (nowhere.length < length) nowhere = new Uint8Array(FRAME_BYTES_MAXIMUM);
          frame = null;
          return nowhere.subarray(0, length);
        }
        frame = toDevice.reserve(length);
        if (frame === null && !this.#waitingForRoom) void this.#resumeWhenRoom();
        return frame;
      },
      commit: (offload) => {
        if (frame === null) return;
        this.#capture?.record(frame.slice());
        toDevice.commit(offload);
        this.#wake();
      },
      get abilities() {
        return link.abilities;
      },
    };
  }

  async #resumeWhenRoom(): Promise<void> {
    this.#waitingForRoom = true;
    await this.#link.toDevice.departure();
    this.#waitingForRoom = false;
    if (!this.#stopped) this.#nat.drained();
  }

  #listenTcp({ hostAddress, hostPort, guestPort }: PortForward): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => this.#nat.acceptTcp(socket, guestPort));
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(hostPort, hostAddress, () => {
        server.on('error', () => undefined);
        resolve();
      });
    });
  }

  /** Each sender on the host is a port of the gateway to the guest. */
  #listenUdp({ hostAddress, hostPort, guestPort }: PortForward): Promise<void> {
    const socket = createSocket('udp4');
    this.#sockets.push(socket);
    const peers = new Map<string, number>();
    const senders = new Map<number, { readonly address: string; readonly port: number }>();
    const first = FIRST_UDP_PEER + (this.#udpAnswers.length % 32) * UDP_PEERS_MAXIMUM;
    let next = 0;
    socket.on('message', (data, { address, port }) => {
      const key = `${address}:${port}`;
      let peer = peers.get(key);
      if (peer === undefined) {
        peer = first + (next++ % UDP_PEERS_MAXIMUM);
        const old = senders.get(peer);
        if (old) peers.delete(`${old.address}:${old.port}`);
        peers.set(key, peer);
        senders.set(peer, { address, port });
      }
      this.#nat.sendUdp(peer, guestPort, data);
    });
    this.#udpAnswers.push((peer, from, data) => {
      const sender = from === guestPort ? senders.get(peer) : undefined;
      if (sender) socket.send(data, sender.port, sender.address, () => undefined);
      return sender !== undefined;
    });
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(hostPort, hostAddress, () => {
        socket.on('error', () => undefined);
        resolve();
      });
    });
  }
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program uses it', EACCES: 'you may not use ports below 1024', EADDRNOTAVAIL: 'this machine has no such address',
};

function refused({ protocol, hostAddress, hostPort }: PortForward, error: unknown, field: string): ContractError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reason = reasons[code] ?? (error instanceof Error ? error.message : String(error));
  return new ContractError('bad-field', `The ${protocol.toUpperCase()} port ${hostPort} of ${hostAddress} cannot be forwarded: ${reason}.`, 'Choose another port of the host.', field);
}
