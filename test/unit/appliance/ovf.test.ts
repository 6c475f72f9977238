/** Descriptors and archives of appliances, as they should be and as they should not. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppliancePackage } from '../../../core/appliance/package.ts';
import { readOvf } from '../../../core/appliance/ovf.ts';
import { parseXml } from '../../../core/appliance/xml.ts';
import { descriptor, tar, writeOva } from '../../helpers/appliances.ts';
import { refusal, refused } from '../../helpers/refusal.ts';

let folder = '';
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'vanderpool-appliance-'))));
afterAll(() => rmSync(folder, { recursive: true }));

describe('a descriptor', () => {
  it('says what machine is wanted', () => {
    expect(readOvf(descriptor({}), 'x.ovf')).toEqual({
      name: 'Web server', notes: 'Serves the web & more.', cpus: 2, memoryBytes: 2 ** 30, firmware: 'bios', drives: 1, networks: ['e1000e'], variables: null, changes: [],
      disks: [{ file: 'disk.vmdk', bytes: 0, bus: 'virtio' }, { file: null, bytes: 2 ** 30, bus: 'ahci' }],
    });
  });

  it('gets what there is, and the difference is said', () => {
    const wanted = readOvf(descriptor({ name: '<![CDATA[/etc "x" é]]>', cpus: 64, memory: 65536, more: '<vmw:Config ovf:key="firmware" vmw:value="efi"/>' }), 'x.ovf');
    expect(wanted).toMatchObject({ name: 'etc x é', cpus: 8, memoryBytes: 3 * 2 ** 30, firmware: 'uefi' });
    expect(wanted.changes).toEqual(['It wants 64 processors and gets 8.', 'It wants 64G of memory and gets 3G.']);
  });

  it.each([
    ['no XML', 'hello', /no descriptor/], ['half of one', descriptor({}).slice(0, 900), /no descriptor/], ['another document', '<html></html>', /no descriptor/],
    ['two machines', descriptor({ more: '<VirtualSystem/>' }), /describes 2 machines/],
    ['a disk that is not in it', descriptor({}).replace('ovf:fileRef="file1"', 'ovf:fileRef="file9"'), /names a disk that is not in it/],
    ['a compressed disk', descriptor({}).replace('ovf:id="file1"', 'ovf:id="file1" ovf:compression="gzip"'), /compressed by gzip/],
  ])('is refused: %s', (_what, text, reason) => expect(refusal(() => readOvf(text, 'x.ovf'))).toMatchObject({ code: 'bad-image', message: expect.stringMatching(reason) }));
});

describe('XML', () => {
  it('expands nothing that a document defines, and ends at its bounds', () => {
    expect(parseXml('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')).toBeNull();
    expect(parseXml('<a>&lt;&#65;&#x42;</a>')?.text).toBe('<AB');
    expect(parseXml('<a>&b;</a>')).toBeNull();
    expect(parseXml('<a>'.repeat(100) + '</a>'.repeat(100))).toBeNull();
    expect(parseXml(`<a>${'<b/>'.repeat(60_000)}</a>`)).toBeNull();
    for (const text of ['', '<a', '<a></b>', '<a/><b/>', '<a x=1/>', `<a ${'x="1" '.repeat(5000)}`]) expect(parseXml(text)).toBeNull();
  });
});

describe('an archive', () => {
  const open = (bytes: Buffer): Promise<AppliancePackage> => {
    writeFileSync(join(folder, 'a.ova'), bytes);
    return AppliancePackage.open(join(folder, 'a.ova'));
  };

  it('whose disk is not what its manifest says is refused', async () => {
    const whole = await AppliancePackage.open(writeOva(folder, Buffer.alloc(1 << 20, 'abc')));
    const bytes: number[] = [];
    await whole.verify((count) => bytes.push(count));
    expect(bytes.reduce((sum, count) => sum + count, 0)).toBe(whole.bytesToVerify);
    const damaged = await AppliancePackage.open(writeOva(folder, Buffer.alloc(1 << 20, 'abc'), { damaged: true }));
    expect(await refused(damaged.verify(() => undefined))).toMatchObject({ code: 'bad-image', hint: 'Fetch it again.', message: expect.stringContaining('disk.vmdk is not what its manifest says') });
  });

  it.each([
    ['no archive', Buffer.alloc(2048, 1), /no tar archive/], ['nothing', Buffer.alloc(1024), /no descriptor/], ['no descriptor', tar([['a.txt', Buffer.from('x')]]), /no descriptor/],
    ['half', tar([['a.ovf', Buffer.alloc(9000)]]).subarray(0, 4096), /is cut off within a\.ovf/],
  ])('is refused: %s', async (_what, bytes, reason) => expect(await refused(open(bytes))).toMatchObject({ code: 'bad-image', message: expect.stringMatching(reason) }));

  it('has no file outside of it, and none outside its folder when it is no archive', async () => {
    const href = '../../../../etc/passwd';
    writeFileSync(join(folder, 'b.ovf'), descriptor({ href }));
    for (const source of [await open(tar([['a.ovf', Buffer.from(descriptor({ href }))]])), await AppliancePackage.open(join(folder, 'b.ovf'))]) {
      expect(await refused(source.openDisk(href))).toMatchObject({ message: expect.stringContaining('lacks its file') });
    }
  });
});
