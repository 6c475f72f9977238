import { expect, it } from 'vitest';
import { VirtioEntropy } from '../../../core/devices/virtio/entropy.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

it('fills the buffers it is given, a page of each at most', () => {
  const driver = new VirtioDriver(new VirtioEntropy(bytes => bytes.fill(0x5a)));
  driver.start();
  driver.submit(0, [{ address: 0x2000, length: 16, writable: true }, { address: 0x3000, length: 8192, writable: true }]);
  expect(driver.used(0)).toEqual([{ head: 0, length: 4096 }]);
  expect([driver.ram[0x2000], driver.ram[0x3000 + 4079], driver.ram[0x3000 + 4080]]).toEqual([0x5a, 0x5a, 0]);
});
