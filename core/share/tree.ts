/**
 * A folder of the host and what is below it, and nothing else. Every step goes from an open folder to one name in it and follows no link, so
 * neither a link nor a rename at the wrong moment leads out. On Linux a step is `openat`, by way of /proc/self/fd; elsewhere each step looks
 * at its name before it is taken, which a program of the host that swaps names at that very moment could trick.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, realpathSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { sep } from 'node:path';

/** Linux alone: a descriptor that names a file without opening it. */
const O_PATH = 0o10000000;
const byDescriptor = process.platform === 'linux';

/** A system call's failure by its name, as Node gives it. */
export class TreeError extends Error {
  override readonly name = 'TreeError';
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** Names are strings of bytes (latin1): what a file is called need not be UTF-8. */
export type Names = readonly string[];

/** A file, folder or link of the tree. */
export interface TreeNode {
  readonly names: Names;
  /** Where the host finds the node itself, whatever has been renamed since. */
  readonly place: string;
  readonly descriptor: number | null;
}

export class Tree {
  readonly root: string;

  /** @throws Error of Node when there is no such folder */
  constructor(folder: string) {
    this.root = Buffer.from(realpathSync(folder)).toString('latin1');
    this.close(this.open([]));
  }

  /** Goes down from the root, name by name. @throws TreeError, or an error of Node with its `code` */
  open(names: Names): TreeNode {
    let node = this.#top();
    for (const name of names) {
      const parent = node;
      try {
        node = this.child(parent, name);
      } finally {
        this.close(parent);
      }
    }
    return node;
  }

  /** One step down. A link is a node like any other; there is nothing below it. */
  child(parent: TreeNode, name: string): TreeNode {
    const names = [...parent.names, checkName(name)];
    const path = below(parent, name);
    if (byDescriptor) return nodeOf(names, openSync(bytesOf(path), O_PATH | constants.O_NOFOLLOW));
    if (!this.status(parent).isDirectory()) throw new TreeError('ENOTDIR');
    lstatSync(bytesOf(path));
    return { names, place: path, descriptor: null };
  }

  /** The same node once more, whatever it is called by now. */
  again({ names, place, descriptor }: TreeNode): TreeNode {
    return descriptor === null ? { names, place, descriptor } : nodeOf(names, openSync(bytesOf(place), O_PATH));
  }

  status({ descriptor, place }: TreeNode): BigIntStats {
    return descriptor === null ? lstatSync(bytesOf(place), { bigint: true }) : fstatSync(descriptor, { bigint: true });
  }

  close({ descriptor }: TreeNode): void {
    if (descriptor !== null) closeSync(descriptor);
  }

  #top(): TreeNode {
    if (byDescriptor) return nodeOf([], openSync(bytesOf(this.root), O_PATH | constants.O_NOFOLLOW | constants.O_DIRECTORY));
    return { names: [], place: this.root, descriptor: null };
  }
}

/** The host's path of a name in a folder, for calls that make, remove or rename it. */
export function below({ place }: TreeNode, name: string): string {
  return `${place}${byDescriptor ? '/' : sep}${checkName(name)}`;
}

export function bytesOf(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** @throws TreeError for what is no name of a file: it could lead elsewhere */
function checkName(name: string): string {
  if (name === '' || name === '.' || name === '..') throw new TreeError('EINVAL');
  if (/[/\0]/.test(name) || (sep === '\\' && /[\\:]/.test(name))) throw new TreeError('EINVAL');
  if (name.length > 255) throw new TreeError('ENAMETOOLONG');
  return name;
}

function nodeOf(names: Names, descriptor: number): TreeNode {
  return { names, place: `/proc/self/fd/${descriptor}`, descriptor };
}
