/** What a virtual machine is, to people: its configuration, its state and how it last ended. */
import * as z from 'zod';
import {
  APPEND_LENGTH, CPUS_MAXIMUM, GROUP_LENGTH, MEMORY_DEFAULT, MEMORY_MAXIMUM, MEMORY_MINIMUM, MIB, MODULES_MAXIMUM, NAME_LENGTH, SERIAL_PORTS, TAGS_MAXIMUM, TAG_LENGTH,
} from './limits.ts';
import { DISKS_MAXIMUM, NETWORKS_MAXIMUM, diskConfig, filePath, networkConfig } from './hardware.ts';
import { shares, vsockPath } from './paravirtual.ts';
import { displayKind } from './display.ts';
import { serialLine } from './serial.ts';
import { formatMemory } from './memory.ts';
import { cpuTopology, processorsOf } from './topology.ts';

export const vmName = z.string().trim().min(1, 'a name is needed').max(NAME_LENGTH, `a name has at most ${NAME_LENGTH} characters`)
  .regex(/^[\p{L}\p{N}][\p{L}\p{N} ._+()-]*$/u, 'a name starts with a letter or digit and has letters, digits, spaces and . _ + - ( ) only');

/** Machines of the same group stand together in the library; empty: none. */
export const vmGroup = z.string().trim().max(GROUP_LENGTH, `a group's name has at most ${GROUP_LENGTH} characters`).regex(/^[^\p{Cc}]*$/u, 'a group is named in one line');

const vmTag = z.string().max(TAG_LENGTH, `a tag has at most ${TAG_LENGTH} characters`)
  .regex(/^[\p{L}\p{N}][\p{L}\p{N}._+:/-]*$/u, 'a tag starts with a letter or digit and has letters, digits and . _ + - : / only');

/** Words by which people find machines; their case is kept, and makes no difference. */
export const vmTags = z.array(vmTag).max(TAGS_MAXIMUM, `a machine has at most ${TAGS_MAXIMUM} tags`)
  .refine((tags) => differentTags(tags).length === tags.length, 'a machine has each tag once');

/** Each tag once, as it was written first. */
export function differentTags(tags: readonly string[]): string[] {
  const seen = new Set<string>();
  return tags.filter((tag) => !seen.has(tag.toLowerCase()) && seen.add(tag.toLowerCase()));
}

const commandLine = z.string().max(APPEND_LENGTH, `a command line has at most ${APPEND_LENGTH} characters`)
  .refine((text) => !text.includes('\0'), 'a command line has no NUL character');

export const bootModule = z.strictObject({ path: filePath, commandLine });
export type BootModulePath = z.infer<typeof bootModule>;

export const bootConfig = z.discriminatedUnion('kind', [
  /** The built-in monitor: needs no file. */
  z.strictObject({ kind: z.literal('monitor') }),
  /** A bzImage or a multiboot image, recognised by its content. */
  z.strictObject({
    kind: z.literal('image'),
    kernel: filePath,
    initrd: filePath.nullable(),
    append: commandLine,
    modules: z.array(bootModule).max(MODULES_MAXIMUM),
  }),
]);
export type BootConfig = z.infer<typeof bootConfig>;

/**
 * What starts at the reset vector: empty for none (what `boot` names is started directly), `bios`, `uefi`, or the file of a firmware image.
 */
export const firmware = z.string().max(4096).refine((path) => !path.includes('\0'), 'a path has no NUL character');

/** `console`: the engine keeps its output and viewers may attach; `none`: the UART is there with nothing behind it. */
export const serialPort = z.strictObject({
  attach: z.enum(['console', 'none']),
  label: z.string().max(40),
  /** `virtio`: the bytes go by a port of a virtio console instead of the UART; absent: by the UART. */
  device: z.enum(['uart', 'virtio']).optional(),
  /** What is connected to the port besides its console. */
  line: serialLine.optional(),
}).refine(({ attach, line }) => attach === 'console' || line === undefined, { path: ['line'], message: 'a port that is connected has a console as well' });
export type SerialPortConfig = z.infer<typeof serialPort>;

export const jitMode = z.enum(['off', 'on', 'always']);
export const clockPolicy = z.enum(['wall', 'instructions']);
/** Whether the guest has a VT-d unit of its own. */
export const iommuMode = z.enum(['off', 'on']);
/** `on`: an xHCI host controller with a tablet and a keyboard, and free ports. */
export const usbMode = z.enum(['off', 'on']);

/** `on`: the guest sees KVM, and may use its clock and its way to end interrupts. */
export const kvmMode = z.enum(['off', 'on']);

/** A port on 127.0.0.1 at which GDB may connect; with `wait` the guest stands still until it has. */
export const gdbConfig = z.strictObject({ port: z.int().min(1, 'a port is from 1 to 65535').max(65535, 'a port is from 1 to 65535'), wait: z.boolean() });

/** Every so many minutes; of the snapshots so taken, the newest are kept. */
export const snapshotSchedule = z.strictObject({
  minutes: z.int().min(1, 'at least a minute lies between snapshots').max(10_080, 'at most a week lies between snapshots'),
  keep: z.int().min(1, 'at least one snapshot is kept').max(1000, 'at most 1000 snapshots are kept'),
});
export type SnapshotSchedule = z.infer<typeof snapshotSchedule>;

const fields = {
  name: vmName,
  group: vmGroup,
  tags: vmTags,
  memoryBytes: z.int()
    .min(MEMORY_MINIMUM, `at least ${formatMemory(MEMORY_MINIMUM)} of guest memory is needed`)
    .max(MEMORY_MAXIMUM, `at most ${formatMemory(MEMORY_MAXIMUM)} of guest memory is supported`)
    .multipleOf(MIB, 'guest memory is a whole number of MiB'),
  cpus: z.int().min(1, 'at least one processor is needed').max(CPUS_MAXIMUM, `at most ${CPUS_MAXIMUM} processors are supported`),
  /** How they are arranged; null: one socket with a core for each. */
  topology: cpuTopology.nullable(),
  /** Name of a processor model; empty means the default model. */
  cpuModel: z.string().max(64),
  jit: jitMode,
  clock: clockPolicy,
  iommu: iommuMode,
  /** The guest tells its unit of entries that were not present before, too: hypervisors emulate units so. */
  cachingMode: z.boolean(),
  usb: usbMode,
  kvm: kvmMode,
  gdb: gdbConfig.nullable(),
  boot: bootConfig,
  firmware,
  display: displayKind,
  disks: z.array(diskConfig).max(DISKS_MAXIMUM, `at most ${DISKS_MAXIMUM} disks are possible`),
  networks: z.array(networkConfig).max(NETWORKS_MAXIMUM, `at most ${NETWORKS_MAXIMUM} network interfaces are possible`),
  /** Whether the guest has a memory balloon. */
  balloon: z.boolean(),
  vsock: vsockPath,
  shares,
  /** COM1 to COM4. */
  serial: z.array(serialPort).length(SERIAL_PORTS),
  /** Whether the VM starts, or goes on, with the engine. */
  autostart: z.boolean(),
  /** Snapshots that are taken by themselves while the VM runs; null: none. */
  schedule: snapshotSchedule.nullable(),
  notes: z.string().max(10_000, 'notes have at most 10000 characters'),
};

export const vmConfig = z.strictObject(fields).refine(({ cpus, topology }) => topology === null || processorsOf(topology) === cpus, {
  path: ['topology'], message: 'sockets, cores and threads multiplied are not the number of processors',
});
export type VmConfig = z.infer<typeof vmConfig>;

/** What of a configuration is the person's and not the machine's: it may change while the machine runs, and going back to a snapshot leaves it. */
export const ownKeys = ['name', 'group', 'tags', 'notes', 'autostart', 'schedule'] as const satisfies readonly (keyof VmConfig)[];
type OwnKey = (typeof ownKeys)[number];

export function ownPart(config: VmConfig): Pick<VmConfig, OwnKey> {
  const { name, group, tags, notes, autostart, schedule } = config;
  return { name, group, tags, notes, autostart, schedule };
}

export const vmChanges = z.strictObject(fields).partial();
export type VmChanges = z.infer<typeof vmChanges>;

/** A new VM needs a name; everything else has a sensible default. */
export const newVm = vmChanges.required({ name: true });
export type NewVm = z.infer<typeof newVm>;

export const defaultSerial: readonly SerialPortConfig[] = [
  { attach: 'console', label: 'COM1' }, { attach: 'none', label: 'COM2' }, { attach: 'none', label: 'COM3' }, { attach: 'none', label: 'COM4' },
];

/** The configuration that a new VM gets where the person chose nothing. */
export const vmDefaults: Omit<VmConfig, 'name'> = {
  group: '',
  tags: [],
  memoryBytes: MEMORY_DEFAULT,
  cpus: 1,
  topology: null,
  cpuModel: '',
  jit: 'on',
  clock: 'wall',
  iommu: 'off',
  cachingMode: false,
  usb: 'off',
  kvm: 'off',
  gdb: null,
  boot: { kind: 'monitor' },
  firmware: '',
  display: 'none',
  disks: [],
  networks: [],
  balloon: false,
  vsock: null,
  shares: [],
  serial: [...defaultSerial],
  autostart: false,
  schedule: null,
  notes: '',
};

/** Lays changes over a configuration and leaves out what is undefined. Another number of processors ends an arrangement that does not fit it. */
export function withChanges(base: VmConfig, changes: VmChanges): VmConfig {
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  const fits = base.topology === null || changes.cpus === undefined || processorsOf(base.topology) === changes.cpus;
  return vmConfig.parse({ ...base, ...(fits ? {} : { topology: null }), ...given });
}

export const vmState = z.enum(['stopped', 'starting', 'running', 'paused', 'stopping', 'crashed', 'suspended']);
export type VmState = z.infer<typeof vmState>;

/** How a VM last ended. */
export const vmExit = z.strictObject({
  reason: z.enum(['power-off', 'debug-exit', 'triple-fault', 'stopped', 'killed', 'crashed', 'failed-to-start', 'suspended']),
  /** Text for people: the guest's last registers, or what went wrong. */
  detail: z.string(),
  /** The value written to the debug-exit port. */
  value: z.int().optional(),
  /** Milliseconds since 1970. */
  at: z.int(),
});
export type VmExit = z.infer<typeof vmExit>;

export const vm = z.strictObject({
  id: z.uuid(),
  config: vmConfig,
  state: vmState,
  exit: vmExit.nullable(),
  /** Position in the library's list. */
  position: z.int(),
  createdAt: z.int(),
  /** When the running guest was started; null when none runs. */
  startedAt: z.int().nullable(),
  /** Process that runs the guest; null when none runs. */
  processId: z.int().nullable(),
  /** Why it is paused although nobody paused it, such as a full disk of the host; null: nothing is wrong. */
  problem: z.string().nullable(),
});
export type Vm = z.infer<typeof vm>;

/** A VM by its id or its name. */
export const vmReference = z.string().min(1).max(NAME_LENGTH);
export const portNumber = z.int().min(0).max(SERIAL_PORTS - 1);
