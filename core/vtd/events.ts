/** The unit's own interrupts and its fault records. @vtd 7.2, 7.3 */

import { eventControl, faultStatus } from './registers.ts';
import { faultReasons } from './faults.ts';
import { faultRecords } from './capabilities.ts';
import { field } from './fields.ts';
import { messageFromMsi } from '../platform/interrupts.ts';
import type { Fault } from './faults.ts';
import type { InterruptMessage } from '../platform/interrupts.ts';
import type { RegisterFile } from './registers.ts';

/** What a refused request was, for its record. */
export interface RefusedRequest {
  readonly source: number;
  readonly pasid: number | null;
  /** Address bits 63:12, or for interrupts the index in bits 63:48. */
  readonly information: bigint;
  readonly write: boolean;
  readonly execute: boolean;
  readonly privileged: boolean;
  /** 0: untranslated, 1: translation request, 2: translated. */
  readonly addressType: number;
}

type EventName = 'FE' | 'IE';

/** An event's message: registers xxCTL, xxDATA, xxADDR and xxUADDR. Messages of the unit are not remapped. */
export class EventMessage {
  private readonly registers: RegisterFile;
  private readonly name: EventName;
  private readonly deliver: (message: InterruptMessage) => void;
  private readonly wide: () => boolean;

  /** @param wide whether the upper address register holds destination bits 31:8 */
  constructor(registers: RegisterFile, name: EventName, deliver: (message: InterruptMessage) => void, wide: () => boolean) {
    this.registers = registers;
    this.name = name;
    this.deliver = deliver;
    this.wide = wide;
  }

  /** Something happened that the event announces. A masked event waits. */
  raise(): void {
    if (this.registers.has(`${this.name}CTL`, eventControl.masked)) this.registers.setBit(`${this.name}CTL`, eventControl.pending, true);
    else this.send();
  }

  /** Nothing is left to announce. */
  withdraw(): void {
    this.registers.setBit(`${this.name}CTL`, eventControl.pending, false);
  }

  /** The mask may have changed. */
  unmasked(): void {
    if (this.registers.has(`${this.name}CTL`, eventControl.masked) || !this.registers.has(`${this.name}CTL`, eventControl.pending)) return;
    this.withdraw();
    this.send();
  }

  private send(): void {
    const message = messageFromMsi(Number(this.registers.get(`${this.name}ADDR`)), Number(this.registers.get(`${this.name}DATA`)));
    if (message === null) return;
    if (!this.wide()) this.deliver(message);
    else this.deliver({ ...message, wide: true, destination: (Number(this.registers.get(`${this.name}UADDR`)) & 0xffffff00 | message.destination) >>> 0 });
  }
}

/** Records of faults, in a ring of registers. @vtd 7.2.1 */
export class FaultRecorder {
  private readonly registers: RegisterFile;
  private readonly event: EventMessage;
  /** The record that the next fault goes to. */
  cursor = 0;

  constructor(registers: RegisterFile, event: EventMessage) {
    this.registers = registers;
    this.event = event;
  }

  /** Records a fault where one can be recorded, and announces it. */
  record({ reason }: Fault, request: RefusedRequest): void {
    const { registers } = this;
    if (registers.has('FSTS', faultStatus.overflow)) return;
    const index = this.cursor;
    if (registers.has(`FRCD${index}_HIGH`, 63)) {
      this.announce(faultStatus.overflow);
      return;
    }
    registers.set(`FRCD${index}_LOW`, request.information & ~0xfffn);
    registers.set(`FRCD${index}_HIGH`, recordHigh(faultReasons[reason].code, request));
    const first = !registers.has('FSTS', faultStatus.pending);
    // The index of the first pending record stays until software has cleared them all.
    if (first) registers.set('FSTS', (registers.get('FSTS') & ~0xff00n) | BigInt(index << 8));
    this.cursor = (index + 1) % faultRecords;
    this.announce(faultStatus.pending);
  }

  /** Sets a status bit; the event is raised unless one is announced already. */
  announce(status: number): void {
    const quiet = (this.registers.get('FSTS') & 0x73n) === 0n;
    this.registers.setBit('FSTS', status, true);
    if (quiet) this.event.raise();
  }

  /** Software has cleared fault bits or records. */
  cleared(): void {
    const { registers } = this;
    const pending = Array.from({ length: faultRecords }, (_, index) => registers.has(`FRCD${index}_HIGH`, 63)).includes(true);
    registers.setBit('FSTS', faultStatus.pending, pending);
    if ((registers.get('FSTS') & 0x73n) === 0n) this.event.withdraw();
  }
}

function recordHigh(code: number, request: RefusedRequest): bigint {
  const flag = (set: boolean, index: number): bigint => (set ? 1n << BigInt(index) : 0n);
  return BigInt(request.source) | flag(request.privileged, 29) | flag(request.execute, 30) | flag(request.pasid !== null, 31) | (BigInt(code) << 32n)
    | (BigInt(request.pasid ?? 0) << 40n) | (BigInt(request.addressType) << 60n) | flag(!request.write, 62) | (1n << 63n);
}

/** A fault record as software reads it. */
export interface FaultRecord {
  readonly code: number;
  readonly source: number;
  readonly pasid: number | null;
  readonly information: bigint;
  readonly write: boolean;
}

/** The records that are pending, oldest first by their place behind the first. */
export function pendingFaults(registers: RegisterFile): readonly FaultRecord[] {
  const start = field(registers.get('FSTS'), 8, 8);
  const order = Array.from({ length: faultRecords }, (_, index) => (start + index) % faultRecords);
  return order.flatMap(index => {
    const high = registers.get(`FRCD${index}_HIGH`);
    if (high >> 63n === 0n) return [];
    const pasid = field(high, 31, 1) === 1 ? field(high, 40, 20) : null;
    return [{ code: field(high, 32, 8), source: field(high, 0, 16), pasid, information: registers.get(`FRCD${index}_LOW`), write: field(high, 62, 1) === 0 }];
  });
}
