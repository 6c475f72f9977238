/** One of each virtio device, for tests that all of them have to pass. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ScsiUnit } from '../../core/devices/scsi/unit.ts';
import { VirtioBalloon } from '../../core/devices/virtio/balloon.ts';
import { VirtioBlk } from '../../core/devices/virtio/blk.ts';
import type { VirtioKind } from '../../core/devices/virtio/device.ts';
import { VirtioConsole } from '../../core/devices/virtio/console.ts';
import { VirtioEntropy } from '../../core/devices/virtio/entropy.ts';
import { VirtioGpu } from '../../core/devices/virtio/gpu/gpu.ts';
import { VirtioKeyboard, VirtioTablet } from '../../core/devices/virtio/input.ts';
import { VirtioNet } from '../../core/devices/virtio/net.ts';
import { Virtio9p } from '../../core/devices/virtio/p9.ts';
import { VirtioScsi } from '../../core/devices/virtio/scsi.ts';
import { VirtioVsock } from '../../core/devices/virtio/vsock.ts';
import { ShareServer } from '../../core/share/server.ts';
import { FrameLink, createFrameBuffer } from '../../core/net/frameLink.ts';
import { VirtualClock } from '../../core/platform/clock.ts';
import { ManualTime } from './manualTime.ts';
import { MemoryDisk } from './memoryDisk.ts';

/** A folder with a file and a folder, made once and removed when the tests end. */
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'vanderpool-share-'));
  writeFileSync(join(path, 'file'), 'contents');
  mkdirSync(join(path, 'folder'));
  process.once('exit', () => rmSync(path, { recursive: true, force: true }));
  return path;
}
let shared: string | null = null;

export const virtioKinds: Readonly<Record<string, () => VirtioKind>> = {
  'virtio-blk': () => new VirtioBlk('virtio-blk-0', new MemoryDisk(), 'serial'),
  'virtio-rng': () => new VirtioEntropy((bytes) => bytes.fill(7)),
  'virtio-net': () => new VirtioNet('virtio-net-0', new FrameLink(createFrameBuffer()), new Uint8Array(6)),
  'virtio-console': () => new VirtioConsole('virtio-console', [{ name: 'first', output() {} }, { name: 'second', output() {} }]),
  'virtio-balloon': () => new VirtioBalloon(() => {}),
  'virtio-9p': () => new Virtio9p('virtio-9p-0', 'tag', new ShareServer({ folder: (shared ??= folder()), readOnly: false })),
  'virtio-vsock': () => new VirtioVsock(new FrameLink(createFrameBuffer())),
  'virtio-gpu': () => new VirtioGpu(new VirtualClock(new ManualTime())),
  'virtio-keyboard': () => new VirtioKeyboard('virtio-keyboard'),
  'virtio-tablet': () => new VirtioTablet('virtio-tablet'),
  'virtio-scsi': () => new VirtioScsi('virtio-scsi', [new ScsiUnit('disk', new MemoryDisk(), 'serial-0'), new ScsiUnit('cdrom', new MemoryDisk(1 << 18, true), 'serial-1')]),
};
