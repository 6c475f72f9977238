/** Where processors stand shows in their APIC IDs. */
import { describe, expect, it } from 'vitest';
import { apicIdBits, apicIds, flatTopology, ioApicId } from '../../../core/platform/topology.ts';

describe('APIC IDs', () => {
  it('count the cores of one socket', () => {
    expect(apicIds(flatTopology(4))).toEqual([0, 1, 2, 3]);
  });
  it('hold thread, core and socket in fields of their own', () => {
    const topology = { sockets: 2, cores: 2, threads: 2 };
    expect(apicIdBits(topology)).toEqual({ core: 1, socket: 2 });
    expect(apicIds(topology)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
  it('leave gaps where a count is no power of two', () => {
    expect(apicIds({ sockets: 2, cores: 3, threads: 1 })).toEqual([0, 1, 2, 4, 5, 6]);
  });
  it('leave the next one to the I/O APIC', () => {
    expect(ioApicId({ sockets: 2, cores: 3, threads: 1 })).toBe(7);
  });
});
