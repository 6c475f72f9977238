/** Two-dimensional resources of a virtio GPU: the host's copies of pictures, and the guest's memory behind them. @virtio 5.7.6.8 */

import { GpuError, gpuResponse, within } from './commands.ts';
import { deflated } from '../../../platform/state.ts';
import { isPixelFormat } from './pixels.ts';
import type { GuestMemoryAccess, Segment } from '../../segments.ts';
import type { Rectangle } from './commands.ts';
import type { StateReader } from '../../../platform/state.ts';

/** What a guest may have of the host's memory: pixels of all its resources, and their number. */
export const RESOURCE_BYTES_MAXIMUM = 64 << 20;
const RESOURCES_MAXIMUM = 256;
const EDGE_MAXIMUM = 8192;
/** Pieces of guest memory behind one resource, and behind all. */
export const ENTRIES_MAXIMUM = 16384;
const ENTRIES_ALL_MAXIMUM = 4 * ENTRIES_MAXIMUM;
const PIXEL_BYTES = 4;

/** Guest memory in pieces, as one run. */
class Backing {
  readonly segments: readonly Segment[];
  /** Where each piece begins in the run, and where the last one ends. */
  readonly #starts: Float64Array;

  constructor(segments: readonly Segment[]) {
    this.segments = segments;
    this.#starts = new Float64Array(segments.length + 1);
    segments.forEach(({ length }, index) => {
      this.#starts[index + 1] = (this.#starts[index] ?? 0) + length;
    });
  }

  /** Copies from byte `at` of the run. False when a part of it cannot be reached, or there is not so much. */
  copy(memory: GuestMemoryAccess, at: number, into: Uint8Array): boolean {
    let index = this.#pieceAt(at);
    for (let done = 0; done < into.length; index++) {
      const segment = this.segments[index];
      if (segment === undefined) return false;
      const skip = at + done - (this.#starts[index] ?? 0);
      const size = Math.min(segment.length - skip, into.length - done);
      if (size > 0 && !memory.read(segment.address + skip, into.subarray(done, done + size))) return false;
      done += Math.max(size, 0);
    }
    return true;
  }

  /** The last piece that begins at or before a byte. */
  #pieceAt(at: number): number {
    let [low, high] = [0, this.segments.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] ?? 0) <= at) low = middle;
      else high = middle;
    }
    return low;
  }
}

export interface Resource {
  readonly id: number;
  readonly width: number;
  readonly height: number;
  readonly format: number;
  /** Row by row, in the resource's format. */
  readonly pixels: Uint32Array<ArrayBuffer>;
  backing: Backing | null;
}

export class Resources {
  readonly #all = new Map<number, Resource>();
  #bytes = 0;
  #entries = 0;

  find(id: number): Resource | null {
    return this.#all.get(id) ?? null;
  }

  /** @throws GpuError when there is none of that number */
  get(id: number): Resource {
    return this.#all.get(id) ?? refuse(gpuResponse.invalidResource);
  }

  /** @throws GpuError when it cannot be, or there is no room for it */
  create(id: number, width: number, height: number, format: number): void {
    if (id === 0 || this.#all.has(id)) refuse(gpuResponse.invalidResource);
    if (!isPixelFormat(format) || !isEdge(width) || !isEdge(height)) refuse(gpuResponse.invalidParameter);
    const bytes = width * height * PIXEL_BYTES;
    if (this.#all.size >= RESOURCES_MAXIMUM || this.#bytes + bytes > RESOURCE_BYTES_MAXIMUM) refuse(gpuResponse.outOfMemory);
    this.#add({ id, width, height, format, pixels: new Uint32Array(width * height), backing: null });
  }

  /** @throws GpuError */
  remove(id: number): void {
    const resource = this.get(id);
    this.detach(resource);
    this.#all.delete(id);
    this.#bytes -= resource.pixels.byteLength;
  }

  /** @throws GpuError when it has memory already, or the pieces are too many */
  attach(id: number, segments: readonly Segment[]): void {
    const resource = this.get(id);
    if (resource.backing !== null) refuse(gpuResponse.unspecified);
    if (this.#entries + segments.length > ENTRIES_ALL_MAXIMUM) refuse(gpuResponse.outOfMemory);
    this.#entries += segments.length;
    resource.backing = new Backing(segments);
  }

  detach(resource: Resource): void {
    this.#entries -= resource.backing?.segments.length ?? 0;
    resource.backing = null;
  }

  /** Copies a part of a resource from the guest's memory, where its rows lie as in the whole. Returns the bytes moved. @throws GpuError */
  transfer(memory: GuestMemoryAccess, id: number, part: Rectangle, offset: number): number {
    const resource = this.get(id);
    const { width, pixels, backing } = resource;
    if (!within(part, resource) || backing === null) refuse(gpuResponse.invalidParameter);
    const stride = width * PIXEL_BYTES;
    const bytes = new Uint8Array(pixels.buffer);
    // Whole rows lie one behind the other.
    const [rows, length] = part.width === width ? [1, stride * part.height] : [part.height, part.width * PIXEL_BYTES];
    for (let row = 0; row < rows; row++) {
      const at = (part.y + row) * stride + part.x * PIXEL_BYTES;
      if (!backing.copy(memory, offset + row * stride, bytes.subarray(at, at + length))) refuse(gpuResponse.invalidParameter);
    }
    return rows * length;
  }

  save(): readonly Readonly<Record<string, unknown>>[] {
    return [...this.#all.values()].map(({ id, width, height, format, pixels, backing }) => ({
      id, width, height, format, pixels: deflated(new Uint8Array(pixels.buffer)),
      attached: backing !== null, addresses: backing?.segments.map(({ address }) => address) ?? [], lengths: backing?.segments.map(({ length }) => length) ?? [],
    }));
  }

  /** Checks saved resources. @throws StateError */
  static read(reader: StateReader, field: string): Resources {
    const resources = new Resources();
    for (const row of reader.recordsUpTo(field, RESOURCES_MAXIMUM)) resources.#read(row);
    return resources;
  }

  #read(row: StateReader): void {
    const [id, width, height] = [row.integer('id', 1, 0xffffffff), row.integer('width', 1, EDGE_MAXIMUM), row.integer('height', 1, EDGE_MAXIMUM)];
    const format = row.uint('format', 32);
    if (!isPixelFormat(format)) row.refuse('format', 'a pixel format');
    if (this.#all.has(id)) row.refuse('id', 'a number that no other resource has');
    const bytes = width * height * PIXEL_BYTES;
    if (this.#bytes + bytes > RESOURCE_BYTES_MAXIMUM) row.refuse('height', `resources of at most ${RESOURCE_BYTES_MAXIMUM} bytes`);
    const attached = row.boolean('attached');
    const addresses = row.uints('addresses', 53, attached ? ENTRIES_MAXIMUM : 0, false);
    const lengths = row.uints('lengths', 32, addresses.length);
    if (this.#entries + addresses.length > ENTRIES_ALL_MAXIMUM) row.refuse('addresses', `at most ${ENTRIES_ALL_MAXIMUM} pieces of memory`);
    const pixels = new Uint32Array(width * height);
    new Uint8Array(pixels.buffer).set(row.deflated('pixels', bytes));
    this.#add({ id, width, height, format, pixels, backing: attached ? new Backing(addresses.map((address, index) => ({ address, length: lengths[index] ?? 0 }))) : null });
  }

  #add(resource: Resource): void {
    this.#all.set(resource.id, resource);
    this.#bytes += resource.pixels.byteLength;
    this.#entries += resource.backing?.segments.length ?? 0;
  }
}

function isEdge(pixels: number): boolean {
  return pixels > 0 && pixels <= EDGE_MAXIMUM;
}

function refuse(response: GpuError['response']): never {
  throw new GpuError(response);
}
