/** A client of a shared folder: the files that it has named, and what can be done with them. */
import { chmodSync, closeSync, constants, openSync, readdirSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { Tree, TreeError, below, bytesOf } from './tree.ts';
import type { Names, TreeNode } from './tree.ts';

export const MESSAGE_BYTES_MINIMUM = 4096;
export const FIDS_MAXIMUM = 2048;
/** How deep a folder may lie: each level is a step when it is found again. */
const DEPTH_MAXIMUM = 256;
const NO_FID = 0xffffffff;

/** Bits of an open's flags, Linux' own. */
const openBit = { access: 3, writeOnly: 1, readWrite: 2, create: 0o100, exclusive: 0o200, truncate: 0o1000, append: 0o2000 } as const;

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

export class ShareClient {
  readonly #tree: Tree;
  readonly #readOnly: boolean;
  readonly #fids = new Map<number, Fid>();
  /** Of a message at the most, as client and server agreed. */
  messageBytes = MESSAGE_BYTES_MINIMUM;

  /** @throws Error of Node when there is no such folder */
  constructor({ folder, readOnly }: ShareOptions) {
    this.#tree = new Tree(folder);
    this.#readOnly = readOnly;
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

/** Links are not followed, and nothing is waited for. */
function hostFlags(flags: number): number {
  const access = (flags & openBit.access) === openBit.readWrite ? constants.O_RDWR : (flags & openBit.access) === openBit.writeOnly ? constants.O_WRONLY : constants.O_RDONLY;
  const rows = [[openBit.create, constants.O_CREAT], [openBit.exclusive, constants.O_EXCL], [openBit.truncate, constants.O_TRUNC], [openBit.append, constants.O_APPEND]] as const;
  return rows.reduce((all, [bit, host]) => ((flags & bit) !== 0 ? all | host : all), access) | (constants.O_NONBLOCK ?? 0);
}
