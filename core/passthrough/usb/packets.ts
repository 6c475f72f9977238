/** Isochronous packets of one endpoint on their way to the host's USB: several in a transfer, and several transfers at once. */

import type { HostResult } from './host.ts';

/** Transfers under way. Systems keep one on the bus and need the next before it ends. */
const TRANSFERS = 4;
/** Packets of a transfer: a millisecond at the pace of every microframe. */
const PACKETS = 8;

export class PacketPipe<Packet> {
  readonly #transfer: (packets: readonly Packet[]) => Promise<readonly HostResult[]>;
  readonly #answer: (packet: Packet, result: HostResult | null) => void;
  #waiting: Packet[] = [];
  #running = 0;
  #answered: Promise<void> = Promise.resolve();
  #gathering = false;

  /**
   * @param transfer moves packets, in one transfer of the host's
   * @param answer told what came of each packet, in order; null: nothing
   */
  constructor(transfer: (packets: readonly Packet[]) => Promise<readonly HostResult[]>, answer: (packet: Packet, result: HostResult | null) => void) {
    this.#transfer = transfer;
    this.#answer = answer;
  }

  submit(packet: Packet): void {
    this.#waiting.push(packet);
    this.#gather();
  }

  /** Forgets what has not begun. */
  cancel(): void {
    this.#waiting = [];
  }

  /** What comes at once goes together. */
  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    queueMicrotask(() => {
      this.#gathering = false;
      while (this.#running < TRANSFERS && this.#waiting.length > 0) this.#begin(this.#waiting.splice(0, PACKETS));
    });
  }

  #begin(packets: readonly Packet[]): void {
    this.#running += 1;
    const moving = this.#transfer(packets).catch((): readonly HostResult[] => []);
    const before = this.#answered;
    this.#answered = moving.then(async (results) => {
      await before;
      this.#running -= 1;
      packets.forEach((packet, index) => this.#answer(packet, results[index] ?? null));
      this.#gather();
    });
  }
}
