/** The processor's AssemblyScript helpers, compiled and instantiated over a memory of their own, with a host that records what it is asked. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { HelperSignatures } from '../../core/cpu/helpers.ts';
import { helperSignatures } from '../../core/cpu/helpers.ts';
import * as L from '../../core/cpu/layout.ts';
import { RootEpt } from '../../core/vmm/rootEpt.ts';

const root = join(import.meta.dirname, '..', '..');
const sources = join(root, 'core', 'cpu', 'assembly');
const OPTIONS = [
  '-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--sharedMemory', '--initialMemory', '4096', '--maximumMemory', '65536',
  '--memoryBase', '4096', '--enable', 'threads', '--enable', 'simd', '--enable', 'bulk-memory', '--enable', 'sign-extension', '--use', 'abort=',
] as const;

/** Path of the compiled module; compiled once for each state of the sources. */
function compiledHelpers(): string {
  const hash = createHash('sha256').update(OPTIONS.join(' '));
  for (const name of ['layout.ts', 'record.ts']) hash.update(readFileSync(join(sources, '..', name)));
  for (const name of readdirSync(sources).sort()) if (name.endsWith('.ts')) hash.update(name).update(readFileSync(join(sources, name)));
  const folder = join(root, 'node_modules', '.cache', 'cpu-wasm');
  const path = join(folder, `${hash.digest('hex').slice(0, 24)}.wasm`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  // Several test files may compile at once: each writes its own file and moves it into place.
  const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  const compiler = join(root, 'node_modules', 'assemblyscript', 'bin', 'asc.js');
  execFileSync(process.execPath, [compiler, join(sources, 'index.ts'), '-o', temporary, ...OPTIONS], { cwd: root, stdio: 'pipe' });
  renameSync(temporary, path);
  return path;
}

/** Compiled when this module is loaded, so that no test's time limit pays for it. */
const code = readFileSync(compiledHelpers());
/** Bytes of the compiled helpers. */
export const helperBytes: Uint8Array<ArrayBuffer> = new Uint8Array(code);
export const compiled = { module: new WebAssembly.Module(code), signatures: helperSignatures(code) } as const;

export interface Access {
  readonly kind: 'read' | 'write' | 'in' | 'out';
  readonly address: number;
  readonly size: number;
  readonly value: bigint;
}

/** An export of the helpers: 64-bit values are bigint, all others number. */
export type Helper = (...args: (number | bigint)[]) => number | bigint | undefined;

export interface CpuWasm {
  readonly memory: WebAssembly.Memory;
  readonly signatures: HelperSignatures;
  readonly view: DataView<SharedArrayBuffer>;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** RAM is mapped. */
  readonly ept: RootEpt;
  readonly exports: Readonly<Record<string, WebAssembly.ExportValue>>;
  /** Calls an export by name; throws when there is none of that name. */
  call(name: string, ...args: (number | bigint)[]): number;
  callBig(name: string, ...args: (number | bigint)[]): bigint;
  /** MMIO and port accesses so far, oldest first. */
  readonly log: Access[];
  /** What devices answer; by default every byte of MMIO is 0xa5, every port reads as its number's low byte, and it is always time 0. */
  device: { read(address: number, size: number): bigint; port(port: number, size: number): number; time(): number };
  read32(address: number): number;
  read64(address: number): bigint;
  write32(address: number, value: number): void;
  write64(address: number, value: bigint): void;
}

/** Instantiates the helpers; `ram` bytes of guest RAM, a flat 32-bit ring-0 state, look-aside tables empty. */
export function instantiate(ram = 16 << 20): CpuWasm {
  const memory = new WebAssembly.Memory({ initial: 4096, maximum: 65536, shared: true });
  const buffer = memory.buffer as unknown as SharedArrayBuffer;
  const view = new DataView(buffer);
  const log: Access[] = [];
  let high = 0;
  let decoded = 0;
  const cpu = {
    view,
    bytes: new Uint8Array(buffer),
    ept: new RootEpt(memory),
    log,
    device: {
      read: (_address: number, size: number) => BigInt.asUintN(size * 8, 0xa5a5_a5a5_a5a5_a5a5n),
      port: (port: number, size: number) => ((port & 0xff) * 0x0101_0101) >>> (32 - size * 8),
      time: () => 0,
    },
    read32: (address: number) => view.getUint32(address, true),
    read64: (address: number) => view.getBigUint64(address, true),
    write32: (address: number, value: number) => view.setUint32(address, value, true),
    write64: (address: number, value: bigint) => view.setBigUint64(address, value, true),
  };
  const host = {
    mmioRead(low: number, top: number, size: number): number {
      const address = (low >>> 0) + (top >>> 0) * 2 ** 32;
      const value = BigInt.asUintN(size * 8, cpu.device.read(address, size));
      log.push({ kind: 'read', address, size, value });
      high = Number(value >> 32n);
      return Number(value & 0xffff_ffffn);
    },
    mmioReadHigh: () => high,
    mmioWrite(low: number, top: number, size: number, value: number, valueHigh: number): void {
      const address = (low >>> 0) + (top >>> 0) * 2 ** 32;
      log.push({ kind: 'write', address, size, value: BigInt.asUintN(size * 8, (BigInt(valueHigh >>> 0) << 32n) | BigInt(value >>> 0)) });
    },
    portRead(port: number, size: number): number {
      const value = cpu.device.port(port, size);
      log.push({ kind: 'in', address: port, size, value: BigInt(value >>> 0) });
      return value;
    },
    portWrite(port: number, size: number, value: number): void {
      log.push({ kind: 'out', address: port, size, value: BigInt(value >>> 0) });
    },
    timestamp: () => cpu.device.time(),
    decode: () => decoded++,
    random: () => 0x1234_5678,
    fetchPage: () => undefined,
    preservePage: () => undefined,
  };
  // Imports that tests do not name do nothing; the helpers of other chapters may ask for them.
  const anything = new Proxy(host as Record<string, WebAssembly.ImportValue>, { get: (target, name: string) => target[name] ?? (() => 0) });
  const instance = new WebAssembly.Instance(compiled.module, { env: { memory }, host: anything });
  const exports = instance.exports;
  const invoke = (name: string, args: (number | bigint)[]): number | bigint | undefined => {
    const helper = exports[name];
    if (typeof helper !== 'function') throw new Error(`the helpers export no function "${name}"`);
    return (helper as Helper)(...args);
  };
  reset(cpu, ram);
  invoke('flushAll', []);
  return {
    ...cpu,
    memory,
    signatures: compiled.signatures,
    exports,
    call: (name, ...args) => Number(invoke(name, args) ?? 0),
    callBig: (name, ...args) => BigInt.asUintN(64, BigInt(invoke(name, args) ?? 0)),
    get device() {
      return cpu.device;
    },
    set device(value) {
      cpu.device = value;
    },
  };
}

/** Flat 4 GiB segments in 32-bit protected mode without paging, privilege 0. */
function reset(cpu: Pick<CpuWasm, 'view' | 'ept' | 'write32' | 'write64'>, ram: number): void {
  cpu.ept.map(0, ram, L.PAGE_RAM);
  cpu.write32(L.ROOT_EPT_POINTER, L.ROOT_EPT);
  cpu.write32(L.RAM_SIZE, ram);
  cpu.write32(L.EFLAGS, 2);
  cpu.write32(L.CODE_SIZE, 1);
  cpu.write32(L.STACK_SIZE, 1);
  cpu.write32(L.TLB_BASE, L.TLB_SUPERVISOR);
  cpu.write32(L.CR0, 0x11);
  cpu.write64(L.PHYS_RESERVED, 0x000f_ff00_0000_0000n);
  cpu.write64(L.DR6, 0xffff_0ff0n);
  cpu.write64(L.DR7, 0x400n);
  for (let segment = L.ES; segment <= L.GS; segment++) {
    const at = L.SEGMENTS + segment * L.SEGMENT_SIZE;
    cpu.write64(at + L.SEG_BASE, 0n);
    cpu.write32(at + L.SEG_LIMIT, 0xffff_ffff);
    cpu.view.setUint16(at + L.SEG_SELECTOR, segment === L.CS ? 8 : 16, true);
    cpu.write32(at + L.SEG_ACCESS, segment === L.CS ? 0xc09b : 0xc093);
    cpu.write32(at + L.SEG_FLAT, 3);
  }
}
