/** What the engine and a VM process say to each other. Either may be broken or taken over by its guest: both check what arrives. */
import * as z from 'zod';
import { assignedDevice, machineSlot } from '../contract/device.ts';
import { displayInput, picture } from '../contract/display.ts';
import { errorShape } from '../contract/errorShape.ts';
import { exitsEvent, exitsWanted } from '../contract/exits.ts';
import { DISKS_MAXIMUM } from '../contract/hardware.ts';
import { inspectQuery, inspectSection } from '../contract/inspect.ts';
import { card, slotNumber } from '../contract/hardware.ts';
import { balloonState } from '../contract/paravirtual.ts';
import { DEVICES_MAXIMUM, SERIAL_PORTS } from '../contract/limits.ts';
import { portNumber, vmConfig } from '../contract/vm.ts';
import { OUTPUT_RING } from './link.ts';

const bytes = z.instanceof(Uint8Array);

/** Bytes of a port's output that a VM process may send before the engine has granted more. */
export const OUTPUT_CREDIT = 256 * 1024;
/** Bytes of a port's input that may wait in a VM process. */
export const INPUT_PENDING = 64 * 1024;
/** The most hashes that are looked up at once, in bytes. */
const LOOKUP_BYTES = 1024 * 1024;

const words = z.instanceof<new (...args: never[]) => Uint32Array<ArrayBuffer>>(Uint32Array as never);

const segmentPaths = z.array(z.tuple([z.int().min(1), z.string()]));

/** What the library keeps of a disk (core/machine/layeredDisks.ts). */
const diskState = z.strictObject({ size: z.int().min(0), map: bytes, segments: segmentPaths, layers: z.array(z.string()) });

/** Where a machine goes on from (core/machine/types.ts). */
export const restorePoint = z.strictObject({ state: z.unknown(), map: bytes, segments: segmentPaths });

const portOutput = z.strictObject({ unread: bytes.refine(({ length }) => length <= OUTPUT_RING), surplus: z.int().min(0) });
export type PortOutput = z.infer<typeof portOutput>;

export const toVmProcess = z.discriminatedUnion('type', [
  /** Load what machines need: a `start` will follow, perhaps. */
  z.strictObject({ type: z.literal('prepare'), machineModule: z.string() }),
  z.strictObject({ type: z.literal('start'), config: vmConfig, folder: z.string(), devices: z.array(assignedDevice).max(DEVICES_MAXIMUM), machineModule: z.string(), restore: restorePoint.nullable(), paused: z.boolean(),
    disks: z.array(diskState.nullable()).max(DISKS_MAXIMUM), keepCode: z.boolean() }),
  z.strictObject({ type: z.literal('command'), command: z.enum(['pause', 'resume', 'reset', 'power-button', 'end']) }),
  z.strictObject({ type: z.literal('input'), port: portNumber, data: bytes }),
  z.strictObject({ type: z.literal('break'), port: portNumber }),
  z.strictObject({ type: z.literal('credit'), port: portNumber, bytes: z.int().min(1) }),
  z.strictObject({ type: z.literal('describe') }),
  /** What of VM exits is to be reported from now on; null: nothing, and nothing is traced. */
  z.strictObject({ type: z.literal('trace-exits'), wanted: exitsWanted.nullable() }),
  /** What a viewer of the display has not seen yet; `forget`: the viewer is gone. */
  z.strictObject({ type: z.literal('picture'), id: z.int().min(0), viewer: z.int().min(0), forget: z.boolean() }),
  /** All of the display, made small, for a snapshot's thumbnail; `pictured` answers. */
  z.strictObject({ type: z.literal('thumbnail'), id: z.int().min(0) }),
  z.strictObject({ type: z.literal('display-input'), input: displayInput }),
  /** Plug the cable of an interface in or pull it. */
  z.strictObject({ type: z.literal('link'), network: z.int().min(0), up: z.boolean() }),
  /** Put a card into an empty hot-plug slot; `plugged` answers. `state`: what the library keeps of its disk. */
  z.strictObject({ type: z.literal('plug'), id: z.int().min(0), slot: slotNumber, card, state: diskState.nullable() }),
  /** The same for a device of the host. */
  z.strictObject({ type: z.literal('plug-device'), id: z.int().min(0), device: assignedDevice }),
  /** Put another image into a CD-ROM drive, by its place in the configuration; empty: none. `plugged` answers. */
  z.strictObject({ type: z.literal('medium'), id: z.int().min(0), disk: z.int().min(0), path: z.string(), force: z.boolean() }),
  /** Make a disk larger that has no snapshots, by its place in the configuration. `plugged` answers. */
  z.strictObject({ type: z.literal('grow'), id: z.int().min(0), disk: z.int().min(0), bytes: z.int().min(1), state: diskState.nullable() }),
  /** Ask the balloon for so many bytes; null: ask nothing. `ballooned` answers. */
  z.strictObject({ type: z.literal('balloon'), id: z.int().min(0), bytes: z.int().min(0).nullable() }),
  /** Ask the guest to let a card go, or with `force` pull it out; `plugged` says that it was asked, `released` that the card is out. */
  z.strictObject({ type: z.literal('unplug'), id: z.int().min(0), slot: machineSlot, force: z.boolean() }),
  z.strictObject({ type: z.literal('inspect'), id: z.int().min(0), query: inspectQuery }),
  /** Take a snapshot: new segments go into the folder; the layers are empty files for what disks are written from its moment on. One at a time. */
  z.strictObject({ type: z.literal('snapshot'), folder: z.string(), layers: z.array(z.strictObject({ path: z.string(), layer: z.string() })) }),
  /** What disks had written is in these maps now. */
  z.strictObject({ type: z.literal('rebase'), disks: z.array(diskState.pick({ map: true, segments: true }).extend({ path: z.string() })) }),
  /** The answer to `chunk-lookup`: for each hash its segment, 0 for one that is new, and its position there. */
  z.strictObject({ type: z.literal('chunk-places'), segments: words, positions: words }),
  z.strictObject({ type: z.literal('segment-recorded'), segment: z.int().min(1) }),
  z.strictObject({ type: z.literal('cancel-snapshot') }),
  /** Go back to a snapshot of this very configuration, in this very process. */
  z.strictObject({ type: z.literal('restore'), restore: restorePoint, disks: z.array(diskState.extend({ path: z.string() })) }),
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
  /** A write of the guest's waits for room on a disk of the host, and the machine waits with it; null: there was room. */
  z.strictObject({ type: z.literal('disk-full'), message: z.string().max(10_000).nullable() }),
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
  /** Null: nothing is new. */
  z.strictObject({ type: z.literal('pictured'), id: z.int().min(0), picture: picture.nullable() }),
  z.strictObject({ type: z.literal('not-pictured'), id: z.int().min(0), error: errorShape }),
  z.strictObject({ type: z.literal('ballooned'), id: z.int().min(0), state: balloonState }),
  z.strictObject({ type: z.literal('not-ballooned'), id: z.int().min(0), error: errorShape }),
  z.strictObject({ type: z.literal('plugged'), id: z.int().min(0), error: errorShape.nullable() }),
  /** The card of a hot-plug slot is out, and its file closed. */
  z.strictObject({ type: z.literal('released'), slot: machineSlot }),
  z.strictObject({ type: z.literal('inspected'), id: z.int().min(0), sections: z.array(inspectSection).max(32) }),
  z.strictObject({ type: z.literal('not-inspected'), id: z.int().min(0), error: errorShape }),
  /** The moment of the snapshot. By port: output from before it that was not sent on yet, and how many bytes from after it were. */
  z.strictObject({
    type: z.literal('snapshot-point'), state: z.record(z.string(), z.unknown()), output: z.array(portOutput).max(SERIAL_PORTS),
    pauseMilliseconds: z.number().min(0), pages: z.int().min(0),
  }),
  z.strictObject({ type: z.literal('chunk-lookup'), hashes: bytes.refine(({ length }) => length <= LOOKUP_BYTES && length % 32 === 0) }),
  /** A segment is on the disk, whole. */
  z.strictObject({ type: z.literal('segment'), name: z.uuid() }),
  z.strictObject({ type: z.literal('snapshot-progress'), done: z.int().min(0), total: z.int().min(0) }),
  z.strictObject({ type: z.literal('snapshot-taken'), map: bytes, disks: z.array(z.strictObject({ path: z.string(), map: bytes })).max(DISKS_MAXIMUM), writtenBytes: z.int().min(0) }),
  z.strictObject({ type: z.literal('snapshot-failed'), error: errorShape }),
  /** The answer to `restore`: output sent from now on is that of the restored machine. After an error the machine is good for nothing. */
  z.strictObject({ type: z.literal('restored'), error: errorShape.nullable() }),
  /** The answer to `rebase`: the files of former layers are not used any more. */
  z.strictObject({ type: z.literal('rebased'), error: errorShape.nullable() }),
  z.strictObject({ type: z.literal('stopped'), exit: machineExit }),
]);
export type FromVmProcess = z.infer<typeof fromVmProcess>;
