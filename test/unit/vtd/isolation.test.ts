/** Assigned devices that are told to reach what is not theirs: each gets a recorded fault, and not a byte changes. */
import { describe, expect, it } from 'vitest';
import { Edu } from '../../../core/devices/edu.ts';
import { DmaMemory } from '../../../core/platform/dma.ts';
import { HostIommu, interruptAddress } from '../../../core/passthrough/hostIommu.ts';
import { Isolation } from '../../../core/passthrough/isolation.ts';
import { Pc } from '../../../core/machine/pc.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { messageFromMsi } from '../../../core/platform/interrupts.ts';
import { ManualTime } from '../../doubles/manualTime.ts';
import type { FaultRecord } from '../../../core/vtd/events.ts';
import { flatTopology } from '../../../core/platform/topology.ts';

const MIB = 1 << 20;

/** A device of the VM's own, and the one that is assigned. */
const own = 0x10;

/** A VM with one assigned device, on a host that others share. */
function vm(host: HostIommu, hostRequester: number, memoryBytes = 4 * MIB) {
  const ram = new Uint8Array(memoryBytes).fill(0x5a);
  const isolation = new Isolation(host, memoryBytes, null, source => source === own);
  isolation.assign(() => 0x80, { id: 'edu:0', kind: 'edu', name: 'edu', path: null, requester: hostRequester, slot: 5 });
  const dma = new DmaMemory(ram);
  dma.remapper = isolation;
  return { ram, isolation, dma, port: dma.port(() => 0x80) };
}

function host(): { readonly iommu: HostIommu; readonly faults: FaultRecord[] } {
  const iommu = new HostIommu();
  const faults: FaultRecord[] = [];
  iommu.onFault = record => faults.push(record);
  return { iommu, faults };
}

const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const untouched = (ram: Uint8Array): boolean => ram.every(byte => byte === 0x5a);

describe('a device that is assigned to a VM', () => {
  it('reaches all of its memory, also across pages', () => {
    const { iommu, faults } = host();
    const { ram, port } = vm(iommu, 0x8000);
    for (const address of [0, 4092, 2 * MIB - 4, 4 * MIB - 8]) {
      expect(port.write(address, bytes)).toBe(true);
      expect([...ram.subarray(address, address + 8)]).toEqual([...bytes]);
      const back = new Uint8Array(8);
      expect(port.read(address, back)).toBe(true);
      expect(back).toEqual(bytes);
    }
    expect(faults).toEqual([]);
  });

  it('reaches nothing behind it: neither another VM nor the tables of the workstation', () => {
    const { iommu, faults } = host();
    const one = vm(iommu, 0x8000);
    const two = vm(iommu, 0x8001);
    // Right behind its memory, where the other VM lies in host memory, the ends of 32, 39, 46 and 48 bits, and wrapped around.
    const places = [4 * MIB, 6 * MIB, 8 * MIB, 10 * MIB, 2 ** 32 - 4096, 2 ** 32, 2 ** 32 + 8 * MIB, 2 ** 39, 2 ** 46 - 4096, 2 ** 48, 2 ** 52];
    for (const [index, address] of places.entries()) {
      expect(one.port.write(address, bytes), address.toString(16)).toBe(false);
      expect(one.port.read(address, new Uint8Array(8))).toBe(false);
      expect(faults).toHaveLength(index * 2 + 2);
      expect(faults.at(-1)).toMatchObject({ source: 0x8000, information: BigInt(Math.floor(address / 4096)) << 12n, write: false });
    }
    expect(untouched(one.ram) && untouched(two.ram)).toBe(true);
    expect(two.port.write(16, bytes)).toBe(true);
  });

  it('reaches no byte of the workstation\'s own: its domain has no other pages than the VM\'s', () => {
    const { iommu, faults } = host();
    const [one, two] = [vm(iommu, 0x8000), vm(iommu, 0x8001)];
    const reached = (requester: number): number[] => Array.from({ length: 4096 }, (_, page) => iommu.unit.translate({ source: requester, pasid: null, page, write: true, execute: false, privileged: false })?.page)
      .filter(page => page !== undefined);
    const [first, second] = [reached(0x8000), reached(0x8001)];
    expect([first.length, second.length]).toEqual([1024, 1024]);
    expect(first.filter(page => second.includes(page))).toEqual([]);
    // Its tables lie below 4 GiB, VMs above.
    expect(Math.min(...first, ...second)).toBe(2 ** 20);
    expect(faults).toHaveLength(2 * (4096 - 1024));
    expect(untouched(one.ram) && untouched(two.ram)).toBe(true);
  });

  it('with a forged requester ID reaches nothing and raises nothing', () => {
    const { iommu, faults } = host();
    const { ram, dma, isolation } = vm(iommu, 0x8000);
    // Of nobody, of the device of another bus, and as the workstation itself calls the assigned one.
    for (const forged of [0x0081, 0x0100, 0xffff, 0x8000]) {
      const before = faults.length;
      const port = dma.port(() => forged);
      expect(port.write(0x1000, bytes)).toBe(false);
      expect(port.read(0x1000, new Uint8Array(8))).toBe(false);
      const recorded = forged === 0x8000 ? 0xffff : forged;
      expect(faults.slice(before)).toMatchObject([{ source: recorded, information: 0x1000n, write: true }, { source: recorded, information: 0x1000n, write: false }]);
      let sent = 0;
      isolation.message(forged, () => { sent += 1; });
      expect(sent).toBe(0);
      expect(faults.at(-1)).toMatchObject({ source: recorded, code: 0x26 });
    }
    expect(untouched(ram)).toBe(true);
    // The VM's own device is none of that.
    expect(dma.port(() => own).write(0x1000, bytes)).toBe(true);
    let sent = 0;
    isolation.message(own, () => { sent += 1; });
    expect(sent).toBe(1);
  });

  it('that uses the requester ID of no device of the host, or was released, reaches nothing', () => {
    const { iommu, faults } = host();
    const { ram, isolation, port } = vm(iommu, 0x8000);
    for (const forged of [0x8001, 0x8100, 0x0000, 0xffff]) {
      expect(iommu.unit.translate({ source: forged, pasid: null, page: 0, write: true, execute: false, privileged: false })).toBeNull();
      expect(faults.at(-1)?.source).toBe(forged);
    }
    isolation.release('edu:0');
    expect(iommu.unit.translate({ source: 0x8000, pasid: null, page: 0, write: true, execute: false, privileged: false })).toBeNull();
    expect(faults.at(-1)).toMatchObject({ source: 0x8000, code: 2 });
    expect(port.write(0, bytes)).toBe(false);
    expect(faults.at(-1)).toMatchObject({ source: 0x80, information: 0n, write: true });
    expect(untouched(ram)).toBe(true);
  });

  it('raises its own interrupt and no other', () => {
    const { iommu, faults } = host();
    const arrived: string[] = [];
    const own = iommu.allowInterrupt(0x8000, () => arrived.push('one'));
    const other = iommu.allowInterrupt(0x8001, () => arrived.push('two'));
    const send = (requester: number, address: number): boolean => iommu.unit.interrupt(requester, address, 0, messageFromMsi(address, 0)!);
    expect(send(0x8000, own)).toBe(true);
    expect(send(0x8000, other)).toBe(false);
    expect(faults.at(-1)).toMatchObject({ source: 0x8000, code: 0x26, information: 1n << 48n });
    // Entries that nobody has, an index beyond the table, and the format without an index.
    expect(send(0x8000, interruptAddress(9))).toBe(false);
    expect(send(0x8000, interruptAddress(5000))).toBe(false);
    expect(send(0x8000, 0xfee00000)).toBe(false);
    expect(faults.slice(1).map(({ code }) => code)).toEqual([0x22, 0x21, 0x25]);
    expect(arrived).toEqual(['one']);
  });
});

it('devices that come and go leave nothing behind: not in the tables, and no interrupt to raise', () => {
  const { iommu, faults } = host();
  const { isolation } = vm(iommu, 0x8000);
  let received = 0;
  for (let time = 0; time < 1000; time++) {
    isolation.release('edu:0');
    isolation.assign(() => 0x80, { id: 'edu:0', kind: 'edu', name: 'edu', path: null, requester: 0x8000 + (time % 8), slot: 5 });
    isolation.message(0x80, () => { received += 1; });
  }
  expect([received, faults.length]).toEqual([1000, 0]);
  const own = iommu.allowInterrupt(0x9000, () => { received += 1; });
  iommu.withdrawInterrupt(own);
  expect(iommu.unit.interrupt(0x9000, own, 0, messageFromMsi(own, 0)!)).toBe(false);
  expect(faults).toMatchObject([{ source: 0x9000, code: 0x22 }]);
  expect(received).toBe(1000);
});

describe('the demonstrator in a PC', () => {
  function pc(iommu: boolean) {
    const time = new ManualTime();
    const memory = new Uint8Array(16 * MIB);
    const board = new Pc({
      memory, topology: flatTopology(1), clock: new VirtualClock(time), physicalAddressBits: 40, wallMs: 0, keyboard: false, iommu,
      assigned: [{ id: 'edu:0', kind: 'edu', name: 'edu', path: null, requester: 0x8000, slot: 5 }], serialOutput() {},
    });
    const found = board.pci.list().find(({ fn }) => fn instanceof Edu);
    if (!(found?.fn instanceof Edu)) throw new Error('no edu');
    const edu = found.fn;
    edu.writeConfig(4, 2, 6);
    /** Moves eight bytes from the device's buffer to memory. */
    const store = (address: bigint): void => {
      const registers: readonly bigint[] = [0x40000n, address, 8n, 3n];
      registers.forEach((value, index) => {
        edu.registers.write(0x80 + index * 8, 4, Number(value & 0xffffffffn));
        edu.registers.write(0x84 + index * 8, 4, Number(value >> 32n));
      });
      // The low half of the command starts it; the high half is written last.
      time.pass(10_000);
      board.poll();
    };
    return { board, memory, edu, store, place: (found.bus.number << 8) | found.place };
  }

  it('reaches memory without and, where the guest maps it, with the guest\'s own unit', () => {
    const { memory, edu, store } = pc(false);
    memory.fill(0xff, 0x1000, 0x1010);
    store(0x1000n);
    expect([...memory.subarray(0x1000, 0x1009)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    expect(edu.transfers).toEqual({ done: 1, refused: 0 });
  });

  it('is stopped by the workstation\'s unit beyond the VM\'s memory, and the fault is there to see', () => {
    const { board, edu, store } = pc(false);
    store(0x2000_0000n);
    expect(edu.transfers).toEqual({ done: 0, refused: 1 });
    expect(board.faultLog.list).toMatchObject([{ unit: 'host', source: 0x8000, information: 0x2000_0000n, write: true, code: 5 }]);
    expect(board.isolation?.devices[0]?.counts).toMatchObject({ requests: 1, refused: 1 });
  });

  it('is stopped by the guest\'s unit where the guest maps nothing', () => {
    const { board, memory, store, place } = pc(true);
    const unit = board.vtd!;
    // An empty root table at 1 MiB.
    unit.writeWide(0x20, MIB, 0);
    unit.write(0x18, 4, 0x40000000);
    unit.write(0x18, 4, 0x80000000);
    const before = memory.slice();
    store(0x3000n);
    expect(Buffer.compare(memory, before)).toBe(0);
    expect(board.faultLog.list).toMatchObject([{ unit: 'guest', source: place, code: 1 }]);
  });

  it('cannot raise an interrupt that the guest gave to another device', () => {
    const { board, edu, memory, place } = pc(true);
    const unit = board.vtd!;
    board.ports.write(0x21, 1, 0xff);
    const view = new DataView(memory.buffer);
    // Entry 3 of the interrupt remapping table belongs to 00:1f.0.
    view.setBigUint64(MIB + 48, (0x66n << 16n) | 1n, true);
    view.setBigUint64(MIB + 56, (1n << 18n) | 0xf8n, true);
    unit.writeWide(0xb8, MIB | 7, 0);
    unit.write(0x18, 4, 0x01000000);
    unit.write(0x18, 4, 0x02000000);
    const at = edu.readConfig(0x34, 1);
    edu.writeConfig(at + 4, 4, 0xfee00010 | (3 << 5));
    edu.writeConfig(at + 2, 2, 1);
    edu.registers.write(0x60, 4, 1);
    expect(board.faultLog.list).toMatchObject([{ unit: 'guest', source: place, code: 0x26, information: 3n << 48n }]);
    expect(board.interrupts.localApics[0]?.eventPending).toBe(false);
  });
});
