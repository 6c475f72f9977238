/** The native processor as an oracle: a harness compiled on the spot that runs one instruction a case. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';

export const MEMORY_SIZE = 128;
export const IMAGE_SIZE = 512;
const INPUT_SIZE = 16 + 16 + MEMORY_SIZE + IMAGE_SIZE;
const OUTPUT_SIZE = 32 + MEMORY_SIZE + IMAGE_SIZE;

/** One instruction with the state before it: RDI points at `memory`; `image` is a 64-bit FXSAVE image. */
export interface Case {
  readonly code: readonly number[];
  readonly rax: bigint;
  readonly flags: bigint;
  readonly memory: Uint8Array;
  readonly image: Uint8Array;
}

/** `fault` is the number of the signal (8 SIGFPE, 4 SIGILL, 11 SIGSEGV), 0 when there was none. */
export interface Outcome {
  readonly fault: number;
  readonly rax: bigint;
  readonly flags: bigint;
  readonly memory: Uint8Array;
  readonly image: Uint8Array;
}

/** Why cases cannot be run natively, or undefined when they can. */
export function nativeObstacle(): string | undefined {
  if (process.arch !== 'x64' || process.platform !== 'linux') return 'the native comparison needs x86-64 Linux';
  return spawnSync('gcc', ['--version']).status === 0 ? undefined : 'the native comparison needs gcc';
}

function harness(): string {
  const source = join(import.meta.dirname, 'native.c');
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const folder = join(import.meta.dirname, '..', '..', '..', 'node_modules', '.cache', 'fp-native');
  const path = join(folder, hash);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const temporary = `${path}.${process.pid}`;
  execFileSync('gcc', ['-O1', '-mno-red-zone', '-o', temporary, source], { stdio: 'pipe' });
  renameSync(temporary, path);
  return path;
}

export function runNative(cases: readonly Case[]): Outcome[] {
  const input = Buffer.alloc(cases.length * INPUT_SIZE);
  cases.forEach((one, index) => {
    const at = index * INPUT_SIZE;
    input[at] = one.code.length;
    input.set(one.code, at + 1);
    input.writeBigUInt64LE(one.rax, at + 16);
    input.writeBigUInt64LE(one.flags, at + 24);
    input.set(one.memory, at + 32);
    input.set(one.image, at + 32 + MEMORY_SIZE);
  });
  const run = spawnSync(harness(), { input, maxBuffer: cases.length * OUTPUT_SIZE + 1024 });
  if (run.status !== 0 || run.stdout.length !== cases.length * OUTPUT_SIZE) {
    throw new Error(`the native harness ended with ${run.status ?? run.signal} after ${run.stdout.length / OUTPUT_SIZE} of ${cases.length} cases`);
  }
  return cases.map((_, index) => {
    const at = index * OUTPUT_SIZE;
    return {
      fault: Number(run.stdout.readBigUInt64LE(at)),
      rax: run.stdout.readBigUInt64LE(at + 8),
      flags: run.stdout.readBigUInt64LE(at + 16),
      memory: new Uint8Array(run.stdout.subarray(at + 32, at + 32 + MEMORY_SIZE)),
      image: new Uint8Array(run.stdout.subarray(at + 32 + MEMORY_SIZE, at + OUTPUT_SIZE)),
    };
  });
}
