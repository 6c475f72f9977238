/** Every event stream of the contract: what a subscriber names and what it then receives. */
import * as z from 'zod';
import { displayEvent } from './display.ts';
import { errorShape } from './errorShape.ts';
import { exitsEvent, exitsWanted } from './exits.ts';
import { settings } from './settings.ts';
import { portNumber, vm, vmReference, vmState } from './vm.ts';

const bytes = z.instanceof(Uint8Array);

/** The library as a whole: first everything, then each change. */
export const libraryEvent = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('all'), vms: z.array(vm), settings }),
  z.strictObject({ kind: z.literal('vm-changed'), vm }),
  z.strictObject({ kind: z.literal('vm-removed'), id: z.string() }),
  z.strictObject({ kind: z.literal('settings-changed'), settings }),
  /** The VM's snapshots are others now. */
  z.strictObject({ kind: z.literal('snapshots-changed'), vmId: z.string() }),
  /** A snapshot or suspension is being made: pages done and to do; both 0 when it is over. */
  z.strictObject({ kind: z.literal('snapshot-progress'), vmId: z.string(), done: z.int(), total: z.int() }),
  /** A file is being imported or exported: bytes done and to do; both 0 when it is over. */
  z.strictObject({ kind: z.literal('transfer-progress'), path: z.string(), done: z.number(), total: z.number() }),
  /** Assignable devices or their owners changed: whoever shows them asks anew. */
  z.strictObject({ kind: z.literal('devices-changed') }),
  /** Something went wrong outside any request, such as a VM process that died. */
  z.strictObject({ kind: z.literal('error'), vmId: z.string().nullable(), error: errorShape }),
]);
export type LibraryEvent = z.infer<typeof libraryEvent>;

/** One serial port: first what it has shown so far (clear the screen, then write it), then what follows. */
export const consoleEvent = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('replay'), data: bytes, truncated: z.boolean(), state: vmState }),
  z.strictObject({ kind: z.literal('data'), data: bytes }),
  /** The VM behind the console changed its state. */
  z.strictObject({ kind: z.literal('state'), state: vmState }),
]);
export type ConsoleEvent = z.infer<typeof consoleEvent>;

/** One sample a second while the VM runs. */
export const metricsEvent = z.strictObject({
  at: z.int(),
  /** Share of one host core, in percent, that the VM process used since the last sample. */
  cpuPercent: z.number(),
  instructions: z.number(),
  instructionsPerSecond: z.number(),
  /** VM exits since the start, by the name of the basic exit reason. */
  exits: z.record(z.string(), z.number()),
  exitsPerSecond: z.number(),
  /** Resident memory of the VM process. */
  residentBytes: z.number(),
  /** Counters of the processor's implementation. */
  engine: z.record(z.string(), z.number()),
});
export type MetricsEvent = z.infer<typeof metricsEvent>;

export const streams = {
  library: { input: z.strictObject({}), event: libraryEvent },
  console: { input: z.strictObject({ vm: vmReference, port: portNumber }), event: consoleEvent },
  metrics: { input: z.strictObject({ vm: vmReference }), event: metricsEvent },
  /** The screen: first all of it, then what changes. */
  display: { input: z.strictObject({ vm: vmReference }), event: displayEvent },
  /** VM exits are traced while somebody subscribes. */
  exits: { input: z.strictObject({ vm: vmReference, wanted: exitsWanted }), event: exitsEvent },
} as const;

export type Streams = typeof streams;
export type StreamName = keyof Streams;
export type StreamInput<N extends StreamName> = z.input<Streams[N]['input']>;
export type StreamEvent<N extends StreamName> = z.output<Streams[N]['event']>;
