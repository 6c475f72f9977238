/** A disk in memory that answers when the test wants it to. */
import type { BlockFailure } from '../../core/block/blockDevice.ts';
import type { Disk, DiskRequest } from '../../core/block/link.ts';

export class MemoryDisk implements Disk {
  bytes: Uint8Array;
  readonly readOnly: boolean;
  generation = 0;
  readonly waiting: DiskRequest[] = [];
  /** Answers at once. */
  immediate = true;
  failure: BlockFailure | null = null;

  constructor(size = 1 << 20, readOnly = false) {
    this.bytes = new Uint8Array(size).map((_, index) => (index * 7) >> 4);
    this.readOnly = readOnly;
  }

  get size(): number {
    return this.bytes.length;
  }

  submit(request: DiskRequest): void {
    this.waiting.push(request);
    if (this.immediate) this.answer();
  }

  grow(size: number): void {
    const before = this.bytes;
    this.bytes = new Uint8Array(size);
    this.bytes.set(before);
    this.generation += 1;
  }

  abandon(): void {
    this.waiting.length = 0;
  }

  answer(): void {
    for (const { operation, offset, length, transfer, done } of this.waiting.splice(0)) {
      if (offset < 0 || offset + length > this.size) throw new Error(`a device asked for ${length} bytes at ${offset} of its disk of ${this.size}`);
      const bytes = this.bytes.subarray(offset, offset + length);
      if (this.failure === null && (operation === 'read' || operation === 'write')) transfer(0, bytes);
      if (this.failure === null && operation === 'zero') bytes.fill(0);
      done(this.failure);
    }
  }
}
