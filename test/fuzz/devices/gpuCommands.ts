/** Commands of a virtio GPU that are nearly right: whole, in the ring, with numbers that mostly fit together. @virtio 5.7.6 */
import type { Registers } from '../../../core/platform/device.ts';
import type { Random } from '../vtd/random.ts';

/** Words of a command behind its header, and which of them names a resource. */
const shapes: readonly (readonly [type: number, words: number, resource: number | null])[] = [
  [0x100, 0, null], [0x101, 4, 0], [0x101, 4, 0], [0x102, 2, 0], [0x103, 6, 5], [0x103, 6, 5], [0x104, 6, 4], [0x105, 8, 6], [0x105, 8, 6], [0x105, 8, 6],
  [0x106, 26, 0], [0x106, 26, 0], [0x107, 2, 0], [0x10a, 2, null], [0x300, 8, 4], [0x301, 8, null],
];
const RING_SIZE = 16;
const HEADER_WORDS = 6;

/** Edges and places of small screens, now and then anything. */
function number(random: Random): number {
  switch (random.below(8)) {
    case 0: return random.word();
    case 1: return 64;
    case 2: return 0;
    default: return random.below(12);
  }
}

/** Puts a command into the first queue. @param ram the guest's memory, @param ring where descriptors lie; available entries 100H behind */
export function offerGpuCommand(random: Random, ram: DataView, ring: number, registers: Pick<Registers, 'read'>): boolean {
  const available = ring + 0x100;
  if (registers.read(0x14, 1) !== 0x0f) {
    ram.setUint16(available + 2, 0, true);
    return false;
  }
  const [type, words, resource] = random.pick(shapes);
  const at = 0x4000 + random.below(16) * 0x100;
  const fields = [type, random.below(2), random.word(), 0, 0, 0, ...Array.from({ length: words }, () => number(random))];
  if (resource !== null && !random.once(16)) fields[HEADER_WORDS + resource] = 1 + random.below(3);
  if (type === 0x105 && !random.once(8)) fields.splice(HEADER_WORDS + 4, 2, random.below(64), 0);
  // Format, number of pieces, and where those are.
  if (type === 0x101) fields[HEADER_WORDS + 1] = random.pick([1, 2, 67, 121]);
  if (type === 0x106) {
    fields[HEADER_WORDS + 1] = random.below(7);
    for (let piece = HEADER_WORDS + 2; piece < fields.length; piece += 4) [random.below(ram.byteLength), 0, random.below(0x4000), 0].forEach((value, index) => (fields[piece + index] = value));
  }
  fields.forEach((value, index) => ram.setUint32(at + index * 4, value >>> 0, true));
  const head = random.below(RING_SIZE - 1);
  const descriptor = (index: number, address: number, length: number, flags: number, next: number): void => {
    ram.setBigUint64(ring + index * 16, BigInt(address), true);
    ram.setUint32(ring + index * 16 + 8, length, true);
    ram.setUint16(ring + index * 16 + 12, flags, true);
    ram.setUint16(ring + index * 16 + 14, next, true);
  };
  descriptor(head, at, fields.length * 4, 1, head + 1);
  descriptor(head + 1, 0x6000, 0x800, 2, 0);
  const index = ram.getUint16(available + 2, true);
  ram.setUint16(available + 4 + (index % RING_SIZE) * 2, head, true);
  ram.setUint16(available + 2, index + 1, true);
  return true;
}
