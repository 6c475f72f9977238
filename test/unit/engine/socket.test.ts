import { chmodSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { socketPath } from '../../../core/engine/socket.ts';

describe('the socket of a library', () => {
  let temporary: string;
  let deep: string;
  const shared = (): string => join(temporary, `vanderpool-${userInfo().uid}`);

  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), 'vanderpool-socket-'));
    deep = join(temporary, 'x'.repeat(120));
    mkdirSync(deep);
    vi.stubEnv('TMPDIR', temporary);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(temporary, { recursive: true, force: true });
  });

  it('lies in the library, or where its path is too long in a folder for this person alone', () => {
    expect(socketPath(temporary)).toBe(join(temporary, 'engine.sock'));
    expect(dirname(socketPath(deep))).toBe(shared());
    expect(lstatSync(shared()).mode & 0o777).toBe(0o700);
    expect(socketPath(deep)).toBe(socketPath(deep));
  });

  it('is in no folder that others may write to, or that is a link', () => {
    mkdirSync(shared());
    chmodSync(shared(), 0o777);
    expect(() => socketPath(deep)).toThrow(/is open to others/);
    rmSync(shared(), { recursive: true });
    symlinkSync(deep, shared());
    expect(() => socketPath(deep)).toThrow(/is open to others/);
  });
});
