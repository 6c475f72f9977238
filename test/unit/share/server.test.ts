/** The 9P server: what a client may do in a shared folder, and that nothing leads out of it. */
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ShareServer } from '../../../core/share/server.ts';
import { MessageReader, MessageWriter } from '../../../core/share/wire.ts';

const ROOM = 64 * 1024;
const type = {
  statfs: 8, open: 12, create: 14, symlink: 16, mknod: 18, readlink: 22, getattr: 24, setattr: 26, xattrwalk: 30, readdir: 40, fsync: 50, lock: 52, link: 70, mkdir: 72, renameat: 74, unlinkat: 76,
  version: 100, attach: 104, flush: 108, walk: 110, read: 116, write: 118, clunk: 120, remove: 122,
} as const;
const errno = { EPERM: 1, ENOENT: 2, ENXIO: 6, EEXIST: 17, ENOTDIR: 20, EISDIR: 21, EINVAL: 22, EROFS: 30, ELOOP: 40, EPROTO: 71, ENOTEMPTY: 39, EOPNOTSUPP: 95, ESTALE: 116 } as const;
const writeOnly = 1;
const readWrite = 2;
const truncate = 0o1000;
const exclusive = 0o200;

let outside: string;
let folder: string;
let server: ShareServer;

beforeEach(() => {
  outside = mkdtempSync(join(tmpdir(), 'vanderpool-share-'));
  folder = join(outside, 'shared');
  mkdirSync(join(folder, 'sub'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'secret');
  writeFileSync(join(folder, 'file'), 'contents');
  writeFileSync(join(folder, 'sub', 'deep'), 'deep contents');
  symlinkSync('../secret', join(folder, 'link'));
  symlinkSync(outside, join(folder, 'folderlink'));
  server = open();
});
afterEach(() => {
  server.client.reset();
  rmSync(outside, { recursive: true, force: true });
});

function open(readOnly = false): ShareServer {
  const made = new ShareServer({ folder, readOnly });
  ask(made, type.version, (write) => write.u32(ROOM).text('9P2000.L'));
  ask(made, type.attach, (write) => write.u32(0).u32(0xffffffff).text('root').text('').u32(0));
  return made;
}

/** An answer's reader, or the number of its error. */
function ask(to: ShareServer, kind: number, body: (write: MessageWriter) => unknown): MessageReader | number {
  const write = new MessageWriter(ROOM);
  write.u32(0).u8(kind).u16(7);
  body(write);
  write.patch32(0, write.length);
  const answer = to.answer(write.bytes, ROOM);
  const read = new MessageReader(answer);
  expect(read.u32()).toBe(answer.length);
  const answered = read.u8();
  expect(read.u16()).toBe(7);
  if (answered === 7) return read.u32();
  expect(answered).toBe(kind + 1);
  return read;
}

/** Walks from the root to a new fid; the number of elements that were met, or an error. */
function walk(fid: number, names: readonly string[], from = 0, to = server): number | string {
  const answer = ask(to, type.walk, (write) => {
    write.u32(from).u32(fid).u16(names.length);
    for (const name of names) write.text(name);
  });
  return typeof answer === 'number' ? `error ${answer}` : answer.u16();
}

function read(fid: number, offset = 0, count = 1000, to = server): string | number {
  const answer = ask(to, type.read, (write) => write.u32(fid).u64(offset).u32(count));
  return typeof answer === 'number' ? answer : Buffer.from(answer.data(answer.u32())).toString();
}

const openFile = (fid: number, flags: number, to = server) => ask(to, type.open, (write) => write.u32(fid).u32(flags));
const failed = (answer: MessageReader | number): number | null => (typeof answer === 'number' ? answer : null);

describe('a shared folder', () => {
  it('is walked, opened, read and listed', () => {
    expect(walk(1, ['sub', 'deep'])).toBe(2);
    expect(failed(openFile(1, 0))).toBe(null);
    expect([read(1), read(1, 5, 4), read(1, 100)]).toEqual(['deep contents', 'cont', '']);
    expect(walk(2, [])).toBe(0);
    openFile(2, 0);
    const names: string[] = [];
    let offset = 0n;
    // A few at a time: the last entry says where to go on.
    for (;;) {
      const answer = ask(server, type.readdir, (write) => write.u32(2).u64(offset).u32(64));
      if (typeof answer === 'number') throw new Error(`error ${answer}`);
      const length = answer.u32();
      if (length === 0) break;
      for (let at = 0; at < length;) {
        answer.data(13);
        offset = answer.u64();
        answer.u8();
        const name = answer.text();
        names.push(name);
        at += 24 + name.length;
      }
    }
    expect(names.toSorted()).toEqual(['.', '..', 'file', 'folderlink', 'link', 'sub']);
  });

  it('is not left by names, links or ways up', () => {
    expect(walk(1, ['..'])).toBe(1);
    expect(walk(2, ['..', '..', 'secret'])).toBe(2);
    expect(walk(3, ['sub', '..', '..', '..', 'file'])).toBe(5);
    for (const name of ['../secret', '/etc/passwd', 'sub/../../secret', '', '.', 'a\0b']) expect(walk(4, [name]), name).toBe(`error ${errno.EINVAL}`);
    // A link is there, can be read as a link, and cannot be gone through or opened.
    expect(walk(5, ['link'])).toBe(1);
    expect(failed(openFile(5, 0))).toBe(errno.ELOOP);
    const target = ask(server, type.readlink, (write) => write.u32(5));
    expect(typeof target === 'number' ? target : target.text()).toBe('../secret');
    expect(walk(6, ['folderlink', 'secret'])).toBe(1);
    expect(walk(7, ['folderlink', '..', 'file'])).toBe(3);
    expect(failed(ask(server, type.create, (write) => write.u32(0).text('link').u32(readWrite).u32(0o644).u32(0)))).toBe(errno.ELOOP);
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
  });

  it('is not left when a folder becomes a link behind an open fid', () => {
    expect(walk(1, ['sub'])).toBe(1);
    renameSync(join(folder, 'sub'), join(folder, 'moved'));
    symlinkSync(outside, join(folder, 'sub'));
    // The fid is the folder itself, wherever it is now.
    expect(walk(2, ['deep'], 1)).toBe(1);
    expect(walk(3, ['secret'], 1)).toBe(`error ${errno.ENOENT}`);
    expect(failed(ask(server, type.mkdir, (write) => write.u32(1).text('new').u32(0o755).u32(0)))).toBe(null);
    expect(readdirSync(join(folder, 'moved')).toSorted()).toEqual(['deep', 'new']);
    expect(readdirSync(outside).toSorted()).toEqual(['secret', 'shared']);
  });

  it('changes nothing when it is shared for reading', () => {
    const reading = open(true);
    walk(1, ['file'], 0, reading);
    expect(failed(openFile(1, readWrite, reading))).toBe(errno.EROFS);
    expect(failed(openFile(1, truncate, reading))).toBe(errno.EROFS);
    const changes: readonly (readonly [kind: number, body: (write: MessageWriter) => unknown])[] = [
      [type.create, (write) => write.u32(0).text('new').u32(writeOnly).u32(0o644).u32(0)], [type.mkdir, (write) => write.u32(0).text('new').u32(0o755).u32(0)],
      [type.symlink, (write) => write.u32(0).text('new').text('file').u32(0)], [type.mknod, (write) => write.u32(0).text('new').u32(0o100644).u32(0).u32(0).u32(0)],
      [type.link, (write) => write.u32(0).u32(1).text('new')], [type.renameat, (write) => write.u32(0).text('file').u32(0).text('new')],
      [type.unlinkat, (write) => write.u32(0).text('file').u32(0)], [type.remove, (write) => write.u32(1)],
    ];
    for (const [kind, body] of changes) expect(failed(ask(reading, kind, body)), String(kind)).toBe(errno.EROFS);
    walk(2, ['file'], 0, reading);
    expect(failed(ask(reading, type.setattr, (write) => {
      write.u32(2).u32(8).u32(0).u32(0).u32(0);
      for (let index = 0; index < 5; index++) write.u64(0);
    }))).toBe(errno.EROFS);
    openFile(2, 0, reading);
    expect(failed(ask(reading, type.write, (write) => write.u32(2).u64(0).u32(1).u8(65)))).toBe(errno.EROFS);
    expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('contents');
    expect(readdirSync(folder).toSorted()).toEqual(['file', 'folderlink', 'link', 'sub']);
    reading.client.reset();
  });

  it('makes, writes, renames and removes files when it may be written', () => {
    walk(1, []);
    expect(failed(ask(server, type.create, (write) => write.u32(1).text('new').u32(readWrite | exclusive).u32(0o4444).u32(0)))).toBe(null);
    const count = ask(server, type.write, (write) => write.u32(1).u64(2).u32(3).u8(65).u8(66).u8(67));
    expect(typeof count === 'number' ? count : count.u32()).toBe(3);
    // No guest makes programs that run as somebody else.
    expect(statSync(join(folder, 'new')).mode & 0o7777).toBe(0o444);
    expect(readFileSync(join(folder, 'new'), 'utf8')).toBe('\0\0ABC');
    expect(failed(ask(server, type.fsync, (write) => write.u32(1).u32(0)))).toBe(null);
    walk(2, []);
    expect(failed(ask(server, type.create, (write) => write.u32(2).text('new').u32(readWrite | exclusive).u32(0o644).u32(0)))).toBe(errno.EEXIST);
    expect(failed(ask(server, type.renameat, (write) => write.u32(0).text('sub').u32(0).text('other')))).toBe(null);
    expect(walk(3, ['other', 'deep'])).toBe(2);
    expect(failed(ask(server, type.unlinkat, (write) => write.u32(0).text('other').u32(0x200)))).toBe(errno.ENOTEMPTY);
    expect(failed(ask(server, type.remove, (write) => write.u32(3)))).toBe(null);
    expect(existsSync(join(folder, 'other', 'deep'))).toBe(false);
    expect(failed(ask(server, type.mknod, (write) => write.u32(0).text('device').u32(0o020644).u32(1).u32(3).u32(0)))).toBe(errno.EPERM);
    expect(failed(ask(server, type.symlink, (write) => write.u32(0).text('made').text('file').u32(0)))).toBe(null);
    expect(lstatSync(join(folder, 'made')).isSymbolicLink()).toBe(true);
  });

  it('opens neither pipes nor devices', () => {
    spawnSync('mkfifo', [join(folder, 'pipe')]);
    walk(1, ['pipe']);
    expect(failed(openFile(1, 0))).toBe(errno.ENXIO);
    walk(2, []);
    expect(failed(ask(server, type.create, (write) => write.u32(2).text('pipe').u32(writeOnly).u32(0o644).u32(0)))).toBe(errno.ENXIO);
  });

  it('answers what it does not know, and what is cut off, with an error', () => {
    expect(failed(ask(server, type.xattrwalk, (write) => write.u32(0).u32(9).text('user.x')))).toBe(errno.EOPNOTSUPP);
    expect(failed(ask(server, type.getattr, () => {}))).toBe(errno.EPROTO);
    expect(failed(ask(server, type.getattr, (write) => write.u32(77)))).toBe(errno.ESTALE);
    expect(failed(ask(server, type.flush, (write) => write.u16(3)))).toBe(null);
    expect(walk(1, ['file', 'below'])).toBe(1);
  });

  it('a saved client goes on with its files where it was', () => {
    walk(1, ['sub', 'deep']);
    openFile(1, 0);
    walk(2, ['file']);
    const later = new ShareServer({ folder, readOnly: false });
    rmSync(join(folder, 'file'));
    later.client.restore(server.client.save());
    expect(read(1, 0, 4, later)).toBe('deep');
    expect(failed(ask(later, type.getattr, (write) => write.u32(2)))).toBe(errno.ESTALE);
    expect(later.client.save()).toEqual(server.client.save().filter(({ fid }) => fid !== 2));
    later.client.reset();
  });

  it('random messages throw nothing and change nothing outside', () => {
    chmodSync(folder, 0o755);
    const kinds = fc.constantFrom(...Object.values(type));
    const name = fc.constantFrom('file', 'sub', 'deep', '..', '.', '', 'link', 'folderlink', 'secret', '../secret', 'new');
    const field = fc.oneof(name.map((text) => ({ text })), fc.oneof(fc.nat(3), fc.nat(0xffffffff)).map((number) => ({ number })), fc.nat(0xffff).map((short) => ({ short })));
    fc.assert(fc.property(fc.array(fc.tuple(kinds, fc.array(field, { maxLength: 7 })), { maxLength: 30 }), (messages) => {
      for (const [kind, fields] of messages) {
        ask(server, kind, (write) => {
          for (const part of fields) {
            if ('text' in part) write.text(part.text);
            else if ('number' in part) write.u32(part.number);
            else write.u16(part.short);
          }
        });
      }
    }), { numRuns: 300 });
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    expect(readdirSync(outside).toSorted()).toEqual(['secret', 'shared']);
  });
});
