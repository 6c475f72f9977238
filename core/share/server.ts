/**
 * A folder of the host as 9P2000.L, for one client. Requests are carried out at once, one after the other: what a file system has in its cache
 * takes microseconds. Only plain files and folders are opened, so nothing waits for a writer of a pipe.
 */
import {
  chmodSync, closeSync, constants, fdatasyncSync, fsyncSync, ftruncateSync, futimesSync, linkSync, mkdirSync, openSync, readSync, readdirSync, readlinkSync, renameSync,
  rmdirSync, statfsSync, symlinkSync, truncateSync, unlinkSync, utimesSync, writeSync,
} from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { MessageReader, MessageWriter } from './wire.ts';
import { Tree, TreeError, below, bytesOf } from './tree.ts';
import type { Names, TreeNode } from './tree.ts';

/** Numbers of errors as Linux has them: the protocol's own. */
const errors: Readonly<Record<string, number>> = {
  EPERM: 1, ENOENT: 2, EIO: 5, ENXIO: 6, EBADF: 9, EAGAIN: 11, ENOMEM: 12, EACCES: 13, EBUSY: 16, EEXIST: 17, EXDEV: 18, ENODEV: 19, ENOTDIR: 20, EISDIR: 21, EINVAL: 22,
  ENFILE: 23, EMFILE: 24, ETXTBSY: 26, EFBIG: 27, ENOSPC: 28, EROFS: 30, EMLINK: 31, ENAMETOOLONG: 36, ENOTEMPTY: 39, ELOOP: 40, EPROTO: 71, EMSGSIZE: 90, EOPNOTSUPP: 95,
  ESTALE: 116, EDQUOT: 122,
};
const UNKNOWN_ERROR = 5;

const PROTOCOL = '9P2000.L';
const HEADER = 7;
export const MESSAGE_BYTES = 512 * 1024;
const MESSAGE_BYTES_MINIMUM = 4096;
export const FIDS_MAXIMUM = 2048;
const NAMES_IN_WALK = 16;
/** How deep a folder may lie: each level is a step when it is found again. */
const DEPTH_MAXIMUM = 256;
const NO_FID = 0xffffffff;

/** Bits of an open's flags, Linux' own. */
const openBit = { access: 3, writeOnly: 1, readWrite: 2, create: 0o100, exclusive: 0o200, truncate: 0o1000, append: 0o2000 } as const;
const attribute = { mode: 1, uid: 2, gid: 4, size: 8, atime: 16, mtime: 32, atimeSet: 128, mtimeSet: 256 } as const;
/** Everything but birth time, generation and data version. */
const BASIC_ATTRIBUTES = 0x7ff;
const qidType = { folder: 0x80, link: 0x02, file: 0 } as const;
const entryType = { folder: 4, link: 10, file: 8, other: 0 } as const;
const unlocked = 2;
const REMOVE_FOLDER = 0x200;

/** A name that the client gave to a file. */
interface Fid {
  node: TreeNode;
  /** Flags of the open that it stands for; null: it was not opened. */
  flags: number | null;
  /** The open file; null for folders. */
  descriptor: number | null;
  /** What a folder held when it was read from its beginning. */
  entries: readonly string[] | null;
}

/** What of a fid outlives the process. */
export interface SavedFid {
  readonly fid: number;
  readonly names: Names;
  readonly flags: number | null;
}

export interface ShareOptions {
  readonly folder: string;
  readonly readOnly: boolean;
}

type Handler = (server: ShareServer, read: MessageReader, write: MessageWriter) => void;

export class ShareServer {
  readonly #tree: Tree;
  readonly #readOnly: boolean;
  readonly #fids = new Map<number, Fid>();
  messageBytes = MESSAGE_BYTES_MINIMUM;

  /** @throws Error of Node when there is no such folder */
  constructor({ folder, readOnly }: ShareOptions) {
    this.#tree = new Tree(folder);
    this.#readOnly = readOnly;
  }

  /** Carries out a request; `room` bounds the answer. Never throws: what cannot be done is answered with its error. */
  answer(request: Uint8Array, room: number): Uint8Array {
    const read = new MessageReader(request);
    let tag = 0xffff;
    let kind = 0;
    try {
      read.u32();
      kind = read.u8();
      tag = read.u16();
      const handler = handlers[kind];
      if (!handler) throw new TreeError('EOPNOTSUPP');
      const write = reply(kind + 1, tag, Math.min(room, MESSAGE_BYTES));
      handler(this, read, write);
      write.patch32(0, write.length);
      return write.bytes;
    } catch (error) {
      return failure(tag, error, room);
    }
  }

  /** Forgets everything: the client begins anew. */
  reset(): void {
    for (const number of [...this.#fids.keys()]) this.#drop(number);
  }

  save(): readonly SavedFid[] {
    return [...this.#fids].map(([fid, { node, flags }]) => ({ fid, names: node.names, flags }));
  }

  /** Finds the files of a saved client again; those that are gone are errors when they are used. */
  restore(saved: readonly SavedFid[]): void {
    this.reset();
    for (const { fid, names, flags } of saved) {
      try {
        const node = this.#tree.open(names);
        this.#fids.set(fid, { node, flags, descriptor: null, entries: null });
        // What making the file has done is not done again.
        if (flags !== null) this.open(fid, flags & ~(openBit.create | openBit.exclusive | openBit.truncate));
      } catch {
        this.#drop(fid);
      }
    }
  }

  // ---- What the messages need ---------------------------------------------------------------------------------------

  fid(number: number): Fid {
    const fid = this.#fids.get(number);
    if (!fid) throw new TreeError('ESTALE');
    return fid;
  }

  /** A fid whose file is open. */
  opened(number: number): Fid & { readonly descriptor: number } {
    const fid = this.fid(number);
    const { descriptor } = fid;
    if (descriptor === null) throw new TreeError('EBADF');
    return { ...fid, descriptor };
  }

  add(number: number, node: TreeNode): void {
    if (number === NO_FID || this.#fids.has(number) || this.#fids.size >= FIDS_MAXIMUM) {
      this.#tree.close(node);
      throw new TreeError(this.#fids.size >= FIDS_MAXIMUM ? 'ENFILE' : 'EINVAL');
    }
    this.#fids.set(number, { node, flags: null, descriptor: null, entries: null });
  }

  clunk(number: number): void {
    this.fid(number);
    this.#drop(number);
  }

  attach(number: number): BigIntStats {
    this.add(number, this.#tree.open([]));
    return this.status(number);
  }

  status(number: number): BigIntStats {
    return this.#tree.status(this.fid(number).node);
  }

  /** Walks down, or up as far as the root. Returns what was met; all of it only when it has as many elements as names. */
  walk(from: number, to: number, names: readonly string[]): BigIntStats[] {
    const { node: start, flags } = this.fid(from);
    if (flags !== null && from === to) throw new TreeError('EINVAL');
    let node = this.#tree.again(start);
    const met: BigIntStats[] = [];
    try {
      for (const name of names) {
        if (node.names.length >= DEPTH_MAXIMUM) throw new TreeError('ENAMETOOLONG');
        const next = name === '..' ? this.#tree.open(node.names.slice(0, -1)) : this.#tree.child(node, name);
        this.#tree.close(node);
        node = next;
        met.push(this.#tree.status(node));
      }
    } catch (error) {
      this.#tree.close(node);
      if (met.length === 0) throw error;
      return met;
    }
    if (from === to) this.#drop(from);
    this.add(to, node);
    return met;
  }

  /** @throws TreeError EROFS where nothing may change */
  allowChange(): void {
    if (this.#readOnly) throw new TreeError('EROFS');
  }

  open(number: number, flags: number): BigIntStats {
    const fid = this.fid(number);
    const writes = (flags & openBit.access) !== 0 || (flags & openBit.truncate) !== 0;
    if (writes) this.allowChange();
    const status = this.#tree.status(fid.node);
    if (status.isDirectory()) {
      if (writes) throw new TreeError('EISDIR');
      fid.flags = flags;
      return status;
    }
    if (fid.descriptor !== null) throw new TreeError('EINVAL');
    return this.#openFile(fid, flags);
  }

  #openFile(fid: Fid, flags: number): BigIntStats {
    const status = this.#tree.status(fid.node);
    if (!status.isFile()) throw new TreeError(status.isSymbolicLink() ? 'ELOOP' : status.isDirectory() ? 'EISDIR' : 'ENXIO');
    fid.descriptor = openSync(bytesOf(fid.node.place), hostFlags(flags & ~(openBit.create | openBit.exclusive)));
    fid.flags = flags;
    return status;
  }

  /** Makes a file in the folder that the fid names; the fid is the open file afterwards. */
  create(number: number, name: string, flags: number, mode: number): BigIntStats {
    this.allowChange();
    const fid = this.fid(number);
    const made = makeFile(bytesOf(below(fid.node, name)), (flags & openBit.exclusive) !== 0);
    const opened: Fid = { node: this.#tree.child(fid.node, name), flags, descriptor: null, entries: null };
    try {
      const status = this.#openFile(opened, flags);
      // Only now: a file that nobody may write is open for writing to whoever has made it.
      if (made) chmodSync(bytesOf(opened.node.place), mode & 0o777);
      this.#drop(number);
      this.#fids.set(number, opened);
      return status;
    } catch (error) {
      this.#release(opened);
      throw error;
    }
  }

  /** Makes something in a folder by its path; returns what is there then. */
  make(number: number, name: string, how: (path: Buffer) => void): BigIntStats {
    this.allowChange();
    const { node } = this.fid(number);
    how(bytesOf(below(node, name)));
    const made = this.#tree.child(node, name);
    try {
      return this.#tree.status(made);
    } finally {
      this.#tree.close(made);
    }
  }

  /** A file or folder has another name: so has what lies below it. */
  renamed(from: Names, to: Names): void {
    for (const fid of this.#fids.values()) {
      const { names } = fid.node;
      if (from.every((name, index) => names[index] === name)) fid.node = { ...fid.node, names: [...to, ...names.slice(from.length)] };
    }
  }

  /** The host's path of a name in the folder that a fid names. */
  path(number: number, name: string): Buffer {
    return bytesOf(below(this.fid(number).node, name));
  }

  /** The folder above a fid's node, and the node's name in it, for as long as `use` runs. */
  withParent<T>(number: number, use: (path: Buffer) => T): T {
    const { names } = this.fid(number).node;
    const name = names.at(-1);
    if (name === undefined) throw new TreeError('EBUSY');
    const parent = this.#tree.open(names.slice(0, -1));
    try {
      return use(bytesOf(below(parent, name)));
    } finally {
      this.#tree.close(parent);
    }
  }

  /** A folder's names from the one at `offset` on; a folder is read anew from its beginning. */
  names(number: number, offset: number): readonly string[] {
    const fid = this.fid(number);
    if (fid.flags === null) throw new TreeError('EBADF');
    if (offset === 0 || fid.entries === null) fid.entries = ['.', '..', ...readdirSync(bytesOf(fid.node.place), { encoding: 'latin1' })];
    return fid.entries.slice(offset);
  }

  /** What an entry of a folder is; null when it has gone meanwhile. */
  entryStatus(number: number, name: string): BigIntStats | null {
    const { node } = this.fid(number);
    if (name === '.' || name === '..') return this.#tree.status(node);
    try {
      const entry = this.#tree.child(node, name);
      try {
        return this.#tree.status(entry);
      } finally {
        this.#tree.close(entry);
      }
    } catch {
      return null;
    }
  }

  #drop(number: number): void {
    const fid = this.#fids.get(number);
    if (!fid) return;
    this.#fids.delete(number);
    this.#release(fid);
  }

  #release({ node, descriptor }: Fid): void {
    if (descriptor !== null) closeSync(descriptor);
    this.#tree.close(node);
  }
}

/** Requests by their type. @9p2000.L */
const handlers: Readonly<Record<number, Handler>> = {
  // Tversion
  100: (server, read, write) => {
    const bytes = read.u32();
    const version = read.text();
    server.reset();
    server.messageBytes = Math.max(MESSAGE_BYTES_MINIMUM, Math.min(bytes, MESSAGE_BYTES));
    write.u32(Math.min(bytes, MESSAGE_BYTES)).text(version === PROTOCOL ? PROTOCOL : 'unknown');
  },
  // Tattach: fid, authentication, user, tree
  104: (server, read, write) => qid(write, server.attach(read.u32())),
  // Tflush: whatever it was, it has been answered.
  108: () => {},
  // Twalk
  110: (server, read, write) => {
    const from = read.u32();
    const to = read.u32();
    const count = read.u16();
    if (count > NAMES_IN_WALK) throw new TreeError('EINVAL');
    const met = server.walk(from, to, Array.from({ length: count }, () => read.text()));
    write.u16(met.length);
    for (const status of met) qid(write, status);
  },
  // Tclunk
  120: (server, read) => server.clunk(read.u32()),
  // Tlopen
  12: (server, read, write) => {
    const fid = read.u32();
    qid(write, server.open(fid, read.u32()));
    write.u32(0);
  },
  // Tlcreate: fid, name, flags, mode, group
  14: (server, read, write) => {
    const [fid, name, flags, mode] = [read.u32(), read.text(), read.u32(), read.u32()];
    qid(write, server.create(fid, name, flags, mode));
    write.u32(0);
  },
  // Tread
  116: (server, read, write) => {
    const [fid, offset, count] = [read.u32(), read.size(), read.u32()];
    const { descriptor } = server.opened(fid);
    write.u32(0);
    const start = write.length;
    const got = readSync(descriptor, write.space(Math.min(count, write.room)), 0, Math.min(count, write.room + write.length - start), offset);
    write.cut(start + got);
    write.patch32(start - 4, got);
  },
  // Twrite
  118: (server, read, write) => {
    const [fid, offset, count] = [read.u32(), read.size(), read.u32()];
    server.allowChange();
    write.u32(writeSync(server.opened(fid).descriptor, read.data(count), 0, count, offset));
  },
  // Tgetattr
  24: (server, read, write) => {
    const status = server.status(read.u32());
    write.u64(BASIC_ATTRIBUTES);
    qid(write, status);
    write.u32(Number(status.mode)).u32(Number(status.uid)).u32(Number(status.gid));
    for (const value of [status.nlink, status.rdev, status.size, status.blksize, status.blocks]) write.u64(value);
    for (const time of [status.atimeNs, status.mtimeNs, status.ctimeNs, 0n]) write.u64(time / 1_000_000_000n).u64(time % 1_000_000_000n);
    write.u64(0).u64(0);
  },
  // Tsetattr
  26: (server, read) => setAttributes(server, read),
  // Treaddir
  40: (server, read, write) => readFolder(server, read, write),
  // Tstatfs
  8: (server, read, write) => {
    const { type, bsize, blocks, bfree, bavail, files, ffree } = statfsSync(bytesOf(server.fid(read.u32()).node.place), { bigint: true });
    write.u32(Number(BigInt.asUintN(32, type))).u32(Number(bsize));
    for (const value of [blocks, bfree, bavail, files, ffree, 0n]) write.u64(value);
    write.u32(255);
  },
  // Treadlink
  22: (server, read, write) => {
    const fid = read.u32();
    write.text(server.withParent(fid, (path) => readlinkSync(path, { encoding: 'latin1' })));
  },
  // Tsymlink: folder, name, target, group
  16: (server, read, write) => {
    const [fid, name, target] = [read.u32(), read.text(), read.text()];
    qid(write, server.make(fid, name, (path) => symlinkSync(bytesOf(target), path)));
  },
  // Tmknod: device files and pipes of the host are nothing for a guest; plain files are.
  18: (server, read, write) => {
    const [fid, name, mode] = [read.u32(), read.text(), read.u32()];
    if ((mode & 0o170000) !== 0o100000) throw new TreeError('EPERM');
    qid(write, server.make(fid, name, (path) => closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, mode & 0o777))));
  },
  // Tmkdir: folder, name, mode, group
  72: (server, read, write) => {
    const [fid, name, mode] = [read.u32(), read.text(), read.u32()];
    qid(write, server.make(fid, name, (path) => mkdirSync(path, { mode: mode & 0o777 })));
  },
  // Tlink: folder, file, name
  70: (server, read) => {
    const [folder, fid, name] = [read.u32(), read.u32(), read.text()];
    server.allowChange();
    const target = server.path(folder, name);
    server.withParent(fid, (path) => linkSync(path, target));
  },
  // Trename: file, folder, name
  20: (server, read) => {
    const [fid, folder, name] = [read.u32(), read.u32(), read.text()];
    server.allowChange();
    const target = server.path(folder, name);
    server.withParent(fid, (path) => renameSync(path, target));
    server.renamed(server.fid(fid).node.names, [...server.fid(folder).node.names, name]);
  },
  // Trenameat
  74: (server, read) => {
    const [from, name, to, next] = [read.u32(), read.text(), read.u32(), read.text()];
    server.allowChange();
    renameSync(server.path(from, name), server.path(to, next));
    server.renamed([...server.fid(from).node.names, name], [...server.fid(to).node.names, next]);
  },
  // Tunlinkat
  76: (server, read) => {
    const [fid, name, flags] = [read.u32(), read.text(), read.u32()];
    server.allowChange();
    const path = server.path(fid, name);
    if ((flags & REMOVE_FOLDER) !== 0) rmdirSync(path);
    else unlinkSync(path);
  },
  // Tremove: the fid is gone whatever happens.
  122: (server, read) => {
    const fid = read.u32();
    try {
      server.allowChange();
      const isFolder = server.status(fid).isDirectory();
      server.withParent(fid, isFolder ? rmdirSync : unlinkSync);
    } finally {
      server.clunk(fid);
    }
  },
  // Tfsync
  50: (server, read) => {
    const { descriptor } = server.fid(read.u32());
    if (descriptor === null) return;
    if (read.u32() !== 0) fdatasyncSync(descriptor);
    else fsyncSync(descriptor);
  },
  // Tlock: one client has no rival here.
  52: (server, read, write) => {
    server.fid(read.u32());
    write.u8(0);
  },
  // Tgetlock
  54: (server, read, write) => {
    server.fid(read.u32());
    read.u8();
    const [start, length, process, client] = [read.u64(), read.u64(), read.u32(), read.text()];
    write.u8(unlocked).u64(start).u64(length).u32(process).text(client);
  },
};

/** Makes a plain file that is not there yet. False: something is, and what it is will be looked at when it is opened. */
function makeFile(path: Buffer, exclusive: boolean): boolean {
  try {
    closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600));
    return true;
  } catch (error) {
    if (exclusive || !(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    return false;
  }
}

/** Owners stay who they are: files of the folder belong to whoever runs the machine, and no guest makes programs that run as another. */
function setAttributes(server: ShareServer, read: MessageReader): void {
  const [number, valid, mode] = [read.u32(), read.u32(), read.u32()];
  const owner = [read.u32(), read.u32()] as const;
  const size = read.u64();
  const times = [read.u64(), read.u64(), read.u64(), read.u64()] as const;
  server.allowChange();
  const { node, descriptor } = server.fid(number);
  const status = server.status(number);
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
function readFolder(server: ShareServer, read: MessageReader, write: MessageWriter): void {
  const [fid, offset, count] = [read.u32(), read.size(), read.u32()];
  write.u32(0);
  const start = write.length;
  const limit = Math.min(count, write.room);
  let place = offset;
  for (const name of server.names(fid, offset)) {
    place += 1;
    if (write.length - start + 24 + name.length > limit) break;
    const status = server.entryStatus(fid, name);
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

/** Links are not followed, and nothing is waited for. */
function hostFlags(flags: number): number {
  const access = (flags & openBit.access) === openBit.readWrite ? constants.O_RDWR : (flags & openBit.access) === openBit.writeOnly ? constants.O_WRONLY : constants.O_RDONLY;
  const rows = [[openBit.create, constants.O_CREAT], [openBit.exclusive, constants.O_EXCL], [openBit.truncate, constants.O_TRUNC], [openBit.append, constants.O_APPEND]] as const;
  return rows.reduce((all, [bit, host]) => ((flags & bit) !== 0 ? all | host : all), access) | (constants.O_NONBLOCK ?? 0);
}

function reply(kind: number, tag: number, room: number): MessageWriter {
  return new MessageWriter(Math.max(room, HEADER)).u32(0).u8(kind).u16(tag);
}

function failure(tag: number, error: unknown, room: number): Uint8Array {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const write = reply(7, tag, Math.max(room, HEADER + 4)).u32(errors[code] ?? UNKNOWN_ERROR);
  write.patch32(0, write.length);
  return write.bytes;
}
