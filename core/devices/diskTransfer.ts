/** A disk request's data: scattered guest memory, in pieces or as it is. */
import { gather, scatter, viewsOf } from './segments.ts';
import type { DiskOperation, DiskRequest } from '../block/link.ts';
import type { GuestMemoryAccess, Segment } from './segments.ts';

export interface DiskTransfer extends Required<Pick<DiskRequest, 'transfer' | 'views'>> {
  /** False once something lay where the device may not reach. A field, for V8 takes half a microsecond to make an object with a getter. */
  reached: boolean;
}

export function diskTransfer(operation: DiskOperation, memory: GuestMemoryAccess, segments: readonly Segment[]): DiskTransfer {
  const data: DiskTransfer = {
    reached: true,
    transfer: (at, bytes) => {
      const moved = operation === 'write' ? gather(memory, segments, at, bytes) : scatter(memory, segments, at, bytes);
      data.reached &&= moved;
      // What is not the guest's memory is written as zeros, not as what the slot held before.
      if (!moved && operation === 'write') bytes.fill(0);
    },
    views: () => viewsOf(memory, segments, operation === 'read'),
  };
  return data;
}
