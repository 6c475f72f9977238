import { expect, it } from 'vitest';
import { PciTestDevice } from '../../../core/devices/pciTestDevice.ts';

it('tells what each test writes, and counts the writes that are so', () => {
  const { memory } = new PciTestDevice();
  for (const [test, width] of [[0, 1], [1, 2], [2, 4]] as const) {
    memory.write(0, 1, test);
    const [offset, data] = [memory.read(4, 4), memory.read(8, 4)];
    expect([memory.read(1, 1), String.fromCharCode(memory.read(16, 1))]).toEqual([width, 'm']);
    memory.write(offset, width, data);
    memory.write(offset, width, data);
    memory.write(offset, width, data ^ 1);
    memory.write(offset + 4, width, data);
    expect(memory.read(12, 4)).toBe(2);
  }
  memory.write(0, 1, 3);
  expect(memory.read(1, 1), 'there is no fourth').toBe(0);
});
