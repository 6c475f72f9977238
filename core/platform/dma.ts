/** How devices reach guest memory: every access names its requester, and may be translated or refused on the way. */

import { isInterruptAddress } from './interrupts.ts';
import { displayWindow } from './memoryLayout.ts';

/** Bus, device and function of who asks: `bus << 8 | device << 3 | function`. */
export type RequesterId = number;

/** One function's way to guest memory. No access throws: what cannot be reached is refused and recorded. */
export interface DmaPort {
  /** Fills `into` from guest-physical `address`. False when a part of it cannot be reached; that part reads as all ones. */
  read(address: number, into: Uint8Array): boolean;
  /** False when a part cannot be reached; the parts before it are written. */
  write(address: number, from: Uint8Array): boolean;
  /** RAM itself, in pieces, to be used before anything else happens; null when a part cannot be reached. `change`: it is about to be written. */
  views(address: number, length: number, change: boolean): Uint8Array[] | null;
  /** Two or four bytes, little endian; null when they cannot be reached. */
  read16(address: number): number | null;
  read32(address: number): number | null;
  write16(address: number, value: number): boolean;
  write32(address: number, value: number): boolean;
}

/** A refused access, for people and for the device's own error status. */
export interface DmaRefusal {
  readonly requester: RequesterId;
  readonly address: number;
  readonly write: boolean;
  /** `blocked`: the remapping unit forbids it; `no-memory`: no RAM is there. */
  readonly reason: 'blocked' | 'no-memory';
}

/** Where a requester's page lies: page numbers are addresses divided by 4096. Null: refused. */
export interface DmaRemapper {
  translate(request: {
    readonly source: RequesterId; readonly pasid: null; readonly page: number; readonly write: boolean; readonly execute: false; readonly privileged: false;
  }): { readonly page: number } | null;
}

const pageBytes = 4096;
/** Up to here bytes are moved one by one: making views costs more. Rings and descriptors are shorter. */
const smallBytes = 16;

function copy(from: Uint8Array, at: number, into: Uint8Array, to: number, size: number): void {
  if (size > smallBytes) into.set(from.subarray(at, at + size), to);
  else for (let byte = 0; byte < size; byte++) into[to + byte] = from[at + byte] ?? 0;
}

/** Guest RAM as all devices of a machine reach it. */
export class DmaMemory {
  /** What translates requests, where the machine has such a unit. */
  remapper: DmaRemapper | null = null;
  /** Called for each refused access. */
  onRefusal: (refusal: DmaRefusal) => void = () => {};
  /** Called before bytes within one page of RAM are read: they may still have to come from a snapshot. */
  onRead: (address: number, size: number) => void = () => {};
  /** The last refused access of each requester. */
  readonly refusals = new Map<RequesterId, DmaRefusal>();
  private readonly ram: Uint8Array;
  private readonly codeWritten: (address: number, size: number) => void;
  private readonly writable: (page: number) => boolean;

  /**
   * @param ram RAM from guest-physical address 0
   * @param codeWritten told before bytes within one page change: the processor may hold code from there
   * @param writable whether a page of RAM takes writes (a shadowed ROM does not)
   */
  constructor(ram: Uint8Array, codeWritten: (address: number, size: number) => void = () => {}, writable: (page: number) => boolean = () => true) {
    this.ram = ram;
    this.codeWritten = codeWritten;
    this.writable = writable;
  }

  /** The way of one requester, asked anew at each access: a bus number may change. */
  port(requester: () => RequesterId): DmaPort {
    const word = new Uint8Array(4);
    const view = new DataView(word.buffer);
    const two = word.subarray(0, 2);
    const port: DmaPort = {
      read: (address, into) => this.read(requester(), address, into),
      write: (address, from) => this.write(requester(), address, from),
      views: (address, length, change) => this.views(requester(), address, length, change),
      read16: address => (port.read(address, two) ? view.getUint16(0, true) : null),
      read32: address => (port.read(address, word) ? view.getUint32(0, true) : null),
      write16: (address, value) => {
        view.setUint16(0, value, true);
        return port.write(address, two);
      },
      write32: (address, value) => {
        view.setUint32(0, value, true);
        return port.write(address, word);
      },
    };
    return port;
  }

  private read(requester: RequesterId, address: number, into: Uint8Array): boolean {
    let reached = true;
    for (let done = 0; done < into.length;) {
      const size = Math.min(into.length - done, pageBytes - ((address + done) % pageBytes));
      const at = this.locate(requester, address + done, false);
      if (at === null) into.fill(0xff, done, done + size);
      else {
        this.onRead(at, size);
        copy(this.ram, at, into, done, size);
      }
      reached &&= at !== null;
      done += size;
    }
    return reached;
  }

  /** A device's write of four bytes to the interrupt address range is an interrupt message. Others there reach nothing. @vtd 3.14 */
  onMessage: ((requester: RequesterId, address: number, data: number) => void) | null = null;

  private write(requester: RequesterId, address: number, from: Uint8Array): boolean {
    if (this.onMessage && isInterruptAddress(address) && from.length === 4 && address % 4 === 0) {
      this.onMessage(requester, address, new DataView(from.buffer, from.byteOffset, 4).getUint32(0, true));
      return true;
    }
    for (let done = 0; done < from.length;) {
      const size = Math.min(from.length - done, pageBytes - ((address + done) % pageBytes));
      const at = this.locate(requester, address + done, true);
      if (at === null) return false;
      this.codeWritten(at, size);
      copy(from, done, this.ram, at, size);
      done += size;
    }
    return true;
  }

  private views(requester: RequesterId, address: number, length: number, change: boolean): Uint8Array[] | null {
    const views: Uint8Array[] = [];
    let start = 0;
    let end = 0;
    for (let done = 0; done < length;) {
      const size = Math.min(length - done, pageBytes - ((address + done) % pageBytes));
      const at = this.locate(requester, address + done, change);
      if (at === null) return null;
      if (change) this.codeWritten(at, size);
      else this.onRead(at, size);
      if (at !== end) {
        if (end > start) views.push(this.ram.subarray(start, end));
        start = at;
      }
      end = at + size;
      done += size;
    }
    if (end > start) views.push(this.ram.subarray(start, end));
    return views;
  }

  /** Offset in RAM of an address on the bus, or null. */
  private locate(requester: RequesterId, address: number, write: boolean): number | null {
    if (isInterruptAddress(address)) return this.refuse({ requester, address, write, reason: 'no-memory' });
    const page = Math.floor(address / pageBytes);
    const mapped = this.remapper === null ? page : this.translated(requester, page, write);
    if (mapped === null) return this.refuse({ requester, address, write, reason: 'blocked' });
    const target = mapped * pageBytes;
    const backed = target >= 0 && target + pageBytes <= this.ram.length && !(target >= displayWindow.base && target < displayWindow.end);
    if (!backed || (write && !this.writable(mapped))) return this.refuse({ requester, address, write, reason: 'no-memory' });
    return target + (address % pageBytes);
  }

  private translated(source: RequesterId, page: number, write: boolean): number | null {
    return this.remapper?.translate({ source, pasid: null, page, write, execute: false, privileged: false })?.page ?? null;
  }

  private refuse(refusal: DmaRefusal): null {
    this.refusals.set(refusal.requester, refusal);
    this.onRefusal(refusal);
    return null;
  }
}
