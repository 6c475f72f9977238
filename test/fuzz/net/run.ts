/**
 * Hostile guests on the network: an e1000e with random registers, rings and descriptors whose frames go to the address translation, and frames made
 * for the translation itself: connections that live, then random flags, numbers, lengths, fragments, changed bytes. Nothing throws, no step takes
 * long, and what a guest leaves behind stays within its bounds.
 */
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { receiveQueues, register, transmitQueues } from '../../../core/devices/e1000e/registers.ts';
import { nat4, nat6 } from '../../../core/net/addresses.ts';
import { ipAddress, ipProtocol } from '../../../core/net/ip.ts';
import type { IpAddress } from '../../../core/net/ip.ts';
import { etherType, viewOf } from '../../../core/net/packets.ts';
import { Random } from '../vtd/random.ts';
import { E1000eDriver } from '../../doubles/e1000eDriver.ts';
import { ethernet, icmpv6Frame, ipFrame, networkDouble, tcpFrame, tcpOf, udpFrame } from '../../doubles/network.ts';
import type { NetworkDouble } from '../../doubles/network.ts';

const guest6 = ipAddress('fd00::5054:ff:fe01:203');
const link6 = ipAddress('fe80::5054:ff:fe01:203');
/** Steps between two turns of the event loop, in which sockets get on. */
const BATCH = 32;
/** A step that takes longer holds the VM process up. */
const STEP_MS = 500;
const bounds = { tcp: 2048, udp: 512, fragments: 32 } as const;
const deviceRegisters = [...Object.values(register), ...[...receiveQueues, ...transmitQueues].flatMap((base) => [0, 4, 8, 0x10, 0x18].map((offset) => base + offset))];

export interface NetFuzz {
  readonly steps: number;
  /** Frames that the guest got, by what they were. */
  readonly answers: ReadonlyMap<string, number>;
  /** The most that was left behind at any time. */
  readonly load: { readonly tcp: number; readonly udp: number; readonly fragments: number };
}

/** @throws Error that names the step: the seed repeats it, as far as sockets let it */
export async function fuzzNet(seed: number, steps: number): Promise<NetFuzz> {
  const servers = await serve();
  const bench = new Bench(seed, servers);
  try {
    for (let step = 0; step < steps; step++) {
      const began = performance.now();
      bench.step();
      const took = performance.now() - began;
      if (took > STEP_MS) throw new Error(`step ${step} of seed ${seed} took ${took.toFixed(0)} ms`);
      bench.check(step);
      if (step % BATCH === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    return { steps, answers: bench.answers, load: bench.load };
  } finally {
    bench.network.nat.close();
    servers.tcp.close();
    servers.udp.close();
  }
}

interface Servers {
  readonly tcp: Server;
  readonly udp: UdpSocket;
  readonly tcpPort: number;
  readonly udpPort: number;
}

/** Echoes on the loopback. */
async function serve(): Promise<Servers> {
  const tcp = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const udp = createSocket('udp4');
  udp.on('message', (data, { port, address }) => udp.send(data, port, address, () => undefined));
  await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve));
  return { tcp, udp, tcpPort: (tcp.address() as AddressInfo).port, udpPort: udp.address().port };
}

class Bench {
  /** Its TFTP server shows this very folder. */
  readonly network: NetworkDouble = networkDouble(true, { name: 'run.ts', folder: import.meta.dirname });
  readonly answers = new Map<string, number>();
  readonly load = { tcp: 0, udp: 0, fragments: 0 };
  readonly #random: Random;
  readonly #servers: Servers;
  readonly #driver = new E1000eDriver();
  /** By the guest's port: the next number that the guest sends, and the last that it got. */
  readonly #connections = new Map<number, { next: number; got: number }>();

  constructor(seed: number, servers: Servers) {
    this.#random = new Random(seed);
    this.#servers = servers;
    this.#driver.start();
  }

  /** A request for a file, an acknowledgement, or nearly so. */
  #tftp(): Uint8Array {
    const random = this.#random;
    if (random.once(2)) return Uint8Array.of(0, 4, 0, random.below(8));
    const options = random.pick(['', 'blksize\0' + random.below(70_000) + '\0', 'tsize\x000\0blksize\x008\0', 'timeout\0']);
    return Buffer.from(`\0\x01${random.pick(['run.ts', '../run.ts', '/', ''])}\0octet\0${options}`);
  }

  step(): void {
    if (this.#random.once(4)) this.#device();
    else this.network.send(this.#changed(this.#frame()));
    this.#listen();
  }

  check(step: number): void {
    const { load } = this.network.nat;
    for (const kind of ['tcp', 'udp', 'fragments'] as const) {
      if (load[kind] > bounds[kind]) throw new Error(`step ${step}: ${load[kind]} ${kind}, and ${bounds[kind]} are allowed`);
      this.load[kind] = Math.max(this.load[kind], load[kind]);
    }
  }

  #device(): void {
    const random = this.#random;
    const driver = this.#driver;
    for (let writes = random.below(6); writes > 0; writes--) {
      const at = random.once(8) ? random.below(0x20000) & ~3 : random.pick(deviceRegisters);
      driver.write(at, random.once(2) ? random.below(256) : random.word());
    }
    for (let bytes = random.below(64); bytes > 0; bytes--) driver.ram[random.below(0x4000)] = random.word() & 0xff;
    if (random.once(16)) driver.device.loadState(JSON.parse(JSON.stringify(driver.device.saveState())));
    if (random.once(16)) driver.start(random.once(2));
    if (random.once(64)) driver.link.linkUp = !driver.link.linkUp;
    driver.device.poll();
    for (let frame = driver.link.toNetwork.peek(); frame; frame = driver.link.toNetwork.peek()) {
      this.network.send(frame.bytes);
      driver.link.toNetwork.drop();
    }
  }

  /** What the guest gets goes into its interface, and is answered from there on. */
  #listen(): void {
    for (const bytes of this.network.frames.splice(0)) {
      this.#driver.link.toDevice.push({ bytes });
      const segment = tcpOf(bytes);
      const kind = segment ? `TCP ${segment.flags.toString(16)}` : `type ${viewOf(bytes).getUint16(12).toString(16)}`;
      this.answers.set(kind, (this.answers.get(kind) ?? 0) + 1);
      const connection = segment ? this.#connections.get(segment.destinationPort) : undefined;
      if (segment && connection) connection.got = (segment.sequence + segment.data.length + ((segment.flags & 3) === 0 ? 0 : 1)) >>> 0;
    }
    this.#driver.device.poll();
  }

  #frame(): Uint8Array {
    const random = this.#random;
    const version6 = random.once(4);
    const [source, gateway] = version6 ? [random.once(4) ? link6 : guest6, nat6.gateway] : [nat4.guest, nat4.gateway];
    switch (random.below(8)) {
      case 0: case 1: case 2: return this.#segment(source, gateway);
      case 3: {
        const destinationPort = random.pick([this.#servers.udpPort, 67, 53, 547, 69, 0xc000 + random.below(64), random.below(65_536)]);
        const data = random.once(2) ? this.#bytes(random.below(300)) : this.#tftp();
        return udpFrame(source, gateway, { sourcePort: random.below(random.once(2) ? 4 : 2000), destinationPort, data });
      }
      case 4: return icmpv6Frame(link6, nat6.router, Uint8Array.of(random.pick([128, 133, 134, 135, 136]), ...this.#bytes(7 + random.below(60))));
      case 5: return ipFrame({ protocol: random.pick([...Object.values(ipProtocol), random.below(256)]), source, destination: gateway }, this.#bytes(random.below(200)));
      case 6: return this.#fragment(source, gateway);
      default: return ethernet(random.pick([etherType.arp, etherType.ipv4, etherType.ipv6, random.below(65_536)]), this.#bytes(random.below(100)));
    }
  }

  /** Of a connection that exists or is begun; its numbers are right, or nearly, or anything. */
  #segment(source: IpAddress, destination: IpAddress): Uint8Array {
    const random = this.#random;
    const sourcePort = 1 + random.below(random.once(16) ? 60_000 : 40);
    const known = this.#connections.get(sourcePort);
    const destinationPort = random.once(16) ? random.below(65_536) : this.#servers.tcpPort;
    if (!known || random.once(8)) {
      const sequence = random.word();
      this.#connections.set(sourcePort, { next: (sequence + 1) >>> 0, got: 0 });
      return tcpFrame(source, destination, { sourcePort, destinationPort, sequence, flags: 2, maximumSegment: random.pick([1460, 0, 65_535, random.below(65_536)]) });
    }
    const near = (value: number): number => (random.once(8) ? random.word() : random.once(4) ? (value + random.below(2000) - 1000) >>> 0 : value);
    const data = this.#bytes(random.once(3) ? 0 : random.below(1460));
    const frame = tcpFrame(source, destination, {
      sourcePort, destinationPort, sequence: near(known.next), acknowledgement: near(known.got), flags: random.once(4) ? random.below(64) : 16, window: random.pick([0, 1, 65_535, random.below(65_536)]), data,
    });
    known.next = (known.next + data.length) >>> 0;
    return frame;
  }

  #fragment(source: IpAddress, destination: IpAddress): Uint8Array {
    const random = this.#random;
    const data = this.#bytes(8 * random.below(40));
    const at = 8 * random.below(random.once(8) ? 8192 : 8);
    if (source.length === 16) {
      return ipFrame({ protocol: ipProtocol.fragment, source, destination }, Uint8Array.of(ipProtocol.udp, 0, at >> 8, (at & 0xf8) | random.below(2), 0, 0, 0, random.below(64), ...data));
    }
    const frame = ipFrame({ protocol: ipProtocol.udp, source, destination }, data);
    viewOf(frame).setUint16(18, random.below(64));
    viewOf(frame).setUint16(20, (at >> 3) | (random.once(3) ? 0 : 0x2000));
    return frame;
  }

  /** Now and then a byte is another, or the end is missing. */
  #changed(frame: Uint8Array): Uint8Array {
    const random = this.#random;
    if (random.once(6) && frame.length > 14) frame[12 + random.below(frame.length - 12)] = random.word() & 0xff;
    return random.once(16) ? frame.subarray(0, random.below(frame.length)) : frame;
  }

  #bytes(length: number): Uint8Array {
    return new Uint8Array(length).map(() => this.#random.word());
  }
}
