/** What a kind of virtio device is, apart from its queues' mechanics and from the bus it is on. */

import type { StateReader } from '../../platform/state.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { GuestMemoryAccess } from '../segments.ts';
import type { VirtQueue } from './queue.ts';

/** Bits of the feature set that belong to no kind of device. @virtio 6 */
export const feature = { indirect: 1n << 28n, eventIndex: 1n << 29n, version1: 1n << 32n, accessPlatform: 1n << 33n } as const;

/** What a device gets when its driver is ready, until it is reset. */
export interface VirtioRun {
  /** The features that both sides have. */
  readonly features: bigint;
  readonly queues: readonly VirtQueue[];
  readonly memory: GuestMemoryAccess;
  /** The driver broke a rule: the device stops and asks to be reset. @param reason words, or what was thrown */
  fail(reason: unknown): void;
  /** A field of the device's configuration changed. */
  configurationChanged(): void;
}

export interface VirtioKind {
  /** Unique in a machine. */
  readonly name: string;
  /** @virtio 5 */
  readonly deviceType: number;
  /** Class, subclass and programming interface of the PCI function. */
  readonly classCode: number;
  /** What it offers besides the bits in `feature`. */
  readonly features: bigint;
  /** The largest size of each queue. */
  readonly queueSizes: readonly number[];
  /** The device's configuration space, in bytes. */
  readonly configurationLength: number;
  readConfiguration(offset: number, size: AccessSize): number;
  writeConfiguration(offset: number, size: AccessSize, value: number): void;
  /** The driver is ready, or a saved state is: buffers that were taken before are to be taken again by `retake`. */
  start(run: VirtioRun): void;
  /** There may be buffers in a queue. @throws QueueError */
  notify(queue: number): void;
  /** No buffer may be touched from here on: a reset, of a device that runs or not, or a broken rule. */
  stop(): void;
  /** State of its own besides the queues. */
  saveState(): Readonly<Record<string, unknown>>;
  /** Checks a saved state; the function returned puts it in place. */
  readState(reader: StateReader): () => void;
}

/** Numbers in a configuration space, at the offsets the standard gives them. */
export function configurationBytes(length: number, fields: readonly (readonly [offset: number, bytes: 1 | 2 | 4 | 8, value: number])[]): DataView {
  const view = new DataView(new ArrayBuffer(length));
  for (const [offset, bytes, value] of fields) {
    if (bytes === 1) view.setUint8(offset, value);
    else if (bytes === 2) view.setUint16(offset, value, true);
    else if (bytes === 4) view.setUint32(offset, value, true);
    else view.setBigUint64(offset, BigInt(value), true);
  }
  return view;
}

/** Reads a little-endian number; zeros lie behind the end. */
export function readBytes(view: DataView, offset: number, size: AccessSize): number {
  let value = 0;
  for (let byte = size - 1; byte >= 0; byte--) value = value * 256 + (offset + byte < view.byteLength ? view.getUint8(offset + byte) : 0);
  return value;
}
