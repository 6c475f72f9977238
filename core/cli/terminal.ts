/** A serial line on standard input and output: raw while it is a terminal, with Ctrl-A as the escape key. */

const CTRL_A = 0x01;
const escapeHelp = '\r\nCtrl-A x  quit\r\nCtrl-A b  send a break\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n';

export interface TerminalInput {
  /** Bytes to send; `false` or a smaller number means the rest is to be offered again. */
  send(bytes: Uint8Array): number;
  quit(): void;
  sendBreak(): void;
}

/** How often input that found no room is offered again. */
const RETRY_MS = 10;

/** Reads standard input until `stop`; the end of input stops nothing. */
export class Terminal {
  readonly #input: TerminalInput;
  #pending: Uint8Array[] = [];
  #retry: NodeJS.Timeout | undefined;
  #escaped = false;
  #raw = false;

  constructor(input: TerminalInput) {
    this.#input = input;
    process.stdin.on('error', () => undefined);
    process.stdin.on('data', this.#receive);
    if (process.stdin.isTTY) {
      process.stdin.setRawMode(true);
      this.#raw = true;
    }
  }

  stop(): void {
    clearTimeout(this.#retry);
    process.stdin.off('data', this.#receive);
    process.stdin.pause();
    process.stdin.unref?.();
    if (this.#raw) process.stdin.setRawMode(false);
    this.#raw = false;
  }

  readonly #receive = (chunk: Buffer): void => {
    const bytes = this.#unescape(chunk);
    if (bytes.length > 0) this.#pending.push(bytes);
    this.#offer();
  };

  #offer = (): void => {
    for (;;) {
      const first = this.#pending[0];
      if (!first) break;
      const taken = this.#input.send(first);
      if (taken < first.length) {
        this.#pending[0] = first.subarray(taken);
        process.stdin.pause();
        clearTimeout(this.#retry);
        this.#retry = setTimeout(this.#offer, RETRY_MS);
        return;
      }
      this.#pending.shift();
    }
    process.stdin.resume();
  };

  #unescape(chunk: Uint8Array): Uint8Array {
    if (!this.#escaped && !chunk.includes(CTRL_A)) return chunk;
    const out: number[] = [];
    for (const byte of chunk) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else out.push(byte);
        continue;
      }
      this.#escaped = false;
      const key = String.fromCharCode(byte).toLowerCase();
      if (byte === CTRL_A || key === 'a') out.push(CTRL_A);
      else if (key === 'x') this.#input.quit();
      else if (key === 'b') this.#input.sendBreak();
      else if (key === 'h' || key === '?') process.stderr.write(escapeHelp);
    }
    return Uint8Array.from(out);
  }
}

/** Writes to standard output and says when it may take more. A reader that went away ends the process as it would any filter. */
export function writeOutput(bytes: Uint8Array, drained: () => void): boolean {
  if (process.stdout.write(bytes)) return true;
  process.stdout.once('drain', drained);
  return false;
}
