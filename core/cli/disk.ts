/** `vanderpool disk ...`: disk images, without engine or library. */
import { basename, dirname, join, resolve } from 'node:path';
import { BlockError } from '../block/blockDevice.ts';
import { checkDisk, createDisk, describeDisk, growDisk } from '../block/commands.ts';
import { convertDisk } from '../block/convert.ts';
import { foreignFormats } from '../block/foreign/formats.ts';
import { imageFormats } from '../block/open.ts';
import type { ImageFormat } from '../block/open.ts';
import type { Repair } from '../block/qcow2/check.ts';
import { ContractError } from '../contract/errors.ts';
import { oneOf } from './machine-options.ts';
import { list, show, showPercent } from './output.ts';
import { formatSize, parseSize } from '../contract/memory.ts';
import { badArgument, Status } from './status.ts';

export interface FormatOptions {
  readonly format?: string;
  readonly clusterSize?: string;
  readonly compat?: string;
  readonly compression?: string;
}

export interface CreateFlags extends FormatOptions {
  readonly backing?: string;
  readonly backingFormat?: string;
  readonly lazyRefcounts?: boolean;
}

export interface ConvertFlags extends FormatOptions {
  readonly from?: string;
  readonly compress?: boolean;
}

export async function createImage(file: string, size: string | undefined, options: CreateFlags): Promise<void> {
  const { backing, backingFormat } = options;
  if (backing !== undefined && backingFormat === undefined) throw badArgument('--backing needs --backing-format.', 'Say raw or qcow2: it is not guessed.');
  await createDisk(file, {
    ...imageOptions(file, options), size: size === undefined ? null : parseBytes('size', size), lazyRefcounts: options.lazyRefcounts === true,
    ...(backing === undefined ? {} : { backing: { path: besides(file, backing), format: oneOf('--backing-format', backingFormat ?? '', imageFormats) } }),
  });
}

export async function describeImage(file: string, { json }: { readonly json?: boolean }): Promise<void> {
  show(await describeDisk(file), json === true, ({ path, format, size, allocatedBytes, qcow2 }) => list([
    ['File', path], ['Format', format], ['Size', `${formatSize(size)} (${size} bytes)`], ['On the host', formatSize(allocatedBytes)],
    ['Backing file', qcow2?.backingFile ? `${qcow2.backingFile} (${qcow2.backingFormat ?? 'no format named'})` : ''],
    ['Version', qcow2 ? String(qcow2.version) : ''], ['Clusters', qcow2 ? formatSize(qcow2.clusterBytes) : ''], ['Compression', qcow2?.compression ?? ''],
    ['Snapshots', qcow2 && qcow2.snapshots > 0 ? String(qcow2.snapshots) : ''],
    ['State', qcow2?.corrupt === true ? 'corrupt' : qcow2?.dirty === true ? 'not closed properly' : ''],
  ]));
}

export async function resizeImage(file: string, size: string): Promise<void> {
  await growDisk(file, parseBytes('size', size));
}

/** A disk that fails while a command works on it is the person's to mend, too. */
export async function guarded<T>(action: Promise<T>): Promise<T> {
  try {
    return await action;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    const hint = error.failure === 'full' ? 'Make room on that disk.' : 'Check the image with `vanderpool disk check`, and the disk it lies on.';
    throw new ContractError('bad-image', `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`, hint);
  }
}

/** A bare name means the file beside the new image. */
function besides(file: string, backing: string): string {
  return basename(backing) === backing ? join(dirname(resolve(file)), backing) : backing;
}

export async function checkImage(file: string, { repair, json }: { readonly repair?: string; readonly json?: boolean }): Promise<number> {
  const what: Repair = repair === undefined ? 'none' : oneOf('--repair', repair, ['leaks', 'all']);
  const first = await checkDisk(file, what);
  const report = first.repaired > 0 ? { ...(await checkDisk(file, 'none')), repaired: first.repaired } : first;
  show(report, json === true, ({ corruptions, leaks, messages, repaired, allocatedClusters, totalClusters }) => [
    ...messages, ...(repaired > 0 ? [`Repaired: ${repaired}.`] : []),
    corruptions + leaks === 0 ? 'No errors.' : `${corruptions} errors, ${leaks} leaked clusters.`,
    `${allocatedClusters} of ${totalClusters} clusters are allocated.`,
  ].join('\n'));
  return report.corruptions + report.leaks === 0 ? Status.ok : Status.refused;
}

export async function convertImage(source: string, target: string, options: ConvertFlags): Promise<void> {
  const { format, ...rest } = imageOptions(target, options);
  const shown = process.stderr.isTTY;
  await convertDisk(source, target, {
    ...rest, to: format, from: options.from === undefined ? 'auto' : oneOf('--from', options.from, [...imageFormats, ...foreignFormats]), compressed: options.compress === true,
    progress: (done, total) => {
      if (shown) showPercent(done, total);
      if (shown && done === total) process.stderr.write('\n');
    },
  });
}

function imageOptions(file: string, { format, clusterSize, compat, compression }: FormatOptions): { format: ImageFormat; clusterBits: number; version: 2 | 3; compression: 'zlib' | 'zstd' } {
  const clusterBytes = clusterSize === undefined ? 65536 : parseBytes('--cluster-size', clusterSize);
  const clusterBits = Math.log2(clusterBytes);
  if (!Number.isInteger(clusterBits) || clusterBits < 9 || clusterBits > 21) throw badArgument(`--cluster-size: "${clusterSize}" is no power of two from 512 to 2M.`);
  const version = oneOf('--compat', compat ?? '1.1', ['0.10', '1.1']) === '1.1' ? 3 : 2;
  const method = oneOf('--compression', compression ?? 'zlib', ['zlib', 'zstd']);
  if (version === 2 && method === 'zstd') throw badArgument('--compat 0.10 knows no zstd.', 'Leave one of them out.');
  return { format: format === undefined ? formatByName(file) : oneOf('--format', format, imageFormats), clusterBits, version, compression: method };
}

function formatByName(file: string): ImageFormat {
  return /\.(img|raw|iso|bin)$/i.test(file) ? 'raw' : 'qcow2';
}

/** `20G`, `512M`; a bare number counts bytes. */
export function parseBytes(what: string, text: string): number {
  const bytes = parseSize(text);
  if (bytes === null) throw badArgument(`${what}: "${text}" is no size.`, 'Write a number with a unit, such as 20G.');
  return bytes;
}
