/** An image that is the disk itself, byte for byte. */
import { BlockError, SECTOR, checkRange } from './blockDevice.ts';
import type { BlockDevice } from './blockDevice.ts';
import type { DirectImage } from './direct.ts';
import { punchHole } from '../host/libc.ts';
import type { ImageStorage } from './storage.ts';

const ZEROS = new Uint8Array(1 << 20);
/** The first bytes of a qcow2 image. */
const QCOW_MAGIC = 0x514649fb;

export interface RawOptions {
  /**
   * The format was guessed. A guest that writes a qcow2 header into its first sector could then choose which file of the host it reads
   * after the next start: such a write fails.
   */
  readonly guessed: boolean;
}

export class RawImage implements BlockDevice {
  readonly size: number;
  readonly readOnly: boolean;
  readonly direct: DirectImage | null;
  readonly #storage: ImageStorage;
  readonly #guessed: boolean;

  constructor(storage: ImageStorage, { guessed }: RawOptions = { guessed: false }) {
    this.#storage = storage;
    this.#guessed = guessed;
    this.readOnly = storage.readOnly;
    this.direct = storage.descriptor === undefined ? null : { descriptor: storage.descriptor, writableFrom: guessed ? SECTOR : 0 };
    this.size = Math.ceil(storage.length / SECTOR) * SECTOR;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this, offset, into.length);
    await this.#storage.read(offset, into);
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#checkWrite(offset, from.length);
    if (this.#guessed && offset === 0 && from.length >= 4 && new DataView(from.buffer, from.byteOffset).getUint32(0) === QCOW_MAGIC) {
      throw new BlockError('io', `${this.#storage.path}: the guest may not make a qcow2 image of a disk whose format was not named`);
    }
    await this.#storage.write(offset, from);
  }

  flush(): Promise<void> {
    return this.readOnly ? Promise.resolve() : this.#storage.sync();
  }

  /** The file gets a hole, where the host has a way to make one. */
  async discard(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    this.#punch(offset, length);
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    if (this.#punch(offset, length)) return;
    for (let at = 0; at < length; at += ZEROS.length) await this.#storage.write(offset + at, ZEROS.subarray(0, Math.min(ZEROS.length, length - at)));
  }

  async close(): Promise<void> {
    await this.flush().finally(() => this.#storage.close());
  }

  /** False: there is no hole, and the bytes are as they were. */
  #punch(offset: number, length: number): boolean {
    return this.#storage.descriptor !== undefined && length > 0 && punchHole(this.#storage.descriptor, offset, length);
  }

  #checkWrite(offset: number, length: number): void {
    checkRange(this, offset, length);
    if (this.readOnly) throw new BlockError('read-only', `${this.#storage.path} is attached read-only`);
  }
}
