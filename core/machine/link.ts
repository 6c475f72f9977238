/** The shared memory between a machine's core thread and the I/O thread: control words and one pair of byte rings a serial port. */
import { DEVICES_MAXIMUM, SERIAL_PORTS } from '../contract/limits.ts';
import { Ring, ringBytes } from './ring.ts';

/** What the I/O thread asks for; bits of the command word. */
export const Command = {
  /** A level: the core sleeps while it is set. The others are taken once. */
  pause: 1,
  reset: 2,
  powerButton: 4,
  statistics: 8,
  describe: 16,
  /** Ends the core thread without asking the guest. */
  stop: 32,
  /** Questions wait in the core thread's message port. */
  question: 64,
  /** Asks for the state of everything and the pages that a snapshot needs. */
  snapshot: 128,
  /** With `snapshot`: this is the moment of the disks, too. */
  switchLayers: 256,
} as const;

/** Bytes of output that a port's ring holds. */
export const OUTPUT_RING = 64 * 1024;
const COMMANDS = 0;
const WAKE = 1;
const CONTROL_BYTES = 64;
const INPUT_BYTES = 16 * 1024;
/** COM1 to COM4, then one for each device that can be assigned: those that are serial ports use it. */
const PORTS = SERIAL_PORTS + DEVICES_MAXIMUM;
const PORT_BYTES = ringBytes(OUTPUT_RING) + ringBytes(INPUT_BYTES);

/** Shared memory for one machine, zeroed. */
export function createLinkBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(CONTROL_BYTES + PORTS * PORT_BYTES);
}

/** Either end's view of the shared memory. */
export class Link {
  readonly #control: Int32Array;
  /** From the guest, by port. */
  readonly output: readonly Ring[];
  /** To the guest, by port. */
  readonly input: readonly Ring[];

  constructor(buffer: SharedArrayBuffer) {
    this.#control = new Int32Array(buffer, 0, CONTROL_BYTES / 4);
    const ports = Array.from({ length: PORTS }, (_, port) => CONTROL_BYTES + port * PORT_BYTES);
    this.output = ports.map((at) => new Ring(buffer, at, OUTPUT_RING));
    this.input = ports.map((at) => new Ring(buffer, at + ringBytes(OUTPUT_RING), INPUT_BYTES));
  }

  /** I/O thread: raises command bits and wakes the core. */
  raise(bits: number): void {
    Atomics.or(this.#control, COMMANDS, bits);
    this.wake();
  }

  /** I/O thread: lowers command bits and wakes the core. */
  lower(bits: number): void {
    Atomics.and(this.#control, COMMANDS, ~bits);
    this.wake();
  }

  /** I/O thread: there is something new for the core, which may sleep. */
  wake(): void {
    Atomics.add(this.#control, WAKE, 1);
    Atomics.notify(this.#control, WAKE);
  }

  /** Core: the command bits; those of `taken` are lowered. */
  takeCommands(taken: number): number {
    return Atomics.and(this.#control, COMMANDS, ~taken);
  }

  /** Core: reads the wake count, to be given to `sleep` after everything else was looked at. */
  wakeCount(): number {
    return Atomics.load(this.#control, WAKE);
  }

  /** Core: sleeps until woken after `count` was read, or until the time is over (null: for ever). */
  sleep(count: number, milliseconds: number | null): void {
    Atomics.wait(this.#control, WAKE, count, milliseconds ?? Number.POSITIVE_INFINITY);
  }
}
