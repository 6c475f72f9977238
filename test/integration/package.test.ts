import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { createPackage } from '@electron/asar';
import { describe, expect, it } from 'vitest';
import { checkPackage } from '../../build/packaging/check.ts';
import { drawIcon, iconIcns, iconIco, iconPng } from '../../build/packaging/icon.ts';
import { makeStandIn } from '../../build/packaging/stand-in.ts';
import { root } from '../helpers/command-line.ts';

describe('the package', () => {
  it('holds what it should, nothing else, with its fuses set', () => {
    const run = spawnSync(process.execPath, [join(root, 'build/package.ts'), 'dir', '--stand-in'], { cwd: root, encoding: 'utf8' });
    expect(run.stderr).not.toContain('problem:');
    expect(run.stdout).toContain('is as it should be, but for the stand-in');
    expect(run.status).toBe(0);
    const program = spawnSync(join(root, 'release/linux-unpacked/vanderpool'), { encoding: 'utf8' });
    expect(program.status).toBe(1);
    expect(program.stderr).toContain('stand-in');
  });

  it('refuses installers made of the stand-in, and systems that there are not', () => {
    for (const args of [['linux', '--stand-in'], ['amiga']]) {
      expect(spawnSync(process.execPath, [join(root, 'build/package.ts'), ...args], { cwd: root }).status).toBe(1);
    }
  });

  it('is told apart from one that lacks the program, carries sources, or has its fuses as Electron ships them', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-package-'));
    try {
      const package_ = makeStandIn(join(folder, 'package'));
      mkdirSync(join(folder, 'app/test'), { recursive: true });
      writeFileSync(join(folder, 'app/test/secret.ts'), 'x');
      await createPackage(join(folder, 'app'), join(package_, 'resources/app.asar'));
      const { problems } = await checkPackage(package_, 'electron');
      expect(problems).toContainEqual(expect.stringContaining('the main process is missing'));
      expect(problems).toContainEqual(expect.stringContaining('test/secret.ts does not belong'));
      expect(problems).toContainEqual('The fuse runAsNode is not off.');
      expect(problems).toContainEqual('The fuse onlyLoadAppFromAsar is not on.');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('the icon', () => {
  it('is opaque in its middle and clear in its corners, at every size', () => {
    for (const size of [16, 48, 256]) {
      const pixels = drawIcon(size);
      expect(pixels[3]).toBe(0);
      expect(pixels[((size >> 1) * size + (size >> 1)) * 4 + 3]).toBe(255);
    }
  });

  it('is a PNG whose rows decode to its pixels', () => {
    const png = iconPng(32);
    expect(png.subarray(1, 4).toString()).toBe('PNG');
    const length = png.readUInt32BE(33);
    const rows = inflateSync(png.subarray(41, 41 + length));
    expect(rows.length).toBe(32 * (32 * 4 + 1));
    expect([...rows.subarray(16 * 129 + 1, 16 * 129 + 129)]).toEqual([...drawIcon(32).subarray(16 * 128, 17 * 128)]);
  });

  it('lists its pictures where Windows and macOS look for them', () => {
    const ico = iconIco([16, 256]);
    expect([ico.readUInt16LE(2), ico.readUInt16LE(4), ico[6], ico[22]]).toEqual([1, 2, 16, 0]);
    expect(ico.subarray(ico.readUInt32LE(18) + 1, ico.readUInt32LE(18) + 4).toString()).toBe('PNG');
    const icns = iconIcns();
    expect(icns.subarray(0, 4).toString()).toBe('icns');
    expect(icns.readUInt32BE(4)).toBe(icns.length);
    expect(icns.subarray(8, 12).toString()).toBe('icp4');
  });
});
