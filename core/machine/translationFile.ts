/**
 * The file in which compiled code waits for a machine's next run: WebAssembly and machine code of each translation, which are read when the guest
 * comes to it, and behind them an index of what guest code each was made from. V8 runs that code as it is. So the file is the person's own, like the library beside it: one that others
 * may write is not read, and neither is one of another build of this program. Whatever is wrong with it, the machine starts as if there were none.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import type { CpuModel } from '../cpu/models.ts';
import { Translations } from '../cpu/jit/translation.ts';
import type { Compiled, Translation } from '../cpu/jit/translation.ts';
import { makeOwnFolder } from '../host/ownFolder.ts';
import { readExactly } from '../snapshot/files.ts';

const MAGIC = Buffer.from('VPTRANS1');
const IDENTITY_BYTES = 32;
/** Magic, identity; place, length and check sum of the index. */
const HEADER_BYTES = MAGIC.length + IDENTITY_BYTES + 12;
/** More of one machine's is not kept, and more of all is not left in the folder. */
const FILE_LIMIT = 96 << 20;
const FOLDER_LIMIT = 512 << 20;
/** The end of the name of a file that is being written, and when nobody writes it any more. */
const PART = '.part';
const ABANDONED_MS = 3_600_000;
/** Runs of the machine after which what was of no use is dropped. */
const AGE_LIMIT = 12;
/** The same for what another machine has left. */
const BORROWED_LIMIT = 3;

/** Where a translation's module and machine code are in the file, and the check sum of both. */
interface Place {
  readonly at: number;
  readonly wasm: number;
  readonly code: number;
  readonly sum: number;
}

/** Where a file's index is, and its check sum. */
interface Index {
  readonly at: number;
  readonly length: number;
  readonly sum: number;
}

type Row = Omit<Translation, 'compiled'> & { readonly place: Place };

export class TranslationFile {
  readonly translations: Translations;
  private readonly path: string;
  private readonly identity: Buffer;
  /** The file that was there; null: none. */
  private readonly file: number | null;
  private readonly places = new Map<Translation, Place>();

  /**
   * A machine that has no file of this build begins with the one that another machine wrote last: guests often run the same kernel and programs, and where they do not,
   * nothing of it fits.
   * @param helpers the compiled helpers, which end with the stamp of the build
   */
  static open(path: string, helpers: Uint8Array, model: CpuModel): TranslationFile {
    const identity = createHash('sha256').update(helpers).update(JSON.stringify([process.versions, process.arch, model, process.env['VANDERPOOL_CORE_STAMP'] ?? ''])).digest();
    for (const from of filesFor(path)) {
      const file = openOwn(from);
      if (file === null) continue;
      const index = findIndex(file, identity);
      if (index) return new TranslationFile(path, identity, { file, index, borrowed: from !== path });
      closeSync(file);
    }
    return new TranslationFile(path, identity, null);
  }

  private constructor(path: string, identity: Buffer, found: { readonly file: number; readonly index: Index; readonly borrowed: boolean } | null) {
    this.path = path;
    this.identity = identity;
    this.file = found ? found.file : null;
    const given = found ? this.readIndex(found.file, found.index, found.borrowed ? AGE_LIMIT - BORROWED_LIMIT : 0) : [];
    this.translations = new Translations(given, translation => this.load(translation));
  }

  private readIndex(file: number, { at, length, sum }: Index, youngest: number): Translation[] {
    try {
      const index = readExactly(file, at, length);
      if (crc32(index) !== sum) return [];
      return (deserialize(index) as Row[]).map(({ place, ...row }) => {
        const translation: Translation = { ...row, age: Math.max(youngest, row.age) + 1, compiled: null };
        this.places.set(translation, place);
        return translation;
      });
    } catch {
      return [];
    }
  }

  private load(translation: Translation): Compiled | null {
    const place = this.places.get(translation);
    if (!place || this.file === null) return null;
    try {
      // V8 takes buffers of its own.
      const wasm = readExactly(this.file, place.at, place.wasm);
      const code = readExactly(this.file, place.at + place.wasm, place.code);
      return crc32(code, crc32(wasm)) === place.sum ? { wasm, code: code.buffer } : null;
    } catch {
      return null;
    }
  }

  /** Writes all that is known now, if there is anything new. A write that fails leaves the file as it was. */
  save(): void {
    const known = this.translations.list().filter(({ age }) => age <= AGE_LIMIT);
    const fresh = known.some(translation => translation.compiled !== null);
    const part = `${this.path}.${process.pid}${PART}`;
    try {
      if (fresh && makeOwnFolder(dirname(this.path))) {
        this.write(part, known);
        renameSync(part, this.path);
        tidy(dirname(this.path), basename(this.path));
      }
    } catch {
      remove(part);
    } finally {
      if (this.file !== null) closeSync(this.file);
    }
  }

  /** Header, modules and machine code, index: places are known by then. */
  private write(path: string, known: readonly Translation[]): void {
    const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    try {
      const rows: Row[] = [];
      let at = HEADER_BYTES;
      for (const translation of known) {
        const compiled = translation.compiled ?? this.load(translation);
        if (!compiled) continue;
        const blob = Buffer.concat([compiled.wasm, new Uint8Array(compiled.code)]);
        if (at + blob.length > FILE_LIMIT) break;
        writeAll(file, blob, at);
        const { compiled: _, ...row } = translation;
        rows.push({ ...row, place: { at, wasm: compiled.wasm.length, code: compiled.code.byteLength, sum: crc32(blob) } });
        at += blob.length;
      }
      const index = serialize(rows);
      writeAll(file, index, at);
      const header = Buffer.alloc(HEADER_BYTES);
      MAGIC.copy(header);
      this.identity.copy(header, MAGIC.length);
      for (const [i, word] of [at, index.length, crc32(index)].entries()) header.writeUInt32LE(word, MAGIC.length + IDENTITY_BYTES + i * 4);
      writeAll(file, header, 0);
    } finally {
      closeSync(file);
    }
  }
}

/** What the header says of a file's index; null: it is not one of this build, or damaged. */
function findIndex(file: number, identity: Buffer): Index | null {
  try {
    const header = Buffer.from(readExactly(file, 0, HEADER_BYTES).buffer);
    if (!header.subarray(0, MAGIC.length).equals(MAGIC) || !header.subarray(MAGIC.length, MAGIC.length + IDENTITY_BYTES).equals(identity)) return null;
    const [at, length, sum] = [0, 4, 8].map(word => header.readUInt32LE(MAGIC.length + IDENTITY_BYTES + word)) as [number, number, number];
    return length > FILE_LIMIT ? null : { at, length, sum };
  } catch {
    return null;
  }
}

/** The machine's own file; the other machines', what was written last first: nobody looks for those who has one. */
function* filesFor(path: string): Generator<string> {
  yield path;
  try {
    for (const { name } of byAge(dirname(path))) if (name !== basename(path) && !name.endsWith(PART)) yield join(dirname(path), name);
  } catch {
    // There is no such folder yet.
  }
}

/** The files of a folder, the youngest first. @throws when it cannot be read */
function byAge(folder: string): readonly { readonly name: string; readonly found: Stats }[] {
  return readdirSync(folder).map(name => ({ name, found: statSync(join(folder, name)) })).sort((a, b) => b.found.mtimeMs - a.found.mtimeMs);
}

/** A file that nobody but its owner could have written; null: there is none. */
function openOwn(path: string): number | null {
  let file: number | null = null;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const found = fstatSync(file);
    if (found.isFile() && [found, lstatSync(dirname(path))].every(({ uid, mode }) => process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0))) return file;
  } catch {
    // There is none yet.
  }
  if (file !== null) closeSync(file);
  return null;
}

function writeAll(file: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done, bytes.length - done, at + done);
}

/** Removes what other machines kept the longest ago, where all of it together is too much, and what processes left that were ended while they wrote. */
function tidy(folder: string, own: string): void {
  let total = 0;
  for (const { name, found: { size, mtimeMs } } of byAge(folder)) {
    total += size;
    const abandoned = name.endsWith(PART) && Date.now() - mtimeMs > ABANDONED_MS;
    if (abandoned || (total > FOLDER_LIMIT && name !== own)) remove(join(folder, name));
  }
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // It is no file, or not ours: it stays.
  }
}
