/**
 * The instruction decoder: bytes to row, form and operand fields. Driven by the rows; knows only the encoding rules
 * (SDM 2A, chapter 2).
 */
import {
  CONTEXT_LONG, CONTEXT_MODRM_REGISTER, CONTEXT_PREFIX_SHIFT, CONTEXT_REX_B, CONTEXT_VVVV, CONTEXT_W, candidateOf, opcodeIndex, opcodeMap, registerFile,
} from './opcodeMap.ts';
import type { Candidate, Opcode, RegisterFile } from './opcodeMap.ts';
import type { Row } from './rows.ts';
import { spreadSelectors } from './selectors.ts';
import { CS, DS, ES, FS, GS, SEGMENTS, SEGMENT_SIZE, SS, STATE, XMM, X87, ZERO } from '../cpu/layout.ts';

export const MAX_LENGTH = 15;
const ZERO_SLOT = ZERO - STATE;
const SEGMENT_SLOT = SEGMENTS - STATE;
const VEX_L = 4;
const VEX_VVVV = 0x78;
const NO_OPCODE: Opcode = { candidates: [], hasModrm: false };
/** BX+SI BX+DI BP+SI BP+DI SI DI BP BX. */
const BASES16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDEXES16 = [6, 7, 6, 7, -1, -1, -1, -1];

/** What a legacy prefix is; those of segments by the segment's number behind `segment`. */
const prefixKind = { none: 0, operand: 1, address: 2, lock: 3, repeatEqual: 4, repeatUnequal: 5, segment: 8 } as const;
const PREFIXES = new Uint8Array(256);
for (const [byte, kind] of [
  [0x66, prefixKind.operand], [0x67, prefixKind.address], [0xf0, prefixKind.lock], [0xf3, prefixKind.repeatEqual], [0xf2, prefixKind.repeatUnequal],
  [0x2e, prefixKind.segment + CS], [0x36, prefixKind.segment + SS], [0x3e, prefixKind.segment + DS], [0x26, prefixKind.segment + ES],
  [0x64, prefixKind.segment + FS], [0x65, prefixKind.segment + GS],
] as const) PREFIXES[byte] = kind;

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

export class Decoder {
  private readonly opcodes: readonly Opcode[];
  private readonly invalid: Candidate;
  readonly out: Decoded;
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  private start = 0;
  private end = 0;

  /** `invalid` is the row that raises #UD. */
  constructor(rows: readonly Row[], invalid: Row) {
    this.opcodes = opcodeMap(rows);
    this.invalid = candidateOf(invalid);
    this.out = {
      row: invalid, length: 1, opSize: 32, addressSize: 32, memory: false, rexW: false, repeat: 0, lock: false, ripRelative: false,
      hasIndex: false, g: 0, e: 0, index: ZERO_SLOT, scale: 0, segment: ZERO_SLOT, segmentNumber: DS, displacement: 0, immediateLow: 0,
      immediateHigh: 0, aux: 0, modrm: 0,
    };
  }

  private u8(): number {
    if (this.at - this.start >= MAX_LENGTH) throw new DecodeFault(13);
    if (this.at >= this.end) throw NEED_MORE_BYTES;
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
      const kind = PREFIXES[byte]!;
      if (kind === prefixKind.none) {
        if (codeSize !== 64 || (byte & 0xf0) !== 0x40) break;
        rex = byte;
        continue;
      }
      if (kind === prefixKind.operand) operandPrefix = true;
      else if (kind === prefixKind.address) addressPrefix = true;
      else if (kind === prefixKind.lock) out.lock = true;
      else if (kind === prefixKind.repeatEqual) repeat = 1;
      else if (kind === prefixKind.repeatUnequal) repeat = 2;
      // In 64-bit code the others are ignored.
      else if (codeSize !== 64 || kind >= prefixKind.segment + FS) override = kind - prefixKind.segment;
      rex = 0; // REX counts only directly before the opcode
    }
    let map = 0;
    let vex = 0;
    let known = true;
    if ((byte === 0xc4 || byte === 0xc5) && this.isVex(codeSize)) {
      // No other prefix but those of segment and address size may come before VEX.
      const allowed = !operandPrefix && repeat === 0 && !out.lock && rex === 0;
      vex = this.vexPrefix(byte === 0xc4);
      rex = codeSize === 64 ? (vex >> 16) & 15 : 0;
      map = (vex >> 8) & 31;
      byte = this.u8();
      // The opcode of an undefined map decodes to nothing.
      known = allowed && map > 0 && map <= 3 && (vex & VEX_L) === 0;
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
    const opcode = known ? this.opcodes[opcodeIndex(vex !== 0, map, byte)]! : NO_OPCODE;
    let modrm = 0;
    if (opcode.hasModrm) {
      modrm = this.u8();
      this.at--;
    }
    const prefix = vex ? vex & 3 : repeat !== 0 ? repeat + 1 : operandPrefix ? 1 : 0;
    const candidate = this.choose(opcode, modrm | (prefix << CONTEXT_PREFIX_SHIFT) | (rexW ? CONTEXT_W : 0) | ((rex & 1) !== 0 ? CONTEXT_REX_B : 0)
      | (codeSize === 64 ? CONTEXT_LONG : 0) | (modrm >= 0xc0 ? CONTEXT_MODRM_REGISTER : 0) | ((vex & VEX_VVVV) !== 0 ? CONTEXT_VVVV : 0));
    const { row } = candidate;
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
    out.modrm = modrm;
    const usesSixtySix = row.prefix === '66';
    if (codeSize === 64) {
      if (row.has.f64) out.opSize = 64;
      else if (rexW) out.opSize = 64;
      else if (operandPrefix && !usesSixtySix) out.opSize = 16;
      else out.opSize = row.has.d64 ? 64 : 32;
    } else out.opSize = (codeSize === 32) !== (operandPrefix && !usesSixtySix) ? 32 : 16;
    if (row === this.invalid.row) {
      // The length of an undefined instruction does not matter: it faults.
      out.length = this.at - this.start;
      out.lock = false;
      return out;
    }
    this.setSegment(out, override, DS, codeSize);
    if (row.hasModrm) this.operandsOf(candidate, rex, codeSize, override);
    else if (candidate.low !== registerFile.none) out.e = this.registerSlot(candidate.low, (byte & 7) | ((rex & 1) << 3), rex);
    if (candidate.immediates.length > 0) this.immediates(candidate, codeSize);
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
      out.row = this.invalid.row;
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

  private choose({ candidates }: Opcode, context: number): Candidate {
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[i]!;
      if ((context & candidate.mask) === candidate.value) return candidate;
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

  private registerSlot(file: RegisterFile, number: number, rex: number): number {
    switch (file) {
      case registerFile.general: return number * 8;
      case registerFile.byte: return this.byteRegister(number, rex);
      case registerFile.xmm: return XMM - STATE + number * 16;
      case registerFile.x87: return X87 - STATE + (number & 7) * 16;
      case registerFile.segment: return SEGMENT_SLOT + (number & 7) * SEGMENT_SIZE;
      case registerFile.number: return number;
      default: return 0;
    }
  }

  private operandsOf({ row, reg, rm }: Candidate, rex: number, codeSize: CodeSize, override: number): void {
    const out = this.out;
    const modrm = this.u8();
    out.g = this.registerSlot(reg, ((modrm >> 3) & 7) | ((rex & 4) << 1), rex);
    if (row.modrm >= 0) return;
    if (modrm >= 0xc0 || row.has.anymod) {
      out.e = this.registerSlot(rm, (modrm & 7) | ((rex & 1) << 3), rex);
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
    // 16-bit registers: the sum is wrapped, so reading more of them does no harm.
    let segment = DS;
    if (mod === 0 && rm === 6) {
      out.displacement = this.u16();
    } else {
      out.e = BASES16[rm]! * 8;
      if (INDEXES16[rm]! >= 0) {
        out.index = INDEXES16[rm]! * 8;
        out.hasIndex = true;
      }
      if (BASES16[rm] === 5) segment = SS;
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

  private immediates({ row, immediates }: Candidate, codeSize: CodeSize): void {
    const out = this.out;
    let first = true;
    for (const letter of immediates) {
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

/** One for all: pages end within instructions all the time, and what made it would walk the stack. */
const NEED_MORE_BYTES = new NeedMoreBytes();

