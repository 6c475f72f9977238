/** What the engine and a VM process say to each other. Either may be broken or taken over by its guest: both check what arrives. */
import { z } from 'zod';
import { errorShape } from '../contract/errors.ts';
import { exitsEvent, exitsWanted } from '../contract/exits.ts';
import { inspectQuery, inspectSection } from '../contract/inspect.ts';
import { portNumber, vmConfig } from '../contract/vm.ts';

const bytes = z.instanceof(Uint8Array);

/** Bytes of a port's output that a VM process may send before the engine has granted more. */
export const OUTPUT_CREDIT = 256 * 1024;
/** Bytes of a port's input that may wait in a VM process. */
export const INPUT_PENDING = 64 * 1024;

export const toVmProcess = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('start'), config: vmConfig, machineModule: z.string() }),
  z.strictObject({ type: z.literal('command'), command: z.enum(['pause', 'resume', 'reset', 'power-button']) }),
  z.strictObject({ type: z.literal('input'), port: portNumber, data: bytes }),
  z.strictObject({ type: z.literal('credit'), port: portNumber, bytes: z.int().min(1) }),
  z.strictObject({ type: z.literal('describe') }),
  /** What of VM exits is to be reported from now on; null: nothing, and nothing is traced. */
  z.strictObject({ type: z.literal('trace-exits'), wanted: exitsWanted.nullable() }),
  z.strictObject({ type: z.literal('inspect'), id: z.int().min(0), query: inspectQuery }),
]);
export type ToVmProcess = z.infer<typeof toVmProcess>;

export const machineExit = z.discriminatedUnion('reason', [
  z.strictObject({ reason: z.literal('power-off') }),
  z.strictObject({ reason: z.literal('reset') }),
  z.strictObject({ reason: z.literal('debug-exit'), value: z.int() }),
  z.strictObject({ reason: z.literal('triple-fault'), state: z.string().max(100_000) }),
  z.strictObject({ reason: z.literal('internal-error'), message: z.string().max(100_000) }),
]);

export const fromVmProcess = z.discriminatedUnion('type', [
  /** The machine exists and its first instruction is next. */
  z.strictObject({ type: z.literal('started') }),
  z.strictObject({ type: z.literal('failed'), error: errorShape }),
  z.strictObject({ type: z.literal('paused'), paused: z.boolean() }),
  z.strictObject({ type: z.literal('output'), port: portNumber, data: bytes }),
  /** So many bytes of earlier input have left the process's queue. */
  z.strictObject({ type: z.literal('taken'), port: portNumber, bytes: z.int().min(0) }),
  z.strictObject({
    type: z.literal('metrics'),
    cpuMicroseconds: z.number(),
    residentBytes: z.number(),
    instructions: z.number(),
    exits: z.record(z.string(), z.number()),
    engine: z.record(z.string(), z.number()),
  }),
  z.strictObject({ type: z.literal('description'), text: z.string().nullable() }),
  z.strictObject({ type: z.literal('exits'), event: exitsEvent }),
  z.strictObject({ type: z.literal('inspected'), id: z.int().min(0), sections: z.array(inspectSection).max(32) }),
  z.strictObject({ type: z.literal('not-inspected'), id: z.int().min(0), error: errorShape }),
  z.strictObject({ type: z.literal('stopped'), exit: machineExit }),
]);
export type FromVmProcess = z.infer<typeof fromVmProcess>;
