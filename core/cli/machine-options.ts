/** The options that say what a machine is made of: those of `run`, `vm create` and `vm edit`. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { displayKind } from '../contract/display.ts';
import { parseMemory } from '../contract/memory.ts';
import { parseTopology, processorsOf } from '../contract/topology.ts';
import type { BootConfig, BootModulePath, VmChanges } from '../contract/vm.ts';
import { addHardwareOptions, addParavirtualOptions, hardwareChanges, paravirtualChanges } from './hardware-options.ts';
import type { HardwareOptions } from './hardware-options.ts';
import { badArgument } from './status.ts';

export interface MachineOptions extends HardwareOptions {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly module?: readonly string[];
  readonly append?: string;
  readonly memory?: string;
  readonly cpus?: string;
  readonly topology?: string;
  readonly cpu?: string;
  readonly jit?: string;
  readonly clock?: string;
  readonly gdb?: string;
  readonly gdbWait?: boolean;
  readonly machine?: string;
  readonly firmware?: string;
  readonly display?: string;
}

export function addMachineOptions(command: Command): Command {
  return addParavirtualOptions(addHardwareOptions(command))
    .option('--kernel <file>', 'kernel: a bzImage or a multiboot image; without one the built-in monitor starts')
    .option('--initrd <file>', 'initial RAM disk')
    .option("--module <'file arguments'>", 'multiboot module with its command line; may be repeated', collect)
    .option('--append <string>', "the kernel's command line")
    .option('--firmware <bios|uefi|file>', 'start at the reset vector, from disks; "none" starts the kernel directly (default)')
    .option('--display <kind>', 'none, vga: a display with keyboard and mouse, or virtio: the same with a GPU, keyboard and tablet that Linux has drivers for (default: none)')
    .option('--memory <size>', 'guest memory, 16M to 3G (default: 512M)')
    .option('--cpus <n>', 'processors, 1 to 8 (default: 1)')
    .option('--topology <sockets=n,cores=n,threads=n>', 'how they are arranged (default: one socket with a core for each)')
    .option('--cpu <model>', 'processor model')
    .option('--jit <mode>', 'translation of hot code: on, off or always (default: on)')
    .option('--clock <policy>', "guest time: wall, or instructions for runs that repeat exactly (default: wall)")
    .option('--gdb <address:port>', 'let GDB connect at 127.0.0.1:PORT; `off` takes that away')
    .option('--gdb-wait', 'the guest waits for GDB before its first instruction')
    .option('--machine <property=value,...>', 'iommu=on gives the guest a VT-d unit of its own, caching-mode=on makes that unit one for hypervisors, usb=on an xHCI controller with tablet and keyboard, kvm=on KVM\'s clock and end of interrupt');
}

/** The part of a configuration that the options name; `base` is what a boot option changes when the VM exists already. */
export function changesFrom(options: MachineOptions, base?: BootConfig): VmChanges {
  const boot = bootFrom(options, base);
  // The schema of the contract refuses a value that is none of the words.
  return {
    ...(options.memory === undefined ? {} : { memoryBytes: parseMemory(options.memory) }),
    ...processorsFrom(options),
    ...(options.cpu === undefined ? {} : { cpuModel: options.cpu }),
    ...(options.jit === undefined ? {} : { jit: oneOf('--jit', options.jit, ['off', 'on', 'always']) }),
    ...(options.clock === undefined ? {} : { clock: oneOf('--clock', options.clock, ['wall', 'instructions']) }),
    ...gdbFrom(options),
    ...machineProperties(options.machine),
    ...hardwareChanges(options),
    ...paravirtualChanges(options),
    ...(boot === undefined ? {} : { boot }),
    ...(options.display === undefined ? {} : { display: oneOf('--display', options.display, displayKind.options) }),
    ...(options.firmware === undefined ? {} : { firmware: firmwareFrom(options) }),
  };
}

/** The arrangement says how many there are; given both, they must agree, which the contract checks. */
function processorsFrom({ cpus, topology }: MachineOptions): VmChanges {
  const arranged = topology === undefined ? {} : { topology: parseTopology(topology), cpus: processorsOf(parseTopology(topology)) };
  return { ...arranged, ...(cpus === undefined ? {} : { cpus: wholeNumber('--cpus', cpus) }) };
}

/** `bios` and `uefi` are words, everything else is a file. */
function firmwareFrom({ firmware = '', kernel }: MachineOptions): string {
  if (firmware === 'none') return '';
  if (kernel !== undefined) throw badArgument('--firmware and --kernel exclude each other.', 'Firmware starts what is on the disks; a kernel is started without firmware.');
  if (firmware === '') throw badArgument('--firmware needs a word or a file.', 'Write bios, uefi, none, or the file of a firmware image.');
  return firmware === 'bios' || firmware === 'uefi' ? firmware : resolve(firmware);
}

function gdbFrom({ gdb, gdbWait }: MachineOptions): VmChanges {
  if (gdb === 'off') return { gdb: null };
  if (gdb === undefined) {
    if (gdbWait === true) throw badArgument('--gdb-wait needs a port to wait at.', 'Name one with --gdb 127.0.0.1:1234.');
    return {};
  }
  const [, host = '', port = ''] = /^(?:(.*):)?(\d+)$/.exec(gdb) ?? [];
  if (port === '') throw badArgument(`--gdb: "${gdb}" is no address with a port.`, 'Write 127.0.0.1:1234, or off.');
  if (!['', 'localhost', '127.0.0.1'].includes(host)) {
    throw badArgument(
      `--gdb: "${host}" is not 127.0.0.1. Whoever reaches the port reads and changes everything in the guest, and GDB's protocol asks for no password.`,
      `Use 127.0.0.1:${port}, and a tunnel from elsewhere: ssh -L ${port}:127.0.0.1:${port} THIS-HOST.`,
    );
  }
  return { gdb: { port: wholeNumber('--gdb', port), wait: gdbWait === true } };
}

/** What `--machine` can say, with the words for each. */
const machineWords: Readonly<Record<string, (on: boolean) => VmChanges>> = {
  iommu: on => ({ iommu: on ? 'on' : 'off' }), 'caching-mode': on => ({ cachingMode: on }), usb: on => ({ usb: on ? 'on' : 'off' }),
  kvm: on => ({ kvm: on ? 'on' : 'off' }),
};

/** `--machine iommu=on,usb=on`: properties to a machine's own names. */
function machineProperties(text: string | undefined): VmChanges {
  const properties = (text ?? '').split(',').filter(part => part !== '').map((part): VmChanges => {
    const [name = '', value = ''] = part.split('=', 2);
    const change = Object.hasOwn(machineWords, name) ? machineWords[name] : undefined;
    if (change === undefined) throw badArgument(`--machine: there is no property "${name}".`, `There are: ${Object.keys(machineWords).join(', ')}, each on or off.`);
    return change(oneOf(`--machine ${name}`, value, ['off', 'on']) === 'on');
  });
  return Object.assign({}, ...properties) as VmChanges;
}

function bootFrom(options: MachineOptions, base?: BootConfig): BootConfig | undefined {
  const { kernel, initrd, append, module: modules } = options;
  if (kernel === undefined && initrd === undefined && append === undefined && modules === undefined) return undefined;
  const before = base?.kind === 'image' ? base : undefined;
  const kernelPath = kernel === undefined ? before?.kernel : resolve(kernel);
  if (kernelPath === undefined) {
    throw badArgument(`--${initrd !== undefined ? 'initrd' : append !== undefined ? 'append' : 'module'} needs a kernel.`, 'Name one with --kernel FILE.');
  }
  return {
    kind: 'image',
    kernel: kernelPath,
    initrd: initrd === undefined ? (before?.initrd ?? null) : resolve(initrd),
    append: append ?? before?.append ?? '',
    modules: modules?.map(parseModule) ?? before?.modules ?? [],
  };
}

/** `FILE ARGUMENTS`: the file ends at the first space, unless the whole text names a file. */
function parseModule(text: string): BootModulePath {
  const space = text.indexOf(' ');
  if (space < 0 || existsSync(text)) return { path: resolve(text), commandLine: '' };
  return { path: resolve(text.slice(0, space)), commandLine: text.slice(space + 1) };
}

function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}

export function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw badArgument(`${option}: "${text}" is not a whole number.`);
  return Number(text);
}

/** @throws ContractError naming the option and the words it knows */
export function oneOf<const T extends string>(option: string, text: string, words: readonly T[]): T {
  const word = words.find((candidate) => candidate === text);
  if (word === undefined) throw badArgument(`${option}: "${text}" is none of ${words.join(', ')}.`);
  return word;
}
