/** A logical unit: a disk or a CD-ROM drive, with what it remembers between commands. @spc-4, @mmc-6 */

import { answer } from './inquiry.ts';
import { cdromCommand } from './cdrom.ts';
import { diskCommand } from './disk.ts';
import { sense, senseData } from './sense.ts';
import type { Disk } from '../../block/link.ts';
import type { ScsiOutcome, Sense } from './sense.ts';

const operation = { requestSense: 0x03, inquiry: 0x12, startStop: 0x1b, preventRemoval: 0x1e, eventStatus: 0x4a, reportLuns: 0xa0 } as const;
/** Commands that tell nothing of what has happened to the unit, and run without a medium. */
const alwaysPossible: readonly number[] = [operation.requestSense, operation.inquiry, operation.reportLuns];
const withoutMedium: readonly number[] = [...alwaysPossible, operation.startStop, operation.preventRemoval, operation.eventStatus, 0x46, 0x5a, 0xbd];
const mediaEvent = { none: 0, ejectRequest: 1, newMedium: 2, removal: 3 } as const;
const mediaPresent = 2;
/** Class 4 of the events: media. */
const MEDIA_CLASS = 4;

const nothing: ScsiOutcome = { kind: 'data', bytes: new Uint8Array(0) };

export type UnitKind = 'disk' | 'cdrom';

interface UnitState {
  /** What REQUEST SENSE tells. */
  sense: Sense;
  /** To be told at the next command. */
  attention: Sense | null;
  /** The initiator forbids that the medium is taken out. */
  locked: boolean;
  /** What GET EVENT STATUS NOTIFICATION tells next. */
  event: number;
  /** The initiator has put the medium out. */
  ejected: boolean;
}

const powerOn = (): UnitState => ({ sense: sense.none, attention: null, locked: false, event: mediaEvent.none, ejected: false });
const STATE_NUMBERS = 9;

export class ScsiUnit {
  readonly kind: UnitKind;
  readonly disk: Disk;
  readonly #serial: string;
  #state = powerOn();
  #generation: number;

  constructor(kind: UnitKind, disk: Disk, serial: string) {
    this.kind = kind;
    this.disk = disk;
    this.#serial = serial;
    this.#generation = disk.generation;
  }

  /** Whether the initiator keeps the medium in. */
  get locked(): boolean {
    return this.#state.locked;
  }

  /** Somebody at the host would like to take the medium out: the initiator is asked for it. */
  requestEject(): void {
    this.#state.event = mediaEvent.ejectRequest;
  }

  /** Begins a command block, 12 bytes or more. An error's sense is remembered for REQUEST SENSE. */
  execute(packet: Uint8Array): ScsiOutcome {
    this.#follow();
    const outcome = this.#command(packet);
    if (outcome.kind === 'error') this.#state.sense = outcome.sense;
    else if (packet[0] !== operation.requestSense) this.#state.sense = sense.none;
    return outcome;
  }

  /** A command failed later than `execute`. */
  fail(why: Sense): Sense {
    this.#state.sense = why;
    return why;
  }

  reset(): void {
    const { ejected } = this.#state;
    this.#state = { ...powerOn(), ejected };
  }

  saveState(): number[] {
    const { sense: last, attention, locked, event, ejected } = this.#state;
    return [last.key, last.code, last.qualifier ?? 0, attention?.key ?? 0, attention?.code ?? 0, attention?.qualifier ?? 0, Number(locked), event, Number(ejected)];
  }

  static readonly stateNumbers = STATE_NUMBERS;

  loadState(numbers: readonly number[]): void {
    const [key = 0, code = 0, qualifier = 0, attentionKey = 0, attentionCode = 0, attentionQualifier = 0, locked = 0, event = 0, ejected = 0] = numbers;
    this.#state = {
      sense: { key, code, qualifier }, locked: locked !== 0, event: event % 4, ejected: ejected !== 0,
      attention: attentionKey === 0 ? null : { key: attentionKey, code: attentionCode, qualifier: attentionQualifier },
    };
    this.#generation = this.disk.generation;
  }

  get #hasMedium(): boolean {
    return this.disk.size > 0 && !this.#state.ejected;
  }

  /** Notices another medium, or another size of a disk. */
  #follow(): void {
    if (this.#generation === this.disk.generation) return;
    this.#generation = this.disk.generation;
    const state = this.#state;
    state.ejected = false;
    state.attention = this.kind === 'disk' ? sense.capacityChanged : this.disk.size > 0 ? sense.mediumChanged : null;
    state.event = this.disk.size > 0 ? mediaEvent.newMedium : mediaEvent.removal;
  }

  #command(packet: Uint8Array): ScsiOutcome {
    const code = packet[0] ?? 0;
    const state = this.#state;
    if (code === operation.requestSense) {
      const told = state.attention ?? state.sense;
      state.attention = null;
      state.sense = sense.none;
      return answer(senseData(told), packet[4] ?? 0);
    }
    const { attention } = state;
    if (attention && !alwaysPossible.includes(code) && code !== operation.eventStatus) {
      state.attention = null;
      return { kind: 'error', sense: attention };
    }
    if (this.kind === 'disk') return diskCommand(packet, this.disk, this.#serial);
    if (!this.#hasMedium && !withoutMedium.includes(code)) return { kind: 'error', sense: sense.noMedium };
    switch (code) {
      case operation.preventRemoval:
        state.locked = ((packet[4] ?? 0) & 1) !== 0;
        return nothing;
      case operation.startStop: return this.#startStop((packet[4] ?? 0) & 3);
      case operation.eventStatus: return this.#eventStatus(packet);
      default: return cdromCommand(packet, this.disk, this.#serial);
    }
  }

  /** Load (3) and eject (2); spinning up and down changes nothing. */
  #startStop(action: number): ScsiOutcome {
    const state = this.#state;
    if (action === 2 && state.locked) return { kind: 'error', sense: sense.removalPrevented };
    if (action === 2 && this.#hasMedium) {
      state.ejected = true;
      state.event = mediaEvent.removal;
    }
    if (action === 3 && state.ejected) {
      state.ejected = false;
      state.attention = this.disk.size > 0 ? sense.mediumChanged : null;
      state.event = mediaEvent.newMedium;
    }
    return nothing;
  }

  #eventStatus(packet: Uint8Array): ScsiOutcome {
    const limit = ((packet[7] ?? 0) << 8) | (packet[8] ?? 0);
    // Only polling is offered; of the classes only media.
    if (((packet[1] ?? 0) & 1) === 0) return { kind: 'error', sense: sense.invalidField };
    if (((packet[4] ?? 0) & (1 << MEDIA_CLASS)) === 0) return answer(Uint8Array.of(0, 2, 0x80, 1 << MEDIA_CLASS), limit);
    const { event } = this.#state;
    this.#state.event = mediaEvent.none;
    return answer(Uint8Array.of(0, 6, MEDIA_CLASS, 1 << MEDIA_CLASS, event, this.#hasMedium ? mediaPresent : 0, 0, 0), limit);
  }
}
