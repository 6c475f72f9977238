/** One port of an AHCI controller: registers, command list, received FISes. @ahci 3.3, 5 */

import { SECTOR } from '../../block/blockDevice.ts';
import { QUEUE_DEPTH, goodStatus, ataStatus } from './drive.ts';
import { diskTransfer } from '../diskTransfer.ts';
import { gather, scatter } from '../segments.ts';
import type { Action, Drive, HostFis } from './drive.ts';
import type { GuestMemoryAccess, Segment } from '../segments.ts';
import type { StateReader } from '../../platform/state.ts';

/** Register numbers, each of 32 bits. */
const register = {
  commandList: 0, commandListHigh: 1, fis: 2, fisHigh: 3, interruptStatus: 4, interruptEnable: 5, command: 6, taskFile: 8, signature: 9, status: 10,
  control: 11, error: 12, active: 13, issue: 14,
} as const;
export const PORT_REGISTERS = 32;

/** Bits that software writes; the others are read-only or have rules of their own. */
const writable: Readonly<Partial<Record<number, number>>> = {
  [register.commandList]: 0xfffffc00, [register.commandListHigh]: 0xffffffff, [register.fis]: 0xffffff00, [register.fisHigh]: 0xffffffff,
  [register.interruptEnable]: 0xfdc000ff, [register.control]: 0x00000fff,
};

const commandBit = { start: 1, spinUp: 2, powerOn: 4, override: 8, fisEnable: 0x10, fisRunning: 0x4000, listRunning: 0x8000, packets: 1 << 24 } as const;
const commandWritable = commandBit.start | commandBit.spinUp | commandBit.powerOn | commandBit.fisEnable | (0xf << 28);
const interrupt = { deviceToHost: 1, pioSetup: 2, setDeviceBits: 8, connectChange: 0x40, taskFileError: 1 << 30 } as const;
const fisType = { hostToDevice: 0x27, deviceToHost: 0x34, setDeviceBits: 0xa1, pioSetup: 0x5f } as const;
/** Offsets in the area for received FISes. */
const received = { pioSetup: 0x20, deviceToHost: 0x40, setDeviceBits: 0x58 } as const;
const busy = 0x80;
const linkUp = 0x123;
const exchanged = 1 << 26;
/** Most entries of a table that are looked at: a transfer of 32 MiB in pages. */
const ENTRIES_MAXIMUM = 16384;

interface CommandHeader {
  readonly flags: number;
  readonly entries: number;
  readonly table: number;
  readonly at: number;
}

export interface PortHost {
  readonly memory: GuestMemoryAccess;
  /** Something of the interrupt status changed. */
  interruptChanged(): void;
}

export class AhciPort {
  readonly drive: Drive | null;
  readonly #host: PortHost;
  readonly #registers = new Uint32Array(PORT_REGISTERS);
  /** Slots whose commands are under way. */
  #running = 0;
  /** A command that is not queued is under way: nothing else may be. */
  #exclusive = false;
  #resetting = false;
  #failed = false;
  /** Rises with each reset: answers to earlier commands are dropped. */
  #epoch = 0;

  constructor(drive: Drive | null, host: PortHost) {
    this.drive = drive;
    this.#host = host;
    this.reset();
  }

  reset(): void {
    this.#abandon();
    this.drive?.reset();
    this.#registers.fill(0);
    this.#resetting = false;
    this.#registers[register.command] = commandBit.spinUp | commandBit.powerOn | (this.drive?.packets ? commandBit.packets : 0);
    this.#connect();
    this.#registers[register.error] = 0;
    this.#registers[register.interruptStatus] = 0;
  }

  get interrupting(): boolean {
    return (this.#get(register.interruptStatus) & this.#get(register.interruptEnable)) !== 0;
  }

  read(number: number): number {
    return this.#get(number);
  }

  write(number: number, value: number): void {
    const mask = writable[number];
    switch (number) {
      case register.interruptStatus: case register.error:
        this.#set(number, this.#get(number) & ~value);
        return this.#host.interruptChanged();
      case register.command: return this.#writeCommand(value);
      case register.active:
        if (this.#started) this.#set(number, this.#get(number) | value);
        return;
      case register.issue:
        if (this.#started) this.#set(number, this.#get(number) | value);
        return this.#issue();
      default:
        if (mask === undefined) return;
        if (number === register.control && (value & 15) !== (this.#get(number) & 15)) this.#writeDetection(value & 15);
        this.#set(number, (this.#get(number) & ~mask) | (value & mask));
        if (number === register.interruptEnable) this.#host.interruptChanged();
    }
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { registers: [...this.#registers], resetting: this.#resetting, failed: this.#failed, drive: this.drive?.saveState() ?? [] };
  }

  /** The function returned puts the state in place; commands that were under way begin anew. */
  readState(reader: StateReader): () => void {
    const registers = reader.uints('registers', 32, PORT_REGISTERS);
    const resetting = reader.boolean('resetting');
    const failed = reader.boolean('failed');
    const drive = reader.uints('drive', 8, this.drive?.saveState().length ?? 0);
    return () => {
      this.#abandon();
      this.#registers.set(registers);
      this.#resetting = resetting;
      this.#failed = failed;
      this.drive?.loadState(drive);
      this.#issue();
    };
  }

  get #started(): boolean {
    return (this.#get(register.command) & commandBit.start) !== 0;
  }

  #get(number: number): number {
    return this.#registers[number] ?? 0;
  }

  #set(number: number, value: number): void {
    this.#registers[number] = value;
  }

  #abandon(): void {
    this.#epoch += 1;
    this.#running = 0;
    this.#exclusive = false;
    this.#failed = false;
    this.drive?.disk.abandon();
  }

  /** The drive shows its signature and is ready. */
  #connect(): void {
    this.#set(register.status, this.drive ? linkUp : 0);
    this.#set(register.signature, this.drive?.signature ?? 0xffffffff);
    this.#set(register.taskFile, this.drive ? 0x0100 | (this.drive.packets ? ataStatus.seekComplete : goodStatus) : 0x7f);
    if (this.drive) {
      this.#set(register.error, this.#get(register.error) | exchanged);
      this.#set(register.interruptStatus, this.#get(register.interruptStatus) | interrupt.connectChange);
    }
  }

  #writeDetection(value: number): void {
    if (value === 1) {
      this.#abandon();
      this.#set(register.issue, 0);
      this.#set(register.active, 0);
      this.#set(register.status, 0);
      this.#set(register.taskFile, busy | 0x7f);
    } else if (value === 0) {
      this.drive?.reset();
      this.#connect();
      this.#sendRegisters(0);
    } else {
      this.#set(register.status, 4);
    }
    this.#host.interruptChanged();
  }

  #writeCommand(value: number): void {
    const before = this.#get(register.command);
    let next = (before & ~commandWritable) | (value & commandWritable);
    next = (next & commandBit.start) !== 0 ? next | commandBit.listRunning : next & ~commandBit.listRunning;
    next = (next & commandBit.fisEnable) !== 0 ? next | commandBit.fisRunning : next & ~commandBit.fisRunning;
    if ((before & ~next & commandBit.start) !== 0) {
      this.#abandon();
      this.#set(register.issue, 0);
      this.#set(register.active, 0);
    }
    if ((value & commandBit.override) !== 0) this.#set(register.taskFile, this.#get(register.taskFile) & ~0x88);
    this.#set(register.command, next);
    this.#issue();
  }

  // ---- Commands -----------------------------------------------------------------------------------------------------

  /** Begins what was issued and can begin. */
  #issue(): void {
    if (!this.#started || !this.drive || this.#failed) return;
    for (let slot = 0; slot < QUEUE_DEPTH; slot++) {
      const bit = 1 << slot;
      if (this.#exclusive || this.#failed) return;
      if ((this.#get(register.issue) & ~this.#running & bit) !== 0) this.#begin(slot, this.drive);
    }
  }

  #begin(slot: number, drive: Drive): void {
    const header = this.#header(slot);
    const table = new Uint8Array(0x50);
    if (!header || !this.#host.memory.read(header.table, table)) return this.#finish(slot, { error: 0x04 });
    if (table[0] !== fisType.hostToDevice) return this.#finish(slot, { error: 0x04 });
    if (((table[1] ?? 0) & 0x80) === 0) return this.#control(slot, table[15] ?? 0);
    const fis = hostFis(table);
    const action = drive.command(fis, () => table.subarray(0x40, 0x4c));
    this.#running |= 1 << slot;
    this.#exclusive = action.kind !== 'disk' || !action.queued;
    this.#perform(slot, header, drive, action);
  }

  /** A software reset: the bit rises in one FIS and falls in the next. */
  #control(slot: number, bits: number): void {
    const asserted = (bits & 4) !== 0;
    this.#set(register.issue, this.#get(register.issue) & ~(1 << slot));
    if (this.#resetting && !asserted) {
      this.drive?.reset();
      this.#set(register.taskFile, 0x0100 | (this.drive?.packets ? ataStatus.seekComplete : goodStatus));
      this.#set(register.signature, this.drive?.signature ?? 0xffffffff);
      this.#sendRegisters(0);
    }
    this.#resetting = asserted;
  }

  #perform(slot: number, header: CommandHeader, drive: Drive, action: Action): void {
    switch (action.kind) {
      case 'done': return this.#finish(slot, {});
      case 'failed': return this.#finish(slot, { error: action.error });
      case 'answer': {
        const segments = this.#segments(header, action.bytes.length);
        const room = segments.reduce((sum, { length }) => sum + length, 0);
        const bytes = action.bytes.subarray(0, room);
        if (!scatter(this.#host.memory, segments, 0, bytes)) return this.#finish(slot, { error: 0x04 });
        this.#writeCount(header, bytes.length);
        return this.#finish(slot, { pioBytes: bytes.length });
      }
      case 'disk': return this.#access(slot, header, drive, action);
      case 'trim': return this.#trim(slot, header, drive, action.bytes);
    }
  }

  #access(slot: number, header: CommandHeader, drive: Drive, { operation, offset, length, queued }: Extract<Action, { kind: 'disk' }>): void {
    const epoch = this.#epoch;
    const carries = operation === 'read' || operation === 'write';
    const segments = carries ? this.#segments(header, length) : [];
    const room = segments.reduce((sum, piece) => sum + piece.length, 0);
    if (carries && room < length) return this.#finish(slot, { error: drive.failed(), queued });
    const data = diskTransfer(operation, this.#host.memory, segments);
    drive.disk.submit({
      operation, offset, length, transfer: data.transfer, views: data.views,
      done: failure => {
        if (epoch !== this.#epoch) return;
        if (failure !== null || !data.reached) return this.#finish(slot, { error: drive.failed(), queued });
        if (carries && !queued) this.#writeCount(header, length);
        this.#finish(slot, { queued });
      },
    });
  }

  /** Ranges of eight bytes: first sector in 48 bits, count in 16. */
  #trim(slot: number, header: CommandHeader, drive: Drive, length: number): void {
    const bytes = new Uint8Array(Math.min(length, 8 * SECTOR));
    if (!gather(this.#host.memory, this.#segments(header, bytes.length), 0, bytes)) return this.#finish(slot, { error: drive.failed() });
    const view = new DataView(bytes.buffer);
    const ranges: { offset: number; length: number }[] = [];
    for (let at = 0; at < bytes.length; at += 8) {
      const sectors = view.getUint16(at + 6, true);
      const offset = (view.getUint16(at + 4, true) * 2 ** 32 + view.getUint32(at, true)) * SECTOR;
      if (sectors > 0 && offset + sectors * SECTOR <= drive.disk.size) ranges.push({ offset, length: sectors * SECTOR });
    }
    const epoch = this.#epoch;
    let left = ranges.length;
    if (left === 0) return this.#finish(slot, {});
    for (const range of ranges) {
      drive.disk.submit({
        operation: 'discard', ...range, transfer: () => {},
        done: () => {
          left -= 1;
          if (left === 0 && epoch === this.#epoch) this.#finish(slot, {});
        },
      });
    }
  }

  /** Ends a command: status, FIS, interrupt. After an error nothing begins before software has restarted the port. */
  #finish(slot: number, { error, queued = false, pioBytes }: { readonly error?: number; readonly queued?: boolean; readonly pioBytes?: number }): void {
    const bit = 1 << slot;
    this.#running &= ~bit;
    this.#exclusive = false;
    const status = goodStatus | (error === undefined ? 0 : ataStatus.error);
    this.#set(register.taskFile, ((error ?? 0) << 8) | status);
    if (error === undefined) {
      this.#set(register.issue, this.#get(register.issue) & ~bit);
      if (queued) {
        this.#set(register.active, this.#get(register.active) & ~bit);
        this.#sendDeviceBits(bit);
      } else {
        if (pioBytes !== undefined) this.#sendPioSetup(pioBytes);
        this.#sendRegisters(interrupt.deviceToHost);
      }
    } else {
      this.#failed = true;
      this.#set(register.command, (this.#get(register.command) & ~(31 << 8)) | (slot << 8));
      this.#set(register.interruptStatus, this.#get(register.interruptStatus) | interrupt.taskFileError);
      if (queued) this.#sendDeviceBits(0);
      else this.#sendRegisters(interrupt.deviceToHost);
    }
    this.#host.interruptChanged();
    this.#issue();
  }

  // ---- Memory -------------------------------------------------------------------------------------------------------

  #header(slot: number): CommandHeader | null {
    const at = this.#get(register.commandListHigh) * 2 ** 32 + this.#get(register.commandList) + slot * 32;
    const bytes = new Uint8Array(16);
    if (!this.#host.memory.read(at, bytes)) return null;
    const view = new DataView(bytes.buffer);
    const flags = view.getUint32(0, true);
    return { flags: flags & 0xffff, entries: flags >>> 16, table: view.getUint32(12, true) * 2 ** 32 + (view.getUint32(8, true) & ~127) + ((view.getUint32(8, true) & ~127) < 0 ? 2 ** 32 : 0), at };
  }

  /** The first `length` bytes that the table's entries describe; fewer when they end before. */
  #segments({ entries, table }: CommandHeader, length: number): Segment[] {
    const segments: Segment[] = [];
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    let left = length;
    for (let index = 0; index < Math.min(entries, ENTRIES_MAXIMUM) && left > 0; index++) {
      if (!this.#host.memory.read(table + 0x80 + index * 16, bytes)) break;
      const piece = Math.min((view.getUint32(12, true) & 0x3fffff) + 1, left);
      segments.push({ address: view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true), length: piece });
      left -= piece;
    }
    return segments;
  }

  #writeCount({ at }: CommandHeader, count: number): void {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, count, true);
    this.#host.memory.write(at + 4, new Uint8Array(view.buffer));
  }

  #sendFis(offset: number, bytes: Uint8Array): void {
    if ((this.#get(register.command) & commandBit.fisEnable) === 0) return;
    this.#host.memory.write(this.#get(register.fisHigh) * 2 ** 32 + this.#get(register.fis) + offset, bytes);
  }

  /** The drive's registers to memory. The address and count fields carry the signature after a reset. */
  #sendRegisters(cause: number): void {
    const taskFile = this.#get(register.taskFile);
    const signature = this.drive?.signature ?? 0;
    const fis = new Uint8Array(20);
    fis.set([fisType.deviceToHost, 0x40, taskFile & 0xff, taskFile >> 8]);
    if (cause === 0) fis.set([(signature >>> 8) & 0xff, (signature >>> 16) & 0xff, signature >>> 24, 0, 0, 0, 0, 0, signature & 0xff], 4);
    else if (this.drive?.packets) fis[12] = 3;
    this.#sendFis(received.deviceToHost, fis);
    this.#set(register.interruptStatus, this.#get(register.interruptStatus) | interrupt.deviceToHost);
  }

  #sendPioSetup(bytes: number): void {
    const fis = new Uint8Array(20);
    fis.set([fisType.pioSetup, 0x60, goodStatus | 8, 0]);
    fis[15] = goodStatus;
    fis[16] = bytes & 0xff;
    fis[17] = bytes >> 8;
    this.#sendFis(received.pioSetup, fis);
    this.#set(register.interruptStatus, this.#get(register.interruptStatus) | interrupt.pioSetup);
  }

  #sendDeviceBits(finished: number): void {
    const taskFile = this.#get(register.taskFile);
    const fis = new Uint8Array(8);
    const view = new DataView(fis.buffer);
    fis.set([fisType.setDeviceBits, 0x40, taskFile & 0x77, taskFile >> 8]);
    view.setInt32(4, finished, true);
    this.#sendFis(received.setDeviceBits, fis);
    this.#set(register.interruptStatus, this.#get(register.interruptStatus) | interrupt.setDeviceBits);
  }
}

function hostFis(bytes: Uint8Array): HostFis {
  const at = (index: number): number => bytes[index] ?? 0;
  return {
    command: at(2), features: at(3) | (at(11) << 8), device: at(7), count: at(12) | (at(13) << 8),
    lba: at(4) + at(5) * 2 ** 8 + at(6) * 2 ** 16 + at(8) * 2 ** 24 + at(9) * 2 ** 32 + at(10) * 2 ** 40,
  };
}
