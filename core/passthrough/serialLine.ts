/** A serial port or pseudoterminal of the host, byte for byte, with back-pressure both ways. Runs on the I/O thread of a VM's process. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { readLines, setLine } from '../host/serialPort.ts';
import type { LineSettings, ModemLines } from '../devices/uart16550.ts';

/** The guest's side of the line. */
export interface LineEnd {
  /** Offers bytes to the guest; returns how many it took. */
  input(bytes: Uint8Array): number;
  /** Takes up to `limit` bytes that the guest has sent. */
  output(limit: number): Uint8Array;
  /** The other end has set its modem lines otherwise. */
  lines(lines: ModemLines): void;
}

const piece = 16 * 1024;
/** A guest whose receiver is full is offered the rest after this time, and so is a line that takes nothing now. */
const retryMs = 2;
/** How often a line that broke is looked for again. */
const returnMs = 1000;

/** How often the other end's modem lines are looked at, which nothing tells of. */
const linesMs = 50;

interface Open {
  readonly reader: ReadStream;
  /** Descriptor for writing that does not block: a stream of Node's would, and stop everything else of this thread. */
  readonly output: number;
}

export class SerialLine {
  readonly #path: string;
  readonly #end: LineEnd;
  readonly #lost: (reason: string) => void;
  #open: Open | null = null;
  /** As the guest has set the line; null: not yet. */
  #settings: LineSettings | null = null;
  /** Sent by the guest, and refused by the line so far. */
  #rest: Uint8Array = new Uint8Array(0);
  #drain: NodeJS.Timeout | undefined;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #watch: NodeJS.Timeout | undefined;
  /** The modem lines that the guest knows of, as text. */
  #lines = '';

  /**
   * @param lost told when the line breaks or cannot be opened; it is tried again until `close`
   */
  constructor(path: string, end: LineEnd, lost: (reason: string) => void) {
    this.#path = path;
    this.#end = end;
    this.#lost = lost;
    this.#connect();
  }

  /** The guest has set the line: what it sent before goes out first, as far as the line takes it. */
  configure(settings: LineSettings): void {
    this.pump();
    this.#settings = settings;
    if (this.#open) setLine(this.#open.output, settings);
  }

  /** The guest has sent something, or may have. */
  pump(): void {
    while (this.#open && this.#drain === undefined) {
      if (this.#rest.length === 0) this.#rest = this.#end.output(piece);
      if (this.#rest.length === 0) return;
      const written = this.#write(this.#open.output, this.#rest);
      if (written === null) return;
      this.#rest = this.#rest.subarray(written);
      if (this.#rest.length > 0) this.#drain = setTimeout(() => {
        this.#drain = undefined;
        this.pump();
      }, retryMs);
    }
  }

  /** How many bytes the line took now; null when it broke. */
  #write(descriptor: number, bytes: Uint8Array): number | null {
    try {
      return writeSync(descriptor, bytes);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return 0;
      this.#broke(error instanceof Error ? error.message : String(error));
      return null;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#disconnect();
  }

  #connect(): void {
    const descriptors: number[] = [];
    try {
      // Each direction has a description of its own; neither makes the port this process's terminal.
      for (let direction = 0; direction < 2; direction++) descriptors.push(openSync(this.#path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK));
      const [input = -1, output = -1] = descriptors;
      const reader = new ReadStream(input);
      // Raw: no echo, no line editing, no signals, eight bits.
      reader.setRawMode(true);
      this.#open = { reader, output };
      if (this.#settings) setLine(output, this.#settings);
      reader.on('data', (data: Buffer) => this.#offer(data));
      reader.on('error', (error: Error) => this.#broke(error.message));
      reader.on('end', () => this.#broke('the other side is gone'));
      this.#watch = setInterval(() => this.#watchLines(output), linesMs);
      this.#watchLines(output);
      this.pump();
    } catch (error) {
      for (const descriptor of descriptors) closeQuietly(descriptor);
      this.#broke(error instanceof Error ? error.message : String(error));
    }
  }

  #watchLines(descriptor: number): void {
    const lines = readLines(descriptor);
    if (lines === null) return clearInterval(this.#watch);
    const text = JSON.stringify(lines);
    if (text === this.#lines) return;
    this.#lines = text;
    this.#end.lines(lines);
  }

  #offer(data: Uint8Array): void {
    const taken = this.#end.input(data);
    if (taken === data.length || !this.#open) return;
    this.#open.reader.pause();
    this.#timer = setTimeout(() => {
      this.#open?.reader.resume();
      this.#offer(data.subarray(taken));
    }, retryMs);
  }

  #broke(reason: string): void {
    if (this.#closed) return;
    if (this.#open) this.#lost(reason);
    this.#disconnect();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), returnMs);
    this.#timer.unref();
  }

  #disconnect(): void {
    const open = this.#open;
    this.#open = null;
    clearTimeout(this.#drain);
    clearInterval(this.#watch);
    this.#drain = undefined;
    open?.reader.destroy();
    if (open) closeQuietly(open.output);
  }
}

function closeQuietly(descriptor: number): void {
  try {
    closeSync(descriptor);
  } catch {
    // The stream that took it over has closed it.
  }
}
