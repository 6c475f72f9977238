import { describe, expect, it } from 'vitest';
import { FaultLog } from '../../../core/vtd/faultLog.ts';
import { HostIommu } from '../../../core/passthrough/hostIommu.ts';
import { Isolation } from '../../../core/passthrough/isolation.ts';
import { formatRequester, parseRequester } from '../../../core/vtd/requester.ts';
import { remappingFaults, remappingSections, remappingWalk } from '../../../core/inspect/remapping.ts';
import { Bench } from '../../helpers/remapping.ts';

const device = 0x0080;

function parts(guest: Bench | null) {
  const isolation = new Isolation(new HostIommu(), 4 << 20, guest?.unit ?? null, () => false);
  isolation.assign(() => device, { id: 'edu:0', kind: 'edu', name: 'edu', path: null, requester: 0x8000, slot: 5 });
  const faultLog = new FaultLog();
  return { vtd: guest?.unit ?? null, isolation, faultLog, requesters: () => [{ requester: device, name: 'edu' }] };
}

const walk = (address: string, write = false) => ({ what: 'iommu-walk', device: '00:10.0', pasid: null, address, write }) as const;

describe('looking into remapping', () => {
  it('follows an address through the guest\'s unit and then through the workstation\'s', () => {
    const guest = new Bench();
    guest.startLegacy(device, 0x1234, 20);
    const section = remappingWalk(parts(guest), walk('0x1234010'));
    expect(section.rows.map(([table]) => table)).toEqual([
      'root', 'context', 'second stage 3', 'second stage 2', 'second stage 1',
      'host root', 'host context', 'host second stage 4', 'host second stage 3', 'host second stage 2',
    ]);
    expect(section.note).toBe('The read of 0x1234010 by 00:10.0 reaches 0x14010.');
    expect(guest.unit.caches.misses).toBe(0);
  });

  it('says why an address leads nowhere, and records nothing', () => {
    const guest = new Bench();
    guest.startLegacy(device, 0x1234, 20, 1n);
    expect(remappingWalk(parts(guest), walk('0x1234010', true)).note).toContain('the page tables do not permit the write (0x5)');
    expect(guest.unit.faults).toEqual([]);
    expect(remappingWalk(parts(null), walk('0x80000000')).note).toContain('is refused');
  });

  it('shows devices, and with detail registers and interrupts', () => {
    const guest = new Bench();
    guest.startLegacy(device, 0x1234, 20);
    const titles = (detail: boolean): string[] => remappingSections(parts(guest), detail).map(({ title }) => title);
    expect(titles(false)).toEqual(['Assigned devices', 'Devices']);
    expect(titles(true)).toEqual(['Assigned devices', 'VT-d unit', 'Requests', 'Devices', 'Interrupt remapping table']);
    expect(() => remappingSections({ vtd: null, isolation: null, faultLog: new FaultLog(), requesters: () => [] }, true)).toThrow(/neither a VT-d unit nor assigned devices/);
  });

  it('lists refused requests, the last 256 of them', () => {
    const { faultLog, ...rest } = parts(null);
    for (let index = 0; index < 300; index++) faultLog.add('host', { code: 5, source: 0x8000, pasid: null, information: BigInt(index) << 12n, write: true });
    const section = remappingFaults({ ...rest, faultLog });
    expect(section.rows).toHaveLength(256);
    expect(section.note).toBe('The last 256 of 300.');
    expect(section.rows.at(-1)?.slice(1)).toEqual(['host', '80:00.0', '', 'write', '0x12b000', '0x5', 'the page tables do not permit the write']);
  });

  it('reads and writes requester IDs as people do, and takes nothing else for one', () => {
    for (const requester of [0, 0x80, 0xf8, 0xffff]) expect(parseRequester(formatRequester(requester))).toBe(requester);
    expect(parseRequester('0000:00:1f.2')).toBe(0xfa);
    for (const text of ['', '00:1f', '00:20.0', '100:00.0', '00:00.8', 'edu']) expect(parseRequester(text), text).toBeNull();
  });
});
