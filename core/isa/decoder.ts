/**
 * The instruction decoder: bytes to row, form and operand fields. Driven by the rows; knows only the encoding rules
 * (SDM 2A, chapter 2).
 */
import type { Row } from './rows.ts';
import { spreadSelectors } from './selectors.ts';
import { CS, DS, ES, FS, GS, SEGMENTS, SEGMENT_SIZE, SS, STATE, XMM, X87, ZERO } from '../cpu/layout.ts';

export const MAX_LENGTH = 15;
const ZERO_SLOT = ZERO - STATE;
const SEGMENT_SLOT = SEGMENTS - STATE;
/** The opcode maps of VEX-coded instructions lie behind the four legacy ones. */
const VEX_MAPS = 1024;
const VEX_L = 4;
const VEX_VVVV = 0x78;
const UNDEFINED_VEX = -1;
const NO_ROWS: readonly Row[] = [];
const MANDATORY_PREFIXES = ['NP', '66', 'F3', 'F2'] as const;

/** The decoder's result; one object is reused. Register fields are offsets from STATE. */
export interface Decoded {
  row: Row;
  length: number;
  opSize: 16 | 32 | 64;
  addressSize: 16 | 32 | 64;
  memory: boolean;
  rexW: boolean;
  repeat: 0 | 1 | 2;
  lock: boolean;
  ripRelative: boolean;
  hasIndex: boolean;
  g: number;
  e: number;
  index: number;
  scale: number;
  segment: number;
  /** Segment number (ES 0 ... GS 5) of the memory operand or of a string source. */
  segmentNumber: number;
  /** Of a direct branch and of an operand relative to RIP: from the instruction's first byte; may pass 2^31 by the length. */
  displacement: number;
  immediateLow: number;
  immediateHigh: number;
  aux: number;
  modrm: number;
}

export class DecodeFault extends Error {
  readonly vector: 6 | 13;
  constructor(vector: 6 | 13) {
    super(vector === 6 ? '#UD' : '#GP');
    this.vector = vector;
  }
}

export type CodeSize = 16 | 32 | 64;

/** Rows by map and opcode byte. */
export class Decoder {
  private readonly candidates: Row[][] = [];
  private readonly invalid: Row;
  readonly out: Decoded;
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  private start = 0;
  private end = 0;

  /** `invalid` is the row that raises #UD. */
  constructor(rows: readonly Row[], invalid: Row) {
    for (let i = 0; i < 2 * VEX_MAPS; i++) this.candidates.push([]);
    for (const row of rows) this.candidates[(row.vex ? VEX_MAPS : 0) | (row.map << 8) | row.byte]!.push(row);
    // A row with more conditions is asked first.
    const weight = (row: Row): number => (row.modrm >= 0 ? 8 : 0) + (row.digit >= 0 ? 4 : 0) + (row.prefix !== 'none' ? 2 : 0) + (row.w >= 0 ? 1 : 0)
      + (row.has.mem || row.has.reg ? 1 : 0);
    for (const list of this.candidates) list.sort((a, b) => weight(b) - weight(a));
    this.invalid = invalid;
    this.out = {
      row: invalid, length: 1, opSize: 32, addressSize: 32, memory: false, rexW: false, repeat: 0, lock: false, ripRelative: false,
      hasIndex: false, g: 0, e: 0, index: ZERO_SLOT, scale: 0, segment: ZERO_SLOT, segmentNumber: DS, displacement: 0, immediateLow: 0,
      immediateHigh: 0, aux: 0, modrm: 0,
    };
  }

  private u8(): number {
    if (this.at - this.start >= MAX_LENGTH) throw new DecodeFault(13);
    if (this.at >= this.end) throw new NeedMoreBytes();
    return this.bytes[this.at++]!;
  }

  private u16(): number {
    return this.u8() | (this.u8() << 8);
  }

  private i32(): number {
    return this.u8() | (this.u8() << 8) | (this.u8() << 16) | (this.u8() << 24);
  }

  /**
   * Decodes the instruction at `bytes[at]`; `limit` is the exclusive end of what may be read.
   * An undefined encoding decodes to the #UD row. Throws NeedMoreBytes when the instruction goes on past `limit`, and
   * DecodeFault(13) when it is longer than 15 bytes.
   */
  decode(bytes: Uint8Array, at: number, limit: number, codeSize: CodeSize): Decoded {
    this.bytes = bytes;
    this.at = this.start = at;
    this.end = limit;
    const out = this.out;
    let operandPrefix = false;
    let addressPrefix = false;
    let repeat: 0 | 1 | 2 = 0;
    let override = -1;
    let rex = 0;
    out.lock = false;
    let byte: number;
    for (;;) {
      byte = this.u8();
      if (byte === 0x66) operandPrefix = true;
      else if (byte === 0x67) addressPrefix = true;
      else if (byte === 0xf0) out.lock = true;
      else if (byte === 0xf3) repeat = 1;
      else if (byte === 0xf2) repeat = 2;
      else if (byte === 0x2e) override = codeSize === 64 ? (override >= FS ? override : -1) : CS;
      else if (byte === 0x36) override = codeSize === 64 ? (override >= FS ? override : -1) : SS;
      else if (byte === 0x3e) override = codeSize === 64 ? (override >= FS ? override : -1) : DS;
      else if (byte === 0x26) override = codeSize === 64 ? (override >= FS ? override : -1) : ES;
      else if (byte === 0x64) override = FS;
      else if (byte === 0x65) override = GS;
      else if (codeSize === 64 && byte >= 0x40 && byte <= 0x4f) {
        rex = byte;
        continue;
      } else break;
      rex = 0; // REX counts only directly before the opcode
    }
    let map = 0;
    let vex = 0;
    if ((byte === 0xc4 || byte === 0xc5) && this.isVex(codeSize)) {
      // No other prefix but those of segment and address size may come before VEX.
      const allowed = !operandPrefix && repeat === 0 && !out.lock && rex === 0;
      vex = this.vexPrefix(byte === 0xc4);
      rex = codeSize === 64 ? (vex >> 16) & 15 : 0;
      map = (vex >> 8) & 31;
      byte = this.u8();
      // The opcode of an undefined map decodes to nothing.
      if (!allowed || map === 0 || map > 3 || (vex & VEX_L) !== 0) byte = UNDEFINED_VEX;
      map &= 3;
    } else if (byte === 0x0f) {
      byte = this.u8();
      map = 1;
      if (byte === 0x38 || byte === 0x3a) {
        map = byte === 0x38 ? 2 : 3;
        byte = this.u8();
      }
    }
    const rexW = (rex & 8) !== 0;
    out.rexW = rexW;
    out.repeat = repeat;
    out.addressSize = codeSize === 64 ? (addressPrefix ? 32 : 64) : (codeSize === 32) !== addressPrefix ? 32 : 16;
    const candidates = byte === UNDEFINED_VEX ? NO_ROWS : this.candidates[(vex ? VEX_MAPS : 0) | (map << 8) | byte]!;
    let modrm = -1;
    const modrmAt = this.at;
    if (candidates.length > 0 && candidates.some(row => row.hasModrm)) {
      modrm = this.u8();
      this.at = modrmAt;
    }
    const mandatory = vex ? MANDATORY_PREFIXES[vex & 3]! : repeat === 1 ? 'F3' : repeat === 2 ? 'F2' : operandPrefix ? '66' : 'NP';
    const row = this.choose(candidates, modrm, mandatory, operandPrefix, rex, codeSize, vex);
    out.row = row;
    out.memory = false;
    out.ripRelative = false;
    out.hasIndex = false;
    out.aux = 0;
    out.displacement = 0;
    out.immediateLow = 0;
    out.immediateHigh = 0;
    out.g = 0;
    out.e = ZERO_SLOT;
    out.index = ZERO_SLOT;
    out.scale = 0;
    out.modrm = modrm < 0 ? 0 : modrm;
    const usesSixtySix = row.prefix === '66';
    if (codeSize === 64) {
      if (row.has.f64) out.opSize = 64;
      else if (rexW) out.opSize = 64;
      else if (operandPrefix && !usesSixtySix) out.opSize = 16;
      else out.opSize = row.has.d64 ? 64 : 32;
    } else out.opSize = (codeSize === 32) !== (operandPrefix && !usesSixtySix) ? 32 : 16;
    if (row === this.invalid) {
      // The length of an undefined instruction does not matter: it faults.
      out.length = this.at - this.start;
      out.lock = false;
      return out;
    }
    out.segmentNumber = override >= 0 ? override : DS;
    this.setSegment(out, override, DS, codeSize);
    if (row.hasModrm) this.operandsOf(row, rex, codeSize, override);
    else if (row.low >= 0 && row.letters.some(letter => letter[0] === 'Z')) {
      const number = (byte & 7) | ((rex & 1) << 3);
      out.e = row.letters.includes('Zb') ? this.byteRegister(number, rex) : number * 8;
    }
    this.immediates(row, codeSize);
    if (row.vex) out.aux = ((vex >> 3) & (codeSize === 64 ? 15 : 7)) * 8;
    // The x87 instructions record their opcode and operand.
    if (row.has.x87) out.aux = out.modrm | (out.segmentNumber << 8);
    out.length = this.at - this.start;
    if (row.has.relative) {
      // Relative to the first byte of the page: the caller adds the instruction's offset.
      out.displacement = out.immediateLow + out.length;
      out.immediateLow = -1;
      out.immediateHigh = codeSize === 64 ? -1 : 0;
      if (codeSize !== 64 && out.opSize === 16) out.immediateLow = 0xffff;
    } else if (out.ripRelative) out.displacement += out.length;
    if (out.lock && !(row.has.lock && out.memory)) {
      out.row = this.invalid;
      out.memory = false;
    }
    return out;
  }

  /** C4 and C5 are LES and LDS in 16-bit and 32-bit code unless ModRM would name a register. */
  private isVex(codeSize: CodeSize): boolean {
    if (codeSize === 64) return true;
    const next = this.u8();
    this.at--;
    return next >= 0xc0;
  }

  /** pp in bits 1:0, L in 2, vvvv (not inverted) in 6:3, map in 12:8, W R X B as in REX in 19:16, bit 20 set. @sdm 2A 2.3.5 */
  private vexPrefix(threeBytes: boolean): number {
    const first = this.u8();
    const last = threeBytes ? this.u8() : first;
    const fields = (last & 7) | ((~last & 0x78));
    const map = threeBytes ? first & 31 : 1;
    const rex = threeBytes ? ((~first >> 5) & 7) | ((last >> 4) & 8) : (~first >> 5) & 4;
    return fields | (map << 8) | (rex << 16) | (1 << 20);
  }

  private choose(candidates: readonly Row[], modrm: number, mandatory: string, operandPrefix: boolean, rex: number, codeSize: CodeSize, vex: number): Row {
    const rexW = (rex & 8) !== 0;
    for (const row of candidates) {
      // VEX.vvvv must be 1111b when it names no operand; it is kept inverted.
      if (row.vex && !row.usesVvvv && (vex & VEX_VVVV) !== 0) continue;
      if (row.prefix !== 'none') {
        if (row.prefix !== mandatory && !(row.prefix === '66' && operandPrefix && mandatory === '66')) continue;
      }
      if (row.w >= 0 && (row.w === 1) !== rexW) continue;
      if (row.modrm >= 0 && row.modrm !== modrm) continue;
      if (row.digit >= 0 && row.digit !== ((modrm >> 3) & 7)) continue;
      if (row.hasModrm && row.modrm < 0) {
        const isRegister = modrm >= 0xc0;
        if (row.has.mem && isRegister) continue;
        if (row.has.reg && !isRegister && !row.has.anymod) continue;
      }
      if (codeSize === 64 ? row.has.i64 : row.has.o64) continue;
      if (row.has.norep && (mandatory === 'F3' || mandatory === 'F2')) continue;
      if (row.has.norexb && (rex & 1) !== 0) continue;
      return row;
    }
    return this.invalid;
  }

  private byteRegister(number: number, rex: number): number {
    return rex === 0 && number >= 4 && number < 8 ? (number - 4) * 8 + 1 : number * 8;
  }

  private setSegment(out: Decoded, override: number, otherwise: number, codeSize: CodeSize): void {
    const number = override >= 0 ? override : otherwise;
    out.segmentNumber = number;
    out.segment = codeSize === 64 && number < FS ? ZERO_SLOT : SEGMENT_SLOT + number * SEGMENT_SIZE;
  }

  private registerSlot(letter: string, number: number, rex: number): number {
    switch (letter[0]) {
      case 'V': case 'W': case 'U': return XMM - STATE + number * 16;
      case 'P': case 'Q': case 'N': return X87 - STATE + (number & 7) * 16;
      case 'S': return SEGMENT_SLOT + (number & 7) * SEGMENT_SIZE;
      case 'C': case 'D': return number;
      default: return letter.endsWith('b') ? this.byteRegister(number, rex) : number * 8;
    }
  }

  private operandsOf(row: Row, rex: number, codeSize: CodeSize, override: number): void {
    const out = this.out;
    const modrm = this.u8();
    const mod = modrm >> 6;
    const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
    for (const letter of row.letters) {
      if ('GVPSCD'.includes(letter[0]!) && letter.length > 1 && letter !== 'DX' && letter !== 'CL') out.g = this.registerSlot(letter, reg, rex);
    }
    if (row.has.xreg) out.g = reg;
    if (row.modrm >= 0) return;
    if (mod === 3 || row.has.anymod) {
      const number = (modrm & 7) | ((rex & 1) << 3);
      out.e = number * 8;
      for (const letter of row.letters) {
        if ('EWQRNUM'.includes(letter[0]!) && letter.length > 1) out.e = this.registerSlot(letter, number, rex);
      }
      return;
    }
    out.memory = true;
    if (out.addressSize === 16) this.address16(modrm, override, codeSize);
    else this.address32(modrm, rex, override, codeSize);
  }

  private address16(modrm: number, override: number, codeSize: CodeSize): void {
    const out = this.out;
    const mod = modrm >> 6;
    const rm = modrm & 7;
    // BX+SI BX+DI BP+SI BP+DI SI DI BP BX; 16-bit registers: the sum is wrapped, so reading more of them does no harm.
    const BASES = [3, 3, 5, 5, 6, 7, 5, 3];
    const INDEXES = [6, 7, 6, 7, -1, -1, -1, -1];
    let segment = DS;
    if (mod === 0 && rm === 6) {
      out.displacement = this.u16();
    } else {
      out.e = BASES[rm]! * 8;
      if (INDEXES[rm]! >= 0) {
        out.index = INDEXES[rm]! * 8;
        out.hasIndex = true;
      }
      if (BASES[rm] === 5) segment = SS;
      if (mod === 1) out.displacement = (this.u8() << 24) >> 24;
      else if (mod === 2) out.displacement = this.u16();
    }
    this.setSegment(out, override, segment, codeSize);
  }

  private address32(modrm: number, rex: number, override: number, codeSize: CodeSize): void {
    const out = this.out;
    const mod = modrm >> 6;
    const rm = modrm & 7;
    let segment = DS;
    let base = rm | ((rex & 1) << 3);
    let hasBase = true;
    if (rm === 4) {
      const sib = this.u8();
      const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
      if (index !== 4) {
        out.index = index * 8;
        out.scale = sib >> 6;
        out.hasIndex = true;
      }
      base = (sib & 7) | ((rex & 1) << 3);
      if ((sib & 7) === 5 && mod === 0) {
        hasBase = false;
        out.displacement = this.i32();
      }
    } else if (rm === 5 && mod === 0) {
      hasBase = false;
      out.displacement = this.i32();
      if (codeSize === 64) out.ripRelative = true;
    }
    if (hasBase) {
      out.e = base * 8;
      if ((base & 15) === 4 || (base & 15) === 5) segment = SS;
    }
    if (mod === 1) out.displacement = (this.u8() << 24) >> 24;
    else if (mod === 2) out.displacement = this.i32();
    this.setSegment(out, override, segment, codeSize);
  }

  private immediates(row: Row, codeSize: CodeSize): void {
    const out = this.out;
    let first = true;
    for (const letter of row.letters) {
      let low: number;
      let high: number | null = null;
      switch (letter) {
        case 'Ib': low = this.u8(); break;
        case 'Ibs': case 'Jb': low = (this.u8() << 24) >> 24; break;
        case 'Iw': low = this.u16(); break;
        case 'Iz': low = out.opSize === 16 ? (this.u16() << 16) >> 16 : this.i32(); break;
        case 'Jz': low = out.opSize === 16 && codeSize !== 64 ? (this.u16() << 16) >> 16 : this.i32(); break;
        case 'Iv':
          if (out.opSize === 64) {
            low = this.i32();
            high = this.i32();
          } else low = out.opSize === 16 ? this.u16() : this.i32();
          break;
        case 'Ap':
          low = out.opSize === 16 ? this.u16() : this.i32();
          out.aux = this.u16();
          high = 0;
          break;
        case 'Ob': case 'Ov':
          out.memory = true;
          if (out.addressSize === 64) {
            low = this.i32();
            high = this.i32();
          } else {
            low = out.addressSize === 16 ? this.u16() : this.i32();
            high = 0;
          }
          break;
        default: continue;
      }
      if (first) {
        out.immediateLow = low;
        out.immediateHigh = high ?? low >> 31;
        if (row.has.selectors) [out.immediateLow, out.immediateHigh] = spreadSelectors(low);
        first = false;
      } else out.aux = low;
    }
  }
}

/** The instruction continues beyond the bytes that were given. */
export class NeedMoreBytes extends Error {
  constructor() {
    super('instruction continues beyond the page');
  }
}

