/**
 * A TFTP server for firmware that starts a system from the network: it reads files of one folder and does nothing else. What is lost, the client asks
 * for again. @rfc 1350, 2347, 2348, 2349
 */
import { closeSync, fstatSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { viewOf } from './packets.ts';

const opcode = { read: 1, write: 2, data: 3, acknowledge: 4, error: 5, options: 6 } as const;
const failure = { undefined: 0, notFound: 1, access: 2, illegal: 4 } as const;

export const TFTP_PORT = 69;
/** Ports that transfers come from, one after another. */
const FIRST_PORT = 49_152;
const PORTS = 0x10000 - FIRST_PORT;
/** The one that has been still for longest ends when there would be more. */
const TRANSFERS_MAXIMUM = 16;
/** A client that is still for so long has gone: it asks again after a second or a few (255 at most, with the option `timeout`). */
const IDLE_MS = 300_000;
const BLOCK_BYTES = 512;
const BLOCK_BYTES_MINIMUM = 8;
/** What a frame of Ethernet has room for, without headers. */
const BLOCK_BYTES_MAXIMUM = 1468;

interface Transfer {
  readonly port: number;
  readonly file: number;
  readonly blockBytes: number;
  /** The block that was sent last, counted from 1; 0: the answer to the options. */
  block: number;
  /** That block as it was sent. */
  last: Uint8Array;
  /** It is the last one. */
  ended: boolean;
  usedAt: number;
}

export interface TftpAnswer {
  /** The server's, and the guest's. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data: Uint8Array;
}

export class TftpServer {
  readonly #folder: string;
  readonly #send: (answer: TftpAnswer) => void;
  /** By the guest's port; those that have been still for longest come first. */
  readonly #transfers = new Map<number, Transfer>();
  readonly #sweeper: NodeJS.Timeout;
  #nextPort = 0;

  constructor(folder: string, send: (answer: TftpAnswer) => void) {
    this.#folder = realpathSync(folder);
    this.#send = send;
    this.#sweeper = setInterval(() => this.#sweep(), IDLE_MS / 4);
    this.#sweeper.unref();
  }

  /** Transfers that are under way, each with an open file. */
  get size(): number {
    return this.#transfers.size;
  }

  /** Returns whether a datagram was for this server. */
  receive(guestPort: number, serverPort: number, data: Uint8Array): boolean {
    const transfer = this.#transfers.get(guestPort);
    if (serverPort !== TFTP_PORT && serverPort !== transfer?.port) return false;
    const code = data.length < 4 ? 0 : viewOf(data).getUint16(0);
    if (serverPort === TFTP_PORT) this.#request(guestPort, code, data);
    else if (transfer && code === opcode.acknowledge) this.#acknowledged(guestPort, transfer, viewOf(data).getUint16(2));
    else if (code === opcode.error) this.#end(guestPort);
    return true;
  }

  close(): void {
    clearInterval(this.#sweeper);
    for (const port of [...this.#transfers.keys()]) this.#end(port);
  }

  #request(guestPort: number, code: number, data: Uint8Array): void {
    this.#end(guestPort);
    if (code !== opcode.read) return this.#refuse(guestPort, code === opcode.write ? failure.access : failure.illegal, 'only files can be read here');
    const [name = '', mode = '', ...pairs] = Buffer.from(data.subarray(2)).toString('utf8').split('\0');
    if (mode.toLowerCase() !== 'octet') return this.#refuse(guestPort, failure.undefined, 'only the mode "octet" is known');
    const file = this.#open(name);
    if (file === null) return this.#refuse(guestPort, failure.notFound, 'there is no such file');
    const [eldest] = this.#transfers.keys();
    if (this.#transfers.size >= TRANSFERS_MAXIMUM && eldest !== undefined) this.#end(eldest);
    const { blockBytes, answer } = negotiate(pairs, fstatSync(file).size);
    const transfer: Transfer = { port: FIRST_PORT + this.#nextPort, file, blockBytes, block: 0, last: answer, ended: false, usedAt: Date.now() };
    this.#nextPort = (this.#nextPort + 1) % PORTS;
    this.#transfers.set(guestPort, transfer);
    if (answer.length > 0) this.#answer(guestPort, transfer);
    else this.#next(guestPort, transfer);
  }

  #acknowledged(guestPort: number, transfer: Transfer, number: number): void {
    transfer.usedAt = Date.now();
    this.#transfers.delete(guestPort);
    this.#transfers.set(guestPort, transfer);
    if (number === ((transfer.block - 1) & 0xffff)) return this.#answer(guestPort, transfer);
    if (number !== (transfer.block & 0xffff)) return;
    if (transfer.ended) this.#end(guestPort);
    else this.#next(guestPort, transfer);
  }

  #next(guestPort: number, transfer: Transfer): void {
    const block = Buffer.alloc(4 + transfer.blockBytes);
    const length = readBlock(transfer, block.subarray(4));
    if (length === null) {
      this.#end(guestPort);
      return this.#refuse(guestPort, failure.undefined, 'the file cannot be read');
    }
    transfer.block += 1;
    block.writeUInt16BE(opcode.data, 0);
    block.writeUInt16BE(transfer.block & 0xffff, 2);
    transfer.last = block.subarray(0, 4 + length);
    transfer.ended = length < transfer.blockBytes;
    this.#answer(guestPort, transfer);
  }

  #answer(guestPort: number, { port, last }: Transfer): void {
    this.#send({ sourcePort: port, destinationPort: guestPort, data: last });
  }

  #refuse(guestPort: number, code: number, message: string): void {
    this.#send({ sourcePort: TFTP_PORT, destinationPort: guestPort, data: Buffer.from([0, opcode.error, 0, code, ...Buffer.from(message), 0]) });
  }

  #end(guestPort: number): void {
    const transfer = this.#transfers.get(guestPort);
    if (!transfer) return;
    closeSync(transfer.file);
    this.#transfers.delete(guestPort);
  }

  #sweep(): void {
    const limit = Date.now() - IDLE_MS;
    for (const [port, { usedAt }] of this.#transfers) if (usedAt < limit) this.#end(port);
  }

  /** A regular file that lies in the folder when all links are followed; null: there is none of that name. */
  #open(name: string): number | null {
    try {
      const path = realpathSync(join(this.#folder, name.replaceAll('\\', '/')));
      if (!path.startsWith(this.#folder + sep) || !statSync(path).isFile()) return null;
      return openSync(path, 'r');
    } catch {
      return null;
    }
  }
}

/** How much there was; null: the host's disk fails. */
function readBlock({ file, blockBytes, block }: Transfer, into: Uint8Array): number | null {
  try {
    return readSync(file, into, 0, blockBytes, block * blockBytes);
  } catch {
    return null;
  }
}

/** @returns the length of blocks, and the answer to the options that are known; empty: none of them was asked for */
function negotiate(pairs: readonly string[], fileBytes: number): { readonly blockBytes: number; readonly answer: Uint8Array } {
  const agreed: string[] = [];
  let blockBytes = BLOCK_BYTES;
  for (let at = 0; at + 1 < pairs.length; at += 2) {
    const name = pairs[at]?.toLowerCase();
    const value = Number(pairs[at + 1]);
    if (name === 'tsize') agreed.push(name, String(fileBytes));
    else if (name === 'timeout' && value >= 1 && value <= 255) agreed.push(name, String(value));
    else if (name === 'blksize' && value >= BLOCK_BYTES_MINIMUM) {
      blockBytes = Math.min(Math.floor(value), BLOCK_BYTES_MAXIMUM);
      agreed.push(name, String(blockBytes));
    }
  }
  if (agreed.length === 0) return { blockBytes, answer: new Uint8Array(0) };
  return { blockBytes, answer: Buffer.from([0, opcode.options, ...Buffer.from(`${agreed.join('\0')}\0`)]) };
}
