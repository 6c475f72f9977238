/**
 * A WebAssembly module writer: growing byte buffer, LEB128, and the sections that generated code needs.
 * Instructions are appended as bytes through `FunctionWriter`; opcodes are in opcodes.ts.
 */
import { I32, I64, V128, BLOCK_EMPTY, op, simd as SIMD_PREFIX } from './opcodes.ts';

export type ValueType = typeof I32 | typeof I64 | typeof V128;

/** Names of imports and exports as they are written: there are few, and every module has the same. */
const NAMES = new Map<string, Uint8Array>();

export class ByteWriter {
  bytes: Uint8Array<ArrayBuffer>;
  length = 0;

  constructor(bytes = new Uint8Array(256)) {
    this.bytes = bytes;
  }

  private reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  u8(value: number): void {
    if (this.length === this.bytes.length) this.reserve(1);
    this.bytes[this.length++] = value;
  }

  /** Unsigned LEB128 of a number below 2^32. */
  u32(value: number): void {
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.u8((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.u8(rest);
  }

  /** Signed LEB128 of a 32-bit integer. */
  s32(value: number): void {
    let rest = value | 0;
    for (;;) {
      const byte = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0)) {
        this.u8(byte);
        return;
      }
      this.u8(byte | 0x80);
    }
  }

  /** Signed LEB128 of a 64-bit integer given as two 32-bit halves. */
  s64(low: number, high: number): void {
    let lo = low | 0;
    let hi = high | 0;
    for (;;) {
      const byte = lo & 0x7f;
      lo = (lo >>> 7) | (hi << 25);
      hi >>= 7;
      if ((lo === 0 && hi === 0 && (byte & 0x40) === 0) || (lo === -1 && hi === -1 && (byte & 0x40) !== 0)) {
        this.u8(byte);
        return;
      }
      this.u8(byte | 0x80);
    }
  }

  name(text: string): void {
    let encoded = NAMES.get(text);
    if (!encoded) NAMES.set(text, encoded = new TextEncoder().encode(text));
    this.u32(encoded.length);
    this.raw(encoded);
  }

  raw(data: Uint8Array): void {
    this.reserve(data.length);
    this.bytes.set(data, this.length);
    this.length += data.length;
  }

  protected part(data: Uint8Array, first: number, end: number): void {
    this.reserve(end - first);
    for (let i = first; i < end; i++) this.bytes[this.length++] = data[i]!;
  }

  append(other: ByteWriter): void {
    this.raw(other.bytes.subarray(0, other.length));
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length);
  }
}

/** What loads as i64 what an i32 load with an extension behind it does. As two instructions V8 carries out the load twice. */
const WIDENED: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  [op.i64ExtendI32S]: { [op.i32Load]: op.i64Load32S, [op.i32Load8S]: op.i64Load8S, [op.i32Load16S]: op.i64Load16S },
  [op.i64ExtendI32U]: { [op.i32Load]: op.i64Load32U, [op.i32Load8U]: op.i64Load8U, [op.i32Load16U]: op.i64Load16U },
};

/** The buffer of a function that is finished, for the next one: making a buffer takes as long as writing a hundred instructions. */
let spare: Uint8Array<ArrayBuffer> | null = null;

function takeSpare(): Uint8Array<ArrayBuffer> {
  const taken = spare ?? new Uint8Array(1024);
  spare = null;
  return taken;
}

/** The body of one function. Labels are absolute nesting depths: `br(label)` computes the relative index. */
export class FunctionWriter extends ByteWriter {
  private readonly parameters: number;
  private readonly localTypes: ValueType[] = [];
  private depth = 0;
  /** The last load or store: where it begins and ends. */
  private access = 0;
  protected accessEnd = -1;
  /** Positions of the instructions that hints speak of, from the first instruction on, each with whether it is likely. */
  private readonly hints: { readonly at: number; readonly likely: boolean }[] = [];

  constructor(parameters: number) {
    super(takeSpare());
    this.parameters = parameters;
  }

  local(type: ValueType): number {
    this.localTypes.push(type);
    return this.parameters + this.localTypes.length - 1;
  }

  op(code: number): void {
    if (!this.widens(code)) this.u8(code);
  }

  /** Bytes `first` to `end` of others, which are whole instructions: few, mostly. */
  copy(data: Uint8Array, first: number, end: number): void {
    this.part(data, this.widens(data[first]!) ? first + 1 : first, end);
  }

  /** Whether an instruction extends what was just loaded: the load does that itself then. */
  private widens(code: number): boolean {
    if (this.accessEnd !== this.length) return false;
    const wide = WIDENED[code]?.[this.bytes[this.access]!];
    if (wide === undefined) return false;
    this.bytes[this.access] = wide;
    return true;
  }

  simd(code: number): void {
    this.u8(SIMD_PREFIX);
    this.u32(code);
  }

  i32Const(value: number): void {
    this.u8(op.i32Const);
    this.s32(value);
  }

  i64Const(low: number, high: number = low >> 31): void {
    this.u8(op.i64Const);
    this.s64(low, high);
  }

  get(local: number): void {
    this.u8(op.localGet);
    this.u32(local);
  }

  set(local: number): void {
    this.u8(op.localSet);
    this.u32(local);
  }

  tee(local: number): void {
    this.u8(op.localTee);
    this.u32(local);
  }

  /** A load or store; alignment is only a hint and given as 0 (guest accesses are of any alignment). */
  memory(code: number, offset: number): void {
    this.access = this.length;
    this.u8(code);
    this.u8(0);
    this.u32(offset);
    this.accessEnd = this.length;
  }

  simdMemory(code: number, offset: number): void {
    this.simd(code);
    this.u8(0);
    this.u32(offset);
  }

  globalGet(index: number): void {
    this.u8(op.globalGet);
    this.u32(index);
  }

  call(index: number): void {
    this.u8(op.call);
    this.u32(index);
  }

  returnCall(index: number): void {
    this.u8(op.returnCall);
    this.u32(index);
  }

  /** Opens a block and returns its label; `type`: a value type, or the number of a function type below 64. */
  block(code: number = op.block, type: number = BLOCK_EMPTY): number {
    this.u8(code);
    this.u8(type);
    return ++this.depth;
  }

  loop(): number {
    return this.block(op.loop);
  }

  if(type: number = BLOCK_EMPTY): number {
    return this.block(op.if, type);
  }

  /** An `if` whose body is hardly ever entered: noted for the module's branch hints. */
  ifUnlikely(): number {
    this.hints.push({ at: this.length, likely: false });
    return this.block(op.if);
  }

  /** An `if` whose `else` is hardly ever entered. */
  ifLikely(): number {
    this.hints.push({ at: this.length, likely: true });
    return this.block(op.if);
  }

  else(): void {
    this.u8(op.else);
  }

  end(): void {
    this.u8(op.end);
    this.depth--;
  }

  br(label: number): void {
    this.u8(op.br);
    this.u32(this.depth - label);
  }

  brIf(label: number): void {
    this.u8(op.brIf);
    this.u32(this.depth - label);
  }

  brTable(labels: readonly number[], otherwise: number): void {
    this.u8(op.brTable);
    this.u32(labels.length);
    for (const label of labels) this.u32(this.depth - label);
    this.u32(this.depth - otherwise);
  }

  return(): void {
    this.u8(op.return);
  }

  /** Adds the body to what the code section stores: its size, local declarations and instructions; no more is written here then. */
  writeBody(out: ByteWriter, scratch: ByteWriter): void {
    if (this.depth !== 0) throw new Error(`wasm function ends inside ${this.depth} open blocks`);
    const start = this.declareLocals(scratch);
    out.u32(start + this.length + 1);
    out.append(scratch);
    out.append(this);
    out.u8(op.end);
    spare = this.bytes;
  }

  /** Writes local declarations alone to `out`; returns their length. */
  private declareLocals(out: ByteWriter): number {
    const { localTypes } = this;
    out.length = 0;
    let runs = 0;
    for (let i = 0; i < localTypes.length; i++) if (localTypes[i] !== localTypes[i - 1]) runs++;
    out.u32(runs);
    for (let i = 0; i < localTypes.length;) {
      const first = i;
      while (localTypes[i] === localTypes[first]) i++;
      out.u32(i - first);
      out.u8(localTypes[first]!);
    }
    return out.length;
  }

  /** Adds the function's branch hints to the custom section's content; returns whether there are any. */
  writeHints(out: ByteWriter, index: number, scratch: ByteWriter): boolean {
    if (this.hints.length === 0) return false;
    const start = this.declareLocals(scratch);
    out.u32(index);
    out.u32(this.hints.length);
    for (const { at, likely } of this.hints) {
      out.u32(at + start);
      out.u8(1);
      out.u8(likely ? 1 : 0);
    }
    return true;
  }
}

export interface FunctionType {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
}

interface FunctionImport {
  readonly module: string;
  readonly name: string;
  readonly type: number;
}

/** What a module's sections are put together in, one after the other. */
const OUT = new ByteWriter();
const CONTENT = new ByteWriter();
const SCRATCH = new ByteWriter();
const HEADER = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);

export class ModuleWriter {
  private readonly types: FunctionType[] = [];
  private memory: { readonly module: string; readonly name: string; readonly initialPages: number } | null = null;
  private table: { readonly module: string; readonly name: string } | null = null;
  private readonly globals: { readonly module: string; readonly name: string; readonly type: ValueType }[] = [];
  private readonly imports: FunctionImport[] = [];
  private readonly functions: { readonly type: number; readonly writer: FunctionWriter }[] = [];
  private readonly exports: { readonly name: string; readonly ordinal: number }[] = [];
  private tableFirst: number | null = null;

  type(type: FunctionType): number {
    const found = this.types.findIndex(known => known === type || (sameTypes(known.parameters, type.parameters) && sameTypes(known.results, type.results)));
    return found >= 0 ? found : this.types.push(type) - 1;
  }

  /** Shared memory of at most 4 GiB. */
  importMemory(module: string, name: string, initialPages: number): void {
    this.memory = { module, name, initialPages };
  }

  importTable(module: string, name: string): void {
    this.table = { module, name };
  }

  /** One that does not change. */
  importGlobal(module: string, name: string, type: ValueType): number {
    return this.globals.push({ module, name, type }) - 1;
  }

  /** Imported functions have the first indexes, whenever they are imported: the module's own are known by their exports alone. */
  importFunction(module: string, name: string, type: FunctionType): number {
    return this.imports.push({ module, name, type: this.type(type) }) - 1;
  }

  function(type: FunctionType, exportName?: string): { code: FunctionWriter } {
    const code = new FunctionWriter(type.parameters.length);
    const ordinal = this.functions.push({ type: this.type(type), writer: code }) - 1;
    if (exportName !== undefined) this.exports.push({ name: exportName, ordinal });
    return { code };
  }

  /** Puts all functions of the module into its imported table, from an index on. */
  fillTable(first: number): void {
    this.tableFirst = first;
  }

  finish(): Uint8Array<ArrayBuffer> {
    OUT.length = 0;
    CONTENT.length = 0;
    OUT.raw(HEADER);
    this.writeTypes();
    this.writeImports();
    for (const { type } of this.functions) CONTENT.u32(type);
    section(3, this.functions.length);
    for (const { name, ordinal } of this.exports) {
      CONTENT.name(name);
      CONTENT.u8(0);
      CONTENT.u32(this.imports.length + ordinal);
    }
    section(7, this.exports.length);
    if (this.tableFirst !== null) this.writeElements(this.tableFirst);
    this.writeHints();
    for (const { writer } of this.functions) writer.writeBody(CONTENT, SCRATCH);
    section(10, this.functions.length);
    return OUT.finish();
  }

  private writeTypes(): void {
    for (const { parameters, results } of this.types) {
      CONTENT.u8(0x60);
      CONTENT.u32(parameters.length);
      for (const parameter of parameters) CONTENT.u8(parameter);
      CONTENT.u32(results.length);
      for (const result of results) CONTENT.u8(result);
    }
    section(1, this.types.length);
  }

  private writeImports(): void {
    const { memory, table, globals } = this;
    if (memory) {
      CONTENT.name(memory.module);
      CONTENT.name(memory.name);
      CONTENT.u8(2);
      CONTENT.u8(3);
      CONTENT.u32(memory.initialPages);
      CONTENT.u32(65536);
    }
    if (table) {
      CONTENT.name(table.module);
      CONTENT.name(table.name);
      CONTENT.u8(1);
      CONTENT.u8(0x70);
      CONTENT.u8(0);
      CONTENT.u32(0);
    }
    for (const { module, name, type } of globals) {
      CONTENT.name(module);
      CONTENT.name(name);
      CONTENT.u8(3);
      CONTENT.u8(type);
      CONTENT.u8(0);
    }
    for (const { module, name, type } of this.imports) {
      CONTENT.name(module);
      CONTENT.name(name);
      CONTENT.u8(0);
      CONTENT.u32(type);
    }
    section(2, this.imports.length + globals.length + (memory ? 1 : 0) + (table ? 1 : 0));
  }

  /** An active segment of table 0 that holds all functions. */
  private writeElements(first: number): void {
    CONTENT.u8(0);
    CONTENT.u8(op.i32Const);
    CONTENT.s32(first);
    CONTENT.u8(op.end);
    CONTENT.u32(this.functions.length);
    for (let i = 0; i < this.functions.length; i++) CONTENT.u32(this.imports.length + i);
    section(9, 1);
  }

  /** The custom section of branch hints (WebAssembly branch hinting proposal); it precedes the code. */
  private writeHints(): void {
    const hints = new ByteWriter();
    let hinted = 0;
    this.functions.forEach(({ writer }, i) => {
      if (writer.writeHints(hints, this.imports.length + i, SCRATCH)) hinted++;
    });
    if (hinted === 0) return;
    CONTENT.name('metadata.code.branch_hint');
    CONTENT.u32(hinted);
    CONTENT.append(hints);
    OUT.u8(0);
    OUT.u32(CONTENT.length);
    OUT.append(CONTENT);
    CONTENT.length = 0;
  }
}

function sameTypes(left: readonly ValueType[], right: readonly ValueType[]): boolean {
  return left.length === right.length && left.every((type, i) => type === right[i]);
}

/** Moves a section's content to the module. */
function section(id: number, count: number): void {
  OUT.u8(id);
  OUT.u32((count < 0x80 ? 1 : count < 0x4000 ? 2 : 3) + CONTENT.length);
  OUT.u32(count);
  OUT.append(CONTENT);
  CONTENT.length = 0;
}
