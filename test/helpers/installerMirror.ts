/** A mirror for Debian's installer on this machine: what it asks for is fetched, checked, and kept by apt, and its own lists are the index. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Apt } from '../../build/guests/apt.ts';
import { guestsFolder } from '../../build/guests/fetch.ts';
import { root } from './command-line.ts';

const suite = 'bookworm';
/** What the suite is called besides: the installer asks by the name that its release has. */
const otherName = 'oldstable';
const index = 'main/debian-installer/binary-amd64/Packages';
const source = `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian ${suite} main/debian-installer\n`;

export interface InstallerMirror {
  /** Words for the kernel's command line that lead a guest behind address translation here. The index is ours, so nobody has signed it. */
  readonly answers: string;
  close(): void;
}

/** @param report told of what is asked for and cannot be given @throws GuestError when the installer's packages cannot be had */
export async function serveInstallerMirror(report: (line: string) => void): Promise<InstallerMirror> {
  const folder = join(root, guestsFolder, 'apt-installer');
  mkdirSync(folder, { recursive: true });
  const sources = join(folder, 'sources.list');
  writeFileSync(sources, source);
  const apt = new Apt(folder, 'amd64', sources);
  await apt.update(() => {});
  const packages = await apt.available();
  const names = new Map<string, string>([...packages.matchAll(/^Package: (\S+)$[^]*?^Filename: (\S+)$/gm)].map(([, name = '', file = '']) => [`/debian/${file}`, name] as const));
  const lists = new Map([[index, Buffer.from(packages)], [`${index}.gz`, gzipSync(packages)]]);
  const files = new Map([...lists].map(([path, data]) => [`/debian/dists/${suite}/${path}`, data]));
  files.set(`/debian/dists/${suite}/Release`, Buffer.from(release(lists)));
  // By this the installer finds out whether there is its architecture.
  files.set(`/debian/dists/${suite}/main/binary-amd64/Release`, Buffer.from(`Archive: ${otherName}\nOrigin: Debian\nComponent: main\nArchitecture: amd64\n`));
  let last: Promise<void> = Promise.resolve();
  const answer = async (path: string, response: ServerResponse): Promise<void> => {
    const name = names.get(path);
    const data = files.get(path) ?? (name === undefined ? null : readFileSync(await packageFile(apt, folder, path, name)));
    if (data === null) report(`the mirror has no ${path}`);
    response.writeHead(data === null ? 404 : 200, { 'content-length': data?.length ?? 0 }).end(data ?? undefined);
  };
  const server = createServer((request, response) => {
    // One after the other: apt locks its folder.
    const path = (request.url ?? '').replace(`/dists/${otherName}/`, `/dists/${suite}/`);
    last = last.then(() => answer(path, response)).catch((error: unknown) => {
      report(`the mirror cannot give ${path}: ${String(error)}`);
      response.writeHead(502).end(String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    answers: `mirror/country=manual mirror/http/hostname=10.0.2.2:${port} mirror/http/directory=/debian mirror/http/proxy= debian-installer/allow_unauthenticated=true`,
    close: () => void server.close(),
  };
}

async function packageFile(apt: Apt, folder: string, path: string, name: string): Promise<string> {
  // Versions may have an epoch, which the names of files leave out in some places and write as %3a in others.
  const kept = join(folder, 'pool', path.slice(path.lastIndexOf('/') + 1));
  if (existsSync(kept)) return kept;
  mkdirSync(join(folder, 'pool'), { recursive: true });
  writeFileSync(kept, readFileSync(await apt.download(name)));
  return kept;
}

/** The list of lists, with what they are checked by. */
function release(lists: ReadonlyMap<string, Buffer>): string {
  const sums = (hash: string): string => [...lists].map(([path, data]) => ` ${createHash(hash).update(data).digest('hex')} ${data.length} ${path}\n`).join('');
  return `Origin: Debian\nSuite: ${otherName}\nCodename: ${suite}\nVersion: 12\nArchitectures: amd64\nComponents: main\nMD5Sum:\n${sums('md5')}SHA256:\n${sums('sha256')}`;
}
