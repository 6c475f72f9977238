import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { frameAbility } from '../../../core/net/frameLink.ts';
import type { Frame, Offload } from '../../../core/net/frameLink.ts';
import { formatIp, ipAddress, ipProtocol, pseudoHeader } from '../../../core/net/ip.ts';
import { parseUdp, sumWords, fold, tcpFlag, viewOf } from '../../../core/net/packets.ts';
import { SwitchPort } from '../../../core/net/switchPort.ts';
import { packetOf, tcpFrame, tcpOf, udpFrame } from '../../doubles/network.ts';

let folder = '';
const before = process.env['VANDERPOOL_RUNTIME'];
const ports: SwitchPort[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vp-switch-'));
  process.env['VANDERPOOL_RUNTIME'] = folder;
});
afterEach(async () => {
  await Promise.all(ports.splice(0).map(port => port.close()));
  rmSync(folder, { recursive: true, force: true });
  if (before === undefined) delete process.env['VANDERPOOL_RUNTIME'];
  else process.env['VANDERPOOL_RUNTIME'] = before;
});

interface Guest {
  readonly port: SwitchPort;
  readonly frames: (Offload & { readonly bytes: Uint8Array })[];
}

/** A port with a guest's interface behind it. */
async function guest(name: string, { mac = null, abilities = 0 }: { readonly mac?: Uint8Array | null; readonly abilities?: number } = {}): Promise<Guest> {
  const frames: Frame[] = [];
  let place = new Uint8Array(0);
  const port = await SwitchPort.open({ reserve: length => (place = new Uint8Array(length)), commit: (offload = {}) => void frames.push({ bytes: place, ...offload }), abilities }, name, mac);
  ports.push(port);
  return { port, frames };
}

const macOf = (number: number): Uint8Array => Uint8Array.of(0x52, 0x54, 0, 0, 0, number);
const all = new Uint8Array(6).fill(0xff);

function frame(to: Uint8Array, from: Uint8Array, text: string): Frame {
  return { bytes: Uint8Array.of(...to, ...from, 0x12, 0x34, ...Buffer.from(text)) };
}

const texts = ({ frames }: Guest): string[] => frames.map(({ bytes }) => Buffer.from(bytes.subarray(14)).toString());

/** Until every port has met every other. */
async function met(guests: readonly Guest[]): Promise<void> {
  for (const [number, one] of guests.entries()) {
    await expect.poll(() => {
      one.port.receive(frame(all, macOf(100 + number), 'hello'));
      return guests.every(other => other === one || other.frames.some(({ bytes }) => bytes[11] === 100 + number));
    }).toBe(true);
  }
  await new Promise(resolve => setTimeout(resolve, 50));
  for (const { frames } of guests) frames.length = 0;
}

describe('a switch', () => {
  it('brings what is for all to all, and what is for one that it has seen to that one', async () => {
    const [a, b, c] = [await guest('lab'), await guest('lab'), await guest('lab')];
    await met([a, b, c]);
    a.port.receive(frame(all, macOf(1), 'to all'));
    await expect.poll(() => [b, c].map(texts)).toEqual([['to all'], ['to all']]);
    b.port.receive(frame(macOf(1), macOf(2), 'to a'));
    await expect.poll(() => texts(a)).toEqual(['to a']);
    a.port.receive(frame(macOf(2), macOf(1), 'to b'));
    await expect.poll(() => texts(b)).toEqual(['to all', 'to b']);
    expect(texts(c)).toEqual(['to all']);
    expect(texts(a)).toEqual(['to a']);
  });

  it('is one of its name: other switches hear nothing', async () => {
    const [a, b, c] = [await guest('lab'), await guest('lab'), await guest('office')];
    await met([a, b]);
    a.port.receive(frame(all, macOf(1), 'secret'));
    await expect.poll(() => texts(b)).toEqual(['secret']);
    expect(c.frames).toEqual([]);
  });

  it('goes on when a port leaves, and when one has left its socket behind', async () => {
    const [a, b] = [await guest('lab'), await guest('lab')];
    await met([a, b]);
    await b.port.close();
    writeFileSync(join(folder, 'vanderpool', 'switches', 'lab', '0123456789abcdef'), '');
    const c = await guest('lab');
    await met([a, c]);
    a.port.receive(frame(all, macOf(1), 'still here'));
    await expect.poll(() => texts(c)).toEqual(['still here']);
    expect(readdirSync(join(folder, 'vanderpool', 'switches', 'lab'))).toHaveLength(2);
  });

  it('leaves long segments long for who takes them, and cuts them for who does not', async () => {
    const large = frameAbility.partialChecksum | frameAbility.largeTcp4;
    const [a, b, c] = [await guest('lab'), await guest('lab', { abilities: large }), await guest('lab')];
    await met([a, b, c]);
    const bytes = tcpFrame(ipAddress('10.77.0.20'), ipAddress('10.77.0.21'), { sourcePort: 1, destinationPort: 2, sequence: 1000, flags: tcpFlag.ack | tcpFlag.psh, data: new Uint8Array(4000).fill(7) });
    bytes.set(all);
    a.port.receive({ bytes, partialChecksum: { start: 34, offset: 16 }, segmentBytes: 1460, headerBytes: 54 });
    await expect.poll(() => [b.frames.length, c.frames.length]).toEqual([1, 3]);
    expect(b.frames[0]).toMatchObject({ segmentBytes: 1460, headerBytes: 54, partialChecksum: { start: 34, offset: 16 } });
    const pieces = c.frames.map(({ bytes: piece }) => tcpOf(piece));
    expect(pieces.map(piece => [piece?.sequence, piece?.data.length, piece?.flags])).toEqual([[1000, 1460, 16], [2460, 1460, 16], [3920, 1080, 24]]);
    for (const { bytes: piece } of c.frames) {
      const packet = packetOf(piece);
      const payload = packet?.payload ?? new Uint8Array(0);
      expect(fold(sumWords(payload, pseudoHeader(packet?.source ?? all, packet?.destination ?? all, ipProtocol.tcp, payload.length)))).toBe(0xffff);
    }
  });

  it('gives each guest an address of its own, when that is wanted', async () => {
    const mac = macOf(9);
    // The same three bytes make the same address: the second has to step aside.
    const [a, b] = [await guest('lab', { mac }), await guest('lab', { mac: Uint8Array.of(0x52, 0x54, 1, 0, 0, 9) })];
    await met([a, b]);
    const leased = ({ port, frames }: Guest): string => {
      const request = new Uint8Array(250);
      request.set([1, 1, 6]);
      viewOf(request).setUint32(236, 0x63825363);
      request.set([53, 1, 1, 255], 240);
      frames.length = 0;
      port.receive({ bytes: udpFrame(ipAddress('0.0.0.0'), ipAddress('255.255.255.255'), { sourcePort: 68, destinationPort: 67, data: request }) });
      const offer = parseUdp(packetOf(frames[0]?.bytes ?? new Uint8Array(14))?.payload ?? new Uint8Array(0))?.data ?? new Uint8Array(0);
      return formatIp(offer.subarray(16, 20));
    };
    const addresses = [leased(a), leased(b)];
    expect(addresses.every(address => address.startsWith('10.77.'))).toBe(true);
    expect(new Set(addresses).size).toBe(2);
  });

  it('leaves who sends nonsense', async () => {
    const a = await guest('lab');
    const [id = ''] = readdirSync(join(folder, 'vanderpool', 'switches', 'lab'));
    const socket = connect(join(folder, 'vanderpool', 'switches', 'lab', id));
    const closed = new Promise(resolve => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(Buffer.alloc(64, 'nonsense'));
    await closed;
    expect(a.frames).toEqual([]);
  });
});
