/** A memory stick: SCSI commands over bulk endpoints, on a disk image. @bot 1.0, @sbc 3 */

import { EmulatedDevice } from './emulated.ts';
import type { Answer } from './emulated.ts';
import type { DeviceState } from '../../platform/device.ts';
import type { BlockFailure } from '../../block/blockDevice.ts';
import type { Disk } from '../../block/link.ts';
import type { SetupPacket } from './device.ts';
import type { StateReader } from '../../platform/state.ts';

const endpoint = { in: 0x81, out: 0x02 } as const;
const classRequest = { reset: 0xff, maxLun: 0xfe } as const;
const sectorBytes = 512;
/** Bytes that are asked of the disk at once. */
const PIECE_BYTES = 64 * 1024;

const wrapper = { command: 0x43425355, commandBytes: 31, status: 0x53425355, statusBytes: 13 } as const;
const outcome = { passed: 0, failed: 1, phase: 2 } as const;

const scsi = {
  testReady: 0x00, requestSense: 0x03, inquiry: 0x12, modeSense6: 0x1a, startStop: 0x1b, preventRemoval: 0x1e, formatCapacities: 0x23, capacity10: 0x25, read10: 0x28, write10: 0x2a,
  verify10: 0x2f, synchronize: 0x35, modeSense10: 0x5a, read16: 0x88, write16: 0x8a, serviceIn16: 0x9e,
} as const;

/** Sense key and additional sense code. */
const sense = { none: [0, 0], medium: [3, 0x11], illegalCommand: [5, 0x20], outOfRange: [5, 0x21], illegalField: [5, 0x24], readOnly: [7, 0x27] } as const;
type Sense = (typeof sense)[keyof typeof sense];
const senses = Object.values(sense);

/** What a command does with its data stage. */
type Plan =
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'read' | 'write'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'fail'; readonly sense: Sense };

/** `command`: one is awaited; `in`, `out`: its data moves; `wait`: the disk flushes; `status`: the host has yet to fetch it. */
const phases = ['command', 'in', 'out', 'wait', 'status'] as const;
type Phase = (typeof phases)[number];

export class UsbStorage extends EmulatedDevice {
  readonly #disk: Disk;
  #phase: Phase = 'command';
  #tag = 0;
  /** Bytes of the data stage that the host still expects. */
  #residue = 0;
  #failed = false;
  #sense: Sense = sense.none;
  /** Answer to the host that has not gone yet, or what came without being a whole sector. */
  #buffer: Uint8Array = new Uint8Array(0);
  /** The rest of a read or write. */
  #offset = 0;
  #left = 0;
  #reading = false;
  #epoch = 0;

  constructor(name: string, disk: Disk, serial: string) {
    super(name, {
      vendor: 0x46f4, product: 0x0001, release: 0x0100, speed: 'super', names: { manufacturer: 'Vanderpool', product: 'Vanderpool USB Stick', serial },
      interfaces: [{
        classCode: 8, subclass: 6, protocol: 0x50,
        endpoints: [{ address: endpoint.in, kind: 'bulk', maxPacket: 1024, interval: 0 }, { address: endpoint.out, kind: 'bulk', maxPacket: 1024, interval: 0 }],
      }],
    });
    this.#disk = disk;
  }

  override reset(): void {
    super.reset();
    this.#sense = sense.none;
    this.#restart();
  }

  override saveState(): DeviceState {
    const [key, code] = this.#sense;
    return {
      ...super.saveState(), phase: this.#phase, tag: this.#tag, residue: this.#residue, failed: this.#failed, sense: senses.findIndex(([k, c]) => k === key && c === code),
      buffer: [...this.#buffer], offset: this.#offset, left: this.#left,
    };
  }

  protected override checkState(reader: StateReader): () => void {
    const restore = super.checkState(reader);
    const [phase, tag, residue, failed] = [reader.word('phase', phases), reader.uint('tag', 32), reader.uint('residue', 32), reader.boolean('failed')];
    const [code, buffer] = [senses[reader.integer('sense', 0, senses.length - 1)] ?? sense.none, reader.uints('buffer', 8, PIECE_BYTES, false)];
    const [offset, left] = [reader.integer('offset', 0, this.#disk.size), reader.integer('left', 0, this.#disk.size)];
    if (offset + left > this.#disk.size || offset % sectorBytes !== 0 || left % sectorBytes !== 0) reader.refuse('left', 'sectors of this disk');
    return () => {
      restore();
      this.#restart();
      // What was written before a snapshot is in its disk.
      this.#phase = phase === 'wait' ? 'status' : phase;
      this.#tag = tag;
      this.#residue = residue;
      this.#failed = failed;
      this.#sense = code;
      this.#buffer = Uint8Array.from(buffer);
      this.#offset = offset;
      this.#left = left;
    };
  }

  protected override classRequest({ request }: SetupPacket): Answer {
    if (request === classRequest.maxLun) return Uint8Array.of(0);
    if (request !== classRequest.reset) return 'stall';
    this.#restart();
    return new Uint8Array(0);
  }

  protected override receive(at: number, data: Uint8Array, done: (taken: boolean) => void): void {
    if (at === endpoint.out && this.#phase === 'command') return done(this.#command(data) || this.#refuse());
    if (at === endpoint.out && this.#phase === 'out') return this.#write(data, done);
    this.#refuse();
    done(false);
  }

  protected override produce(at: number, room: number): Answer | null {
    if (at !== endpoint.in) return 'stall';
    if (this.#phase === 'status') return this.#status();
    if (this.#phase !== 'in') return null;
    if (this.#buffer.length === 0 && this.#left > 0) {
      this.#read();
      // A disk may answer before the call returns.
      if (this.#buffer.length === 0 && this.#left > 0 && !this.#failed) return null;
    }
    const bytes = this.#buffer.subarray(0, Math.min(room, this.#residue));
    this.#buffer = this.#buffer.subarray(bytes.length);
    this.#residue -= bytes.length;
    if (this.#residue === 0 || (this.#buffer.length === 0 && this.#left === 0)) this.#phase = 'status';
    return bytes;
  }

  // ---- Commands -----------------------------------------------------------------------------------------------------

  /** A command block wrapper. False: it is none. */
  #command(data: Uint8Array): boolean {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (data.length !== wrapper.commandBytes || view.getUint32(0, true) !== wrapper.command) return false;
    this.#tag = view.getUint32(4, true);
    this.#residue = view.getUint32(8, true);
    this.#failed = false;
    const plan = this.#plan(data.subarray(15, 31));
    if (plan.kind !== 'fail') this.#sense = sense.none;
    this.#begin(plan, (data[12] ?? 0) >= 0x80);
    return true;
  }

  #begin(plan: Plan, toHost: boolean): void {
    this.#buffer = new Uint8Array(0);
    this.#left = 0;
    if (plan.kind === 'fail') {
      this.#fail(plan.sense);
      // The host's data stage ends with nothing, or takes it and throws it away.
      this.#phase = this.#residue === 0 ? 'status' : toHost ? 'in' : 'out';
    } else if (plan.kind === 'data') {
      this.#buffer = plan.bytes;
      this.#phase = this.#residue === 0 ? 'status' : toHost ? 'in' : 'out';
    } else if (plan.kind === 'flush') this.#flush();
    else {
      this.#offset = plan.offset;
      this.#left = plan.length;
      this.#phase = this.#residue === 0 ? 'status' : toHost ? 'in' : 'out';
      // Host and command disagree on the direction: nothing moves.
      if (toHost !== (plan.kind === 'read')) {
        this.#left = 0;
        this.#fail(sense.illegalField);
      }
    }
  }

  #plan(block: Uint8Array): Plan {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    const sectors = Math.floor(this.#disk.size / sectorBytes);
    switch (block[0]) {
      case scsi.testReady: case scsi.startStop: case scsi.preventRemoval: case scsi.verify10: return { kind: 'data', bytes: new Uint8Array(0) };
      case scsi.requestSense: return { kind: 'data', bytes: this.#senseData() };
      case scsi.inquiry: return inquiry(block);
      case scsi.modeSense6: return { kind: 'data', bytes: Uint8Array.of(3, 0, this.#disk.readOnly ? 0x80 : 0, 0) };
      case scsi.modeSense10: return { kind: 'data', bytes: Uint8Array.of(0, 6, 0, this.#disk.readOnly ? 0x80 : 0, 0, 0, 0, 0) };
      case scsi.capacity10: return { kind: 'data', bytes: bigEndian(Math.min(sectors - 1, 0xffffffff), 4, sectorBytes, 4) };
      case scsi.formatCapacities: return { kind: 'data', bytes: bigEndian(8, 4, Math.min(sectors, 0xffffffff), 4, 0x02000000 + sectorBytes, 4) };
      case scsi.serviceIn16: return (block[1] ?? 0) % 32 === 0x10 ? { kind: 'data', bytes: Buffer.concat([bigEndian(sectors - 1, 8, sectorBytes, 4), new Uint8Array(20)]) } : { kind: 'fail', sense: sense.illegalField };
      case scsi.synchronize: return { kind: 'flush' };
      case scsi.read10: return this.#range('read', view.getUint32(2), view.getUint16(7));
      case scsi.write10: return this.#range('write', view.getUint32(2), view.getUint16(7));
      case scsi.read16: return this.#range('read', Number(view.getBigUint64(2)), view.getUint32(10));
      case scsi.write16: return this.#range('write', Number(view.getBigUint64(2)), view.getUint32(10));
      default: return { kind: 'fail', sense: sense.illegalCommand };
    }
  }

  #range(kind: 'read' | 'write', sector: number, count: number): Plan {
    const [offset, length] = [sector * sectorBytes, count * sectorBytes];
    if (offset + length > this.#disk.size) return { kind: 'fail', sense: sense.outOfRange };
    return kind === 'write' && this.#disk.readOnly ? { kind: 'fail', sense: sense.readOnly } : { kind, offset, length };
  }

  #senseData(): Uint8Array {
    const [key, code] = this.#sense;
    return Uint8Array.of(0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, 0, 0, 0, 0, 0);
  }

  // ---- Data ---------------------------------------------------------------------------------------------------------

  #read(): void {
    if (this.#reading) return;
    const length = Math.min(this.#left, PIECE_BYTES);
    const bytes = new Uint8Array(length);
    const epoch = this.#epoch;
    this.#reading = true;
    this.#disk.submit({
      operation: 'read', offset: this.#offset, length, transfer: (at, piece) => bytes.set(piece, at),
      done: failure => {
        if (epoch !== this.#epoch) return;
        this.#reading = false;
        this.#offset += length;
        this.#left -= length;
        if (failure === null) this.#buffer = bytes;
        else {
          this.#left = 0;
          this.#fail(sense.medium);
        }
        this.send(endpoint.in);
      },
    });
  }

  /** Nothing of the state changes before the disk has answered: a restored stick is sent the same bytes again. */
  #write(data: Uint8Array, done: (taken: boolean) => void): void {
    const all = Buffer.concat([this.#buffer, data]);
    const length = this.#failed ? 0 : Math.min(all.length - (all.length % sectorBytes), this.#left);
    const epoch = this.#epoch;
    const finish = (failure: BlockFailure | null): void => {
      if (epoch !== this.#epoch) return;
      this.#offset += length;
      this.#left -= length;
      this.#residue = Math.max(0, this.#residue - data.length);
      this.#buffer = Uint8Array.from(all.subarray(length, length + sectorBytes));
      if (failure !== null) this.#fail(sense.medium);
      // Drivers take a stick without a caching page to be written through.
      if (this.#residue === 0 && !this.#failed) this.#flush();
      else if (this.#residue === 0) this.#phase = 'status';
      done(true);
      this.send(endpoint.in);
    };
    if (length === 0) return finish(null);
    this.#disk.submit({ operation: 'write', offset: this.#offset, length, transfer: (at, piece) => piece.set(all.subarray(at, at + piece.length)), done: finish });
  }

  #flush(): void {
    const epoch = this.#epoch;
    this.#phase = 'wait';
    this.#disk.submit({
      operation: 'flush', offset: 0, length: 0, transfer() {},
      done: failure => {
        if (epoch !== this.#epoch) return;
        this.#phase = 'status';
        if (failure !== null) this.#fail(sense.medium);
        this.send(endpoint.in);
      },
    });
  }

  /** The command status wrapper ends a command. */
  #status(): Uint8Array {
    const bytes = new Uint8Array(wrapper.statusBytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, wrapper.status, true);
    view.setUint32(4, this.#tag, true);
    view.setUint32(8, this.#residue, true);
    view.setUint8(12, this.#failed ? outcome.failed : outcome.passed);
    this.#phase = 'command';
    return bytes;
  }

  #fail(reason: Sense): void {
    this.#failed = true;
    this.#sense = reason;
  }

  /** What came is no command: both pipes stall until the host resets. @bot 6.6.1 */
  #refuse(): false {
    this.halt(endpoint.in);
    this.halt(endpoint.out);
    return false;
  }

  #restart(): void {
    this.#epoch += 1;
    this.#phase = 'command';
    this.#buffer = new Uint8Array(0);
    this.#left = this.#offset = this.#residue = 0;
    this.#failed = this.#reading = false;
  }
}

function inquiry(block: Uint8Array): Plan {
  if (((block[1] ?? 0) & 1) !== 0) return { kind: 'fail', sense: sense.illegalField };
  // A removable disk, SPC-4, with the names padded by spaces.
  const text = ['VANDERPO', 'USB Stick       ', '1.0 '].join('');
  return { kind: 'data', bytes: Uint8Array.of(0, 0x80, 6, 2, 31, 0, 0, 0, ...Buffer.from(text, 'latin1')) };
}

/** Numbers, each with its count of bytes. */
function bigEndian(...pairs: readonly number[]): Uint8Array {
  const bytes: number[] = [];
  for (let at = 0; at + 1 < pairs.length; at += 2) {
    const [value = 0, count = 0] = pairs.slice(at, at + 2);
    for (let index = count - 1; index >= 0; index--) bytes.push(Math.floor(value / 256 ** index) % 256);
  }
  return Uint8Array.from(bytes);
}
