/**
 * Fills the code arena: decodes runs of instructions into records, and finds or emits the code of each form.
 */
import { Decoder, DecodeFault, NeedMoreBytes } from '../isa/decoder.ts';
import type { CodeSize, Decoded } from '../isa/decoder.ts';
import type { Program } from '../isa/ir.ts';
import { invalidRow, rowsOf } from '../isa/table/index.ts';
import { RIP_RELATIVE, addressingOf, buildProgram, formKey, formName, formOf, ownDisplacement } from './forms.ts';
import type { PairNumbers } from './interpreter/pairs.ts';
import { CODE_SIZE, CR4, GPR, RAM_BASE, SS, STEP_RECORDS } from './layout.ts';
import {
  OP_CROSS, OP_GOTO, OP_RELOOKUP, OP_STOP, RECORD_SIZE, R_AUX, R_DISPLACEMENT, R_E, R_G, R_IMMEDIATE, R_INDEX, R_LENGTH, R_OFFSET, R_OP,
  R_SCALE, R_SEGMENT, RUN_LIMIT,
} from './record.ts';

const PAGE_SIZE = 4096;
const NO_ADDRESS = 0xffffffff;
const SIZES: readonly CodeSize[] = [16, 32, 64];
const CR4_LA57 = 0x1000;
const STACK_INSTRUCTION = /^(?:PUSH|POP(?!CNT)|CALL|RET|ENTER|LEAVE|IRET)/;

/** Of core/cpu/assembly; addresses come with a sign. */
export interface TranslatorHelpers {
  allocateRun(descriptor: number, count: number): number;
  markDecoded(descriptor: number, from: number, to: number): void;
  /** Guest-physical address of the instruction byte at RIP + delta, -1 when a fault is pending. */
  fetchAddress(delta: number): number;
  raiseError(vector: number, error: number): number;
}

/** Emits a form and returns its operation number, null when there is no room for it. */
export type FormCompiler = (program: Program, name: string) => number | null;

/** Where a guest-physical address lies in linear memory. Addresses wrap: the ROM below 4 GiB lies in front of RAM. */
function hostOf(gpa: number): number {
  return (RAM_BASE + gpa) >>> 0;
}

export class Translator {
  private readonly decoder: Decoder;
  private readonly operations = new Map<number, number>();
  private readonly names = new Map<number, string>();
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly helpers: TranslatorHelpers;
  private readonly compile: FormCompiler;
  private readonly hot: ReadonlyMap<string, number>;
  private readonly scratch = new DataView(new ArrayBuffer(RECORD_SIZE * (RUN_LIMIT + 2)));
  private readonly scratchWords = new Int32Array(this.scratch.buffer);
  private readonly words: Int32Array;
  /** Offsets in their page of the instructions of a run. */
  private readonly offsets = new Uint16Array(RUN_LIMIT);
  private readonly straddle = new Uint8Array(32);
  instructionsDecoded = 0;
  /** Offsets in a page at which a debugger looks: a stop stands there in place of the instruction (debug.ts). */
  readonly markedOffsets = new Set<number>();

  private readonly pairs: (long: boolean) => PairNumbers;

  /** `hot` maps form names to cases of the interpreter's switch. */
  constructor(memory: WebAssembly.Memory, helpers: TranslatorHelpers, hot: ReadonlyMap<string, number>, pairs: (long: boolean) => PairNumbers, compile: FormCompiler,
    features?: ReadonlySet<string>) {
    this.pairs = pairs;
    this.decoder = new Decoder(rowsOf(features), invalidRow);
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.helpers = helpers;
    this.hot = hot;
    this.compile = compile;
  }

  /** The name of an operation, for profiles and dumps. */
  nameOf(operation: number): string {
    return this.names.get(operation) ?? `operation ${operation}`;
  }

  /** Operations have other numbers from now on. */
  forgetOperations(): void {
    this.operations.clear();
    this.names.clear();
  }

  private operation(decoded: Decoded, codeSize: CodeSize): number {
    const key = formKey(decoded, codeSize);
    const known = this.operations.get(key);
    if (known !== undefined) return known;
    const shape = formOf(decoded, codeSize);
    const name = formName(decoded, shape, codeSize);
    const operation = this.hot.get(name) ?? this.compile(buildProgram(decoded, shape, codeSize), name);
    // No room: whoever comes to this instruction stops before it, makes room and decodes it again.
    if (operation === null) return OP_STOP;
    this.operations.set(key, operation);
    this.names.set(operation, name);
    return operation;
  }

  /**
   * Decodes from guest-physical `gpa` up to the end of the run. Returns the first record's address, 0 when a fault is pending.
   * `descriptor` is that of the page; 0 asks for this one instruction, which is not kept.
   */
  decode(gpa: number, descriptor: number): number {
    if (descriptor === 0) return this.decodeStep(gpa, OP_RELOOKUP);
    const codeSize = SIZES[this.view.getUint32(CODE_SIZE, true)]!;
    const page = gpa & ~(PAGE_SIZE - 1);
    const start = gpa & (PAGE_SIZE - 1);
    const host = hostOf(page);
    const table = this.view.getUint32(descriptor + this.view.getUint32(CODE_SIZE, true) * 4, true);
    const { offsets } = this;
    const pairs = this.pairs(codeSize === 64);
    let last = 0;
    let count = 0;
    let instructions = 0;
    let at = start;
    let ended = false;
    while (!ended && count < RUN_LIMIT && at < PAGE_SIZE) {
      const existing = this.view.getUint32(table + at * 4, true);
      if (existing !== 0) {
        this.pseudo(count++, OP_GOTO, at, existing);
        ended = true;
        break;
      }
      if (this.markedOffsets.has(at)) {
        if (count === 0) return this.placeStop(descriptor, table, at);
        break;
      }
      let decoded: Decoded;
      try {
        decoded = this.decoder.decode(this.bytes, host + at, host + PAGE_SIZE, codeSize);
      } catch (error) {
        if (error instanceof NeedMoreBytes && count === 0) return this.decodeAcross(page, start, codeSize, descriptor, table);
        if (!(error instanceof NeedMoreBytes || error instanceof DecodeFault)) throw error;
        if (count === 0) {
          this.helpers.raiseError(13, 0);
          return 0;
        }
        break;
      }
      const operation = this.record(count, decoded, at, codeSize);
      const pair = pairs.of(last, operation);
      if (pair !== 0) this.scratch.setUint16((count - 1) * RECORD_SIZE + R_OP, pair, true);
      last = operation;
      offsets[instructions++] = at;
      count++;
      at += decoded.length;
      ended = decoded.row.has.ends;
    }
    if (this.scratch.getUint16((count - 1) * RECORD_SIZE + R_OP, true) !== OP_GOTO) this.pseudo(count++, OP_RELOOKUP, at, 0);
    const first = this.place(descriptor, count);
    for (let i = 0; i < instructions; i++) this.view.setUint32(table + offsets[i]! * 4, first + i * RECORD_SIZE, true);
    this.helpers.markDecoded(descriptor, start, at);
    this.instructionsDecoded += instructions;
    return first;
  }

  private placeStop(descriptor: number, table: number, offset: number): number {
    this.pseudo(0, OP_STOP, offset, 0);
    const record = this.place(descriptor, 1);
    this.view.setUint32(table + offset * 4, record, true);
    this.helpers.markDecoded(descriptor, offset, offset + 1);
    return record;
  }

  /** An instruction that goes on behind the page: a guard record in front of it checks the tail each time. */
  private decodeAcross(page: number, offset: number, codeSize: CodeSize, descriptor: number, table: number): number {
    const here = PAGE_SIZE - offset;
    const next = this.helpers.fetchAddress(here) >>> 0;
    if (next === 0xffffffff) return 0;
    const host = hostOf(page) + offset;
    this.straddle.set(this.bytes.subarray(host, host + here));
    this.straddle.set(this.bytes.subarray(hostOf(next), hostOf(next) + 16), here);
    let decoded: Decoded;
    try {
      decoded = this.decoder.decode(this.straddle, 0, here + 16, codeSize);
    } catch {
      this.helpers.raiseError(13, 0);
      return 0;
    }
    if (codeSize !== 64 && !this.endsWithinCode(decoded)) return 0;
    const tail = Math.max(0, decoded.length - here);
    this.pseudo(0, OP_CROSS, offset, next);
    this.scratch.setUint8(5, tail);
    for (let i = 0; i < tail; i++) this.scratch.setUint8(6 + i, this.straddle[here + i]!);
    this.record(1, decoded, offset, codeSize);
    this.pseudo(2, OP_RELOOKUP, offset + decoded.length, 0);
    const first = this.place(descriptor, 3);
    this.view.setUint32(table + offset * 4, first, true);
    this.helpers.markDecoded(descriptor, offset, PAGE_SIZE);
    return first;
  }

  /** Decodes the one instruction at RIP, guest-physical `gpa`, followed by a stop (or by `end`). Returns its record, 0 when a fault is pending. */
  decodeStep(gpa: number, end = OP_STOP): number {
    const codeSize = SIZES[this.view.getUint32(CODE_SIZE, true)]!;
    const offset = gpa & (PAGE_SIZE - 1);
    const here = PAGE_SIZE - offset;
    const host = hostOf(gpa);
    let decoded: Decoded;
    try {
      try {
        decoded = this.decoder.decode(this.bytes, host, host + here, codeSize);
      } catch (error) {
        if (!(error instanceof NeedMoreBytes)) throw error;
        const next = this.helpers.fetchAddress(here) >>> 0;
        if (next === 0xffffffff) return 0;
        this.straddle.set(this.bytes.subarray(host, host + here));
        this.straddle.set(this.bytes.subarray(hostOf(next), hostOf(next) + 16), here);
        decoded = this.decoder.decode(this.straddle, 0, here + 16, codeSize);
      }
    } catch (error) {
      if (!(error instanceof DecodeFault || error instanceof NeedMoreBytes)) throw error;
      this.helpers.raiseError(13, 0);
      return 0;
    }
    if (codeSize !== 64 && !this.endsWithinCode(decoded)) return 0;
    this.record(0, decoded, offset, codeSize);
    this.pseudo(1, end, offset + decoded.length, 0);
    this.copyRecords(2, STEP_RECORDS);
    return STEP_RECORDS;
  }

  /** Whether CS reaches to the last byte of the instruction at RIP; #GP is pending when not. */
  private endsWithinCode({ length }: Decoded): boolean {
    return length === 1 || this.helpers.fetchAddress(length - 1) >>> 0 !== NO_ADDRESS;
  }

  /** The instruction at RIP, or null when it cannot be fetched any more. The result is reused. */
  instructionAtRip(): Decoded | null {
    const gpa = this.helpers.fetchAddress(0) >>> 0;
    if (gpa === NO_ADDRESS) return null;
    const codeSize = SIZES[this.view.getUint32(CODE_SIZE, true)]!;
    const host = hostOf(gpa);
    const here = PAGE_SIZE - (gpa & (PAGE_SIZE - 1));
    try {
      return this.decoder.decode(this.bytes, host, host + here, codeSize);
    } catch {
      const next = this.helpers.fetchAddress(here) >>> 0;
      if (next === NO_ADDRESS) return null;
      this.straddle.set(this.bytes.subarray(host, host + here));
      this.straddle.set(this.bytes.subarray(hostOf(next), hostOf(next) + 16), here);
      return this.decoder.decode(this.straddle, 0, here + 16, codeSize);
    }
  }

  /** Whether the instruction at RIP accesses the stack segment: by a memory operand, or as a stack. Only asked after a fault for an address. */
  stackOperand(): boolean {
    const decoded = this.instructionAtRip();
    if (!decoded) return false;
    return (decoded.memory && decoded.segmentNumber === SS) || (STACK_INSTRUCTION.test(decoded.row.name) && this.stackOutOfRange(decoded.row.name));
  }

  /** Whether the top of the stack, or the word below it, is not canonical: what PUSH and its like access. LEAVE takes RBP for it. */
  private stackOutOfRange(name: string): boolean {
    const top = this.view.getBigInt64(GPR + (name === 'LEAVE' ? 5 : 4) * 8, true);
    const bits = this.view.getUint32(CR4, true) & CR4_LA57 ? 57 : 48;
    return [top, top - 8n].some(address => BigInt.asIntN(bits, address) !== address);
  }

  private place(descriptor: number, count: number): number {
    const first = (this.helpers.allocateRun(descriptor, count) >>> 0) + RECORD_SIZE;
    this.copyRecords(count, first);
    return first;
  }

  /** Runs are short: a loop takes less than making an array of them does. */
  private copyRecords(count: number, to: number): void {
    const { words, scratchWords } = this;
    for (let i = 0, at = to >>> 2; i < count * (RECORD_SIZE / 4); i++, at++) words[at] = scratchWords[i]!;
  }

  private pseudo(index: number, operation: number, offset: number, aux: number): void {
    const base = index * RECORD_SIZE;
    for (let i = 0; i < RECORD_SIZE; i += 4) this.scratch.setUint32(base + i, 0, true);
    this.scratch.setUint16(base + R_OP, operation, true);
    this.scratch.setUint16(base + R_OFFSET, offset, true);
    this.scratch.setUint32(base + R_AUX, aux, true);
  }

  /** Returns the operation's number. */
  private record(index: number, decoded: Decoded, offset: number, codeSize: CodeSize): number {
    const base = index * RECORD_SIZE;
    const view = this.scratch;
    const { row } = decoded;
    const operation = this.operation(decoded, codeSize);
    view.setUint16(base + R_OP, operation, true);
    view.setUint16(base + R_OFFSET, offset, true);
    view.setUint16(base + R_LENGTH, decoded.length, true);
    view.setUint16(base + R_G, decoded.g, true);
    view.setUint16(base + R_E, decoded.e, true);
    view.setUint16(base + R_INDEX, decoded.index, true);
    view.setUint16(base + R_SEGMENT, decoded.segment, true);
    view.setUint16(base + R_SCALE, decoded.scale, true);
    view.setInt32(base + R_IMMEDIATE, decoded.immediateLow, true);
    view.setInt32(base + R_IMMEDIATE + 4, decoded.immediateHigh, true);
    const fromPage = row.has.relative || (decoded.ripRelative && addressingOf(decoded, codeSize) === RIP_RELATIVE);
    const displacement = fromPage ? decoded.displacement + offset : ownDisplacement(decoded);
    view.setInt32(base + R_DISPLACEMENT, displacement, true);
    // A branch may reach a little further than 32 bits from the page's first byte.
    if (row.has.relative) view.setInt32(base + R_AUX, displacement < -(2 ** 31) || displacement >= 2 ** 31 ? Math.floor(displacement / 2 ** 32) : displacement >> 31, true);
    else view.setUint32(base + R_AUX, row.has.string ? decoded.segmentNumber : decoded.aux, true);
    return operation;
  }
}

