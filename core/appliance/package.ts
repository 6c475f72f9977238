/** An appliance as it lies on the host: an OVA archive, a descriptor with its files beside it, or the disk of another program alone. */
import { createHash } from 'node:crypto';
import { basename, dirname, extname, join } from 'node:path';
import type { BlockDevice } from '../block/blockDevice.ts';
import { openForeign, recogniseForeign } from '../block/foreign/formats.ts';
import { recognise } from '../block/open.ts';
import { readHeader } from '../block/qcow2/header.ts';
import { Qcow2Image } from '../block/qcow2/image.ts';
import { RawImage } from '../block/raw.ts';
import { FileStorage } from '../block/storage.ts';
import type { ImageStorage } from '../block/storage.ts';
import { MEMORY_DEFAULT } from '../contract/limits.ts';
import { fitsFlash } from '../devices/flash.ts';
import { badAppliance } from './errors.ts';
import { machineName, readOvf } from './ovf.ts';
import type { Appliance } from './ovf.ts';
import { readTar } from './tar.ts';
import { fileWindow } from './window.ts';

const DESCRIPTOR_MAXIMUM = 4 << 20;
const HASH_BYTES = 1 << 20;

/** Opens a file of the appliance by the name that the descriptor has; null: there is none. The caller closes it. */
type Files = (name: string) => ImageStorage | null;

export class AppliancePackage {
  readonly path: string;
  readonly appliance: Appliance;
  readonly #files: Files;
  /** Algorithm and digest of files, by name. */
  readonly #digests: ReadonlyMap<string, readonly [string, string]>;

  private constructor(path: string, appliance: Appliance, files: Files, digests: ReadonlyMap<string, readonly [string, string]>) {
    this.path = path;
    this.appliance = appliance;
    this.#files = files;
    this.#digests = digests;
  }

  /** @throws ContractError `file-unreadable`, `bad-image` */
  static async open(path: string): Promise<AppliancePackage> {
    const extension = extname(path).toLowerCase();
    if (extension === '.ova') return AppliancePackage.#archive(path);
    if (extension === '.ovf') return AppliancePackage.#described(path, await textOf(new FileStorage(path, true)), besides(path), `${basename(path, extname(path))}.mf`);
    return AppliancePackage.#single(path);
  }

  static async #archive(path: string): Promise<AppliancePackage> {
    const file = new FileStorage(path, true);
    const members = await readTar(file).finally(() => file.close());
    const files: Files = (name) => {
      const member = members.find((one) => one.name === name);
      return member ? fileWindow(new FileStorage(path, true), `${path}: ${name}`, member.at, member.length) : null;
    };
    const descriptor = members.find(({ name }) => name.toLowerCase().endsWith('.ovf'))?.name;
    const text = descriptor === undefined ? null : files(descriptor);
    if (!text) throw badAppliance(path, 'has no descriptor (.ovf) in it');
    return AppliancePackage.#described(path, await textOf(text), files, members.find(({ name }) => name.toLowerCase().endsWith('.mf'))?.name ?? '');
  }

  static async #described(path: string, descriptor: string, files: Files, manifest: string): Promise<AppliancePackage> {
    const lines = files(manifest);
    const digests = lines ? readManifest(await textOf(lines)) : new Map<string, readonly [string, string]>();
    return new AppliancePackage(path, readOvf(descriptor, path), files, digests);
  }

  /** A disk of another program, in a machine that would start from it. */
  static async #single(path: string): Promise<AppliancePackage> {
    const storage = new FileStorage(path, true);
    const other = await recogniseForeign(storage).finally(() => storage.close());
    if (!other?.format) throw badAppliance(path, other ? `is ${other.what}` : 'is no appliance (.ova, .ovf) and no VMDK or VDI image', other ? other.hint : 'A raw or qcow2 image needs no import: make a machine with it.');
    const name = machineName(basename(path, extname(path)), 'Imported');
    const disks = [{ file: basename(path), bytes: 0, bus: 'ahci' as const }];
    const appliance: Appliance = { name, notes: '', cpus: 1, memoryBytes: MEMORY_DEFAULT, firmware: 'bios', disks, drives: 0, networks: ['e1000e'], variables: null, changes: [] };
    return new AppliancePackage(path, appliance, besides(path), new Map());
  }

  /** Disks that are not empty, and variables. */
  get #content(): readonly string[] {
    const { disks, variables } = this.appliance;
    return [...disks.map(({ file }) => file), variables].filter((file) => file !== null);
  }

  /** Bytes of the files that `verify` reads. */
  get bytesToVerify(): number {
    return this.#content.reduce((total, file) => {
      const storage = this.#digests.has(file) ? this.#files(file) : null;
      void storage?.close();
      return total + (storage?.length ?? 0);
    }, 0);
  }

  /** Compares every file with the manifest, where there is one. @param progress is told of bytes that were read @throws ContractError `bad-image` of the first that differs */
  async verify(progress: (bytes: number) => void): Promise<void> {
    for (const file of this.#content) {
      const expected = this.#digests.get(file);
      const storage = expected ? this.#files(file) : null;
      if (!expected || !storage) continue;
      const digest = await digestOf(storage, expected[0], progress).finally(() => storage.close());
      if (digest !== expected[1]) throw badAppliance(this.path, `is damaged: ${file} is not what its manifest says`, 'Fetch it again.');
    }
  }

  /** UEFI variables; null: there are none. @throws ContractError `bad-image` when they cannot be any */
  async variables(): Promise<Uint8Array | null> {
    const { variables } = this.appliance;
    if (variables === null) return null;
    const storage = this.#files(variables);
    if (!storage) throw badAppliance(this.path, `lacks its file ${variables}`, 'All files of an appliance lie in one folder.');
    try {
      if (!fitsFlash(storage)) throw badAppliance(this.path, `has the file ${variables}, which holds no UEFI variables`);
      const data = new Uint8Array(storage.length);
      await storage.read(0, data);
      return data;
    } finally {
      await storage.close();
    }
  }

  /** Opens the content of a disk; null: it is empty. @throws ContractError */
  async openDisk(file: string | null): Promise<BlockDevice | null> {
    if (file === null) return null;
    const storage = this.#files(file);
    if (!storage) throw badAppliance(this.path, `lacks its file ${file}`, 'All files of an appliance lie in one folder.');
    try {
      const other = await recogniseForeign(storage);
      if (other?.format) return await openForeign(storage, other.format);
      if (other) throw badAppliance(this.path, `has the file ${file}, which is ${other.what}`);
      if (await recognise(storage) === 'raw') return new RawImage(storage);
      if ((await readHeader(storage)).backingFile !== null) throw badAppliance(this.path, `has the file ${file}, which needs another image below it`);
      return await Qcow2Image.open(storage, null);
    } catch (error) {
      await storage.close();
      throw error;
    }
  }
}

/** Files in the folder of another, and nowhere else: a descriptor may come from anybody. */
function besides(path: string): Files {
  return (name) => {
    if (name === '' || basename(name) !== name || name === '..' || name.includes('\\')) return null;
    try {
      return new FileStorage(join(dirname(path), name), true);
    } catch {
      return null;
    }
  };
}

async function textOf(storage: ImageStorage): Promise<string> {
  try {
    if (storage.length > DESCRIPTOR_MAXIMUM) throw badAppliance(storage.path, 'has a descriptor that is too long');
    const bytes = Buffer.alloc(storage.length);
    await storage.read(0, bytes);
    return bytes.toString('utf8');
  } finally {
    await storage.close();
  }
}

/** `SHA256(disk.vmdk)= 1f2e...`, a line a file. */
function readManifest(text: string): ReadonlyMap<string, readonly [string, string]> {
  const line = /^\s*(SHA1|SHA256|SHA384|SHA512)\s*\(([^)\r\n]+)\)\s*=\s*([\da-f]+)\s*$/gim;
  return new Map([...text.matchAll(line)].map(([, algorithm = '', name = '', digest = '']) => [name, [algorithm.toLowerCase(), digest.toLowerCase()]]));
}

async function digestOf(storage: ImageStorage, algorithm: string, progress: (bytes: number) => void): Promise<string> {
  const hash = createHash(algorithm);
  const buffer = new Uint8Array(HASH_BYTES);
  for (let at = 0; at < storage.length; at += HASH_BYTES) {
    const bytes = buffer.subarray(0, Math.min(HASH_BYTES, storage.length - at));
    await storage.read(at, bytes);
    hash.update(bytes);
    progress(bytes.length);
  }
  return hash.digest('hex');
}
