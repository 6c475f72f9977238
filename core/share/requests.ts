/** What each request of 9P2000.L does: how it lies in its message, and its answer. */
import { chmodSync, closeSync, constants, fdatasyncSync, fsyncSync, ftruncateSync, futimesSync, linkSync, mkdirSync, openSync, readSync, readlinkSync, renameSync } from 'node:fs';
import { rmdirSync, statfsSync, symlinkSync, truncateSync, unlinkSync, utimesSync, writeSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { MESSAGE_BYTES_MINIMUM } from './client.ts';
import type { ShareClient } from './client.ts';
import { TreeError, bytesOf } from './tree.ts';
import type { MessageReader, MessageWriter } from './wire.ts';

const PROTOCOL = '9P2000.L';
export const MESSAGE_BYTES = 512 * 1024;
const NAMES_IN_WALK = 16;
const attribute = { mode: 1, uid: 2, gid: 4, size: 8, atime: 16, mtime: 32, atimeSet: 128, mtimeSet: 256 } as const;
/** Everything but birth time, generation and data version. */
const BASIC_ATTRIBUTES = 0x7ff;
const qidType = { folder: 0x80, link: 0x02, file: 0 } as const;
const entryType = { folder: 4, link: 10, file: 8, other: 0 } as const;
const unlocked = 2;
const REMOVE_FOLDER = 0x200;

type Request = (client: ShareClient, read: MessageReader, write: MessageWriter) => void;

/** Requests by their type. @9p2000.L */
export const requests: Readonly<Record<number, Request>> = {
  // Tversion
  100: (client, read, write) => {
    const bytes = read.u32();
    const version = read.text();
    client.reset();
    client.messageBytes = Math.max(MESSAGE_BYTES_MINIMUM, Math.min(bytes, MESSAGE_BYTES));
    write.u32(Math.min(bytes, MESSAGE_BYTES)).text(version === PROTOCOL ? PROTOCOL : 'unknown');
  },
  // Tattach: fid, authentication, user, tree
  104: (client, read, write) => qid(write, client.attach(read.u32())),
  // Tflush: whatever it was, it has been answered.
  108: () => {},
  // Twalk
  110: (client, read, write) => {
    const from = read.u32();
    const to = read.u32();
    const count = read.u16();
    if (count > NAMES_IN_WALK) throw new TreeError('EINVAL');
    const met = client.walk(from, to, Array.from({ length: count }, () => read.text()));
    write.u16(met.length);
    for (const status of met) qid(write, status);
  },
  // Tclunk
  120: (client, read) => client.clunk(read.u32()),
  // Tlopen
  12: (client, read, write) => {
    const fid = read.u32();
    qid(write, client.open(fid, read.u32()));
    write.u32(0);
  },
  // Tlcreate: fid, name, flags, mode, group
  14: (client, read, write) => {
    const [fid, name, flags, mode] = [read.u32(), read.text(), read.u32(), read.u32()];
    qid(write, client.create(fid, name, flags, mode));
    write.u32(0);
  },
  // Tread
  116: (client, read, write) => {
    const [fid, offset, count] = [read.u32(), read.size(), read.u32()];
    const { descriptor } = client.opened(fid);
    write.u32(0);
    const start = write.length;
    const got = readSync(descriptor, write.space(Math.min(count, write.room)), 0, Math.min(count, write.room + write.length - start), offset);
    write.cut(start + got);
    write.patch32(start - 4, got);
  },
  // Twrite
  118: (client, read, write) => {
    const [fid, offset, count] = [read.u32(), read.size(), read.u32()];
    client.allowChange();
    write.u32(writeSync(client.opened(fid).descriptor, read.data(count), 0, count, offset));
  },
  // Tgetattr
  24: (client, read, write) => {
    const status = client.status(read.u32());
    write.u64(BASIC_ATTRIBUTES);
    qid(write, status);
    write.u32(Number(status.mode)).u32(Number(status.uid)).u32(Number(status.gid));
    for (const value of [status.nlink, status.rdev, status.size, status.blksize, status.blocks]) write.u64(value);
    for (const time of [status.atimeNs, status.mtimeNs, status.ctimeNs, 0n]) write.u64(time / 1_000_000_000n).u64(time % 1_000_000_000n);
    write.u64(0).u64(0);
  },
  // Tsetattr
  26: (client, read) => setAttributes(client, read),
  // Treaddir
  40: (client, read, write) => readFolder(client, read, write),
  // Tstatfs
  8: (client, read, write) => {
    const { type, bsize, blocks, bfree, bavail, files, ffree } = statfsSync(bytesOf(client.fid(read.u32()).node.place), { bigint: true });
    write.u32(Number(BigInt.asUintN(32, type))).u32(Number(bsize));
    for (const value of [blocks, bfree, bavail, files, ffree, 0n]) write.u64(value);
    write.u32(255);
  },
  // Treadlink
  22: (client, read, write) => {
    const fid = read.u32();
    write.text(client.withParent(fid, (path) => readlinkSync(path, { encoding: 'latin1' })));
  },
  // Tsymlink: folder, name, target, group
  16: (client, read, write) => {
    const [fid, name, target] = [read.u32(), read.text(), read.text()];
    qid(write, client.make(fid, name, (path) => symlinkSync(bytesOf(target), path)));
  },
  // Tmknod: device files and pipes of the host are nothing for a guest; plain files are.
  18: (client, read, write) => {
    const [fid, name, mode] = [read.u32(), read.text(), read.u32()];
    if ((mode & 0o170000) !== 0o100000) throw new TreeError('EPERM');
    qid(write, client.make(fid, name, (path) => closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, mode & 0o777))));
  },
  // Tmkdir: folder, name, mode, group
  72: (client, read, write) => {
    const [fid, name, mode] = [read.u32(), read.text(), read.u32()];
    qid(write, client.make(fid, name, (path) => mkdirSync(path, { mode: mode & 0o777 })));
  },
  // Tlink: folder, file, name
  70: (client, read) => {
    const [folder, fid, name] = [read.u32(), read.u32(), read.text()];
    client.allowChange();
    const target = client.path(folder, name);
    client.withParent(fid, (path) => linkSync(path, target));
  },
  // Trename: file, folder, name
  20: (client, read) => {
    const [fid, folder, name] = [read.u32(), read.u32(), read.text()];
    client.allowChange();
    const target = client.path(folder, name);
    client.withParent(fid, (path) => renameSync(path, target));
    client.renamed(client.fid(fid).node.names, [...client.fid(folder).node.names, name]);
  },
  // Trenameat
  74: (client, read) => {
    const [from, name, to, next] = [read.u32(), read.text(), read.u32(), read.text()];
    client.allowChange();
    renameSync(client.path(from, name), client.path(to, next));
    client.renamed([...client.fid(from).node.names, name], [...client.fid(to).node.names, next]);
  },
  // Tunlinkat
  76: (client, read) => {
    const [fid, name, flags] = [read.u32(), read.text(), read.u32()];
    client.allowChange();
    const path = client.path(fid, name);
    if ((flags & REMOVE_FOLDER) !== 0) rmdirSync(path);
    else unlinkSync(path);
  },
  // Tremove: the fid is gone whatever happens.
  122: (client, read) => {
    const fid = read.u32();
    try {
      client.allowChange();
      const isFolder = client.status(fid).isDirectory();
      client.withParent(fid, isFolder ? rmdirSync : unlinkSync);
    } finally {
      client.clunk(fid);
    }
  },
  // Tfsync
  50: (client, read) => {
    const { descriptor } = client.fid(read.u32());
    if (descriptor === null) return;
    if (read.u32() !== 0) fdatasyncSync(descriptor);
    else fsyncSync(descriptor);
  },
  // Tlock: one client has no rival here.
  52: (client, read, write) => {
    client.fid(read.u32());
    write.u8(0);
  },
  // Tgetlock
  54: (client, read, write) => {
    client.fid(read.u32());
    read.u8();
    const [start, length, process, holder] = [read.u64(), read.u64(), read.u32(), read.text()];
    write.u8(unlocked).u64(start).u64(length).u32(process).text(holder);
  },
};

/** Owners stay who they are: files of the folder belong to whoever runs the machine, and no guest makes programs that run as another. */
function setAttributes(client: ShareClient, read: MessageReader): void {
  const [number, valid, mode] = [read.u32(), read.u32(), read.u32()];
  const owner = [read.u32(), read.u32()] as const;
  const size = read.u64();
  const times = [read.u64(), read.u64(), read.u64(), read.u64()] as const;
  client.allowChange();
  const { node, descriptor } = client.fid(number);
  const status = client.status(number);
  if (status.isSymbolicLink()) return;
  if ((valid & attribute.uid) !== 0 && BigInt(owner[0]) !== status.uid) throw new TreeError('EPERM');
  if ((valid & attribute.gid) !== 0 && BigInt(owner[1]) !== status.gid) throw new TreeError('EPERM');
  const path = bytesOf(node.place);
  if ((valid & attribute.mode) !== 0) chmodSync(path, mode & 0o777);
  if ((valid & attribute.size) !== 0) {
    if (!status.isFile() || size > BigInt(Number.MAX_SAFE_INTEGER)) throw new TreeError('EINVAL');
    if (descriptor === null) truncateSync(path, Number(size));
    else ftruncateSync(descriptor, Number(size));
  }
  if ((valid & (attribute.atime | attribute.mtime)) === 0) return;
  const now = Date.now() / 1000;
  const time = (bit: number, set: number, seconds: bigint, nanoseconds: bigint, before: bigint): number => {
    if ((valid & bit) === 0) return Number(before) / 1e9;
    return (valid & set) !== 0 ? Number(seconds) + Number(nanoseconds) / 1e9 : now;
  };
  const accessed = time(attribute.atime, attribute.atimeSet, times[0], times[1], status.atimeNs);
  const modified = time(attribute.mtime, attribute.mtimeSet, times[2], times[3], status.mtimeNs);
  if (descriptor === null) utimesSync(path, accessed, modified);
  else futimesSync(descriptor, accessed, modified);
}

/** Entries as long as there is room; each names the place behind it. */
function readFolder(client: ShareClient, read: MessageReader, write: MessageWriter): void {
  const [fid, offset, count] = [read.u32(), read.size(), read.u32()];
  write.u32(0);
  const start = write.length;
  const limit = Math.min(count, write.room);
  let place = offset;
  for (const name of client.names(fid, offset)) {
    place += 1;
    if (write.length - start + 24 + name.length > limit) break;
    const status = client.entryStatus(fid, name);
    if (status === null) continue;
    qid(write, status);
    write.u64(place).u8(status.isDirectory() ? entryType.folder : status.isSymbolicLink() ? entryType.link : status.isFile() ? entryType.file : entryType.other).text(name);
  }
  write.patch32(start - 4, write.length - start);
}

/** What tells files apart: the inode, and in its upper bits the device. */
function qid(write: MessageWriter, status: BigIntStats): void {
  const type = status.isDirectory() ? qidType.folder : status.isSymbolicLink() ? qidType.link : qidType.file;
  write.u8(type).u32(Number(BigInt.asUintN(32, status.mtimeNs ^ (status.size << 8n)))).u64(status.ino ^ (status.dev << 48n));
}
