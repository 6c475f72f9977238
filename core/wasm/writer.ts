/**
 * A WebAssembly module writer: growing byte buffer, LEB128, and the sections that generated code needs.
 * Instructions are appended as bytes through `FunctionWriter`; opcodes are in opcodes.ts.
 */
import { I32, I64, V128, BLOCK_EMPTY, op, simd as SIMD_PREFIX } from './opcodes.ts';

export type ValueType = typeof I32 | typeof I64 | typeof V128;

export class ByteWriter {
  bytes: Uint8Array<ArrayBuffer>;
  length = 0;

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity);
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
    const encoded = new TextEncoder().encode(text);
    this.u32(encoded.length);
    this.raw(encoded);
  }

  raw(data: Uint8Array): void {
    this.reserve(data.length);
    this.bytes.set(data, this.length);
    this.length += data.length;
  }

  /** Bytes `first` to `end` of others: few, mostly. */
  copy(data: Uint8Array, first: number, end: number): void {
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

/** The body of one function. Labels are absolute nesting depths: `br(label)` computes the relative index. */
export class FunctionWriter extends ByteWriter {
  private readonly parameters: number;
  private readonly localTypes: ValueType[] = [];
  private depth = 0;
  /** Positions of the instructions that hints speak of, from the first instruction on. */
  private readonly hints: number[] = [];

  constructor(parameters: number) {
    super(1024);
    this.parameters = parameters;
  }

  local(type: ValueType): number {
    this.localTypes.push(type);
    return this.parameters + this.localTypes.length - 1;
  }

  op(code: number): void {
    this.u8(code);
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
    this.u8(code);
    this.u8(0);
    this.u32(offset);
  }

  simdMemory(code: number, offset: number): void {
    this.simd(code);
    this.u8(0);
    this.u32(offset);
  }

  call(index: number): void {
    this.u8(op.call);
    this.u32(index);
  }

  /** Opens a block and returns its label. */
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
    this.hints.push(this.length);
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

  /** The body as the code section stores it: local declarations and instructions, without the leading size. */
  body(): { bytes: ByteWriter; hints: readonly number[] } {
    if (this.depth !== 0) throw new Error(`wasm function ends inside ${this.depth} open blocks`);
    const out = new ByteWriter(this.length + 64);
    const runs: { type: ValueType; count: number }[] = [];
    for (const type of this.localTypes) {
      const last = runs[runs.length - 1];
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    out.u32(runs.length);
    for (const run of runs) {
      out.u32(run.count);
      out.u8(run.type);
    }
    const start = out.length;
    out.append(this);
    out.u8(op.end);
    return { bytes: out, hints: this.hints.map(at => at + start) };
  }
}

export interface FunctionType {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
}

export class ModuleWriter {
  private readonly types: string[] = [];
  private readonly typeBytes = new ByteWriter();
  private readonly imports = new ByteWriter();
  private importCount = 0;
  private importedFunctions = 0;
  private readonly functions: { type: number; writer: FunctionWriter }[] = [];
  private readonly exports: { name: string; ordinal: number }[] = [];
  private tableFirst: number | null = null;

  type(type: FunctionType): number {
    const key = `${type.parameters.join(',')}:${type.results.join(',')}`;
    const found = this.types.indexOf(key);
    if (found >= 0) return found;
    this.typeBytes.u8(0x60);
    this.typeBytes.u32(type.parameters.length);
    for (const parameter of type.parameters) this.typeBytes.u8(parameter);
    this.typeBytes.u32(type.results.length);
    for (const result of type.results) this.typeBytes.u8(result);
    return this.types.push(key) - 1;
  }

  /** Shared memory of at most 4 GiB. */
  importMemory(module: string, name: string, initialPages: number): void {
    this.imports.name(module);
    this.imports.name(name);
    this.imports.u8(2);
    this.imports.u8(3);
    this.imports.u32(initialPages);
    this.imports.u32(65536);
    this.importCount++;
  }

  importTable(module: string, name: string): void {
    this.imports.name(module);
    this.imports.name(name);
    this.imports.u8(1);
    this.imports.u8(0x70);
    this.imports.u8(0);
    this.imports.u32(0);
    this.importCount++;
  }

  /** Imported functions have the first indexes, whenever they are imported: the module's own are known by their exports alone. */
  importFunction(module: string, name: string, type: FunctionType): number {
    this.imports.name(module);
    this.imports.name(name);
    this.imports.u8(0);
    this.imports.u32(this.type(type));
    this.importCount++;
    return this.importedFunctions++;
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
    const out = new ByteWriter(4096);
    out.raw(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
    section(out, 1, this.types.length, this.typeBytes);
    section(out, 2, this.importCount, this.imports);
    const declarations = new ByteWriter();
    for (const item of this.functions) declarations.u32(item.type);
    section(out, 3, this.functions.length, declarations);
    const exports = new ByteWriter();
    for (const item of this.exports) {
      exports.name(item.name);
      exports.u8(0);
      exports.u32(this.importedFunctions + item.ordinal);
    }
    section(out, 7, this.exports.length, exports);
    if (this.tableFirst !== null) section(out, 9, 1, this.elements(this.tableFirst));
    const bodies = new ByteWriter(4096);
    const hints = new ByteWriter();
    let hinted = 0;
    this.functions.forEach((item, i) => {
      const body = item.writer.body();
      bodies.u32(body.bytes.length);
      bodies.append(body.bytes);
      if (body.hints.length === 0) return;
      hinted++;
      hints.u32(this.importedFunctions + i);
      hints.u32(body.hints.length);
      for (const at of body.hints) {
        hints.u32(at);
        hints.u8(1);
        hints.u8(0); // unlikely
      }
    });
    if (hinted > 0) hintSection(out, hinted, hints);
    section(out, 10, this.functions.length, bodies);
    return out.finish();
  }

  /** An active segment of table 0 that holds all functions. */
  private elements(first: number): ByteWriter {
    const elements = new ByteWriter();
    elements.u8(0);
    elements.u8(op.i32Const);
    elements.s32(first);
    elements.u8(op.end);
    elements.u32(this.functions.length);
    for (let i = 0; i < this.functions.length; i++) elements.u32(this.importedFunctions + i);
    return elements;
  }
}

/** The custom section of branch hints (WebAssembly branch hinting proposal); it precedes the code. */
function hintSection(out: ByteWriter, functions: number, content: ByteWriter): void {
  const head = new ByteWriter(64);
  head.name('metadata.code.branch_hint');
  head.u32(functions);
  out.u8(0);
  out.u32(head.length + content.length);
  out.append(head);
  out.append(content);
}

function section(out: ByteWriter, id: number, count: number, content: ByteWriter): void {
  const head = new ByteWriter(8);
  head.u32(count);
  out.u8(id);
  out.u32(head.length + content.length);
  out.append(head);
  out.append(content);
}
