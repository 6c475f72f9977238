/** Names of the files that a Linux guest keeps in its memory. Where a field lies follows from what it holds. */
import { find } from './linuxMemory.ts';
import type { AddressOf, LinuxMemory } from './linuxMemory.ts';

/** Bytes of a structure in which a field is looked for. */
const SUPER_BYTES = 2048;
const INODE_BYTES = 512;
/** Its file system and its address space are among its first fields. */
const INODE_FIRST_BYTES = 256;
const ENTRY_BYTES = 256;
/** Name and parent of an entry lie as near to its inode. */
const NEAR_BYTES = 64;
const SYSTEMS_MAXIMUM = 1024;
const SYSTEM_NAME_BYTES = 32;
const NAME_BYTES = 256;
const DEPTH_MAXIMUM = 64;
/** Inodes by which the fields of directory entries are looked for: some have no entry. */
const TRIES = 64;

/** Offsets of fields, in bytes. */
interface EntryFields {
  /** In an inode: the link of its first directory entry. */
  readonly first: bigint;
  /** In a directory entry. */
  readonly link: bigint;
  readonly inode: bigint;
  readonly name: bigint;
  readonly parent: bigint;
}

export class LinuxFiles {
  /** Addresses of the file systems' structures (super blocks). */
  readonly systems: readonly bigint[];
  readonly #memory: LinuxMemory;
  readonly #systemNames: ReadonlyMap<bigint, string>;
  /** By address space. */
  readonly #names = new Map<bigint, string | null>();
  #fields: EntryFields | null = null;
  #tries = 0;

  /** @param addressOf where a symbol of the kernel is; null: it is not among them */
  constructor(memory: LinuxMemory, addressOf: AddressOf) {
    this.#memory = memory;
    // The list of all of them runs through their first field.
    this.systems = memory.list(addressOf('super_blocks'), SYSTEMS_MAXIMUM);
    const nameAt = (system: bigint, offset: bigint): string => memory.text(system + offset, SYSTEM_NAME_BYTES);
    const name = this.systems.length < 2 ? null : find(SUPER_BYTES, (offset) => this.systems.every((system) => nameAt(system, offset).length > 1));
    this.#systemNames = new Map(name === null ? [] : this.systems.map((system) => [system, nameAt(system, name)]));
  }

  /** Of the file whose content an address space holds; null: it is no address space. */
  nameOf(space: bigint): string | null {
    const known = this.#names.get(space);
    if (known !== undefined) return known;
    const name = this.#look(space);
    this.#names.set(space, name);
    return name;
  }

  #look(space: bigint): string | null {
    const memory = this.#memory;
    // An address space begins with its inode, and that leads back to it.
    const inode = (space & 7n) === 0n ? memory.word(space) : 0n;
    if (inode === 0n || find(INODE_FIRST_BYTES, (offset) => memory.word(inode + offset) === space) === null) return null;
    const system = find(INODE_FIRST_BYTES, (offset) => this.#systemNames.has(memory.word(inode + offset)));
    if (system === null) return null;
    const [path, name] = [this.#pathOf(inode), this.#systemNames.get(memory.word(inode + system)) ?? ''];
    return path === null ? `a file on ${name}` : `file ${path} on ${name}`;
  }

  #pathOf(inode: bigint): string | null {
    if (this.#fields === null && this.#tries < TRIES) {
      this.#tries += 1;
      this.#fields = this.#findFields(inode);
    }
    return this.#fields && this.#path(inode, this.#fields);
  }

  #findFields(inode: bigint): EntryFields | null {
    // A file has a directory at least above it: what leads to itself at once is no parent.
    for (const fields of this.#candidates(inode)) if ((this.#path(inode, fields) ?? '/') !== '/') return fields;
    return null;
  }

  /** Where the fields may be: near a pointer back to the inode there is a text, and another pointer. */
  *#candidates(inode: bigint): Generator<EntryFields, undefined> {
    const memory = this.#memory;
    for (const first of offsets(0, INODE_BYTES)) {
      const link = memory.word(inode + first);
      if (link === 0n) continue;
      for (const back of offsets(-ENTRY_BYTES, ENTRY_BYTES)) {
        if (memory.word(link + back) !== inode) continue;
        for (const name of offsets(-NEAR_BYTES, NEAR_BYTES)) {
          if (memory.text(memory.word(link + back + name), NAME_BYTES) === '') continue;
          for (const up of offsets(-NEAR_BYTES, NEAR_BYTES)) {
            for (const parent of offsets(0, ENTRY_BYTES)) {
              const entry = back + up - parent;
              yield { first, link: -entry, inode: back - entry, name: back + name - entry, parent };
            }
          }
        }
      }
    }
  }

  /** Names of an inode's first entry and of all above it, up to one that is its own parent and is called "/"; null: it is not so. */
  #path(inode: bigint, { first, link, ...at }: EntryFields): string | null {
    const memory = this.#memory;
    const names: string[] = [];
    let entry = memory.word(inode + first) - link;
    if (memory.word(entry + at.inode) !== inode) return null;
    for (let depth = 0; depth < DEPTH_MAXIMUM; depth += 1) {
      const [name, parent] = [memory.text(memory.word(entry + at.name), NAME_BYTES), memory.word(entry + at.parent)];
      if (name === '' || parent === 0n) return null;
      if (parent === entry) return name === '/' ? `/${names.join('/')}` : null;
      names.unshift(name);
      entry = parent;
    }
    return null;
  }
}

/** Of words, in bytes. */
function* offsets(from: number, to: number): Generator<bigint, undefined> {
  for (let offset = from; offset < to; offset += 8) yield BigInt(offset);
}
