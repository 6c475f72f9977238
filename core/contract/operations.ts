/** Every request of the contract: its name, what it takes and what it answers. */
import * as z from 'zod';
import { balloonState } from './paravirtual.ts';
import { displayInput, picture } from './display.ts';
import { RECORDING_LIMITS, exitRecording } from './exits.ts';
import { inspectQuery, inspectSection } from './inspect.ts';
import { CONSOLE_WRITE_BYTES } from './limits.ts';
import { deviceOperations } from './device.ts';
import { settings, settingsChanges } from './settings.ts';
import { finding, snapshot, snapshotDifference, snapshotName, snapshotNotes, snapshotReference } from './snapshot.ts';
import { NETWORKS_MAXIMUM, card, diskKind, filePath, slotNumber } from './hardware.ts';
import { bootConfig, newVm, portNumber, vm, vmChanges, vmName, vmReference } from './vm.ts';

const nothing = z.strictObject({});
const diskBytes = z.int().min(512).multipleOf(512, 'a disk has whole sectors of 512 bytes');
const bytes = z.instanceof(Uint8Array);
const onSnapshot = z.strictObject({ vm: vmReference, snapshot: snapshotReference });
const onVm = z.strictObject({ vm: vmReference });

export const auditEvent = z.strictObject({
  id: z.int(),
  at: z.int(),
  vmId: z.string().nullable(),
  vmName: z.string().nullable(),
  /** What happened, such as `created`, `started` or `crashed`. */
  kind: z.string(),
  detail: z.string(),
});
export type AuditEvent = z.infer<typeof auditEvent>;

export const serverInfo = z.strictObject({
  running: z.boolean(),
  /** Address with the run's token, ready to open; null when no server runs. */
  url: z.string().nullable(),
  port: z.int().nullable(),
});
export type ServerInfo = z.infer<typeof serverInfo>;

export const engineStatus = z.strictObject({
  version: z.string(),
  processId: z.int(),
  library: z.string(),
  startedAt: z.int(),
  running: z.int(),
  vms: z.int(),
  server: serverInfo,
});
export type EngineStatus = z.infer<typeof engineStatus>;

export const hostInfo = z.strictObject({
  platform: z.string(),
  hostname: z.string(),
  hostCpus: z.int(),
  hostMemoryBytes: z.int(),
  memoryMinimum: z.int(),
  memoryMaximum: z.int(),
  memoryDefault: z.int(),
  cpusMaximum: z.int(),
  /** Whether what VMs compile can be kept for their next runs (the setting `keepCode`). */
  keepsCode: z.boolean(),
  cpuModels: z.array(z.strictObject({ name: z.string(), description: z.string(), isDefault: z.boolean() })),
  homeFolder: z.string(),
});
export type HostInfo = z.infer<typeof hostInfo>;

export const folderEntry = z.strictObject({ name: z.string(), path: z.string(), kind: z.enum(['folder', 'file']), size: z.int() });
export type FolderEntry = z.infer<typeof folderEntry>;

export const operations = {
  ...deviceOperations,
  'vm.list': { input: nothing, output: z.array(vm) },
  'vm.get': { input: onVm, output: vm },
  'vm.create': { input: z.strictObject({ config: newVm }), output: vm },
  /** What an appliance (OVA, OVF, or a VMDK or VDI image alone) is. */
  'appliance.describe': { input: z.strictObject({ path: filePath }), output: z.strictObject({ name: z.string(), description: z.string() }) },
  /** Makes a VM of one, with disks of its own. */
  'appliance.import': { input: z.strictObject({ path: filePath, name: vmName.optional() }), output: vm },
  /** Gives up the import or export of a file; nothing of it stays. */
  'transfer.cancel': { input: z.strictObject({ path: filePath }), output: nothing },
  /** A running VM may change what is the person's (`ownKeys`); the rest waits until it is stopped. */
  'vm.edit': { input: z.strictObject({ vm: vmReference, changes: vmChanges }), output: vm },
  'vm.remove': { input: onVm, output: nothing },
  /** With `withoutMissing` assigned devices that are not there or in use are left out; otherwise they refuse the start. */
  'vm.start': { input: z.strictObject({ vm: vmReference, withoutMissing: z.boolean().optional() }), output: vm },
  /** Presses the power button; with `force` pulls the plug. */
  'vm.stop': { input: z.strictObject({ vm: vmReference, force: z.boolean() }), output: vm },
  'vm.reset': { input: onVm, output: vm },
  'vm.pause': { input: onVm, output: vm },
  'vm.resume': { input: onVm, output: vm },
  /** Saves the whole machine and ends its process; `vm.resume` goes on from there. */
  'vm.suspend': { input: onVm, output: vm },
  /** Registers and the like as text. */
  'vm.describe': { input: onVm, output: z.strictObject({ text: z.string() }) },
  /** Looks into a running or paused VM, at the end of a slice. */
  'vm.inspect': { input: z.strictObject({ vm: vmReference, query: inspectQuery }), output: z.strictObject({ sections: z.array(inspectSection) }) },
  /** Has every exit of a running VM written to a new file, a SQLite database or lines of JSON by its name, until the limit or the VM's end. */
  'exits.record': { input: z.strictObject({ vm: vmReference, path: filePath, limitBytes: z.int().min(RECORDING_LIMITS.least).max(RECORDING_LIMITS.most) }), output: exitRecording },
  /** The VM's recording, or the last that it had since the engine started. */
  'exits.recording': { input: onVm, output: z.strictObject({ recording: exitRecording.nullable() }) },
  'exits.end': { input: onVm, output: z.strictObject({ recording: exitRecording.nullable() }) },
  /** The whole screen. */
  'display.capture': { input: onVm, output: picture },
  /** Types and points as a person at the machine does. */
  'display.input': { input: z.strictObject({ vm: vmReference, input: displayInput }), output: nothing },
  /** Puts a disk or network interface into a hot-plug slot, of a running VM at once. */
  'vm.plug': { input: z.strictObject({ vm: vmReference, card }), output: vm },
  /** Puts another image into a CD-ROM drive, of a running VM at once; empty: none. `disk`: its place among the disks, from 0. */
  'vm.medium': { input: z.strictObject({ vm: vmReference, disk: z.int().min(0), path: z.string().max(4096), force: z.boolean() }), output: vm },
  /** Makes a disk larger, of a running VM at once. `disk`: its place among the disks, from 0. */
  'vm.grow': { input: z.strictObject({ vm: vmReference, disk: z.int().min(0), bytes: diskBytes }), output: vm },
  /** Asks a running guest to do without so many bytes of its memory; null asks nothing. */
  'vm.balloon': { input: z.strictObject({ vm: vmReference, bytes: z.int().min(0).nullable() }), output: balloonState },
  /** Takes a card out: a running guest is asked to let it go, or with `force` not. Answers when it is out. */
  'vm.unplug': { input: z.strictObject({ vm: vmReference, slot: slotNumber, force: z.boolean() }), output: vm },
  /** Plugs the cable of a network interface in or pulls it, of a running VM at once. `network`: its place in the configuration, from 0. */
  'vm.link': { input: z.strictObject({ vm: vmReference, network: z.int().min(0).max(NETWORKS_MAXIMUM - 1), up: z.boolean() }), output: vm },
  /** A new VM that goes on from what this one is now. `full`: it needs no disk image of this one. */
  'vm.clone': { input: z.strictObject({ vm: vmReference, name: vmName, full: z.boolean().optional() }), output: vm },
  /** Writes it as it is now to one file, for `snapshot.import`; answers the file's length. */
  'vm.export': { input: z.strictObject({ vm: vmReference, path: filePath }), output: z.strictObject({ bytes: z.int() }) },
  'vm.move': { input: z.strictObject({ vm: vmReference, position: z.int().min(0) }), output: z.array(vm) },
  /** While the guest runs, with its memory; of a VM that is off, its configuration. */
  'snapshot.take': {
    input: z.strictObject({ vm: vmReference, name: snapshotName, notes: snapshotNotes.optional() }),
    output: snapshot,
  },
  /** Gives up the snapshot or suspension that is being made. */
  'snapshot.cancel': { input: onVm, output: nothing },
  'snapshot.list': { input: onVm, output: z.array(snapshot) },
  /** Puts the VM back into the snapshot's state, whatever it does now; `paused` holds it there. */
  'snapshot.restore': { input: z.strictObject({ vm: vmReference, snapshot: snapshotReference, paused: z.boolean() }), output: vm },
  'snapshot.edit': {
    input: z.strictObject({ vm: vmReference, snapshot: snapshotReference, name: snapshotName.optional(), notes: snapshotNotes.optional() }),
    output: snapshot,
  },
  /** What the display of a snapshot's machine showed, small, as a PNG file; null: it had none. */
  /** What its display showed; null for the snapshot: that of the state which a suspended VM goes on from. */
  'snapshot.picture': { input: z.strictObject({ vm: vmReference, snapshot: snapshotReference.nullable() }), output: z.strictObject({ png: z.instanceof(Uint8Array).nullable() }) },
  'snapshot.remove': { input: onSnapshot, output: nothing },
  /** A new VM in the snapshot's state, suspended when the snapshot has memory. It shares the chunks. */
  'snapshot.clone': { input: z.strictObject({ vm: vmReference, snapshot: snapshotReference, name: vmName, full: z.boolean().optional() }), output: vm },
  /** What differs from the snapshot to another one, or to the machine as it is now (null). */
  'snapshot.diff': { input: z.strictObject({ vm: vmReference, from: snapshotReference, to: snapshotReference.nullable(), symbols: filePath.optional() }), output: snapshotDifference },
  /** Writes one file with everything of the snapshot. */
  'snapshot.export': { input: z.strictObject({ vm: vmReference, snapshot: snapshotReference, path: filePath }), output: z.strictObject({ bytes: z.int() }) },
  /** A new VM from an exported file. */
  'snapshot.import': { input: z.strictObject({ path: filePath, name: vmName.optional() }), output: vm },
  /** Reads everything the library keeps and says what is damaged. Takes as long as reading it. */
  'library.check': { input: z.strictObject({ repair: z.boolean() }), output: z.array(finding) },
  /** Types into a serial port. Answers how many bytes were taken; the rest is to be offered again. */
  'console.write': {
    input: z.strictObject({ vm: vmReference, port: portNumber, data: bytes.refine((data) => data.length <= CONSOLE_WRITE_BYTES, 'too much input at once') }),
    output: z.strictObject({ taken: z.int() }),
  },
  /** A break on the line of a UART, which Linux takes for the magic key: the next character is its command. */
  'console.break': { input: z.strictObject({ vm: vmReference, port: portNumber }), output: nothing },
  /** What the port has shown so far, as far as it is kept. */
  'console.history': {
    input: z.strictObject({ vm: vmReference, port: portNumber }),
    output: z.strictObject({ data: bytes, truncated: z.boolean() }),
  },
  'console.clear': { input: z.strictObject({ vm: vmReference, port: portNumber }), output: nothing },
  /** Makes an empty disk image, which no machine has yet. */
  'disk.create': { input: z.strictObject({ path: filePath, format: z.enum(['raw', 'qcow2']), bytes: diskBytes }), output: nothing },
  /** What a file is as a disk, or as a disc in a drive. */
  'disk.describe': { input: z.strictObject({ path: filePath, kind: diskKind }), output: z.strictObject({ description: z.string() }) },
  /** Says whether an image and its companions could boot, before anything runs. */
  'boot.check': {
    input: z.strictObject({ boot: bootConfig, memoryBytes: z.int() }),
    output: z.strictObject({ description: z.string() }),
  },
  'events.list': { input: z.strictObject({ vm: vmReference.optional(), limit: z.int().min(1).max(1000) }), output: z.array(auditEvent) },
  'settings.get': { input: nothing, output: settings },
  'settings.set': { input: z.strictObject({ changes: settingsChanges }), output: settings },
  'host.info': { input: nothing, output: hostInfo },
  /** Lists a folder of the engine's host for file choosers; null means the home folder. */
  'host.folder': {
    input: z.strictObject({ path: z.string().max(4096).nullable() }),
    output: z.strictObject({ path: z.string(), parent: z.string().nullable(), entries: z.array(folderEntry) }),
  },
  'server.start': { input: z.strictObject({ port: z.int().min(0).max(65535) }), output: serverInfo },
  'server.status': { input: nothing, output: serverInfo },
  'server.stop': { input: nothing, output: serverInfo },
  'engine.status': { input: nothing, output: engineStatus },
  /** Stops the engine; refused while VMs run unless `suspend` saves them first or `force` pulls their plugs. Both: what cannot be suspended is pulled. */
  'engine.stop': { input: z.strictObject({ force: z.boolean(), suspend: z.boolean().optional() }), output: nothing },
} as const;

export type Operations = typeof operations;
export type OperationName = keyof Operations;
export type OperationInput<N extends OperationName> = z.input<Operations[N]['input']>;
export type OperationOutput<N extends OperationName> = z.output<Operations[N]['output']>;
