/**
 * What V8 has made of a module, as bytes: its optimised machine code, for a later process of the same program. V8 refuses bytes that another version of it, other
 * flags or another processor wrote; it trusts what it accepts, so that whoever keeps them has to see to it that nobody else writes them.
 *
 * There is no public interface for this in Node. The functions are V8's own, which its tests use: where they are missing, nothing is kept.
 */
import { setFlagsFromString } from 'node:v8';

export interface NativeCode {
  /** Whether V8 has optimised a function that a module exports. */
  isOptimised(exported: () => void): boolean;
  /** Has V8 optimise it, now: that takes milliseconds. */
  optimise(exported: () => void): void;
  /** Of a module with an optimised function: V8 ends the process otherwise. */
  serialize(module: WebAssembly.Module): ArrayBuffer;
  /** Undefined where V8 does not accept the bytes. */
  deserialize(code: ArrayBuffer, wasm: Uint8Array): WebAssembly.Module | undefined;
}

let known: NativeCode | null | undefined;

/** Null where this V8 has no such functions, or is Electron's. */
export function nativeCode(): NativeCode | null {
  // V8 ends the process where it dislikes what these functions are asked. What Electron's does has not been tried.
  if (known === undefined) known = 'electron' in process.versions ? null : find();
  return known;
}

function find(): NativeCode | null {
  setFlagsFromString('--allow-natives-syntax');
  try {
    /* eslint-disable @typescript-eslint/no-implied-eval */
    const serialize = new Function('module', 'return %SerializeWasmModule(module)') as NativeCode['serialize'];
    const deserialize = new Function('code', 'wasm', 'return %DeserializeWasmModule(code, wasm)') as NativeCode['deserialize'];
    const isOptimised = new Function('exported', 'return %IsTurboFanFunction(exported)') as NativeCode['isOptimised'];
    const optimise = new Function('exported', '%WasmTierUpFunction(exported)') as NativeCode['optimise'];
    return { isOptimised, optimise, serialize, deserialize };
  } catch {
    return null;
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
  }
}
