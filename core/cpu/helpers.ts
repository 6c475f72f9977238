/** The compiled AssemblyScript helpers: their exports' signatures, read from the module itself so that emitters can import them. */
import { I32 } from '../wasm/opcodes.ts';
import type { FunctionType, ValueType } from '../wasm/writer.ts';
import { WAYS } from './jit/ways.ts';

export type HelperSignatures = ReadonlyMap<string, FunctionType>;

/** What emitted code may call: the helpers, what the interpreter is given besides, and the ways out of regions. */
export function helperSignatures(module: Uint8Array): HelperSignatures {
  return new Map([...exportedSignatures(module), ['dropRegion', { parameters: [I32], results: [I32] }], ...WAYS.map(({ name, type }) => [name, type] as const)]);
}

/** Reads the signatures of a module's exported functions (WebAssembly core specification 2.0, section 5.5). */
export function exportedSignatures(module: Uint8Array): HelperSignatures {
  const view = new Reader(module);
  view.skip(8);
  const types: FunctionType[] = [];
  const functions: number[] = [];
  const found = new Map<string, FunctionType>();
  while (!view.done) {
    const id = view.u8();
    const size = view.u32();
    const end = view.at + size;
    if (id === 1) {
      for (let n = view.u32(); n > 0; n--) {
        view.u8();
        const parameters = view.types();
        types.push({ parameters, results: view.types() });
      }
    } else if (id === 2) {
      for (let n = view.u32(); n > 0; n--) {
        view.name();
        view.name();
        const kind = view.u8();
        if (kind === 0) functions.push(view.u32());
        else if (kind === 2) view.limits();
        else if (kind === 1) {
          view.u8();
          view.limits();
        } else view.skip(2);
      }
    } else if (id === 3) {
      for (let n = view.u32(); n > 0; n--) functions.push(view.u32());
    } else if (id === 7) {
      for (let n = view.u32(); n > 0; n--) {
        const name = view.name();
        const kind = view.u8();
        const index = view.u32();
        const type = kind === 0 ? types[functions[index] ?? -1] : undefined;
        if (type) found.set(name, type);
      }
    }
    view.at = end;
  }
  return found;
}

class Reader {
  at = 0;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  skip(count: number): void {
    this.at += count;
  }

  u8(): number {
    return this.bytes[this.at++] ?? 0;
  }

  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.u8();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  types(): ValueType[] {
    const types: ValueType[] = [];
    for (let n = this.u32(); n > 0; n--) types.push(this.u8() as ValueType);
    return types;
  }

  limits(): void {
    const flags = this.u8();
    this.u32();
    if (flags & 1) this.u32();
  }

  name(): string {
    const length = this.u32();
    const text = new TextDecoder().decode(this.bytes.subarray(this.at, this.at + length));
    this.at += length;
    return text;
  }
}
