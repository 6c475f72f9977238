import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { buildInitramfs } from '../../../build/guests/initramfs.ts';
import { guestRows } from '../../../build/guests/rows.ts';
import { writeCpio } from '../../../build/guests/cpio.ts';

const haveCpio = spawnSync('cpio', ['--version']).error === undefined;

describe('initial RAM file systems', () => {
  it('has the layout of the newc format', () => {
    const archive = writeCpio([{ kind: 'file', path: 'a', data: Buffer.from('hello') }]);
    const text = Buffer.from(archive).toString('latin1');
    expect(text.slice(0, 6)).toBe('070701');
    // Mode, links, size; then the name after thirteen numbers.
    expect([text.slice(14, 22), text.slice(38, 46), text.slice(54, 62)]).toEqual(['000081a4', '00000001', '00000005']);
    expect(text.slice(110, 112)).toBe('a\0');
    expect(text.slice(112, 117)).toBe('hello');
    expect(text).toContain('TRAILER!!!');
    expect(archive.length % 512).toBe(0);
  });

  it('the same files give the same archive', () => {
    const make = () => buildInitramfs(Buffer.from('busybox'), Buffer.from('kernel'));
    expect(Buffer.compare(make(), make())).toBe(0);
  });

  it.skipIf(!haveCpio)('cpio lists what was put in: init, devices, links', () => {
    const listing = execFileSync('cpio', ['-itv', '--quiet'], { input: buildInitramfs(Buffer.alloc(100), Buffer.alloc(5_000_000)), encoding: 'utf8' });
    const lines = listing.trim().split('\n');
    expect(lines.find(line => line.endsWith(' init'))).toMatch(/^-rwxr-xr-x/);
    expect(lines.find(line => line.endsWith(' dev/console'))).toMatch(/^crw-------.* 5, +1 /);
    expect(lines.find(line => line.includes(' bin/sh '))).toMatch(/-> busybox$/);
    expect(lines.find(line => line.endsWith(' data.bin'))).toMatch(/ 4000000 /);
  });

  it('guests have names of their own', () => {
    expect(new Set(guestRows.map(({ name }) => name)).size).toBe(guestRows.length);
    expect(guestRows.filter(({ fetchedByDefault }) => fetchedByDefault).map(({ name }) => name)).toEqual(['amd64', 'i386']);
  });
});
