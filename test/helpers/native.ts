/** Runs single instructions on the host's own processor, which is the oracle of the differential tests. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';

/** Where the memory operand lies, natively and in the emulated machine. */
export const DATA_ADDRESS = 0xa00000;

const CASE_SIZE = 768;
const FX = 16;
const GPRS = 528;
const FLAGS = 656;
const SIGNAL = 664;
const MEMORY = 672;

/** One case or its result: code, FXSAVE image, general registers (RSP excepted), flags, 64 bytes of memory at DATA_ADDRESS. */
export class NativeCase {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array = new Uint8Array(CASE_SIZE)) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, CASE_SIZE);
  }

  set code(code: readonly number[]) {
    this.bytes.set(code, 0);
    this.bytes[15] = code.length;
  }

  get fx(): Uint8Array { return this.bytes.subarray(FX, FX + 512); }
  get memory(): Uint8Array { return this.bytes.subarray(MEMORY, MEMORY + 64); }
  get flags(): number { return this.view.getUint32(FLAGS, true); }
  set flags(value: number) { this.view.setBigUint64(FLAGS, BigInt(value), true); }
  /** The signal that ended the instruction, 0 when it completed. */
  get signal(): number { return this.view.getUint32(SIGNAL, true); }
  gpr(number: number): bigint { return this.view.getBigUint64(GPRS + number * 8, true); }
  setGpr(number: number, value: bigint): void { this.view.setBigUint64(GPRS + number * 8, BigInt.asUintN(64, value), true); }
}

function program(): string {
  const source = join(import.meta.dirname, 'native.c');
  const folder = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'native');
  const path = join(folder, createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 24));
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const temporary = `${path}.${process.pid}`;
  execFileSync('gcc', ['-O1', '-o', temporary, source], { stdio: 'pipe' });
  renameSync(temporary, path);
  return path;
}

/** Feature flags of the host as Linux names them; empty when the host is no x86-64 or has no compiler. */
export function nativeFeatures(): ReadonlySet<string> {
  if (process.arch !== 'x64' || process.platform !== 'linux') return new Set();
  const line = readFileSync('/proc/cpuinfo', 'utf8').split('\n').find(text => text.startsWith('flags')) ?? '';
  try {
    program();
  } catch {
    return new Set();
  }
  return new Set(line.split(/\s+/).slice(1));
}

/** Runs the cases in order. */
export function runNative(cases: readonly NativeCase[]): NativeCase[] {
  const input = new Uint8Array(cases.length * CASE_SIZE);
  cases.forEach((item, i) => input.set(item.bytes, i * CASE_SIZE));
  const done = spawnSync(program(), { input, maxBuffer: 2 * input.length + 4096 });
  if (done.status !== 0 || done.stdout.length !== input.length) throw new Error(`the native runner failed: ${done.status} ${done.stderr.toString()}`);
  return cases.map((_, i) => new NativeCase(new Uint8Array(done.stdout.subarray(i * CASE_SIZE, (i + 1) * CASE_SIZE))));
}
