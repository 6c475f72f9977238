/** One of each virtio device, for tests that all of them have to pass. */
import { ScsiUnit } from '../../core/devices/scsi/unit.ts';
import { VirtioBlk } from '../../core/devices/virtio/blk.ts';
import type { VirtioKind } from '../../core/devices/virtio/device.ts';
import { VirtioEntropy } from '../../core/devices/virtio/entropy.ts';
import { VirtioNet } from '../../core/devices/virtio/net.ts';
import { VirtioScsi } from '../../core/devices/virtio/scsi.ts';
import { FrameLink, createFrameBuffer } from '../../core/net/frameLink.ts';
import { MemoryDisk } from './memoryDisk.ts';

export const virtioKinds: Readonly<Record<string, () => VirtioKind>> = {
  'virtio-blk': () => new VirtioBlk('virtio-blk-0', new MemoryDisk(), 'serial'),
  'virtio-rng': () => new VirtioEntropy((bytes) => bytes.fill(7)),
  'virtio-net': () => new VirtioNet('virtio-net-0', new FrameLink(createFrameBuffer()), new Uint8Array(6)),
  'virtio-scsi': () => new VirtioScsi('virtio-scsi', [new ScsiUnit('disk', new MemoryDisk(), 'serial-0'), new ScsiUnit('cdrom', new MemoryDisk(1 << 18, true), 'serial-1')]),
};
