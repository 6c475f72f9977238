/** Compiles the harness and asks it what this machine allows. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';

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

/** Path of the compiled harness. @throws when gcc cannot make it. */
export function harness(): string {
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

/** Optional parts of cases: `segments` of our own (modify_ldt), memory in the first 64 KiB (`low`). Empty where nothing native runs. */
export const hostAllows: ReadonlySet<string> = new Set(nativeObstacle() === '' ? execFileSync(harness(), [], { encoding: 'utf8' }).split('\n').filter(Boolean) : []);
