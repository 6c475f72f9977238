/** Runs batches of cases on the processor of this machine. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { harness } from './harness.ts';
import type { Case, Outcome } from './layout.ts';
import { CASE_SIZE, LOCAL_SEGMENTS, MEMORY_SIZE, PAGE, REGIONS, RESULT_SIZE, readOutcome } from './layout.ts';

/** Names of the features that the host has, as /proc/cpuinfo writes them. */
export function hostFeatures(): ReadonlySet<string> {
  const line = readFileSync('/proc/cpuinfo', 'utf8').split('\n').find(text => text.startsWith('flags')) ?? '';
  return new Set(line.split(/\s+/).slice(2));
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
  // struct user_desc of modify_ldt.
  view.setUint32(1024, LOCAL_SEGMENTS.length, true);
  LOCAL_SEGMENTS.forEach(({ selector, base, limit, kind, wide, writable, present }, i) => {
    const at = 1040 + i * 16;
    view.setUint32(at, selector >> 3, true);
    view.setUint32(at + 4, Number(base), true);
    view.setUint32(at + 8, limit, true);
    const contents = kind === 'code' ? 2 : kind === 'expandDown' ? 1 : 0;
    view.setUint32(at + 12, (wide ? 1 : 0) | (contents << 1) | (writable ? 0 : 8) | (present ? 0 : 32), true);
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
