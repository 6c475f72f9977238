/**
 * A DMA and interrupt remapping unit: its registers, and what devices' requests go through. It is used twice: guests see one of their own,
 * and root mode isolates the devices of its VMs with one (core/passthrough). @vtd 3, 5, 11
 */

import { Caches } from './caches.ts';
import { DmaRemapping, everything, tableMode } from './remapping.ts';
import { EventMessage, FaultRecorder, pendingFaults } from './events.ts';
import { InterruptRemapping, interruptTable, isRemappable } from './interruptRemapping.ts';
import { RegisterFile, command, registerRows } from './registers.ts';
import { StateReader } from '../platform/state.ts';
import { vtdBase } from '../platform/memoryLayout.ts';
import { extract } from '../platform/device.ts';
import { faultReasons } from './faults.ts';
import { faultRecords } from './capabilities.ts';
import { field } from './fields.ts';
import { ignoredBits, invalidateContexts, invalidatePages } from './invalidation.ts';
import { InvalidationQueue } from './queue.ts';
import type { AccessSize, DeviceRange, DeviceState, WideDevice, WideValue } from '../platform/device.ts';
import { readWide } from './memory.ts';
import type { DmaRequest, Translation } from './stage.ts';
import type { Fault } from './faults.ts';
import type { FaultRecord } from './events.ts';
import type { InterruptMessage } from '../platform/interrupts.ts';
import type { Mapped, Outcome, RootTable } from './remapping.ts';
import type { RegisterRow } from './registers.ts';
import type { RemappingMemory } from './memory.ts';
import type { VtdOptions } from './capabilities.ts';
import type { WalkTrace } from './trace.ts';

const registerBytes = 0x1000;

/** What a unit is connected to. */
export interface VtdWires {
  readonly memory: RemappingMemory;
  /** Hands a message to the local APICs; false when none accepted it. */
  deliver(message: InterruptMessage): boolean;
}

/** The translation cache of a device that has one. @vtd 4 */
export interface DeviceTlbClient {
  /** Forgets `pages` pages from `page`, of one PASID or of all. */
  invalidate(pasid: number | null, page: number, pages: number): void;
}

/** Counts for people. */
export interface VtdCounters {
  readonly requests: number;
  readonly walks: number;
  readonly blocked: number;
  readonly interrupts: number;
  readonly blockedInterrupts: number;
}

export class VtdUnit implements WideDevice {
  readonly name: string;
  readonly version = 1;
  readonly ranges: readonly DeviceRange[];
  readonly options: VtdOptions;
  readonly caches = new Caches();
  private readonly registers: RegisterFile;
  private readonly wires: VtdWires;
  private readonly dma: DmaRemapping;
  private readonly interrupts: InterruptRemapping;
  private readonly recorder: FaultRecorder;
  private readonly faultEvent: EventMessage;
  private readonly completionEvent: EventMessage;
  private readonly queue: InvalidationQueue;
  private readonly deviceTlbs = new Map<number, DeviceTlbClient>();
  private readonly counts = { requests: 0, blocked: 0, interrupts: 0, blockedInterrupts: 0 };
  /** Latched when software sets the table pointers. */
  private root: RootTable = { mode: tableMode.legacy, address: 0 };
  private irta = 0n;
  /** Mirrors of status bits that every request asks for. */
  private translating = false;
  private remapping = false;
  /** Called when a request has been refused, for people who watch. */
  onFault: (record: FaultRecord) => void = () => {};

  constructor(options: VtdOptions, wires: VtdWires, base = vtdBase, name = 'vt-d') {
    this.options = options;
    this.wires = wires;
    this.name = name;
    this.ranges = [{ space: 'memory', base, length: registerBytes, offset: 0, width: 4 }];
    this.registers = new RegisterFile(registerRows(options));
    this.dma = new DmaRemapping(wires.memory, options.hostAddressBits, options.scalable, this.caches);
    this.interrupts = new InterruptRemapping(wires.memory, options.hostAddressBits);
    const wide = (): boolean => this.remapping && interruptTable(this.irta).extended;
    const deliver = (message: InterruptMessage): void => void wires.deliver(message);
    this.faultEvent = new EventMessage(this.registers, 'FE', deliver, wide);
    this.completionEvent = new EventMessage(this.registers, 'IE', deliver, wide);
    this.recorder = new FaultRecorder(this.registers, this.faultEvent);
    this.queue = new InvalidationQueue(this.registers, this.recorder, this.completionEvent, options.scalable, {
      memory: wires.memory, caches: this.caches, interrupts: this.interrupts.cache,
      devices: { invalidate: (source, pasid, page, pages) => this.invalidateDevice(source, pasid, page, pages) },
    });
  }

  reset(): void {
    this.registers.reset();
    this.recorder.cursor = 0;
    this.root = { mode: tableMode.legacy, address: 0 };
    this.irta = 0n;
    this.follow();
  }

  // ---- Requests -----------------------------------------------------------------------------------------------------

  /**
   * Translates a device's request.
   * @returns where its page is, or null: refused, and recorded where the specification says so
   */
  translate(request: DmaRequest): Mapped | null {
    this.counts.requests++;
    if (!this.translating) return this.identity(request.page);
    if (this.root.mode === tableMode.abort) return this.refuse();
    const outcome = this.dma.translate(this.root, request);
    if (outcome.kind === 'fault') return this.record(outcome, request, 0);
    return outcome.identity && this.isProtected(outcome.page) ? this.refuse() : outcome;
  }

  /** A request with an address that the device's own TLB has translated. @vtd 4.2 */
  translated(request: DmaRequest): Mapped | null {
    this.counts.requests++;
    if (!this.translating) return this.identity(request.page);
    if (this.root.mode === tableMode.abort) return this.refuse();
    const refused = this.dma.refuseTranslated(this.root, request.source, request.pasid);
    if (refused !== null) return this.record(refused, request, 2);
    return this.isProtected(request.page) ? this.refuse() : this.identity(request.page);
  }

  /**
   * A device asks for a translation to keep. Pages that are not there are no fault: the answer allows nothing.
   * @returns null when the request itself is refused @vtd 4.1
   */
  requestTranslation(request: DmaRequest): Mapped | null {
    if (!this.translating) return null;
    const refused = this.root.mode === tableMode.abort ? null : this.dma.refuseTranslated(this.root, request.source, request.pasid);
    if (refused !== null) return this.record(refused, request, 1);
    const outcome = this.dma.translate(this.root, request);
    return outcome.kind === 'page' ? outcome : { kind: 'page', page: 0, run: 1, allows: 0, identity: false };
  }

  /** Where a request would go, step by step; neither caches nor records nor bits in the tables change. */
  explain(request: DmaRequest, trace: WalkTrace): Outcome {
    if (!this.translating) return { kind: 'page', page: request.page, run: 1, allows: everything, identity: true };
    return this.dma.explain(this.root, request, trace);
  }

  /**
   * A message written to the interrupt address range.
   * @param compatible what the message means without remapping
   * @returns whether a local APIC accepted it
   */
  interrupt(source: number, address: number, data: number, compatible: InterruptMessage): boolean {
    this.counts.interrupts++;
    if (!this.remapping) return this.wires.deliver(compatible);
    const table = interruptTable(this.irta);
    if (!isRemappable(address)) {
      const passes = this.registers.has('GSTS', command.compatibility) && !table.extended;
      return passes ? this.wires.deliver(compatible) : this.refuseInterrupt({ kind: 'fault', reason: 'interruptCompatibility', reported: true }, source, 0);
    }
    const outcome = this.interrupts.remap(table, source, address, data);
    if (outcome.kind === 'deliver') return this.wires.deliver(outcome.message);
    if (outcome.kind === 'posted') return outcome.message === null || this.wires.deliver(outcome.message);
    return this.refuseInterrupt(outcome, source, outcome.index);
  }

  /** The root table that translation uses, as software set it last. */
  get rootTable(): RootTable {
    return this.root;
  }

  /** What the tables say of a device's requests without PASID; null while nothing is translated. */
  viewOf(source: number): Translation | Fault | null {
    return this.translating ? this.dma.view(this.root, source) : null;
  }

  /** Present entries of the interrupt remapping table, from the first on; none while interrupts are not remapped. */
  interruptEntries(limit: number): readonly { readonly index: number; readonly value: bigint }[] {
    if (!this.remapping) return [];
    const { address, entries } = interruptTable(this.irta);
    const found: { index: number; value: bigint }[] = [];
    for (let index = 0; index < entries && found.length < limit; index++) {
      const low = this.wires.memory.read(address + index * 16);
      if (low === null || (low & 1n) === 0n) continue;
      found.push({ index, value: readWide(this.wires.memory, address + index * 16, 2) ?? low });
    }
    return found;
  }

  /** A device with a TLB of its own appears (or goes: null). */
  attachDeviceTlb(source: number, client: DeviceTlbClient | null): void {
    if (client === null) this.deviceTlbs.delete(source);
    else this.deviceTlbs.set(source, client);
  }

  get counters(): VtdCounters {
    return { ...this.counts, walks: this.caches.misses };
  }

  /** What software has been told of and has not cleared yet. */
  get faults(): readonly FaultRecord[] {
    return pendingFaults(this.registers);
  }

  /** Registers by name, for people. */
  get registerValues(): readonly { readonly name: string; readonly offset: number; readonly value: bigint }[] {
    return this.registers.rows.map(({ name, offset }) => ({ name, offset, value: this.registers.get(name) }));
  }

  // ---- Registers ----------------------------------------------------------------------------------------------------

  read(offset: number, size: AccessSize): number {
    const byte = offset & 3;
    return byte + size > 4 ? 0 : extract(this.registers.readDword(offset & ~3), byte, size);
  }

  /** Registers are written in dwords or quadwords; narrower writes are ignored. */
  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || (offset & 3) !== 0) return;
    const row = this.registers.writeDword(offset, value);
    if (row !== undefined) this.written(row);
  }

  readWide(offset: number): WideValue {
    return { low: this.registers.readDword(offset), high: this.registers.readDword(offset + 4) };
  }

  writeWide(offset: number, low: number, high: number): void {
    for (const row of this.registers.writeQword(offset, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0))) this.written(row);
  }

  saveState(): DeviceState {
    return {
      version: this.version, registers: this.registers.save(), nextRecord: this.recorder.cursor, rootMode: this.root.mode,
      rootTable: (BigInt(this.root.address)).toString(), interruptTable: this.irta.toString(),
    };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const nextRecord = reader.integer('nextRecord', 0, faultRecords - 1);
    const mode = reader.uint('rootMode', 2);
    const address = reader.uint64('rootTable');
    const irta = reader.uint64('interruptTable');
    if (address >> 52n !== 0n || (address & 0xfffn) !== 0n) reader.refuse('rootTable', 'the address of a page');
    this.registers.load(reader.record('registers'));
    this.recorder.cursor = nextRecord;
    this.root = { mode, address: Number(address) };
    this.irta = irta;
    this.follow();
  }

  /** Takes over what the registers say after a reset or a restore: caches start empty. */
  private follow(): void {
    this.caches.dropContexts();
    this.caches.dropPasids();
    this.caches.dropPages();
    this.interrupts.cache.clear();
    this.translating = this.registers.has('GSTS', command.translation);
    this.remapping = this.registers.has('GSTS', command.interrupts);
  }

  /** What follows from a write to a register. */
  private readonly effects: ReadonlyMap<string, () => void> = new Map([
    ['GCMD', () => this.command()],
    ['CCMD', () => this.contextCommand()],
    ['IOTLB', () => this.pageCommand()],
    ['FSTS', () => this.clearedFaults()],
    ['FECTL', () => this.faultEvent.unmasked()],
    ['IECTL', () => this.completionEvent.unmasked()],
    ['ICS', () => this.acknowledgedCompletion()],
    ['IQT', () => this.queue.run()],
    ['PMEN', () => this.registers.setBit('PMEN', 0, this.registers.has('PMEN', 31))],
  ]);

  private written({ name }: RegisterRow): void {
    if (name.startsWith('FRCD')) this.recorder.cleared();
    else this.effects.get(name)?.();
  }

  /** @vtd 11.4.4 */
  private command(): void {
    const { registers } = this;
    const asked = registers.get('GCMD');
    registers.set('GCMD', 0n);
    const wants = (index: number): boolean => field(asked, index, 1) === 1;
    for (const index of [command.translation, command.interrupts, command.compatibility]) registers.setBit('GSTS', index, wants(index));
    if (wants(command.rootTable)) {
      const address = registers.get('RTADDR');
      // Bits beyond the platform's address width lead nowhere: what lies there is no memory.
      this.root = { mode: field(address, 10, 2), address: field(address, 12, 40) * 4096 };
      registers.setBit('GSTS', command.rootTable, true);
      this.caches.dropContexts();
      this.caches.dropPasids();
      this.caches.dropPages();
    }
    if (wants(command.interruptTable)) {
      this.irta = this.options.extendedInterruptMode ? registers.get('IRTA') : registers.get('IRTA') & ~(1n << 11n);
      registers.setBit('GSTS', command.interruptTable, true);
      this.interrupts.cache.clear();
    }
    this.queue.enable(wants(command.queue));
    this.translating = wants(command.translation);
    this.remapping = wants(command.interrupts);
  }

  /** Register-based context-cache invalidation. @vtd 11.4.5 */
  private contextCommand(): void {
    const { registers } = this;
    const value = registers.get('CCMD');
    if (field(value, 63, 1) === 0) return;
    const kind = field(value, 61, 2);
    const accepted = !this.queue.enabled && invalidateContexts(this.caches, kind, field(value, 16, 16), ignoredBits(field(value, 32, 2)));
    registers.set('CCMD', (value & ~((1n << 63n) | (3n << 59n))) | (accepted ? BigInt(kind) << 59n : 0n));
  }

  /** Register-based IOTLB invalidation. @vtd 11.4.8.1 */
  private pageCommand(): void {
    const { registers } = this;
    const value = registers.get('IOTLB');
    if (field(value, 63, 1) === 0) return;
    const kind = field(value, 60, 2);
    const address = registers.get('IVA');
    const accepted = !this.queue.enabled && invalidatePages(this.caches, kind, field(value, 32, 16), address, field(address, 0, 6));
    registers.set('IOTLB', (value & ~((1n << 63n) | (3n << 57n))) | (accepted ? BigInt(kind) << 57n : 0n));
  }

  private clearedFaults(): void {
    this.recorder.cleared();
    this.queue.run();
  }

  private acknowledgedCompletion(): void {
    if (!this.registers.has('ICS', 0)) this.completionEvent.withdraw();
  }

  private invalidateDevice(source: number, pasid: number | null, page: number, pages: number): boolean {
    const client = this.deviceTlbs.get(source);
    client?.invalidate(pasid, page, pages);
    return client !== undefined;
  }

  // ---- Refusals -----------------------------------------------------------------------------------------------------

  private identity(page: number): Mapped | null {
    return this.isProtected(page) ? this.refuse() : { kind: 'page', page, run: 1, allows: everything, identity: true };
  }

  /** Accesses to protected memory are blocked without a fault. @vtd 11.4.7 */
  private isProtected(page: number): boolean {
    const { registers } = this;
    if (!registers.has('PMEN', 31)) return false;
    return (['PLM', 'PHM'] as const).some(region => {
      const first = field(registers.get(`${region}BASE`), 12, 52);
      // The limit names the last aligned block: its low bits count as set.
      const last = field(registers.get(`${region}LIMIT`), 12, 52) + 511;
      return page >= first && page <= last;
    });
  }

  private refuse(): null {
    this.counts.blocked++;
    return null;
  }

  private record(refused: Fault, request: DmaRequest, addressType: number): null {
    this.counts.blocked++;
    this.report(refused, { ...request, information: BigInt(request.page) << 12n, addressType });
    return null;
  }

  private refuseInterrupt(refused: Fault, source: number, index: number): false {
    this.counts.blockedInterrupts++;
    const information = BigInt(index & 0xffff) << 48n;
    this.report(refused, { source, pasid: null, information, write: true, execute: false, privileged: false, addressType: 0 });
    return false;
  }

  private report(refused: Fault, request: Parameters<FaultRecorder['record']>[1]): void {
    if (!refused.reported) return;
    this.recorder.record(refused, request);
    const { source, pasid, information, write } = request;
    this.onFault({ code: faultReasons[refused.reason].code, source, pasid, information, write });
  }
}
