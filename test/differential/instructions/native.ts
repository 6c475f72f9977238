/** Compiles the harness and runs batches of cases on the processor of this machine. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Case, Outcome } from './layout.ts';
import { CASE_SIZE, MEMORY_SIZE, PAGE, REGIONS, RESULT_SIZE, readOutcome } from './layout.ts';

/** Why the native processor cannot be asked here; empty when it can. */
export function nativeObstacle(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `the oracle is the processor itself: it needs Linux on an x86-64, this is ${process.platform} on ${process.arch}`;
  }
  try {
    execFileSync('gcc', ['--version'], { stdio: 'pipe' });
  } catch {
    return 'gcc is missing, which compiles the native harness: install it (on Debian: apt-get install gcc libc6-dev)';
  }
  return '';
}

/** Names of the features that the host has, as /proc/cpuinfo writes them. */
export function hostFeatures(): ReadonlySet<string> {
  const line = readFileSync('/proc/cpuinfo', 'utf8').split('\n').find(text => text.startsWith('flags')) ?? '';
  return new Set(line.split(/\s+/).slice(2));
}

function harness(): string {
  const source = join(import.meta.dirname, 'harness.c');
  const folder = join(import.meta.dirname, '..', '..', '..', 'node_modules', '.cache', 'native');
  const path = join(folder, `instructions-${createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 24)}`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const temporary = `${path}.${process.pid}`;
  execFileSync('gcc', ['-O1', '-fno-stack-protector', '-mno-red-zone', '-mfsgsbase', '-Wl,-z,now', '-o', temporary, source], { stdio: 'pipe' });
  renameSync(temporary, path);
  return path;
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const PROT_EXEC = 4;

function headerPage(count: number): Uint8Array {
  const page = new Uint8Array(PAGE);
  const view = new DataView(page.buffer);
  view.setUint32(0, count, true);
  view.setUint32(4, REGIONS.length, true);
  view.setUint32(8, CASE_SIZE, true);
  view.setUint32(12, RESULT_SIZE, true);
  REGIONS.forEach((region, i) => {
    view.setBigUint64(16 + i * 16, region.address, true);
    view.setUint32(24 + i * 16, region.pages, true);
    view.setUint32(28 + i * 16, PROT_READ | (region.write ? PROT_WRITE : 0) | (region.execute ? PROT_EXEC : 0), true);
  });
  return page;
}

/** Runs the cases in order over memory that holds `pattern`. */
export function runNative(cases: readonly Case[], pattern: Uint8Array): Outcome[] {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'vanderpool-differential-'));
  try {
    const input = new Uint8Array(PAGE + MEMORY_SIZE + cases.length * CASE_SIZE);
    input.set(headerPage(cases.length));
    input.set(pattern, PAGE);
    cases.forEach((item, i) => input.set(item.bytes, PAGE + MEMORY_SIZE + i * CASE_SIZE));
    const inputFile = join(folder, 'cases');
    const outputFile = join(folder, 'results');
    writeFileSync(inputFile, input);
    writeFileSync(outputFile, new Uint8Array(cases.length * RESULT_SIZE));
    const done = spawnSync(harness(), [inputFile, outputFile], { encoding: 'utf8' });
    const output = readFileSync(outputFile);
    const outcomes = cases.map((_, i) => readOutcome(output.subarray(i * RESULT_SIZE, (i + 1) * RESULT_SIZE)));
    if (done.status !== 0) {
      const died = outcomes.findIndex(outcome => outcome.failure !== undefined);
      if (died < 0 || done.stderr !== '') throw new Error(`the native harness failed: ${done.status ?? done.signal} ${done.stderr}`);
      outcomes[died]!.failure = `the native process died in this case: ${done.status ?? done.signal}`;
      return [...outcomes.slice(0, died + 1), ...runNative(cases.slice(died + 1), pattern)];
    }
    return outcomes;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
