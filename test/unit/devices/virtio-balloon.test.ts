import { describe, expect, it } from 'vitest';
import { VirtioBalloon } from '../../../core/devices/virtio/balloon.ts';
import { pageReleaser } from '../../../core/machine/paravirtual.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

const REPORTING = 1n << 5n;
const POISON = 1n << 4n;
const data = 0x2000;

function started(features = REPORTING) {
  const released: (readonly [number, number])[] = [];
  const kind = new VirtioBalloon((address, length) => void released.push([address, length]));
  const driver = new VirtioDriver(kind);
  driver.start(features);
  return { kind, driver, released };
}

describe('virtio-balloon', () => {
  it('asks for pages and hears how many it has', () => {
    const { kind, driver } = started();
    kind.setTarget(64 << 20);
    expect([driver.read(0x2000, 4), driver.plug.line]).toEqual([16384, true]);
    driver.write(0x2004, 4, 100);
    expect([kind.targetBytes, kind.inflatedBytes]).toEqual([64 << 20, 409_600]);
  });

  it('gives pages back, neighbours together', () => {
    const { driver, released } = started();
    [7, 300, 6, 8, 301].forEach((page, index) => driver.view.setUint32(data + index * 4, page, true));
    driver.submit(0, [{ address: data, length: 20, writable: false }]);
    expect(released).toEqual([[6 * 4096, 3 * 4096], [300 * 4096, 2 * 4096]]);
    driver.submit(1, [{ address: data, length: 20, writable: false }]);
    expect([driver.used(0).length, driver.used(1).length, released.length]).toEqual([1, 1, 2]);
  });

  it('takes reports of free memory, whichever queue the driver counts them to, but not of poisoned memory', () => {
    for (const queue of [2, 4]) {
      const { driver, released } = started();
      driver.submit(queue, [{ address: 0x40000, length: 0x8000, writable: true }, { address: 0x80000, length: 0x1000, writable: true }]);
      expect(released).toEqual([[0x40000, 0x8000], [0x80000, 0x1000]]);
    }
    const { driver, released } = started(REPORTING | POISON);
    driver.write(0x200c, 4, 0xaaaaaaaa);
    driver.submit(2, [{ address: 0x40000, length: 0x8000, writable: true }]);
    expect(released).toEqual([]);
  });
});

describe('the pages of a guest', () => {
  it('go back whole, above the first megabyte, within memory; the processor is told before', () => {
    const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
    const ram = new Uint8Array(memory.buffer).fill(1);
    const told: number[] = [];
    const release = pageReleaser(ram, (address) => void told.push(address));
    release(0x200800, 0x2000);
    release(0x3ff000, 0x100000);
    release(0, 0x100000);
    release(2 ** 40, 0x1000);
    expect(told).toEqual([0x201000, 0x3ff000]);
    const zeroed = process.platform === 'linux' ? 0 : 1;
    expect([ram[0x200fff], ram[0x201000], ram[0x201fff], ram[0x202000], ram[0x3fffff]]).toEqual([1, zeroed, zeroed, 1, zeroed]);
  });
});
