/** A writer of cpio archives in the `newc` format, which Linux unpacks as its initial RAM file system. */

const fileType = { directory: 0o040000, regular: 0o100000, character: 0o020000, link: 0o120000 } as const;

export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly data: Uint8Array; readonly executable?: boolean }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'device'; readonly path: string; readonly major: number; readonly minor: number };

/** The archive's bytes. Paths are relative; folders come before what is in them. All files belong to root and date from 1970. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => parts.push(...encode(entry, index + 1)));
  parts.push(header({ inode: 0, mode: 0, links: 1, size: 0, major: 0, minor: 0, path: 'TRAILER!!!' }));
  const archive = Buffer.concat(parts);
  // By custom the archive fills whole blocks.
  return Buffer.concat([archive, Buffer.alloc(-archive.length & 511)]);
}

function encode(entry: CpioEntry, inode: number): readonly Uint8Array[] {
  const common = { inode, links: 1, size: 0, major: 0, minor: 0, path: entry.path };
  switch (entry.kind) {
    case 'directory':
      return [header({ ...common, mode: fileType.directory | 0o755, links: 2 })];
    case 'device':
      return [header({ ...common, mode: fileType.character | 0o600, major: entry.major, minor: entry.minor })];
    case 'link': {
      const data = Buffer.from(entry.target);
      return [header({ ...common, mode: fileType.link | 0o777, size: data.length }), padded(data)];
    }
    default:
      return [header({ ...common, mode: fileType.regular | (entry.executable === true ? 0o755 : 0o644), size: entry.data.length }), padded(entry.data)];
  }
}

interface Fields {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  readonly major: number;
  readonly minor: number;
  readonly path: string;
}

/** Thirteen numbers of eight hexadecimal digits after the magic, then the path; the whole is padded to four bytes. */
function header({ inode, mode, links, size, major, minor, path }: Fields): Uint8Array {
  const name = Buffer.from(`${path}\0`);
  const owner = [0, 0];
  const modified = 0;
  const ownDevice = [0, 0];
  const check = 0;
  const numbers = [inode, mode, ...owner, links, modified, size, ...ownDevice, major, minor, name.length, check];
  return padded(Buffer.concat([Buffer.from(`070701${numbers.map(value => value.toString(16).padStart(8, '0')).join('')}`), name]));
}

function padded(data: Uint8Array): Uint8Array {
  return Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
}
