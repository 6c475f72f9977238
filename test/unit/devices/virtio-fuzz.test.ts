/** Every virtio device meets random rings, descriptors and buffers: nothing throws, nothing hangs, and after a reset the device works. */
import * as fc from 'fast-check';
import { describe, it } from 'vitest';
import type { VirtioKind } from '../../../core/devices/virtio/device.ts';
import { layout } from '../../../core/devices/virtio/registers.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';
import { virtioKinds } from '../../doubles/virtioKinds.ts';

const RUNS = 150;

interface Step {
  readonly queue: number;
  readonly head: number;
  readonly configuration: number;
}

function disturb(kind: VirtioKind, bytes: Uint8Array, steps: readonly Step[], features: bigint): void {
  const driver = new VirtioDriver(kind);
  driver.start(features);
  // Buffers hold the same random bytes as descriptors do.
  for (let at = 0; at < 0x4000; at++) driver.ram[at] = bytes[(at * 7) % bytes.length] ?? 0;
  for (let queue = 0; queue < kind.queueSizes.length; queue++) {
    const base = 0x10000 + queue * 0x4000;
    for (let at = 0; at < 0x100; at++) driver.ram[base + at] = bytes[(at + queue * 13) % bytes.length] ?? 0;
    for (let index = 0; index < 16; index++) {
      // Addresses are mostly within memory and lengths mostly short, so that more than the first check is met.
      const at = base + index * 16;
      driver.view.setUint32(at + 4, 0, true);
      driver.view.setUint32(at, driver.view.getUint32(at, true) & 0x1fffff, true);
      if ((driver.ram[at + 8] ?? 0) % 4 > 0) driver.view.setUint32(at + 8, driver.view.getUint32(at + 8, true) & 0x3ff, true);
      driver.view.setUint16(at + 12, driver.view.getUint16(at + 12, true) & ((driver.ram[at + 15] ?? 0) % 8 > 0 ? 3 : 7), true);
    }
  }
  for (const { queue, head, configuration } of steps) {
    const target = queue % kind.queueSizes.length;
    driver.offer(target, head % 18);
    driver.kick(target);
    driver.write(layout.device + (configuration % 64), configuration & 1 ? 4 : 1, configuration);
    driver.read(layout.device + (configuration % 64), 4);
  }
  driver.device.loadState(JSON.parse(JSON.stringify(driver.device.saveState())));
  driver.start();
}

describe('virtio devices under random rings and buffers', () => {
  const step = fc.record({ queue: fc.nat(7), head: fc.nat(0xff), configuration: fc.nat(0xffff) });
  for (const [name, make] of Object.entries(virtioKinds)) {
    it(name, () => {
      fc.assert(fc.property(fc.uint8Array({ minLength: 64, maxLength: 512 }), fc.array(step, { maxLength: 24 }), fc.boolean(), (bytes, steps, eventIndex) => {
        const kind = make();
        disturb(kind, bytes, steps, kind.features | (eventIndex ? 3n << 28n : 0n));
      }), { numRuns: RUNS });
    });
  }
});
