/** A folder of the host as a virtio device. @virtio 5.12: the 9P transport */

import { gather, scatter, slice, totalLength } from '../segments.ts';
import { readBytes } from './device.ts';
import { FIDS_MAXIMUM } from '../../share/client.ts';
import { MESSAGE_BYTES } from '../../share/requests.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { Chain } from './queue.ts';
import type { SavedFid } from '../../share/client.ts';
import type { ShareServer } from '../../share/server.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const mountTag = 1n << 0n;
const QUEUE_SIZE = 128;
/** A path as it is saved: up to 256 names of 255 bytes. */
const PATH_CHARACTERS = 65536;
const NOT_OPEN = -1;

export class Virtio9p implements VirtioKind {
  readonly name: string;
  readonly deviceType = 9;
  readonly classCode = 0x00ff00;
  readonly features = mountTag;
  readonly queueSizes = [QUEUE_SIZE];
  readonly configurationLength: number;
  readonly #server: ShareServer;
  readonly #configuration: DataView;
  #run: VirtioRun | null = null;

  /** @param tag what the guest mounts it by */
  constructor(name: string, tag: string, server: ShareServer) {
    this.name = name;
    this.#server = server;
    const bytes = new TextEncoder().encode(tag);
    this.configurationLength = 2 + bytes.length;
    this.#configuration = new DataView(Uint8Array.of(bytes.length & 255, bytes.length >> 8, ...bytes).buffer);
  }

  readConfiguration(offset: number, size: AccessSize): number {
    return readBytes(this.#configuration, offset, size);
  }

  writeConfiguration(): void {}

  start(run: VirtioRun): void {
    this.#run = run;
    for (const chain of run.queues[0]?.retake() ?? []) this.#serve(run, chain);
    this.notify();
  }

  notify(): void {
    const run = this.#run;
    const queue = run?.queues[0];
    if (!run || !queue) return;
    for (let chain = queue.take(); chain; chain = queue.take()) this.#serve(run, chain);
    queue.signal();
  }

  stop(): void {
    this.#run = null;
    this.#server.client.reset();
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { messageBytes: this.#server.client.messageBytes, fids: this.#server.client.save().map(({ fid, names, flags }) => ({ fid, path: names.join('/'), flags: flags ?? NOT_OPEN })) };
  }

  readState(reader: StateReader): () => void {
    const messageBytes = reader.integer('messageBytes', 0, MESSAGE_BYTES);
    const fids = reader.recordsUpTo('fids', FIDS_MAXIMUM).map((row): SavedFid => {
      const path = row.text('path', PATH_CHARACTERS);
      const flags = row.integer('flags', NOT_OPEN, 2 ** 31 - 1);
      return { fid: row.uint('fid', 32), names: path === '' ? [] : path.split('/'), flags: flags === NOT_OPEN ? null : flags };
    });
    return () => {
      this.#server.client.messageBytes = messageBytes;
      this.#server.client.restore(fids);
    };
  }

  #serve(run: VirtioRun, chain: Chain): void {
    const request = new Uint8Array(Math.min(totalLength(chain.readable), MESSAGE_BYTES));
    const room = Math.min(totalLength(chain.writable), MESSAGE_BYTES);
    if (!gather(run.memory, slice(chain.readable, 0, request.length), 0, request)) return run.fail('a request of which a part is no memory');
    const answer = this.#server.answer(request, room).subarray(0, room);
    scatter(run.memory, chain.writable, 0, answer);
    run.queues[0]?.give(chain.head, answer.length);
  }
}
