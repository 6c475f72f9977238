/** A virtio device with memory around it, and the driver's side of its queues. */
import { DmaMemory } from '../../core/platform/dma.ts';
import { VirtioPci } from '../../core/devices/virtio/pci.ts';
import { layout } from '../../core/devices/virtio/registers.ts';
import type { AccessSize, Device } from '../../core/platform/device.ts';
import type { PciFunction } from '../../core/platform/pci/function.ts';
import type { PciSlot } from '../../core/platform/pci/function.ts';
import type { VirtioKind } from '../../core/devices/virtio/device.ts';

/** Plugs a function into a slot with this memory; messages and the line are recorded. */
export function plugged<T extends PciFunction>(fn: T, ram: Uint8Array): { readonly fn: T; readonly messages: number[]; line: boolean } {
  const dma = new DmaMemory(ram);
  const record = { fn, messages: [] as number[], line: false };
  const slot: PciSlot = {
    dma: dma.port(() => 8), setLine: (_pin, asserted) => void (record.line = asserted), sendMessage: (_address, data) => void record.messages.push(data), map: () => () => {},
  };
  fn.connect(slot);
  fn.writeConfig(4, 2, 6);
  return record;
}

/** Registers of a function behind one of its BARs, as the conformance suite wants a device. */
export function behindBar(fn: PciFunction, registers: { read(offset: number, size: AccessSize): number; write(offset: number, size: AccessSize, value: number): void }, length: number): Device {
  return {
    name: fn.name, version: fn.version, ranges: [{ space: 'memory', base: 0x10000000, length, offset: 0, width: 4 }],
    read: (offset, size) => registers.read(offset, size), write: (offset, size, value) => registers.write(offset, size, value),
    reset: () => fn.reset(), saveState: () => fn.saveState(), loadState: state => fn.loadState(state),
  };
}

export interface Buffer {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

const QUEUE_SIZE = 16;
const flags = { next: 1, write: 2 } as const;

/** One queue's worth of a driver: descriptors at `base`, available ring at + 1000H, used ring at + 2000H. */
export class VirtioDriver {
  readonly ram: Uint8Array;
  readonly view: DataView;
  readonly device: VirtioPci;
  readonly plug: { readonly messages: number[]; line: boolean };
  readonly #bases: number[] = [];
  readonly #nextFree: number[] = [];
  readonly #seen: number[] = [];

  constructor(kind: VirtioKind, ram = new Uint8Array(1 << 20)) {
    this.ram = ram;
    this.view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.device = new VirtioPci(kind);
    this.plug = plugged(this.device, ram);
  }

  read(offset: number, size: AccessSize): number {
    return this.device.registers.read(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.device.registers.write(offset, size, value);
  }

  /** Reset, negotiation of `features` (and version 1), queues from 64 KiB on, DRIVER_OK. */
  start(features = 0n): void {
    const wanted = features | (1n << 32n);
    this.write(0x14, 1, 0);
    this.write(0x14, 1, 3);
    for (const select of [0, 1]) {
      this.write(0x08, 4, select);
      this.write(0x0c, 4, Number((wanted >> BigInt(select * 32)) & 0xffffffffn));
    }
    this.write(0x14, 1, 0x0b);
    const queues = this.read(0x12, 2);
    for (let queue = 0; queue < queues; queue++) this.#setUpQueue(queue);
    this.write(0x14, 1, 0x0f);
  }

  get status(): number {
    return this.read(0x14, 1);
  }

  /** Makes a chain of buffers available and tells the device. Returns its head. */
  submit(queue: number, buffers: readonly Buffer[], notify = true): number {
    const base = this.#bases[queue] ?? 0;
    const head = this.#nextFree[queue] ?? 0;
    buffers.forEach(({ address, length, writable }, index) => {
      const at = base + ((head + index) % QUEUE_SIZE) * 16;
      this.view.setBigUint64(at, BigInt(address), true);
      this.view.setUint32(at + 8, length, true);
      this.view.setUint16(at + 12, (writable ? flags.write : 0) | (index + 1 < buffers.length ? flags.next : 0), true);
      this.view.setUint16(at + 14, (head + index + 1) % QUEUE_SIZE, true);
    });
    this.#nextFree[queue] = (head + buffers.length) % QUEUE_SIZE;
    this.offer(queue, head);
    if (notify) this.kick(queue);
    return head;
  }

  /** Puts any number into the available ring. */
  offer(queue: number, head: number): void {
    const ring = (this.#bases[queue] ?? 0) + 0x1000;
    const index = this.view.getUint16(ring + 2, true);
    this.view.setUint16(ring + 4 + (index % QUEUE_SIZE) * 2, head, true);
    this.view.setUint16(ring + 2, index + 1, true);
  }

  kick(queue: number): void {
    this.write(layout.notify + queue * layout.notifyMultiplier, 2, queue);
  }

  /** Buffers given back since the last call. */
  used(queue: number): { readonly head: number; readonly length: number }[] {
    const ring = (this.#bases[queue] ?? 0) + 0x2000;
    const found = [];
    for (let seen = this.#seen[queue] ?? 0; seen !== this.view.getUint16(ring + 2, true); seen = (seen + 1) & 0xffff) {
      const at = ring + 4 + (seen % QUEUE_SIZE) * 8;
      found.push({ head: this.view.getUint32(at, true), length: this.view.getUint32(at + 4, true) });
      this.#seen[queue] = (seen + 1) & 0xffff;
    }
    return found;
  }

  #setUpQueue(queue: number): void {
    const base = 0x10000 + queue * 0x4000;
    this.ram.fill(0, base, base + 0x4000);
    this.#bases[queue] = base;
    this.#nextFree[queue] = 0;
    this.#seen[queue] = 0;
    this.write(0x16, 2, queue);
    this.write(0x18, 2, QUEUE_SIZE);
    [base, base + 0x1000, base + 0x2000].forEach((address, index) => {
      this.write(0x20 + index * 8, 4, address);
      this.write(0x24 + index * 8, 4, 0);
    });
    this.write(0x1c, 2, 1);
  }
}
