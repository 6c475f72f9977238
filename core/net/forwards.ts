/** Ports of the host that lead into the guest. */
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { ContractError } from '../contract/errors.ts';
import type { PortForward } from '../contract/hardware.ts';
import type { Nat } from './nat.ts';

const UDP_PEERS_MAXIMUM = 1024;
const FIRST_UDP_PEER = 20_000;

export class PortForwards {
  readonly #nat: Nat;
  readonly #servers: Server[] = [];
  readonly #sockets: UdpSocket[] = [];
  readonly #udpAnswers: ((peer: number, guestPort: number, data: Uint8Array) => boolean)[] = [];

  constructor(nat: Nat) {
    this.#nat = nat;
    nat.onForwardedUdp = (peer, guestPort, data) => this.#udpAnswers.some((answer) => answer(peer, guestPort, data));
  }

  /** @param field path of the forward in the configuration @throws ContractError `bad-field` when the port cannot be had */
  async open(forward: PortForward, field: string): Promise<void> {
    try {
      await (forward.protocol === 'tcp' ? this.#listenTcp(forward) : this.#listenUdp(forward));
    } catch (error) {
      throw refused(forward, error, `${field}.hostPort`);
    }
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.close();
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
