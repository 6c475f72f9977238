/**
 * Text of instructions in Intel's syntax, from the decoder's result: for people who read states of machines, and for tests that failed.
 */
import type { CodeSize, Decoded } from './decoder.ts';
import { DecodeFault, Decoder, NeedMoreBytes } from './decoder.ts';
import { defaultSize } from './encoder.ts';
import { mnemonic, splitName, stackOperands, x87MemoryWidth } from './mnemonics.ts';
import type { RegisterClass } from './registers.ts';
import { registerOf } from './registers.ts';
import type { Row } from './rows.ts';
import { gatherSelectors } from './selectors.ts';
import { invalidRow, rows } from './table/index.ts';
import { DS, GS, FS, SEGMENTS, SEGMENT_SIZE, SS, STATE, X87, XMM, ZERO } from '../cpu/layout.ts';

export interface Disassembled {
  /** In bytes; 1 for what is no instruction. */
  readonly length: number;
  readonly text: string;
  /** Null for what is no instruction. */
  readonly row: Row | null;
}

const SIZE_WORDS: Readonly<Record<number, string>> = {
  8: 'byte', 16: 'word', 32: 'dword', 48: 'fword', 64: 'qword', 80: 'tbyte', 128: 'xmmword',
};
const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;
const FIXED_WIDTH: Readonly<Record<string, number>> = { b: 8, w: 16, d: 32, q: 64, dq: 128 };
const REPEATS_COMPARING = /^(CMPS|SCAS)/;

let shared: Decoder | null = null;

/**
 * Disassembles the instruction at `bytes[at]`.
 * @param address where that byte lies for the guest: targets of branches count from it
 */
export function disassemble(bytes: Uint8Array, at: number, code: CodeSize, address = 0n): Disassembled {
  shared ??= new Decoder(rows, invalidRow);
  try {
    const decoded = shared.decode(bytes, at, bytes.length, code);
    if (decoded.row === invalidRow || decoded.row.name === 'ESC') return { length: 1, text: '(bad)', row: null };
    const text = new Writer(decoded, code, address).text();
    return { length: decoded.length, text, row: decoded.row };
  } catch (error) {
    if (error instanceof NeedMoreBytes) return { length: bytes.length - at, text: '(incomplete)', row: null };
    if (error instanceof DecodeFault) return { length: 1, text: '(bad)', row: null };
    throw error;
  }
}

class Writer {
  private readonly d: Decoded;
  private readonly code: CodeSize;
  private readonly address: bigint;

  constructor(decoded: Decoded, code: CodeSize, address: bigint) {
    this.d = decoded;
    this.code = code;
    this.address = address;
  }

  text(): string {
    const { d } = this;
    const name = mnemonic(d.row, d, defaultSize(d.row, this.code)).toLowerCase();
    const [, fixed] = splitName(d.row);
    const operands = fixed !== null ? [fixed.toLowerCase()] : this.operands();
    return `${this.prefix()}${name}${operands.length > 0 ? ` ${operands.join(', ')}` : ''}`;
  }

  private prefix(): string {
    const { d } = this;
    let text = d.lock ? 'lock ' : '';
    if (d.row.has.string) {
      if (d.repeat === 2) text += 'repne ';
      if (d.repeat === 1) text += REPEATS_COMPARING.test(d.row.name) ? 'repe ' : 'rep ';
      if (d.segmentNumber !== DS) text += `${SEGMENT_NAMES[d.segmentNumber]!} `;
    }
    return text;
  }

  private operands(): string[] {
    const { d } = this;
    if (d.row.has.x87 && d.row.letters.length === 0) {
      return stackOperands(d.row).map(slot => (slot === 'AX' ? 'ax' : slot === 'i' ? `st${d.modrm & 7}` : 'st0'));
    }
    let immediates = 0;
    return d.row.letters.map((letter) => {
      const isImmediate = /^[IJA]/.test(letter) && letter !== 'AL' && letter !== 'AX';
      return this.operand(letter, isImmediate ? immediates++ : 0);
    });
  }

  private operand(letter: string, immediate: number): string {
    const { d } = this;
    switch (letter) {
      case 'AL': case 'AX': case 'CL': case 'DX': return letter.toLowerCase();
      case 'rAX': return this.register('general', 0, d.row.name === 'IN' || d.row.name === 'OUT' ? Math.min(d.opSize, 32) : d.opSize);
      case '1': return '1';
    }
    const suffix = letter.slice(1);
    switch (letter[0]) {
      case 'I': return this.immediate(letter, immediate);
      case 'J': return this.target();
      case 'A': return `${hex(BigInt(d.aux))}:${hex(BigInt.asUintN(d.opSize, BigInt(d.immediateLow)))}`;
      case 'O': return this.memory(this.width(suffix), BigInt.asUintN(d.addressSize, wide(d)));
      case 'E': case 'W': case 'Q': case 'M':
        if (d.memory) return this.memory(this.memoryWidth(letter));
        return this.slot(letter, d.e);
      case 'R': case 'N': case 'U': case 'Z': return this.slot(letter, d.e);
      case 'B': return this.register('general', d.aux / 8, this.width(suffix));
      default: return this.slot(letter, d.g);
    }
  }

  private width(suffix: string): number {
    const { d } = this;
    if (suffix === 'v') return d.opSize;
    if (suffix === 'z') return Math.min(d.opSize, 32);
    if (suffix === 'y') return d.rexW || d.opSize === 64 ? 64 : 32;
    return FIXED_WIDTH[suffix] ?? 64;
  }

  private memoryWidth(letter: string): number | null {
    if (letter === 'M') return x87MemoryWidth(this.d.row);
    if (letter === 'Mp') return this.d.opSize + 16;
    if (letter === 'Ma') return this.d.opSize * 2;
    return this.width(letter.slice(1));
  }

  private register(kind: RegisterClass, number: number, width: number): string {
    return registerOf(kind, number, width)?.name ?? `(${kind} ${number})`;
  }

  /** A register operand from the decoder's offset into the state. */
  private slot(letter: string, offset: number): string {
    switch (letter[0]) {
      case 'V': case 'W': case 'U': return this.register('xmm', (offset - (XMM - STATE)) / 16, 128);
      case 'P': case 'Q': case 'N': return this.register('mmx', (offset - (X87 - STATE)) / 16, 64);
      case 'S': return this.register('segment', (offset - (SEGMENTS - STATE)) / SEGMENT_SIZE, 16);
      case 'C': return `cr${offset}`;
      case 'D': return `dr${offset}`;
    }
    if ((offset & 7) === 1) return this.register('high', offset >> 3, 8);
    // General registers beside control and debug registers are as wide as the code allows.
    return this.register('general', offset / 8, letter === 'Rq' ? (this.code === 64 ? 64 : 32) : this.width(letter.slice(1)));
  }

  private immediate(letter: string, which: number): string {
    const { d } = this;
    if (which > 0) return hex(BigInt(d.aux & 0xff));
    if (d.row.has.selectors) return hex(BigInt(gatherSelectors(d.immediateLow, d.immediateHigh)));
    const value = wide(d);
    if (letter === 'Ib') return hex(BigInt.asUintN(8, value));
    if (letter === 'Iw') return hex(BigInt.asUintN(16, value));
    return hex(BigInt.asUintN(d.opSize, value));
  }

  private target(): string {
    const { d } = this;
    const bits = this.code === 64 ? 64 : d.opSize;
    return hex(BigInt.asUintN(bits, this.address + BigInt(d.displacement)));
  }

  private memory(width: number | null, direct: bigint | null = null): string {
    const { d } = this;
    const word = width === null ? undefined : SIZE_WORDS[width];
    const parts: string[] = [];
    const hasBase = direct === null && d.e !== ZERO - STATE;
    if (hasBase) parts.push(this.register('general', d.e / 8, d.addressSize));
    if (direct === null && d.hasIndex) {
      const scale = 1 << d.scale;
      parts.push(this.register('general', d.index / 8, d.addressSize) + (scale > 1 || !hasBase ? `*${scale}` : ''));
    }
    const text = direct !== null ? hex(direct) : this.displacement(parts);
    return `${word === undefined ? '' : `${word} ptr `}${this.override(hasBase)}[${text}]`;
  }

  private displacement(parts: readonly string[]): string {
    const { d } = this;
    if (d.ripRelative) return `rip${signed(d.displacement - d.length)}`;
    if (parts.length === 0) return hex(BigInt.asUintN(d.addressSize, BigInt(d.displacement)));
    const value = d.addressSize === 16 ? (d.displacement << 16) >> 16 : d.displacement;
    return parts.join('+') + (value === 0 ? '' : signed(value));
  }

  /** The segment, when it is not the one that the address implies. */
  private override(hasBase: boolean): string {
    const { d, code } = this;
    if (code === 64) return d.segmentNumber >= FS ? `${SEGMENT_NAMES[Math.min(d.segmentNumber, GS)]!}:` : '';
    const base = d.e / 8;
    const implied = hasBase && (base === 5 || (base === 4 && d.addressSize !== 16)) ? SS : DS;
    return d.segmentNumber === implied ? '' : `${SEGMENT_NAMES[d.segmentNumber]!}:`;
  }
}

function wide({ immediateHigh, immediateLow }: Decoded): bigint {
  return (BigInt(immediateHigh) << 32n) | BigInt(immediateLow >>> 0);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function signed(value: number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `+0x${value.toString(16)}`;
}
