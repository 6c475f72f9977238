/**
 * A port of a virtual switch. There is no switch in the middle: each port has a local socket in the switch's folder, connects to those that are
 * there already, and learns behind which of them which address is. The host has no port.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { ContractError } from '../contract/errors.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { frameAbility } from './frameLink.ts';
import type { Frame } from './frameLink.ts';
import { GuestSide } from './guestSide.ts';
import type { FrameSink } from './guestSide.ts';
import type { Network } from './network.ts';
import { plainFrames } from './offload.ts';
import { ETHERNET_BYTES, etherType, viewOf } from './packets.ts';
import { SwitchDhcp } from './switchDhcp.ts';
import { endpointOf, markEndpoint, switchFolder } from './switchFolder.ts';
import { ID_BYTES, SwitchReader, encodeFrame, encodeHello } from './switchWire.ts';
import type { IpAddress } from './ip.ts';

/** What may wait for a port that does not read; frames beyond are lost, as a switch loses them. */
const WAITING_BYTES = 4 * 1024 * 1024;
const ADDRESSES_MAXIMUM = 1024;
const PEERS_MAXIMUM = 64;
const NO_ADDRESS = new Uint8Array(4);

interface Peer {
  readonly socket: Socket;
  readonly reader: SwitchReader;
  /** Who has connected: of two connections between the same ports that of the lesser name stays. */
  readonly outgoing: boolean;
  id: string | null;
  address: IpAddress;
}

export class SwitchPort implements Network {
  readonly #id = randomBytes(ID_BYTES).toString('hex');
  readonly #sink: FrameSink;
  readonly #folder: string;
  readonly #server: Server;
  readonly #dhcp: SwitchDhcp | null;
  readonly #peers = new Set<Peer>();
  /** Behind which port an address was seen last. */
  readonly #learned = new Map<number, Peer>();
  /** Frames for the guest that found no room; nobody is read until they have. */
  #held: Frame[] = [];

  private constructor(sink: FrameSink, folder: string, mac: Uint8Array | null) {
    this.#sink = sink;
    this.#folder = folder;
    const serverMac = Uint8Array.of(0x52, 0x55, 10, 77, 0, 1);
    this.#dhcp = mac === null ? null : new SwitchDhcp(new GuestSide(sink, serverMac), mac, serverMac);
    this.#server = createServer((socket) => this.#meet(socket, false));
  }

  /**
   * @param name of the switch, @param mac of the guest's interface, which is to get an address by DHCP; null: it is not
   * @throws ContractError when the switch's folder cannot be used
   */
  static async open(sink: FrameSink, name: string, mac: Uint8Array | null): Promise<SwitchPort> {
    const folder = switchFolder(name);
    const port = new SwitchPort(sink, folder, mac);
    try {
      await port.#listen();
    } catch (error) {
      throw new ContractError('bad-field', `The switch "${name}" cannot be joined: ${unwritableBecause(error)}.`, 'Choose a shorter name, or see that the folder can be written.', 'switchName');
    }
    for (const other of readdirSync(folder)) if (other !== port.#id) port.#call(other);
    return port;
  }

  receive(frame: Frame): void {
    const { bytes } = frame;
    if (bytes.length < ETHERNET_BYTES || this.#dhcp?.receive(bytes) === true) return;
    const learned = ((bytes[0] ?? 0) & 1) === 0 ? this.#learned.get(macNumber(bytes, 0)) : undefined;
    const record = encodeFrame(frame);
    for (const peer of learned ? [learned] : this.#peers) {
      if (peer.id !== null && peer.socket.writableLength < WAITING_BYTES) peer.socket.write(record);
    }
  }

  settle(): void {}

  drained(): void {
    const held = this.#held;
    this.#held = [];
    for (const frame of held) this.#deliver(frame);
    if (this.#held.length > 0) return;
    for (const peer of [...this.#peers]) {
      peer.socket.resume();
      this.#read(peer);
    }
  }

  close(): Promise<void> {
    for (const { socket } of this.#peers) socket.destroy();
    rmSync(endpointOf(this.#folder, this.#id).mark, { force: true });
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #listen(): Promise<void> {
    const { path } = endpointOf(this.#folder, this.#id);
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, () => {
        this.#server.on('error', () => undefined);
        markEndpoint(this.#folder, this.#id);
        resolve();
      });
    });
  }

  /** Connects to a port that was there before; one whose process is gone leaves its socket behind. */
  #call(id: string): void {
    const { path, mark } = endpointOf(this.#folder, id);
    const socket = connect(path);
    socket.once('error', (error) => {
      if ('code' in error && (error.code === 'ECONNREFUSED' || error.code === 'ENOENT')) rmSync(mark, { force: true });
    });
    socket.once('connect', () => this.#meet(socket, true));
  }

  #meet(socket: Socket, outgoing: boolean): void {
    socket.on('error', () => undefined);
    if (this.#peers.size >= PEERS_MAXIMUM) return void socket.destroy();
    const peer: Peer = { socket, outgoing, reader: new SwitchReader(), id: null, address: NO_ADDRESS };
    this.#peers.add(peer);
    socket.on('close', () => this.#forget(peer));
    socket.on('data', (data) => {
      peer.reader.push(data);
      if (this.#held.length > 0) socket.pause();
      else this.#read(peer);
    });
    socket.write(encodeHello({ id: this.#id, address: this.#dhcp?.address ?? NO_ADDRESS }));
  }

  #read(peer: Peer): void {
    try {
      const hello = peer.reader.hello();
      if (hello) this.#greet(peer, hello.id, hello.address);
      while (this.#held.length === 0) {
        const frame = peer.reader.frame();
        if (frame === null) return;
        this.#arrive(peer, frame);
      }
    } catch (error) {
      console.error(`A port of the switch is left: it sent ${error instanceof Error ? error.message : String(error)}.`);
      peer.socket.destroy();
    }
  }

  #greet(peer: Peer, id: string, address: IpAddress): void {
    if (id === this.#id) return void peer.socket.destroy();
    peer.id = id;
    peer.address = address;
    const twin = [...this.#peers].find((other) => other !== peer && other.id === id);
    if (twin) (this.#initiator(peer) <= this.#initiator(twin) ? twin : peer).socket.destroy();
    // Whoever comes later makes room.
    if (peer.outgoing) this.#dhcp?.avoid([...this.#peers].map((other) => other.address));
  }

  #initiator({ id, outgoing }: Peer): string {
    return outgoing ? this.#id : id ?? '';
  }

  #arrive(peer: Peer, frame: Frame): void {
    if (frame.bytes.length < ETHERNET_BYTES) return;
    if (((frame.bytes[6] ?? 1) & 1) === 0) this.#learn(macNumber(frame.bytes, 6), peer);
    const { abilities } = this.#sink;
    const version6 = viewOf(frame.bytes).getUint16(12) === etherType.ipv6;
    const large = (abilities & (version6 ? frameAbility.largeTcp6 : frameAbility.largeTcp4)) !== 0;
    for (const piece of plainFrames(frame, { large, partial: (abilities & frameAbility.partialChecksum) !== 0 })) this.#deliver(piece);
  }

  #deliver(frame: Frame): void {
    const place = this.#held.length === 0 ? this.#sink.reserve(frame.bytes.length) : null;
    if (place === null) {
      this.#held.push(frame);
      for (const { socket } of this.#peers) socket.pause();
      return;
    }
    place.set(frame.bytes);
    this.#sink.commit(frame);
  }

  #learn(address: number, peer: Peer): void {
    if (this.#learned.get(address) === peer) return;
    const [eldest] = this.#learned.keys();
    if (this.#learned.size >= ADDRESSES_MAXIMUM && eldest !== undefined) this.#learned.delete(eldest);
    this.#learned.set(address, peer);
  }

  #forget(peer: Peer): void {
    this.#peers.delete(peer);
    for (const [address, behind] of this.#learned) if (behind === peer) this.#learned.delete(address);
  }
}

/** A MAC address as a number. */
function macNumber(bytes: Uint8Array, at: number): number {
  const view = viewOf(bytes);
  return view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2);
}
