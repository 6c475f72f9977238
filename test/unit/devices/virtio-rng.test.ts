import { expect, it } from 'vitest';
import { capabilityId } from '../../../core/platform/pci/capabilities.ts';
import { VirtioEntropy } from '../../../core/devices/virtio/entropy.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

it('fills the buffers it is given, a page of each at most', () => {
  const driver = new VirtioDriver(new VirtioEntropy(bytes => bytes.fill(0x5a)));
  driver.start();
  driver.submit(0, [{ address: 0x2000, length: 16, writable: true }, { address: 0x3000, length: 8192, writable: true }]);
  expect(driver.used(0)).toEqual([{ head: 0, length: 4096 }]);
  expect([driver.ram[0x2000], driver.ram[0x3000 + 4079], driver.ram[0x3000 + 4080]]).toEqual([0x5a, 0x5a, 0]);
});

it('its registers are reached through configuration space as well', () => {
  const { device } = new VirtioDriver(new VirtioEntropy(() => {}));
  const window = device.capabilityOffset(capabilityId.vendor);
  const access = (bar: number, offset: number, size: number): void => {
    device.writeConfig(window + 4, 1, bar);
    device.writeConfig(window + 8, 4, offset);
    device.writeConfig(window + 12, 4, size);
  };
  access(4, 0x14, 1);
  device.writeConfig(window + 16, 1, 3);
  expect([device.registers.read(0x14, 1), device.readConfig(window + 16, 1)]).toEqual([3, 3]);
  access(4, 0x12, 2);
  expect(device.readConfig(window + 16, 2), 'one queue').toBe(1);
  for (const [bar, offset, size] of [[0, 0x14, 1], [4, 0x14, 3], [4, 0x8000, 4], [4, 0x15, 2]] as const) {
    access(bar, offset, size);
    device.writeConfig(window + 16, 4, 0);
    expect(device.registers.read(0x14, 1), `BAR ${bar}, ${size} bytes at ${offset}`).toBe(3);
  }
});
