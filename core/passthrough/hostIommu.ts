/**
 * The workstation's own remapping unit: what isolates devices that are assigned to VMs. Root mode is its driver. It keeps the tables in memory
 * that no domain maps, puts each device into the domain of its VM, and lets each raise only the interrupts that are its own.
 */

import { VtdUnit } from '../vtd/unit.ts';
import { pack } from '../vtd/fields.ts';
import { interruptEntry, legacyContext, sourceValidation } from '../vtd/entries.ts';
import { command } from '../vtd/registers.ts';
import type { FaultRecord } from '../vtd/events.ts';
import type { InterruptMessage } from '../platform/interrupts.ts';
import type { RemappingMemory } from '../vtd/memory.ts';

const pageBytes = 4096;
const largePage = 2 << 20;
/** Pages for tables: the root table, context tables, the interrupt table, and about ten a domain. */
const tablePages = 256;
const hostAddressBits = 46;
/** VMs' memory lies from here on in host-physical addresses; the tables below. */
const firstRegion = 4 * 2 ** 30;
const read = 1n;
const write = 2n;
const large = 1n << 7n;
const interruptEntries = 256;

/** Bits of the command register that stay. */
const switchedOn = ((1 << command.translation) | (1 << command.interrupts)) >>> 0;

/** Offsets of registers that the driver uses. */
const register = { command: 0x18, rootTable: 0x20, context: 0x28, interruptTable: 0xb8, iotlb: 0xf8 } as const;

/** A VM's memory in host-physical addresses. */
export interface HostRegion {
  readonly base: number;
  readonly bytes: number;
}

/** What devices of one VM can reach. */
export interface Domain {
  readonly id: number;
  readonly region: HostRegion;
  /** Address of its top page table. */
  readonly table: number;
}

/** Host memory as the unit reads its tables: nothing else answers, so no table can lie in a guest's memory. */
class TableMemory implements RemappingMemory {
  readonly bytes = new Uint8Array(tablePages * pageBytes);
  private readonly view = new DataView(this.bytes.buffer);
  private next = 0;

  read(address: number): bigint | null {
    return address + 8 <= this.bytes.length ? this.view.getBigUint64(address, true) : null;
  }

  write(address: number, value: bigint): boolean {
    if (address + 8 > this.bytes.length) return false;
    this.view.setBigUint64(address, value, true);
    return true;
  }

  writeDword(address: number, value: number): boolean {
    if (address + 4 > this.bytes.length) return false;
    this.view.setUint32(address, value, true);
    return true;
  }

  /** A page of zeros. @throws Error when all are in use: more domains than a workstation has */
  allocate(): number {
    if (this.next >= tablePages) throw new Error('the remapping tables are full');
    return this.next++ * pageBytes;
  }
}

export class HostIommu {
  readonly unit: VtdUnit;
  private readonly memory = new TableMemory();
  private readonly root: number;
  private readonly interrupts: number;
  private nextRegion = firstRegion;
  private nextDomain = 1;
  private readonly receivers = new Map<number, () => void>();
  /** Called when a device's request has been refused. */
  onFault: (record: FaultRecord) => void = () => {};

  constructor() {
    this.root = this.memory.allocate();
    this.interrupts = this.memory.allocate();
    this.unit = new VtdUnit(
      { hostAddressBits, scalable: false, cachingMode: false, extendedInterruptMode: true },
      { memory: this.memory, deliver: message => this.deliver(message) }, undefined, 'host-vt-d',
    );
    this.unit.onFault = record => {
      this.clearRecords();
      this.onFault(record);
    };
    this.unit.writeWide(register.rootTable, this.root, 0);
    // Destinations of 32 bits, 256 entries.
    this.unit.writeWide(register.interruptTable, this.interrupts | 0x800 | (Math.log2(interruptEntries) - 1), 0);
    for (const bit of [command.rootTable, command.interruptTable]) this.unit.write(register.command, 4, (1 << bit) >>> 0);
    this.unit.write(register.command, 4, switchedOn);
  }

  /** Gives a VM's memory a place in host-physical addresses. */
  addMemory(bytes: number): HostRegion {
    const region = { base: this.nextRegion, bytes };
    // A gap of a large page: no run of pages leads from one VM into the next.
    this.nextRegion += Math.ceil(bytes / largePage + 1) * largePage;
    return region;
  }

  /** A domain in which guest-physical addresses from 0 lead to a VM's memory, and nothing else leads anywhere. */
  createDomain(region: HostRegion): Domain {
    const table = this.memory.allocate();
    for (let address = 0; address < region.bytes;) {
      const fits = address + largePage <= region.bytes && region.base % largePage === 0;
      this.map(table, address, region.base + address, fits ? 2 : 1);
      address += fits ? largePage : pageBytes;
    }
    return { id: this.nextDomain++, region, table };
  }

  /** From now on a device's DMA reaches its domain and nothing else. */
  attach(requester: number, domain: Domain): void {
    const rootEntry = this.root + (requester >>> 8) * 16;
    let context = Number((this.memory.read(rootEntry) ?? 0n) & ~0xfffn);
    if (context === 0) {
      context = this.memory.allocate();
      this.memory.write(rootEntry, BigInt(context) | 1n);
    }
    const entry = pack(legacyContext, { present: 1, table: domain.table / pageBytes, width: 2, domain: domain.id });
    this.putContext(requester, context, entry);
  }

  /** From now on the device's DMA reaches nothing. */
  detach(requester: number): void {
    const context = Number((this.memory.read(this.root + (requester >>> 8) * 16) ?? 0n) & ~0xfffn);
    if (context !== 0) this.putContext(requester, context, 0n);
    this.unit.writeWide(register.iotlb, 0, (1 << 31 | 1 << 28) >>> 0);
  }

  /** Lets a device raise an interrupt. Returns the address of the message that is its own; `receive` is called when it arrives. */
  allowInterrupt(requester: number, receive: () => void): number {
    let index = 0;
    while (this.receivers.has(index)) index++;
    if (index >= interruptEntries) throw new Error('the interrupt remapping table is full');
    this.receivers.set(index, receive);
    this.putInterrupt(index, pack(interruptEntry, { present: 1, destination: index, source: requester, validation: sourceValidation.requester }));
    return interruptAddress(index);
  }

  /** Takes an interrupt away again. @param address that `allowInterrupt` returned */
  withdrawInterrupt(address: number): void {
    const index = (address >>> 5) & 0x7fff;
    this.receivers.delete(index);
    this.putInterrupt(index, 0n);
  }

  private putInterrupt(index: number, entry: bigint): void {
    this.memory.write(this.interrupts + index * 16, entry & 0xffffffffffffffffn);
    this.memory.write(this.interrupts + index * 16 + 8, entry >> 64n);
    // Setting the table anew forgets what was known of its entries.
    this.unit.write(register.command, 4, (switchedOn | (1 << command.interruptTable)) >>> 0);
  }

  private putContext(requester: number, context: number, entry: bigint): void {
    const address = context + (requester & 0xff) * 16;
    this.memory.write(address + 8, entry >> 64n);
    this.memory.write(address, entry & 0xffffffffffffffffn);
    // Context-cache invalidation, this device alone.
    this.unit.writeWide(register.context, (requester << 16) >>> 0, (1 << 31 | 3 << 29) >>> 0);
  }

  /** One entry of the second stage, with the tables above it. Level 2: a large page. */
  private map(top: number, from: number, to: number, level: 1 | 2): void {
    let table = top;
    for (let at = 4; at > level; at--) {
      const address = table + (Math.floor(from / pageBytes / 512 ** (at - 1)) % 512) * 8;
      let entry = this.memory.read(address) ?? 0n;
      if (entry === 0n) {
        entry = BigInt(this.memory.allocate()) | read | write;
        this.memory.write(address, entry);
      }
      table = Number(entry & ~0xfffn);
    }
    const address = table + (Math.floor(from / pageBytes / 512 ** (level - 1)) % 512) * 8;
    this.memory.write(address, BigInt(to) | read | write | (level === 2 ? large : 0n));
  }

  /** Interrupts arrive with their index as their destination. */
  private deliver({ destination }: InterruptMessage): boolean {
    const receive = this.receivers.get(destination);
    receive?.();
    return receive !== undefined;
  }

  /** Root mode reads each record at once; the unit goes on recording. */
  private clearRecords(): void {
    for (let record = 0; record < 8; record++) this.unit.write(0x220 + record * 16 + 12, 4, 0x80000000);
    this.unit.write(0x34, 4, 0x1);
  }
}

/** The address of the remappable message that names an entry of the interrupt remapping table. */
export function interruptAddress(index: number): number {
  return (0xfee00010 | ((index & 0x7fff) << 5)) >>> 0;
}
