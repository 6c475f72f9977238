/** A machine without a processor, for tests of what surrounds one: it obeys words on COM1 as a guest's programs would cause them. */
import type { Answers, Machine, MachineConfig, MachineExit, MachineHost, MachineStatistics, QuestionKind, SliceResult } from '../../core/machine/types.ts';

class BootError extends Error {
  override readonly name = 'BootError';
  readonly hint = 'Choose another kernel.';
  readonly field = 'boot.kernel';
}

import { HISTORY_PENDING } from '../../core/cpu/layout.ts';
import type { SnapshotPoint } from '../../core/snapshot/guestMemory.ts';

const text = new TextEncoder();

export function createMachine(config: MachineConfig, host: MachineHost): Promise<Machine> {
  if (config.boot.kind === 'image' && config.boot.kernel[0] === 0xff) return Promise.reject(new BootError('The kernel is neither a bzImage nor a multiboot image.'));
  return Promise.resolve(new WordMachine(config, host));
}

class WordMachine implements Machine {
  readonly held = false;
  readonly #config: MachineConfig;
  readonly #host: MachineHost;
  #line = '';
  #slices = 0;
  #started = false;
  #spin = false;
  #flood = 0;
  #exit: MachineExit | null = null;
  #memory: SharedArrayBuffer | null = null;
  #written = false;

  constructor(config: MachineConfig, host: MachineHost) {
    this.#config = config;
    this.#host = host;
  }

  runSlice(): SliceResult {
    this.#slices += 1;
    if (!this.#started) {
      this.#started = true;
      this.#print(`READY ${this.#config.memoryBytes / 1048576}M ${this.#config.boot.kind === 'image' ? this.#config.boot.append : 'monitor'}\r\n`);
    }
    if (this.#flood > 0) {
      const count = Math.min(this.#flood, 4096);
      this.#host.serialOutput(0, new Uint8Array(count).fill(46));
      this.#flood -= count;
      return { kind: 'ran' };
    }
    if (this.#exit) return { kind: 'stopped', exit: this.#exit };
    if (this.#spin) {
      const until = performance.now() + 1;
      while (performance.now() < until);
      return { kind: 'ran' };
    }
    return { kind: 'halted', wakeInNs: null };
  }

  serialInput(port: number, bytes: Uint8Array): number {
    if (this.#flood > 0) return 0; // Busy: its FIFO is full.
    // As small as a UART's FIFO: the rest has to wait.
    const taken = bytes.subarray(0, 16);
    for (const byte of taken) {
      const character = String.fromCharCode(byte);
      // A terminal's Enter is a carriage return; a script's is a line feed.
      this.#host.serialOutput(port, character === '\r' ? text.encode('\r\n') : Uint8Array.of(byte));
      if (character !== '\n' && character !== '\r') this.#line += character;
      else this.#obey(this.#line.trim());
    }
    return taken.length;
  }

  setPaused(): void {}

  powerButton(): void {
    this.#print('POWER BUTTON\r\n');
    this.#exit = { reason: 'power-off' };
  }

  reset(): void {
    this.#started = false;
    this.#exit = null;
    this.#spin = false;
  }

  snapshot(): SnapshotPoint {
    const { memoryBytes } = this.#config;
    const pages = Uint32Array.from({ length: this.#written ? memoryBytes / 4096 : 0 }, (_, page) => page);
    const { buffer } = this.#ram;
    new Uint8Array(buffer, memoryBytes).fill(HISTORY_PENDING, 0, pages.length);
    return {
      memory: { buffer, ram: 0, bytes: memoryBytes, history: memoryBytes },
      state: { words: { version: 1, line: this.#line, started: this.#started } }, pages,
    };
  }

  /** Memory, and a byte of history for each page of it. */
  get #ram(): Uint32Array<SharedArrayBuffer> {
    const { memoryBytes } = this.#config;
    this.#memory ??= new SharedArrayBuffer(memoryBytes + memoryBytes / 4096);
    return new Uint32Array(this.#memory, 0, memoryBytes / 4);
  }

  fillPages(): boolean {
    return true;
  }

  statistics(): MachineStatistics {
    return { instructions: this.#slices, exits: { HLT: this.#slices }, memoryBytes: this.#config.memoryBytes, engine: {} };
  }

  describe(): string {
    return 'RIP=0000000000007c00';
  }

  answer<K extends QuestionKind>(): Answers[K] {
    throw new Error('the double has no processor to ask');
  }

  #obey(line: string): void {
    this.#line = '';
    const [word, argument] = line.split(' ');
    if (word === 'poweroff') this.#exit = { reason: 'power-off' };
    else if (word === 'exit') this.#exit = { reason: 'debug-exit', value: Number(argument) };
    else if (word === 'triple') this.#exit = { reason: 'triple-fault', state: 'RIP=0000000000007c00 CR0=00000010' };
    else if (word === 'reboot') this.#exit = { reason: 'reset' };
    else if (word === 'spin') this.#spin = true;
    else if (word === 'flood') this.#flood = Number(argument);
    else if (word === 'die') process.kill(process.pid, 'SIGKILL');
    else if (word === 'throw') throw new Error('the double was told to throw');
    else if (word === 'write') this.#write();
    else if (word === 'say') this.#print(`${line.slice(4)}\r\n`);
  }

  /** No page is as another one, nor empty. */
  #write(): void {
    const ram = this.#ram;
    for (let at = 0; at < ram.length; at += 1024) ram[at] = at + 1;
    this.#written = true;
    this.#print('WRITTEN\r\n');
  }

  #print(line: string): void {
    this.#host.serialOutput(0, text.encode(line));
  }
}
