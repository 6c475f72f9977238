/** Writes an appliance as one file (OVA): descriptor, disks, and the manifest with their digests. */
import { createHash } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, extname } from 'node:path';
import type { BlockDevice } from '../block/blockDevice.ts';
import { writeVmdk } from '../block/foreign/vmdkWriter.ts';
import type { DiskConfig } from '../contract/hardware.ts';
import { ContractError } from '../contract/errors.ts';
import type { Snapshot } from '../contract/snapshot.ts';
import type { VmConfig, VmState } from '../contract/vm.ts';
import { diskFiles } from '../snapshot/files.ts';
import { describeMachine } from './describe.ts';
import { machineName } from './ovf.ts';
import { BLOCK, tarEnd, tarHeader, tarPadding } from './tar.ts';

export interface ApplianceSource {
  readonly config: VmConfig;
  /** In the order of the machine. */
  readonly disks: readonly { readonly bus: DiskConfig['bus']; readonly disk: Pick<BlockDevice, 'size' | 'read'> }[];
  /** UEFI variables; null: there are none. */
  readonly variables: Uint8Array | null;
}

interface Member {
  readonly name: string;
  readonly length: number;
  readonly digest: string;
}

/** Appends a member's content, piece by piece. */
type Writer = (append: (bytes: Uint8Array) => Promise<void>) => Promise<void>;

/** Whether a file of this name is an appliance. */
export function isAppliance(path: string): boolean {
  return extname(path).toLowerCase() === '.ova';
}

/** @param power of the machine, or of the snapshot that is to be written @throws ContractError when no appliance can say what it is */
export function refuseAsAppliance({ name, firmware }: VmConfig, power: VmState | Snapshot['power']): void {
  if (power !== 'off' && power !== 'stopped' && power !== 'crashed') {
    throw new ContractError('wrong-state', `"${name}" is ${power}, and an appliance holds no memory.`, 'Shut it down first; or export it under another name than .ova, with its memory, for Vanderpool.', 'path');
  }
  if (firmware === '') {
    throw new ContractError('bad-field', `"${name}" starts a kernel of its own, which an appliance cannot: other programs start what lies on its disks.`, 'Have it start by BIOS or UEFI; or export it under another name than .ova, for Vanderpool.', 'path');
  }
}

/** Under its name only when it is whole; answers its length. @throws Error of the file, BlockError of a disk, what `progress` throws; no file is left then */
export async function writeAppliance(path: string, source: ApplianceSource, progress: (done: number, total: number) => void): Promise<number> {
  const part = `${path}.part`;
  await rm(part, { force: true });
  const file = await open(part, 'wx', 0o600);
  let length: number;
  try {
    length = await writeMembers(file, machineName(basename(path, extname(path)), 'appliance').replaceAll(' ', '-').slice(0, 60), source, progress);
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(part, { force: true });
    throw error;
  }
  await file.close();
  await rename(part, path);
  diskFiles.syncFolder(dirname(path));
  return length;
}

/** The descriptor comes first and says how long the disks became: its place is kept free until then. */
async function writeMembers(file: FileHandle, name: string, { config, disks, variables }: ApplianceSource, progress: (done: number, total: number) => void): Promise<number> {
  const total = disks.reduce((sum, { disk }) => sum + disk.size, 0);
  const files = disks.map((_, index) => `${name}-disk${index + 1}.vmdk`);
  const variablesFile = `${name}-uefi-variables.fd`;
  const describe = (lengths: readonly number[]): string => describeMachine({
    ...config, networks: config.networks.map(({ model }) => model), drives: config.disks.filter(({ kind }) => kind === 'cdrom').length,
    disks: disks.map(({ bus, disk }, index) => ({ file: files[index] ?? '', length: lengths[index] ?? 0, bytes: disk.size, bus })),
    variables: variables && { file: variablesFile, length: variables.length },
  });
  const room = Buffer.byteLength(describe(disks.map(() => Number.MAX_SAFE_INTEGER)));
  let at = BLOCK + room + tarPadding(room).length;
  const members: Member[] = [];
  const add = async (member: string, write: Writer): Promise<Member> => {
    const written = await writeMember(file, at, member, write);
    at += BLOCK + written.length + tarPadding(written.length).length;
    return written;
  };
  let done = 0;
  for (const [index, { disk }] of disks.entries()) {
    members.push(await add(files[index] ?? '', (append) => writeVmdk(disk, files[index] ?? '', append, (bytes) => progress(done += bytes, total))));
  }
  if (variables) members.push(await add(variablesFile, (append) => append(variables)));
  // White space behind the last element belongs to no element.
  const text = Buffer.alloc(room, '\n');
  text.write(describe(members.map(({ length }) => length)));
  const described = await writeMember(file, 0, `${name}.ovf`, (append) => append(text));
  const manifest = Buffer.from([described, ...members].map((member) => `SHA256(${member.name})= ${member.digest}\n`).join(''));
  await add(`${name}.mf`, (append) => append(manifest));
  await writeAll(file, tarEnd, at);
  return at + tarEnd.length;
}

async function writeMember(file: FileHandle, at: number, name: string, write: Writer): Promise<Member> {
  const hash = createHash('sha256');
  const begin = at + BLOCK;
  let length = 0;
  await write(async (bytes) => {
    hash.update(bytes);
    await writeAll(file, bytes, begin + length);
    length += bytes.length;
  });
  await writeAll(file, tarHeader(name, length), at);
  await writeAll(file, tarPadding(length), begin + length);
  return { name, length, digest: hash.digest('hex') };
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
}
