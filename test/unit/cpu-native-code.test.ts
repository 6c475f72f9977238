import { afterEach, describe, expect, it, vi } from 'vitest';

const versions = process.versions;

async function fresh(): Promise<typeof import('../../core/cpu/jit/nativeCode.ts')> {
  vi.resetModules();
  return import('../../core/cpu/jit/nativeCode.ts');
}

afterEach(() => void Object.defineProperty(process, 'versions', { value: versions }));

/** (module (func (export "run"))) */
const WASM = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 7, 1, 3, 0x72, 0x75, 0x6e, 0, 0, 10, 4, 1, 2, 0, 0x0b);

describe('machine code of modules', () => {
  it('is there once V8 has optimised them, and makes the same module again', async () => {
    const native = (await fresh()).nativeCode()!;
    const module = new WebAssembly.Module(WASM);
    const run = new WebAssembly.Instance(module).exports['run'] as () => void;
    expect(native.isOptimised(run)).toBe(false);
    native.optimise(run);
    expect(native.isOptimised(run)).toBe(true);
    const code = native.serialize(module);
    const again = native.deserialize(code, WASM)!;
    expect(() => (new WebAssembly.Instance(again).exports['run'] as () => void)()).not.toThrow();
  });

  it('is not accepted from another V8', async () => {
    const native = (await fresh()).nativeCode()!;
    const module = new WebAssembly.Module(WASM);
    native.optimise(new WebAssembly.Instance(module).exports['run'] as () => void);
    const code = new Uint8Array(native.serialize(module));
    // Behind the magic number: V8's version, then what it is made for.
    code[4]! ^= 1;
    expect(native.deserialize(code.buffer, WASM)).toBeUndefined();
  });

  it('is not asked of Electron', async () => {
    Object.defineProperty(process, 'versions', { value: { ...versions, electron: '40.0.0' } });
    expect((await fresh()).nativeCode()).toBeNull();
  });
});
