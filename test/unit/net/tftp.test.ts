/** The server that firmware fetches systems from: what it gives, and what it does not. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { nat4 } from '../../../core/net/addresses.ts';
import { netBootOf } from '../../../core/net/netBoot.ts';
import { parseUdp } from '../../../core/net/packets.ts';
import { TFTP_PORT, TftpServer } from '../../../core/net/tftp.ts';
import type { TftpAnswer } from '../../../core/net/tftp.ts';
import { networkDouble, packetOf, udpFrame } from '../../doubles/network.ts';

const PORT = 2000;
let outside = '';
let folder = '';
let server: TftpServer;
let answers: TftpAnswer[] = [];

beforeEach(() => {
  outside = mkdtempSync(join(tmpdir(), 'vanderpool-tftp-'));
  folder = join(outside, 'served');
  mkdirSync(join(folder, 'below'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'secret');
  answers = [];
  server = new TftpServer(folder, (answer) => answers.push(answer));
});
afterEach(() => {
  server.close();
  rmSync(outside, { recursive: true });
});

const words = (code: number, number: number): Uint8Array => Uint8Array.of(code >> 8, code & 0xff, number >> 8, number & 0xff);
const request = (code: number, ...texts: readonly string[]): Uint8Array => Buffer.from([0, code, ...Buffer.from(`${texts.join('\0')}\0`)]);
const read = (...texts: readonly string[]): TftpAnswer | undefined => {
  server.receive(PORT, TFTP_PORT, request(1, ...texts));
  return answers.at(-1);
};
const acknowledge = (number: number): TftpAnswer | undefined => {
  const before = answers.length;
  server.receive(PORT, answers.at(-1)?.sourcePort ?? 0, words(4, number & 0xffff));
  return answers.length > before ? answers.at(-1) : undefined;
};
const text = (answer: TftpAnswer | undefined): string => Buffer.from(answer?.data ?? []).toString('latin1');

/** Fetches a file to its end. */
function fetched(name: string, ...options: readonly string[]): { readonly content: Buffer; readonly blocks: number } {
  const pieces: Uint8Array[] = [];
  const begun = read(name, 'octet', ...options);
  for (let answer = options.length > 0 ? acknowledge(0) : begun; answer; answer = acknowledge(pieces.length)) pieces.push(answer.data.subarray(4));
  return { content: Buffer.concat(pieces), blocks: pieces.length };
}

describe('files', () => {
  it.each([0, 1, 511, 512, 513, 100_000])('of %i bytes arrive whole, with blocks of any length', (bytes) => {
    const content = Buffer.from(Array.from({ length: bytes }, (_, index) => (index * 7) & 0xff));
    writeFileSync(join(folder, 'below', 'file'), content);
    expect(fetched('below/file')).toEqual({ content, blocks: Math.floor(bytes / 512) + 1 });
    expect(fetched('/below\\file', 'blksize', '1432', 'tsize', '0')).toEqual({ content, blocks: Math.floor(bytes / 1432) + 1 });
  });

  it('of more than 65535 blocks arrive whole: their numbers begin anew', () => {
    const content = Buffer.alloc(65_540 * 8, 'vanderpool');
    writeFileSync(join(folder, 'large'), content);
    expect(fetched('large', 'blksize', '8').content.equals(content)).toBe(true);
  });

  it('are described before they come, as far as the client asked', () => {
    writeFileSync(join(folder, 'file'), 'content');
    expect(text(read('file', 'octet', 'tsize', '0', 'BLKSIZE', '9000', 'timeout', '5', 'unheard', 'of'))).toBe('\0\x06tsize\x007\0blksize\x001468\0timeout\x005\0');
    expect(text(read('file', 'octet', 'unheard', 'of'))).toBe('\0\x03\0\x01content');
  });

  it('come again from where the client got nothing', () => {
    writeFileSync(join(folder, 'file'), Buffer.alloc(1200, 'a'));
    read('file', 'octet');
    acknowledge(1);
    const second = answers.at(-1);
    expect(acknowledge(1)).toEqual(second);
    expect(acknowledge(7)).toBeUndefined();
    expect(acknowledge(2)?.data).toHaveLength(4 + 1200 - 1024);
    expect(acknowledge(3)).toBeUndefined();
  });
});

describe('a guest cannot', () => {
  it('reach what lies outside of the folder, by names or links', () => {
    symlinkSync(join(outside, 'secret'), join(folder, 'link'));
    for (const name of ['../secret', '/../secret', 'below/../../secret', '..\\secret', join(outside, 'secret'), 'link', '', '.', 'below', 'nothing', `a\0b`]) {
      expect(text(read(name, 'octet')), name).toMatch(/no such file|only the mode/);
    }
  });

  it('write, or confuse it with what is no request', () => {
    expect(text(((): TftpAnswer | undefined => (server.receive(PORT, TFTP_PORT, request(2, 'file', 'octet')), answers.at(-1)))())).toContain('only files can be read');
    for (const data of [[], [0], [0, 1], [0, 1, 0, 0], [0, 9, 0, 0], [0, 4, 0, 0], [255, 255, 255, 255]]) server.receive(PORT, TFTP_PORT, Uint8Array.from(data));
    expect(answers.every(({ data }) => data[1] === 5)).toBe(true);
    expect(server.receive(PORT, 50_000, words(4, 1))).toBe(false);
  });

  it('begin so many transfers that files run out', () => {
    writeFileSync(join(folder, 'file'), Buffer.alloc(1200));
    for (let port = 1; port <= 5000; port += 1) server.receive(port, TFTP_PORT, request(1, 'file', 'octet'));
    expect(answers.filter(({ data }) => data[1] === 3)).toHaveLength(5000);
    expect(server.size).toBe(16);
  });

  it('keep files open by transfers that it leaves', () => {
    vi.useFakeTimers();
    try {
      server.close();
      server = new TftpServer(folder, (answer) => answers.push(answer));
      writeFileSync(join(folder, 'file'), Buffer.alloc(1200));
      server.receive(PORT + 1, TFTP_PORT, request(1, 'file', 'octet'));
      read('file', 'octet');
      vi.advanceTimersByTime(250_000);
      expect(acknowledge(1)).toBeDefined();
      vi.advanceTimersByTime(250_000);
      // The one that goes on is there, the other one is not.
      expect(server.size).toBe(1);
      expect(acknowledge(2)).toBeDefined();
      vi.advanceTimersByTime(400_000);
      expect(server.size).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('end a transfer that goes on by beginning others', () => {
    writeFileSync(join(folder, 'file'), Buffer.alloc(100_000));
    read('file', 'octet');
    const from = answers.at(-1)?.sourcePort ?? 0;
    for (let block = 1; block <= 100; block += 1) {
      server.receive(PORT + block, TFTP_PORT, request(1, 'file', 'octet'));
      server.receive(PORT, from, words(4, block));
      expect(answers.at(-1)?.destinationPort, `block ${block}`).toBe(PORT);
    }
  });
});

describe('a boot file', () => {
  it('is what the gateway tells by DHCP, and serves', async () => {
    writeFileSync(join(folder, 'boot.ipxe'), '#!ipxe');
    const { nat, send, arrived } = networkDouble(false, netBootOf(join(folder, 'boot.ipxe'), 'bootFile'));
    const discover = new Uint8Array(300);
    discover.set([1, 1, 6]);
    discover.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
    send(udpFrame(Uint8Array.of(0, 0, 0, 0), Uint8Array.of(255, 255, 255, 255), { sourcePort: 68, destinationPort: 67, data: discover }));
    const udpOf = (frame: Uint8Array): ReturnType<typeof parseUdp> => parseUdp(packetOf(frame)?.payload ?? new Uint8Array(0));
    const offer = Buffer.from(udpOf(await arrived((frame) => udpOf(frame)?.destinationPort === 68))?.data ?? []);
    expect(offer.subarray(108, 118).toString()).toBe('boot.ipxe\0');
    expect(offer.includes('\x42\x0810.0.2.2\x43\x09boot.ipxe')).toBe(true);
    send(udpFrame(nat4.guest, nat4.gateway, { sourcePort: PORT, destinationPort: TFTP_PORT, data: request(1, 'boot.ipxe', 'octet') }));
    expect(text({ sourcePort: 0, destinationPort: 0, data: udpOf(await arrived((frame) => udpOf(frame)?.destinationPort === PORT))?.data ?? new Uint8Array(0) })).toBe('\0\x03\0\x01#!ipxe');
    nat.close();
  });

  it('may be an address, and is refused when it is no file', () => {
    expect(netBootOf('http://10.0.2.2/boot.ipxe', 'bootFile')).toEqual({ name: 'http://10.0.2.2/boot.ipxe', folder: null });
    expect(netBootOf('', 'bootFile')).toBeNull();
    for (const path of [join(folder, 'missing'), folder]) expect(() => netBootOf(path, 'networks.0.bootFile')).toThrow(/cannot be read: there is no such file/);
  });
});
