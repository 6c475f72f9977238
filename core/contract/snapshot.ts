/** What a snapshot is, to people: its place in the tree, its size, what differs between two. */
import * as z from 'zod';
import { NAME_LENGTH } from './limits.ts';
import { vmName } from './vm.ts';

export const snapshotName = vmName;

/** A snapshot of a VM, by its id or its name. */
export const snapshotReference = z.string().min(1).max(NAME_LENGTH);

export const snapshotNotes = z.string().max(10_000);

export const snapshotPower = z.enum(['off', 'paused', 'running']);
export type SnapshotPower = z.infer<typeof snapshotPower>;

export const snapshot = z.strictObject({
  id: z.uuid(),
  vmId: z.uuid(),
  /** The snapshot that this one goes on from; null for a first one. */
  parentId: z.uuid().nullable(),
  name: snapshotName,
  notes: snapshotNotes,
  createdAt: z.int(),
  /** What the machine did when it was taken, and does again when it is restored; `off`: the snapshot has no memory. */
  power: snapshotPower,
  memoryBytes: z.int(),
  /** Memory that is not zeros. */
  usedBytes: z.int(),
  /** What its deletion would free on the disk. */
  exclusiveBytes: z.int(),
  /** How long the guest stood still when it was taken. */
  pauseMilliseconds: z.number(),
  /** The last lines of the first console. */
  screen: z.string(),
  /** `snapshot.picture` has what its display showed. */
  hasPicture: z.boolean(),
  /** The VM's present state goes on from this one. */
  current: z.boolean(),
});
export type Snapshot = z.infer<typeof snapshot>;

/** One field that differs; null where it does not exist. */
export const fieldDifference = z.strictObject({ field: z.string(), before: z.string().nullable(), after: z.string().nullable() });
export type FieldDifference = z.infer<typeof fieldDifference>;

/** A run of pages that differ. */
export const memoryDifference = z.strictObject({
  address: z.int(), bytes: z.int(),
  /** What of the guest's kernel or which of its processes lies there, by the kernel's symbols; null: that is not known. */
  owner: z.string().nullable(),
});
export type MemoryDifference = z.infer<typeof memoryDifference>;

/** A file of a disk that differs; the file system could be read on both sides. */
export const fileDifference = z.strictObject({ path: z.string(), change: z.enum(['added', 'removed', 'changed']), before: z.int().nullable(), after: z.int().nullable() });
export type FileDifference = z.infer<typeof fileDifference>;

export const diskDifference = z.strictObject({
  path: z.string(),
  /** How much of the disk differs. */
  bytes: z.int(),
  /** Runs of clusters, lowest first; at most `DIFFERENCES_MAXIMUM`. */
  clusters: z.array(z.strictObject({ offset: z.int(), bytes: z.int() })),
  /** By the file's path, with its sizes; null when no file system that is known was found. At most `DIFFERENCES_MAXIMUM`. */
  files: z.array(fileDifference).nullable(),
});
export type DiskDifference = z.infer<typeof diskDifference>;

export const snapshotDifference = z.strictObject({
  configuration: z.array(fieldDifference),
  /** Registers and devices, by `component.field`. */
  state: z.array(fieldDifference),
  /** Runs of guest-physical pages, lowest first; at most `DIFFERENCES_MAXIMUM`. */
  memory: z.array(memoryDifference),
  memoryBytes: z.int(),
  /** Disks that both sides write to and that differ. */
  disks: z.array(diskDifference),
});
export type SnapshotDifference = z.infer<typeof snapshotDifference>;

/** What is wrong in a library. */
export const finding = z.strictObject({
  severity: z.enum(['error', 'warning']),
  what: z.string(),
  advice: z.string(),
  /** It was repaired just now, as far as that is possible. */
  repaired: z.boolean(),
});
export type Finding = z.infer<typeof finding>;

export const DIFFERENCES_MAXIMUM = 10_000;
