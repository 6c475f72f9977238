/**
 * The frames of GDB's remote protocol: `$`, data, `#`, two digits of checksum. What arrives is not trusted: a frame that is too long or a byte
 * that begins nothing ends the connection. (Debugging with GDB, appendix E)
 */

/** The longest packet that is taken, and that is promised to GDB. */
export const PACKET_BYTES = 0x4000;

export type GdbInput =
  | { readonly kind: 'packet'; readonly data: Uint8Array }
  | { readonly kind: 'damaged' }
  | { readonly kind: 'acknowledged' }
  | { readonly kind: 'resend' }
  | { readonly kind: 'interrupt' }
  /** The peer does not speak the protocol. */
  | { readonly kind: 'broken' };

const DOLLAR = 0x24;
const HASH = 0x23;
const PLUS = 0x2b;
const MINUS = 0x2d;
const ESCAPE = 0x7d;
const STAR = 0x2a;
const INTERRUPT = 0x03;
const ESCAPED = new Set([DOLLAR, HASH, ESCAPE, STAR]);

type State = 'between' | 'data' | 'first-digit' | 'second-digit' | 'broken';

/** Cuts a stream of bytes into what it says. */
export class FrameReader {
  #state: State = 'between';
  readonly #data: number[] = [];
  #sum = 0;
  #digit = 0;
  #escaped = false;

  /** What the bytes complete, in order. Nothing follows `broken`. */
  read(bytes: Uint8Array): GdbInput[] {
    const inputs: GdbInput[] = [];
    for (const byte of bytes) {
      const input = this.#take(byte);
      if (input) inputs.push(input);
      if (this.#state === 'broken') break;
    }
    return inputs;
  }

  #take(byte: number): GdbInput | null {
    switch (this.#state) {
      case 'between': return this.#begin(byte);
      case 'data': return this.#add(byte);
      case 'first-digit':
        this.#digit = hexDigit(byte);
        this.#state = 'second-digit';
        return null;
      case 'second-digit': {
        this.#state = 'between';
        const right = this.#digit * 16 + hexDigit(byte) === (this.#sum & 0xff);
        return right ? { kind: 'packet', data: Uint8Array.from(this.#data) } : { kind: 'damaged' };
      }
      case 'broken': return null;
    }
  }

  #begin(byte: number): GdbInput | null {
    if (byte === PLUS) return { kind: 'acknowledged' };
    if (byte === MINUS) return { kind: 'resend' };
    if (byte === INTERRUPT) return { kind: 'interrupt' };
    if (byte !== DOLLAR) return this.#break();
    this.#state = 'data';
    this.#data.length = 0;
    this.#sum = 0;
    this.#escaped = false;
    return null;
  }

  #add(byte: number): GdbInput | null {
    if (byte === HASH) {
      this.#state = 'first-digit';
      return null;
    }
    this.#sum += byte;
    if (byte === ESCAPE && !this.#escaped) this.#escaped = true;
    else {
      this.#data.push(this.#escaped ? byte ^ 0x20 : byte);
      this.#escaped = false;
    }
    return this.#data.length > PACKET_BYTES ? this.#break() : null;
  }

  #break(): GdbInput {
    this.#state = 'broken';
    return { kind: 'broken' };
  }
}

function hexDigit(byte: number): number {
  const value = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(value) ? -1 : value;
}

/** A packet as it goes over the wire. */
export function frame(data: Uint8Array): Uint8Array {
  const out = [DOLLAR];
  let sum = 0;
  const put = (byte: number): void => {
    out.push(byte);
    sum += byte;
  };
  for (const byte of data) {
    if (!ESCAPED.has(byte)) put(byte);
    else {
      put(ESCAPE);
      put(byte ^ 0x20);
    }
  }
  const digits = (sum & 0xff).toString(16).padStart(2, '0');
  return Uint8Array.from([...out, HASH, digits.charCodeAt(0), digits.charCodeAt(1)]);
}
