/** The seam between a virtual machine (processor, VMM, devices) and the process that hosts it. */
import type { SnapshotPoint } from '../snapshot/guestMemory.ts';
import type { PreserveRing } from '../snapshot/preserve.ts';

import type { AssignedDevice } from '../contract/device.ts';
import type { DisplayInput } from '../contract/display.ts';
import type { LineSettings, ModemLines } from '../devices/uart16550.ts';
import type { Frame } from '../devices/vga/render.ts';
import type { ExitRecord, ExitRow } from '../contract/exits.ts';
import type { InspectQuery, InspectSection } from '../contract/inspect.ts';
import type { BalloonState, ShareConfig } from '../contract/paravirtual.ts';
import type { Medium } from './drives.ts';
import type { MachineDisk } from './disks.ts';
import type { CardDescription } from './devices.ts';
import type { LinkedDevice } from './linkedDevices.ts';
import type { MachineNetwork } from './networks.ts';
import type { Topology } from '../platform/topology.ts';

/** What a VM is made of, with every file already read: the host side resolves paths and validates sizes. */
export interface MachineConfig {
  /** Guest RAM in bytes, a multiple of 1 MiB. */
  readonly memoryBytes: number;
  readonly cpus: number;
  /** How they are arranged; absent: one socket with a core for each. */
  readonly topology?: Topology;
  /** Name of a row in core/cpu/models.ts. */
  readonly cpuModel: string;
  readonly boot: BootSource;
  readonly disks?: readonly MachineDisk[];
  readonly networks?: readonly MachineNetwork[];
  /** Serial ports that are ports of a virtio console, by their numbers. */
  readonly consoles?: readonly { readonly port: number; readonly name: string }[];
  readonly balloon?: boolean;
  readonly shares?: readonly ShareConfig[];
  /** The memory that both threads share for the guest's sockets (core/vsock); absent: it has none. */
  readonly vsock?: SharedArrayBuffer;
  /** USB devices and sockets of the host that are assigned to it. */
  readonly linkedDevices?: readonly LinkedDevice[];
  /** `interpreter` emits no regions; `always` compiles every region on first sight. */
  readonly jit: 'off' | 'on' | 'always';
  readonly clock: 'wall' | 'instructions';
  /** Adds the device that test programs of processors expect. */
  readonly testDevices?: boolean;
  /** Whether the guest has a VT-d unit of its own; absent: no. */
  readonly iommu?: 'off' | 'on';
  /** That unit is one for hypervisors: software tells it of every entry. */
  readonly cachingMode?: boolean;
  /** Whether the machine has a USB host controller with tablet and keyboard; absent: no. */
  readonly usb?: 'off' | 'on';
  /** Whether guests see KVM, and may use its clock and end of interrupt; absent: no. */
  readonly kvm?: 'off' | 'on';
  /** A VGA, a keyboard and a mouse, with `virtio` also a GPU, a keyboard and a tablet of that kind; `rom` is the video BIOS, for firmware. Absent: none. */
  readonly display?: { readonly kind: 'vga' | 'virtio'; readonly rom?: Uint8Array };
  /** Present: the machine does not boot but goes on from here. */
  readonly restore?: RestorePoint;
  /** Resources of the host that are assigned to it. */
  readonly devices?: readonly AssignedDevice[];
  /** No card comes while it runs: it has no empty slots for them, which Debian spends a fiftieth of its boot on. */
  readonly closed?: boolean;
  /** The file that keeps compiled code from one run to the next; absent: nothing is kept. */
  readonly translations?: string;
}

/** A snapshot, as the machine that goes on from it needs it; plain data. */
export interface RestorePoint {
  /** States of all components by name. Not trusted. */
  readonly state: unknown;
  /** The encoded map of the memory (core/snapshot/pageMap.ts). Not trusted. */
  readonly map: Uint8Array<ArrayBuffer>;
  /** Files of the segments that the map refers to, by id. */
  readonly segments: readonly (readonly [number, string])[];
}

/** `deferred`: the files are read when a restored machine is reset, which may never be. */
export type BootSource = LoadedBoot | { readonly kind: 'deferred' };

export type LoadedBoot =
  | { readonly kind: 'image'; readonly kernel: Uint8Array; readonly initrd?: Uint8Array; readonly append: string; readonly modules: readonly BootModule[] }
  | { readonly kind: 'monitor' }
  | FirmwareSource;

/** Firmware that starts at the reset vector. */
export interface FirmwareSource {
  readonly kind: 'firmware';
  readonly code: Uint8Array;
  /** Contents of the flash with UEFI variables, and the file that follows them; null: they last as long as the machine. */
  readonly variables?: { readonly data: Uint8Array; readonly path: string | null };
}

export interface BootModule {
  readonly data: Uint8Array;
  readonly commandLine: string;
}

/** Why a machine stopped for good. */
export type MachineExit =
  | { readonly reason: 'power-off' }
  | { readonly reason: 'reset' }
  /** A write to the debug-exit port 0xf4; the process's exit status is `(value << 1) | 1`. */
  | { readonly reason: 'debug-exit'; readonly value: number }
  | { readonly reason: 'triple-fault'; readonly state: string }
  | { readonly reason: 'internal-error'; readonly message: string };

export type SliceResult =
  /** The guest used its slice; call again. */
  | { readonly kind: 'ran' }
  /** Every vCPU is halted. Sleep until input arrives or until `wakeInNs` nanoseconds have passed (null: no timer is armed). */
  | { readonly kind: 'halted'; readonly wakeInNs: number | null }
  /** A debugger has stopped the guest: do not call again while the machine is `held`. */
  | { readonly kind: 'held' }
  | { readonly kind: 'stopped'; readonly exit: MachineExit };

/** Callbacks from the machine into its process; called on the machine's own thread, within `runSlice`. */
export interface MachineHost {
  serialOutput(port: number, bytes: Uint8Array): void;
  /** Where pages go that a snapshot needs and the guest is about to write. */
  readonly preserved?: PreserveRing;
  /** The guest has let the card of a hot-plug slot go. */
  released?(slot: number): void;
  /** The guest has set the line of an assigned serial port. */
  lineSettings?(port: number, settings: LineSettings): void;
  /** Reads the boot files of a `deferred` source. @throws ContractError naming the file */
  readBoot?(): LoadedBoot;
}

export interface MachineStatistics {
  readonly instructions: number;
  /** VM exits by the name of the SDM's basic exit reason. */
  readonly exits: Readonly<Record<string, number>>;
  readonly memoryBytes: number;
  readonly engine: Readonly<Record<string, number>>;
}

export interface Machine {
  /** Runs the guest for about a millisecond of host time, or less when it halts or stops. */
  runSlice(): SliceResult;
  /** Offers received bytes to a UART (0 to 3); returns how many were taken. The rest is offered again later: back-pressure. */
  serialInput(port: number, bytes: Uint8Array): number;
  /** Guest time stands still while paused; `runSlice` is not called then. */
  setPaused(paused: boolean): void;
  /** Presses the ACPI power button. */
  powerButton(): void;
  reset(): void;
  /**
   * Between slices: the state of everything now, and the pages that the snapshot has still to copy while the guest goes on.
   * @param disks this is also the moment of the disks' new layers
   */
  snapshot(disks?: boolean): SnapshotPoint;
  /** Fetches pages of the snapshot that the machine was restored from, for about so long; true when all are there. */
  fillPages(milliseconds: number): boolean;
  statistics(): MachineStatistics;
  /** The guest sleeps: spends a few milliseconds on what makes its next run quicker. False: there is nothing left to do. */
  prepareNextRun?(): boolean;
  /** The machine has run for the last time: it leaves what it keeps for its next run. `hurry`: somebody waits for its end. */
  ended?(hurry: boolean): void;
  /** Registers and the like as text, for people. */
  describe(): string;
  /** Whether a debugger has stopped the guest. */
  readonly held: boolean;
  /** Answers what a person asks about the machine, between slices. @throws ContractError when the question cannot be answered */
  answer<K extends QuestionKind>(kind: K, question: Questions[K]): Answers[K];
}

/** What the I/O thread may ask of a machine, running or paused. */
export interface Questions {
  /** Starts a fresh trace of VM exits, or ends it. */
  readonly 'trace-exits': { readonly on: boolean };
  /** The trace so far, with the newest `limit` exits from number `since` on. */
  readonly exits: { readonly since: number; readonly limit: number };
  readonly inspect: { readonly query: InspectQuery };
  /** Stops the guest for a debugger. */
  readonly 'debug-hold': Record<never, never>;
  /** Takes everything of a debugger away and lets the guest go on. */
  readonly 'debug-release': Record<never, never>;
  /** A packet of GDB's remote protocol, without its frame. */
  readonly gdb: { readonly packet: Uint8Array };
  /** What is on the screen. */
  readonly frame: Record<string, never>;
  readonly 'display-input': DisplayInput;
  /** Takes the medium out of the CD-ROM drive with this serial number (null), or puts one in. */
  readonly medium: { readonly serial: string; readonly medium: Medium | null; readonly force: boolean };
  /** The image of the disk with this serial number is about to be closed (null), or is open again, perhaps larger. */
  readonly 'disk-size': { readonly serial: string; readonly medium: Medium | null };
  /** Asks the balloon for so many bytes; null: asks nothing. */
  readonly balloon: { readonly bytes: number | null };
  /** Holds the line of a UART (0 to 3) low for longer than a character. */
  readonly break: { readonly port: number };
  /** The other end of an assigned serial port has set its modem lines. */
  readonly 'modem-lines': { readonly port: number; readonly lines: ModemLines };
  /** Puts a card into a hot-plug slot. */
  readonly plug: { readonly slot: number; readonly card: CardDescription };
  /** Asks the guest to let a card go, which `released` tells of; with `force` the card is out at once. */
  readonly unplug: { readonly slot: number; readonly force: boolean };
  /** Goes back to a snapshot of this very configuration. `from`: the encoded map of the last one that this machine had; null: none. */
  readonly restore: { readonly point: RestorePoint; readonly from: Uint8Array | null };
}

export interface Answers {
  readonly 'trace-exits': null;
  /** Null when nothing is traced. */
  readonly exits: TracedExits | null;
  readonly inspect: readonly InspectSection[];
  readonly 'debug-hold': null;
  readonly 'debug-release': null;
  /** The reply; null when there is none until the guest stops. */
  readonly gdb: Uint8Array | null;
  /** Null: the machine has no display. */
  readonly frame: Frame | null;
  readonly 'display-input': null;
  readonly medium: null;
  readonly 'disk-size': null;
  readonly balloon: BalloonState;
  readonly break: null;
  readonly 'modem-lines': null;
  readonly plug: null;
  readonly unplug: null;
  readonly restore: null;
}

export type QuestionKind = keyof Questions;

export interface TracedExits {
  readonly elapsedMs: number;
  readonly rows: readonly ExitRow[];
  /** The newest RECENT_EXITS, decoded. */
  readonly recent: readonly ExitRecord[];
  readonly records: Uint8Array<ArrayBuffer>;
  readonly epochMs: number;
  /** Number to ask from the next time. */
  readonly next: number;
  /** Exits since `since` that were not kept. */
  readonly lost: number;
}
