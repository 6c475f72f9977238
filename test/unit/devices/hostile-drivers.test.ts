import { describe, it } from 'vitest';
import { deviceRows } from '../../fuzz/devices/table.ts';
import { fuzzDevices } from '../../fuzz/devices/run.ts';

describe('a hostile driver', () => {
  it.each(deviceRows.map(({ name }) => name))('of %s changes nothing but its own machine', name => void fuzzDevices(1, 3000, name), 60_000);
});
