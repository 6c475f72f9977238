import { describe, expect, it } from 'vitest';
import { Bench, gcmd, register } from '../../helpers/remapping.ts';
import { messageFromMsi } from '../../../core/platform/interrupts.ts';

const device = 0x0010;
const full = 0xfee01000;

/** Sends a message as the bus does. */
function interrupt(bench: Bench, source: number, address: number, data: number): void {
  const message = messageFromMsi(address, data);
  if (message !== null) bench.unit.interrupt(source, address, data, message);
}

describe('DMA remapping', () => {
  it('leaves addresses alone until translation is on', () => {
    const bench = new Bench();
    expect(bench.dma(device, 77)).toBe(77);
  });

  it('translates what the tables map, and refuses the rest with a record', () => {
    const bench = new Bench();
    bench.startLegacy(device, 0x1234, 20);
    expect(bench.dma(device, 0x1234)).toBe(20);
    expect(bench.dma(device, 0x1234, { write: true })).toBe(20);
    expect(bench.dma(device, 0x1235)).toBeNull();
    expect(bench.unit.faults).toEqual([{ code: 6, source: device, pasid: null, information: 0x1235000n, write: false }]);
  });

  it('takes the root table address when it is told to, not when it is written', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    bench.write64(register.RTADDR, 40n << 12n);
    expect(bench.dma(device, 1)).toBe(20);
    bench.turnOn(gcmd.root);
    expect(bench.dma(device, 1)).toBeNull();
  });

  it('keeps a translation until it is told that the tables changed', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    expect(bench.dma(device, 1)).toBe(20);
    bench.map(8, 1, 21);
    expect(bench.dma(device, 1)).toBe(20);
    // Register-based, page-selective: domain 1, page 1.
    bench.write64(register.IVA, 1n << 12n);
    bench.write64(register.IOTLB, (1n << 63n) | (3n << 60n) | (1n << 32n));
    expect(bench.read64(register.IOTLB) >> 63n).toBe(0n);
    expect((bench.read64(register.IOTLB) >> 57n) & 3n).toBe(3n);
    expect(bench.dma(device, 1)).toBe(21);
  });

  it('forgets the pages of an address mask and no others', () => {
    const bench = new Bench();
    bench.startLegacy(device, 8, 20);
    for (const page of [7, 8, 11, 12]) bench.map(8, page, 20 + page);
    for (const page of [7, 8, 11, 12]) bench.dma(device, page);
    for (const page of [7, 8, 11, 12]) bench.map(8, page, 40 + page);
    bench.startQueue();
    bench.queue([2n | (3n << 4n) | (1n << 16n), (8n << 12n) | 2n]);
    expect([7, 8, 11, 12].map(page => bench.dma(device, page))).toEqual([27, 48, 51, 32]);
  });

  it('forgets a large page when a page within it is named', () => {
    const bench = new Bench();
    bench.legacyContext(device, 8);
    bench.put(8, 0, (9n << 12n) | 3n);
    bench.put(9, 8, (512n << 12n) | 0x83n);
    bench.turnOn(gcmd.root);
    bench.turnOn(gcmd.translation);
    expect(bench.dma(device, 512 + 5)).toBe(512 + 5);
    bench.put(9, 8, (1024n << 12n) | 0x83n);
    expect(bench.dma(device, 512 + 6)).toBe(512 + 6);
    bench.startQueue();
    bench.queue([2n | (3n << 4n) | (1n << 16n), 600n << 12n]);
    expect(bench.dma(device, 512 + 6)).toBe(1024 + 6);
  });

  it('blocks protected memory without a fault, for devices that are not translated', () => {
    const bench = new Bench();
    bench.write(register.PLMBASE, 0x200000);
    bench.write(register.PLMLIMIT, 0x200000);
    // A base above its limit: no high region.
    bench.write64(register.PHMBASE, 0x200000n);
    bench.write(register.PMEN, 0x80000000);
    expect(bench.unit.read(register.PMEN, 4)).toBe(0x80000001);
    expect([0x1ff, 0x200, 0x3ff, 0x400].map(page => bench.dma(device, page))).toEqual([0x1ff, null, null, 0x400]);
    expect(bench.unit.faults).toEqual([]);
  });

  it('drops everything silently in abort mode', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    bench.write64(register.RTADDR, 3n << 10n);
    bench.turnOn(gcmd.root);
    expect(bench.dma(device, 1)).toBeNull();
    expect(bench.unit.faults).toEqual([]);
  });
});

describe('scalable mode', () => {
  /** First stage of four levels for PASID 5 at pages 8 to 11, nested in a second stage of three levels at pages 12 to 14. */
  function nested(): Bench {
    const bench = new Bench();
    bench.put(0, 0, (1n << 12n) | 1n, 0n);
    bench.put(1, device * 32, (3n << 12n) | 0xdn, 0n, 0n, 0n);
    bench.put(3, 0, (4n << 12n) | 1n);
    bench.put(4, 5 * 64, (12n << 12n) | (3n << 6n) | (1n << 2n) | 1n, 9n, (0x108n << 12n) | 1n);
    // Guest pages 108H to 10BH are pages 8 to 11; guest page 200H is page 40.
    for (const at of [8, 9, 10, 11]) bench.map(12, 0x100 + at, at);
    bench.map(12, 0x200, 40);
    [[8, 0x109], [9, 0x10a], [10, 0x10b], [11, 0x200]].forEach(([page, next]) => bench.put(page!, 0, (BigInt(next!) << 12n) | 7n));
    bench.write64(register.RTADDR, 1n << 10n);
    bench.turnOn(gcmd.root);
    bench.turnOn(gcmd.translation);
    return bench;
  }

  it('goes through both stages, and sets accessed and dirty bits', () => {
    const bench = nested();
    expect(bench.dma(device, 0, { pasid: 5 })).toBe(40);
    expect(bench.get(11, 0) & 0x60n).toBe(0x20n);
    expect(bench.dma(device, 0, { pasid: 5, write: true })).toBe(40);
    expect(bench.get(11, 0) & 0x60n).toBe(0x60n);
    expect(bench.get(8, 0) & 0x60n).toBe(0x20n);
  });

  it.each([
    ['a first-stage table that the second stage does not map', 0x79, (bench: Bench) => bench.put(14, 0x10a * 8, 0n)],
    ['a first-stage entry that the second stage lets nobody read', 0x76, (bench: Bench) => bench.put(14, 0x10a * 8, (10n << 12n) | 2n)],
    ['the top table likewise', 0x75, (bench: Bench) => bench.put(14, 0x108 * 8, (8n << 12n) | 2n)],
    ['an accessed bit that cannot be written', 0x77, (bench: Bench) => bench.put(14, 0x10b * 8, (11n << 12n) | 1n)],
    ['a page that the second stage lets nobody read', 0x86, (bench: Bench) => bench.put(14, 0, (40n << 12n) | 2n)],
  ])('faults on %s', (_, code, change) => {
    const bench = nested();
    change(bench);
    expect(bench.dma(device, 0, { pasid: 5 })).toBeNull();
    expect(bench.unit.faults.map(fault => fault.code)).toEqual([code]);
  });

  it('forgets one PASID and keeps the others', () => {
    const bench = nested();
    bench.put(4, 6 * 64, (12n << 12n) | (3n << 6n) | (1n << 2n) | 1n, 9n, (0x108n << 12n) | 3n);
    expect([5, 6].map(pasid => bench.dma(device, 0, { pasid }))).toEqual([40, 40]);
    bench.map(12, 0x200, 41);
    bench.startQueue();
    bench.queue([6n | (2n << 4n) | (9n << 16n) | (6n << 32n), 0n]);
    expect([5, 6].map(pasid => bench.dma(device, 0, { pasid }))).toEqual([40, 41]);
  });

  it('records the PASID and that a request was for execution', () => {
    const bench = nested();
    bench.dma(device, 7, { pasid: 5, privileged: true });
    expect(bench.unit.faults[0]).toMatchObject({ code: 0x71, pasid: 5, information: 7n << 12n });
    bench.write(register.FRCD + 12, 0x80000000);
    bench.dma(device, 7, { pasid: 5, execute: true });
    expect(bench.unit.faults[0]).toMatchObject({ code: 0x5c, pasid: 5 });
  });
});

describe('faults', () => {
  it('raise one interrupt until software has cleared them, and count an overflow', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    bench.write(register.FEADDR, 0xfee00000);
    bench.write(register.FEDATA, 0x61);
    bench.write(register.FECTL, 0);
    for (let page = 100; page < 110; page++) bench.dma(device, page);
    expect(bench.delivered).toHaveLength(1);
    expect(bench.delivered[0]).toMatchObject({ vector: 0x61, destination: 0 });
    expect(bench.unit.faults.map(({ information }) => Number(information >> 12n))).toEqual([100, 101, 102, 103, 104, 105, 106, 107]);
    // Overflow and pending.
    expect(bench.unit.read(register.FSTS, 4) & 3).toBe(3);
    for (let record = 0; record < 8; record++) bench.write(register.FRCD + record * 16 + 12, 0x80000000);
    expect(bench.unit.read(register.FSTS, 4) & 3).toBe(1);
    bench.write(register.FSTS, 1);
    expect(bench.unit.read(register.FSTS, 4) & 3).toBe(0);
    bench.dma(device, 111);
    expect(bench.delivered).toHaveLength(2);
  });

  it('wait while the event is masked, and are announced when it is not any more', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    bench.write(register.FEADDR, 0xfee00000);
    bench.write(register.FEDATA, 0x61);
    bench.dma(device, 2);
    expect(bench.delivered).toEqual([]);
    expect(bench.unit.read(register.FECTL, 4)).toBe(0xc0000000);
    bench.write(register.FECTL, 0);
    expect(bench.delivered).toHaveLength(1);
    expect(bench.unit.read(register.FECTL, 4)).toBe(0);
  });

  it('are not recorded where the context entry disables fault processing', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    bench.put(1, device * 16, (8n << 12n) | 3n);
    expect(bench.dma(device, 2)).toBeNull();
    expect(bench.unit.faults).toEqual([]);
  });
});

describe('the invalidation queue', () => {
  it('says by a write and by an interrupt that it has waited', () => {
    const bench = new Bench();
    bench.write(register.IEADDR, 0xfee00000);
    bench.write(register.IEDATA, 0x62);
    bench.write(register.IECTL, 0);
    bench.startQueue();
    bench.queue([4n, 0n], [5n | (1n << 4n) | (1n << 5n) | (0xabcdn << 32n), 7n << 12n]);
    expect(bench.get(7, 0)).toBe(0xabcdn);
    expect(bench.unit.read(register.ICS, 4)).toBe(1);
    expect(bench.delivered.map(({ vector }) => vector)).toEqual([0x62]);
    bench.write(register.ICS, 1);
    expect(bench.unit.read(register.ICS, 4)).toBe(0);
  });

  it('stops at a descriptor that is wrong until software mends it and clears the status', () => {
    const bench = new Bench();
    bench.startQueue();
    bench.queue([4n, 0n], [15n, 0n], [5n | (1n << 5n) | (1n << 32n), 7n << 12n]);
    expect(bench.unit.read(register.FSTS, 4) & 0x10).toBe(0x10);
    expect(bench.read64(register.IQH)).toBe(16n);
    expect(bench.read64(register.IQERCD) & 15n).toBe(3n);
    bench.put(6, 16, 4n);
    bench.write(register.FSTS, 0x10);
    expect(bench.read64(register.IQH)).toBe(48n);
    expect(bench.get(7, 0)).toBe(1n);
  });

  it('refuses a tail outside of the ring, and a queue outside of memory', () => {
    const bench = new Bench();
    bench.startQueue();
    bench.write64(register.IQT, 0x7fff0n);
    expect(bench.read64(register.IQERCD) & 15n).toBe(1n);
    const other = new Bench();
    other.write64(register.IQA, 0x7fffn << 24n);
    other.turnOn(gcmd.queue);
    other.write64(register.IQT, 16n);
    expect(other.read64(register.IQERCD) & 15n).toBe(2n);
  });

  it('needs 256-bit descriptors to have nothing in their upper half', () => {
    const bench = new Bench();
    bench.write64(register.IQA, (6n << 12n) | 0x800n);
    bench.turnOn(gcmd.queue);
    bench.put(6, 0, 4n, 0n, 0n, 1n);
    bench.write64(register.IQT, 32n);
    expect(bench.read64(register.IQERCD) & 15n).toBe(4n);
  });

  it('tells software which device did not answer', () => {
    const bench = new Bench();
    bench.startQueue();
    bench.queue([3n | (0x18n << 32n), 1n << 12n]);
    expect(bench.unit.read(register.FSTS, 4) & 0x40).toBe(0x40);
    expect((bench.read64(register.IQERCD) >> 32n) & 0xffffn).toBe(0x18n);
  });
});

describe('device TLBs', () => {
  it('get translations, use them, and are told to forget them', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    bench.legacyContext(device, 8, 3, 1, 1);
    bench.turnOn(gcmd.root);
    const request = { source: device, pasid: null, page: 1, write: false, execute: false, privileged: false };
    expect(bench.unit.requestTranslation(request)).toMatchObject({ page: 20, allows: 7 });
    expect(bench.unit.requestTranslation({ ...request, page: 2 })).toMatchObject({ allows: 0 });
    expect(bench.unit.faults).toEqual([]);
    expect(bench.unit.translated({ ...request, page: 20 })?.page).toBe(20);
    const told: (number | null)[][] = [];
    bench.unit.attachDeviceTlb(device, { invalidate: (pasid, page, pages) => told.push([pasid, page, pages]) });
    bench.startQueue();
    // One page; eight pages from 16; everything.
    bench.queue([3n | (BigInt(device) << 32n), 5n << 12n], [3n | (BigInt(device) << 32n), (0x13n << 12n) | 1n], [3n | (BigInt(device) << 32n), ~0xffen & 0xffffffffffffffffn]);
    expect(told).toEqual([[null, 5, 1], [null, 16, 8], [null, 0, 2 ** 52]]);
    expect(bench.unit.read(register.FSTS, 4)).toBe(0);
  });

  it('are refused where the context entry has none', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    const request = { source: device, pasid: null, page: 20, write: true, execute: false, privileged: false };
    expect(bench.unit.translated(request)).toBeNull();
    expect(bench.unit.faults[0]?.code).toBe(0x0d);
  });
});

describe('interrupt remapping', () => {
  function remapping(extended = false): Bench {
    const bench = new Bench();
    bench.write64(register.IRTA, (5n << 12n) | (extended ? 0x800n : 0n) | 3n);
    bench.turnOn(gcmd.interruptTable);
    bench.turnOn(gcmd.interrupts);
    return bench;
  }
  const remappable = (index: number): number => (0xfee00010 | (index << 5)) >>> 0;

  it('delivers what the entry says, to 8-bit and to 32-bit destinations', () => {
    for (const extended of [false, true]) {
      const bench = remapping(extended);
      bench.put(5, 2 * 16, (0x300n << 32n) | (0x71n << 16n) | 1n, (1n << 18n) | BigInt(device));
      interrupt(bench, device, remappable(2), 0);
      expect(bench.delivered).toEqual([{ mode: 0, vector: 0x71, level: false, logical: false, destination: extended ? 0x300 : 3, wide: extended }]);
    }
  });

  it('refuses a message that another device sends', () => {
    const bench = remapping();
    bench.put(5, 2 * 16, (0x71n << 16n) | 1n, (1n << 18n) | BigInt(device));
    interrupt(bench, device + 1, remappable(2), 0);
    expect(bench.delivered).toEqual([]);
    expect(bench.unit.faults).toEqual([{ code: 0x26, source: device + 1, pasid: null, information: 2n << 48n, write: true }]);
  });

  it('lets compatibility format messages through only when software allows it and destinations have 8 bits', () => {
    const blocked = remapping();
    interrupt(blocked, device, full, 0x41);
    expect(blocked.unit.faults[0]?.code).toBe(0x25);
    const allowed = remapping();
    allowed.turnOn(gcmd.compatibility);
    interrupt(allowed, device, full, 0x41);
    expect(allowed.delivered).toHaveLength(1);
    const extended = remapping(true);
    extended.turnOn(gcmd.compatibility);
    interrupt(extended, device, full, 0x41);
    expect(extended.delivered).toEqual([]);
  });

  it('adds the subhandle to the index, and refuses what lies beyond the table', () => {
    const bench = remapping();
    bench.put(5, 6 * 16, (0x76n << 16n) | 1n, 0n);
    interrupt(bench, device, remappable(4) | 8, 2);
    expect(bench.delivered[0]?.vector).toBe(0x76);
    interrupt(bench, device, remappable(15) | 8, 1);
    expect(bench.unit.faults[0]?.code).toBe(0x21);
  });

  it('keeps an entry until it is told that it changed', () => {
    const bench = remapping();
    bench.put(5, 16, (0x76n << 16n) | 1n, 0n);
    interrupt(bench, device, remappable(1), 0);
    bench.put(5, 16, (0x77n << 16n) | 1n, 0n);
    interrupt(bench, device, remappable(1), 0);
    bench.startQueue();
    bench.queue([4n | (1n << 4n) | (1n << 32n), 0n]);
    interrupt(bench, device, remappable(1), 0);
    expect(bench.delivered.map(({ vector }) => vector)).toEqual([0x76, 0x76, 0x77]);
  });

  it('notes a posted interrupt, and tells its owner once', () => {
    const bench = remapping(true);
    const descriptor = 20n << 12n;
    bench.put(5, 16, (((descriptor >> 6n) & 0x3ffffffn) << 38n) | (0x91n << 16n) | 0x8001n, 0n);
    bench.put(20, 32, (7n << 32n) | (0xf2n << 16n));
    interrupt(bench, device, remappable(1), 0);
    interrupt(bench, device, remappable(1), 0);
    expect(bench.get(20, 16)).toBe(1n << 0x11n);
    expect(bench.get(20, 32) & 1n).toBe(1n);
    expect(bench.delivered).toEqual([{ mode: 0, vector: 0xf2, level: false, logical: false, destination: 7, wide: true }]);
  });
});

describe('saved state', () => {
  it('is the registers and what they latched: a restored unit answers the same from the tables', () => {
    const bench = new Bench();
    bench.startLegacy(device, 1, 20);
    bench.dma(device, 2);
    const other = new Bench();
    other.ram.set(bench.ram);
    other.unit.loadState(JSON.parse(JSON.stringify(bench.unit.saveState())));
    expect(other.dma(device, 1)).toBe(20);
    expect(other.unit.faults).toEqual(bench.unit.faults);
  });
});
