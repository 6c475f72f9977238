/** VM exits as people look at them: how often, how long, and each one decoded. */
import * as z from 'zod';
import { EXIT_BUCKETS, RECENT_EXITS } from './limits.ts';

/** A 64-bit quantity: `0x` and hexadecimal digits. */
export const hexNumber = z.string().regex(/^0x[0-9a-f]{1,16}$/);

/** All exits of one vCPU, level and reason since tracing began. Times run from the exit to the next entry. */
export const exitRow = z.strictObject({
  vcpu: z.int().min(0),
  /** 1: the guest left for the workstation's own VMM. 2: a guest's guest left for its hypervisor. */
  level: z.int().min(1).max(2),
  /** Basic exit reason, and its name. @sdm 3D appendix C */
  reason: z.int().min(0).max(0xffff),
  name: z.string().max(64),
  count: z.number(),
  totalNs: z.number(),
  minNs: z.number(),
  maxNs: z.number(),
  histogram: z.array(z.int()).max(EXIT_BUCKETS),
});
export type ExitRow = z.infer<typeof exitRow>;

export const namedValue = z.strictObject({ name: z.string().max(80), value: z.string().max(200) });
export type NamedValue = z.infer<typeof namedValue>;

/** A field of a VMCS. `group`: what it belongs to, as the manual divides them, such as `Guest state`. */
export const vmcsValue = namedValue.extend({ group: z.string().max(40) });
export type VmcsValue = z.infer<typeof vmcsValue>;

/** One exit, decoded. */
export const exitRecord = z.strictObject({
  /** Numbers exits in order; a gap says that some were not kept. */
  sequence: z.int(),
  /** Milliseconds since 1970, with a fraction. */
  at: z.number(),
  /** Time until the next entry; null while it lasts. */
  ns: z.number().nullable(),
  vcpu: z.int(),
  level: z.int(),
  reason: z.int(),
  name: z.string().max(64),
  /** What it was about, in one line: `IN port 0x3f8, 1 byte`. */
  summary: z.string().max(200),
  rip: hexNumber,
  qualification: hexNumber,
  /** The qualification's fields by name. */
  fields: z.array(namedValue).max(32),
  /** Fields of the VMCS that describe the exit, or all of them, by their names in the manual. */
  vmcs: z.array(vmcsValue).max(256),
  registers: z.array(namedValue).max(64),
});
export type ExitRecord = z.infer<typeof exitRecord>;

export const exitsEvent = z.strictObject({
  at: z.number(),
  /** How long the trace has been running. */
  elapsedMs: z.number(),
  rows: z.array(exitRow).max(1000),
  /** The newest exits since the event before. */
  recent: z.array(exitRecord).max(RECENT_EXITS),
  /** Where all are wanted, every exit since the event before as the trace keeps it (core/vmm/exitTrace.ts); else empty. */
  records: z.instanceof(Uint8Array),
  /** What the records' times count from: milliseconds since 1970. */
  epochMs: z.number(),
  /** Exits since the event before that were not kept. */
  lost: z.number(),
});
export type ExitsEvent = z.infer<typeof exitsEvent>;

/** Bytes of a recording, at least and at most. */
export const RECORDING_LIMITS = { least: 2 ** 20, most: 2 ** 40 } as const;

/** A recording of a VM's exits that the engine writes, or has written. */
export const exitRecording = z.strictObject({
  path: z.string(),
  limitBytes: z.number(),
  /** The file's size. */
  bytes: z.number(),
  running: z.boolean(),
  /** It ended because the limit was reached. */
  full: z.boolean(),
  /** It ended because the file could not be written on: why; else null. */
  problem: z.string().nullable(),
  recorded: z.int(),
  /** Exits that came too fast. */
  missing: z.int(),
});
export type ExitRecording = z.infer<typeof exitRecording>;

/** `recent`: a few of the newest exits with each event, for the eye. `all`: every exit, for a recording, as far as the ring holds them. */
export const exitsWanted = z.enum(['recent', 'all']);
export type ExitsWanted = z.infer<typeof exitsWanted>;
