/** What may lie in a CD-ROM drive, and what is refused with the reason. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { discText, readDisc } from '../../../core/block/disc.ts';
import { refused } from '../../helpers/refusal.ts';

let folder = '';
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'vanderpool-disc-'))));
afterAll(() => rmSync(folder, { recursive: true }));

function file(bytes: Uint8Array): string {
  const path = join(folder, 'file');
  writeFileSync(path, bytes);
  return path;
}

/** A volume of so many sectors, by ECMA-119 8.4, in a file of so many. */
function iso(sectors: number, present = sectors): Buffer {
  const bytes = Buffer.alloc(present * 2048);
  bytes.write('\x01CD001\x01', 16 * 2048, 'latin1');
  bytes.write('Debian 12'.padEnd(32), 16 * 2048 + 40, 'latin1');
  bytes.writeUInt32LE(sectors, 16 * 2048 + 80);
  return bytes;
}

it('knows an ISO 9660 volume by its name, and one that is cut off', async () => {
  const disc = await readDisc(file(iso(512)));
  expect(disc).toEqual({ size: 1 << 20, system: 'ISO 9660', label: 'Debian 12' });
  expect(discText(disc)).toBe('ISO 9660 "Debian 12", 1M');
  // Copies lack the padding at times.
  expect(await readDisc(file(iso(512, 400)))).toMatchObject({ system: 'ISO 9660' });
  expect(await refused(readDisc(file(iso(512, 300))))).toMatchObject({ code: 'bad-image', message: expect.stringMatching(/is cut off: it has 614400 bytes of 1048576/), hint: 'Fetch it again.' });
});

it('knows UDF, and takes any whole sectors for a disc that a guest may read', async () => {
  const udf = Buffer.alloc(64 * 2048 + 5);
  udf.write('\x00BEA01', 16 * 2048, 'latin1');
  udf.write('\x00NSR03', 17 * 2048, 'latin1');
  expect(await readDisc(file(udf))).toMatchObject({ system: 'UDF' });
  expect(await readDisc(file(Buffer.alloc(2048)))).toEqual({ size: 2048, system: null, label: '' });
});

it.each([
  ['nothing', Buffer.alloc(0), 'is empty'],
  ['text', Buffer.from('hello\n'), 'no whole number of sectors'],
  ['a qcow2 image', Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(2044)]), 'is a qcow2 image of a disk'],
  ['an xz file', Buffer.concat([Buffer.from('\xfd7zXZ\0', 'latin1'), Buffer.alloc(2042)]), 'is packed by xz'],
  ['a VDI image', Buffer.concat([Buffer.alloc(64), Buffer.from([0x7f, 0x10, 0xda, 0xbe]), Buffer.alloc(1980)]), 'is a VDI image'],
])('refuses %s', async (_what, bytes, reason) => {
  expect(await refused(readDisc(file(bytes)))).toMatchObject({ code: 'bad-image', message: expect.stringContaining(reason) });
});

it('refuses what is no file', async () => {
  expect(await refused(readDisc(folder))).toMatchObject({ code: 'file-unreadable' });
});
