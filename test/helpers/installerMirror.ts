/** A mirror for Debian's installer on this machine: what it loads unasked is fetched, checked, and kept by apt, and the index lists what came. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { aptOf, guestsFolder } from '../../build/guests/fetch.ts';
import { root } from './command-line.ts';
import { loadedUdebs, readUdebs } from './udebs.ts';
import type { Udeb } from './udebs.ts';

const suite = 'trixie';
/** What the suite is called besides: the installer asks by the name that its release has. */
const otherName = 'stable';
const index = 'main/debian-installer/binary-amd64/Packages';

export interface InstallerMirror {
  /** Words for the kernel's command line that lead a guest behind address translation here. The index is ours, so nobody has signed it. */
  readonly answers: string;
  close(): void;
}

/** Packages for installed systems with the same files, of which a package for the installer can be made when a mirror lacks it. */
interface Substitute {
  readonly name: RegExp;
  readonly packages: (kernel: string) => readonly string[];
  readonly files: RegExp;
}

const substitutes: readonly Substitute[] = [
  { name: /^e2fsprogs-udeb$/, packages: () => ['e2fsprogs', 'libext2fs2t64', 'libcom-err2', 'libss2'], files: /^(usr\/s?bin|usr\/lib|etc)\// },
  modules('ext4', 'ext4', 'jbd2', 'mbcache'),
  modules('scsi', 'virtio_blk', 'virtio_scsi'),
  modules('ata', 'libata'),
  modules('sata', 'ahci', 'libahci'),
  modules('md', 'md-mod'),
];

function modules(name: string, ...files: readonly string[]): Substitute {
  return { name: new RegExp(`^${name}-modules-`), packages: (kernel) => [`linux-image-${kernel}`], files: new RegExp(`/(${files.join('|')})\\.ko`) };
}

/** Offset, in the header of a Linux image, of the place of its version (less 200H). */
const versionField = 0x20e;

/** @param kernel the image that the installer runs on, @param report told of what cannot be had @throws GuestError when the list cannot be had */
export async function serveInstallerMirror(kernel: string, report: (line: string) => void): Promise<InstallerMirror> {
  const pool = await fillPool(kernelVersion(readFileSync(kernel)), report);
  const packages = Buffer.from([...pool.values()].map(({ text }) => text).join('\n\n').concat('\n\n'));
  const lists = new Map([[index, packages], [`${index}.gz`, gzipSync(packages)]]);
  const files = new Map([...lists].map(([path, data]) => [`/debian/dists/${suite}/${path}`, data]));
  files.set(`/debian/dists/${suite}/Release`, Buffer.from(release(lists)));
  // By this the installer finds out whether there is its architecture.
  files.set(`/debian/dists/${suite}/main/binary-amd64/Release`, Buffer.from(`Archive: ${otherName}\nOrigin: Debian\nComponent: main\nArchitecture: amd64\n`));
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').replace(`/dists/${otherName}/`, `/dists/${suite}/`);
    const kept = pool.get(path);
    const data = kept === undefined ? files.get(path) : readFileSync(kept.file);
    if (data === undefined && path.includes('/pool/')) report(`the mirror has no ${path}`);
    response.writeHead(data === undefined ? 404 : 200, { 'content-length': data?.length ?? 0 }).end(data);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    answers: `mirror/country=manual mirror/http/hostname=10.0.2.2:${port} mirror/http/directory=/debian mirror/http/proxy= debian-installer/allow_unauthenticated=true`,
    close: () => void server.close(),
  };
}

function kernelVersion(image: Buffer): string {
  const start = image.readUInt16LE(versionField) + 0x200;
  return image.toString('latin1', start, image.indexOf(0, start)).split(' ')[0] ?? '';
}

interface Kept {
  readonly file: string;
  /** Its paragraph in the index. */
  readonly text: string;
}

/** What there is of what the installer loads, by its path on the mirror. */
async function fillPool(kernel: string, report: (line: string) => void): Promise<ReadonlyMap<string, Kept>> {
  const apt = aptOf(root, suite, 'main/debian-installer', 'amd64');
  await apt.update(() => {});
  const folder = join(root, guestsFolder, 'installer-pool');
  mkdirSync(folder, { recursive: true });
  const loaded = loadedUdebs(readUdebs(await apt.available()), kernel);
  const place = ({ path }: Udeb): string => join(folder, basename(path));
  for (const [name, file] of await apt.downloadSome(loaded.filter((udeb) => !existsSync(place(udeb))).map(({ name }) => name))) {
    renameSync(file, place(loaded.find((udeb) => udeb.name === name)!));
  }
  const pool = new Map<string, Kept>();
  const absent: string[] = [];
  const made: string[] = [];
  for (const udeb of loaded) {
    const fetched = existsSync(place(udeb));
    const kept = fetched ? { file: place(udeb), text: udeb.text } : await substitute(udeb, folder);
    if (kept !== null) pool.set(`/debian/${udeb.path}`, kept);
    if (!fetched) (kept === null ? absent : made).push(udeb.name);
  }
  if (made.length > 0) report(`not on Debian's mirror, so made of the files of other packages: ${made.join(', ')}`);
  if (absent.length > 0) report(`not on Debian's mirror, so left out: ${absent.join(', ')}`);
  return pool;
}

/** A package for the installer of the files of others, or null. */
async function substitute(udeb: Udeb, folder: string): Promise<Kept | null> {
  const row = substitutes.find(({ name }) => name.test(udeb.name));
  if (row === undefined) return null;
  const file = join(folder, `substitute_${basename(udeb.path)}`);
  if (!existsSync(file)) {
    const apt = aptOf(root, suite, 'main', 'amd64');
    await apt.update(() => {});
    const tree = mkdtempSync(join(folder, 'tree-'));
    for (const name of row.packages(udeb.kernel ?? '')) {
      const unpacked = join(folder, 'unpacked', name);
      await apt.unpack(name, unpacked, () => {});
      for (const path of readdirSync(unpacked, { recursive: true, encoding: 'utf8' })) {
        if (!row.files.test(path) || lstatSync(join(unpacked, path)).isDirectory()) continue;
        mkdirSync(join(tree, dirname(path)), { recursive: true });
        cpSync(join(unpacked, path), join(tree, path), { verbatimSymlinks: true });
      }
    }
    mkdirSync(join(tree, 'DEBIAN'));
    writeFileSync(join(tree, 'DEBIAN/control'), `${udeb.text.split('\n').filter((line) => !/^(Filename|Size|MD5sum|SHA256|Description-md5):/.test(line)).join('\n')}\n`);
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', tree, file], { stdio: 'pipe' });
    rmSync(tree, { recursive: true });
  }
  const data = readFileSync(file);
  const changed = { Size: String(data.length), MD5sum: hash('md5', data), SHA256: hash('sha256', data) };
  return { file, text: Object.entries(changed).reduce((text, [field, value]) => text.replace(new RegExp(`^${field}: .*$`, 'm'), `${field}: ${value}`), udeb.text) };
}

function hash(algorithm: string, data: Buffer): string {
  return createHash(algorithm).update(data).digest('hex');
}

/** The list of lists, with what they are checked by. */
function release(lists: ReadonlyMap<string, Buffer>): string {
  const sums = (algorithm: string): string => [...lists].map(([path, data]) => ` ${hash(algorithm, data)} ${data.length} ${path}\n`).join('');
  return `Origin: Debian\nSuite: ${otherName}\nCodename: ${suite}\nVersion: 13\nArchitectures: amd64\nComponents: main\nMD5Sum:\n${sums('md5')}SHA256:\n${sums('sha256')}`;
}
