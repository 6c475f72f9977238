/** Reads a VM's boot files and makes the machine's configuration of them, with every refusal a person can act on. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import { formatMemory } from '../contract/memory.ts';
import type { NetworkConfig } from '../contract/hardware.ts';
import type { VmConfig } from '../contract/vm.ts';
import { unreadableBecause } from '../host/reasons.ts';
import type { LoadedBoot, MachineConfig, RestorePoint } from './types.ts';

/** What of a VM's configuration its machine is made of. */
export type MachineSettings = Pick<VmConfig, 'memoryBytes' | 'cpus' | 'topology' | 'cpuModel' | 'jit' | 'clock' | 'iommu' | 'cachingMode' | 'usb' | 'kvm' | 'boot' | 'firmware' | 'display' | 'disks' | 'networks'>;

/**
 * @param variables the file that keeps UEFI variables; null: they last as long as the machine
 * @throws ContractError `file-unreadable` or `bad-image`, naming the file and the field
 */
export function readMachineConfig(settings: MachineSettings, variables: string | null = null): MachineConfig {
  const { memoryBytes, cpus, topology, cpuModel, jit, clock, iommu, cachingMode, usb, kvm } = settings;
  return { memoryBytes, cpus, ...(topology ? { topology } : {}), cpuModel, jit, clock, iommu, cachingMode, usb, kvm, ...readDisplay(settings), boot: readBootFiles(settings, variables) };
}

/** The configuration of a machine that goes on from a snapshot: its boot files are read when it is reset. Firmware is there at once. */
export function restoredMachineConfig(settings: MachineSettings, restore: RestorePoint, variables: string | null = null): MachineConfig {
  const { memoryBytes, cpus, topology, cpuModel, jit, clock, iommu, cachingMode, usb, kvm, boot, firmware } = settings;
  const later = firmware !== '' ? readFirmware(firmware, variables) : boot.kind === 'monitor' ? boot : { kind: 'deferred' } as const;
  return { memoryBytes, cpus, ...(topology ? { topology } : {}), cpuModel, jit, clock, iommu, cachingMode, usb, kvm, ...readDisplay(settings), boot: later, restore };
}

/** @throws ContractError as `readMachineConfig`. */
export function readBootFiles(settings: MachineSettings, variables: string | null = null): LoadedBoot {
  return settings.firmware === '' ? readBoot(settings, readWhole) : readFirmware(settings.firmware, variables);
}

/** The boot source for a check of its images: the kernel is read, of the other files only their sizes are true. */
export function readBootForCheck(settings: MachineSettings): LoadedBoot {
  if (settings.firmware !== '') return readFirmware(settings.firmware, null);
  return readBoot(settings, (descriptor, size, what) => (what === 'kernel' ? readWhole(descriptor) : new Uint8Array(size)));
}

type Reader = (descriptor: number, size: number, what: string) => Uint8Array;

function readWhole(descriptor: number): Uint8Array {
  return readFileSync(descriptor);
}

/** Files of firmware as packages install them, first found first taken. */
const firmwareFiles = {
  bios: [{ code: 'seabios/bios-256k.bin' }],
  uefi: [
    { code: 'OVMF/OVMF_CODE_4M.fd', variables: 'OVMF/OVMF_VARS_4M.fd' }, { code: 'OVMF/OVMF_CODE.fd', variables: 'OVMF/OVMF_VARS.fd' },
    { code: 'edk2/ovmf/OVMF_CODE.fd', variables: 'edk2/ovmf/OVMF_VARS.fd' },
  ],
} as const;
const firmwarePackages = { bios: 'seabios', uefi: 'ovmf' } as const;
const videoBios = { vga: 'seabios/vgabios-stdvga.bin', virtio: 'seabios/vgabios-virtio.bin' } as const;
/** iPXE as an option ROM, by the interface's model. */
const networkRoms = { virtio: 'lib/ipxe/qemu/efi-virtio.rom', e1000e: 'lib/ipxe/qemu/efi-e1000e.rom' } as const;
const largestFirmware = 16 << 20;

/** Where distributions put firmware, and where `npm run guests seabios ovmf` does. */
function firmwareFolders(): readonly string[] {
  const fetched = Object.values(firmwarePackages).map(name => join('.cache/guests', name, name, 'usr/share'));
  return [...(process.env['VANDERPOOL_FIRMWARE'] === undefined ? [] : [process.env['VANDERPOOL_FIRMWARE']]), ...fetched, '/usr/share'];
}

function readFirmware(firmware: string, variables: string | null): LoadedBoot {
  const budget = { left: largestFirmware, memoryBytes: largestFirmware };
  const read = (path: string, what: string): Uint8Array => readImage(path, what, 'firmware', budget, readWhole);
  if (firmware !== 'bios' && firmware !== 'uefi') return { kind: 'firmware', code: read(firmware, 'firmware image') };
  const rows: readonly { readonly code: string; readonly variables?: string }[] = firmwareFiles[firmware];
  for (const folder of firmwareFolders()) {
    for (const row of rows) {
      if (!existsSync(join(folder, row.code))) continue;
      const code = read(join(folder, row.code), 'firmware image');
      if (row.variables === undefined) return { kind: 'firmware', code };
      const kept = variables !== null && existsSync(variables) ? variables : join(folder, row.variables);
      return { kind: 'firmware', code, variables: { data: read(kept, 'variable store'), path: variables } };
    }
  }
  const name = firmwarePackages[firmware];
  const message = `No ${firmware === 'bios' ? 'BIOS' : 'UEFI firmware'} is on this machine.`;
  throw new ContractError('file-unreadable', message, `Install the package ${name}, run "npm run guests ${name}", or name the file of a firmware image.`, 'firmware');
}

/** The video BIOS is for firmware: a system that is booted directly drives the display itself. */
function readDisplay({ display, firmware }: MachineSettings): Pick<MachineConfig, 'display'> {
  if (display === 'none') return {};
  const path = firmware === '' ? undefined : firmwareFolders().map(folder => join(folder, videoBios[display])).find(existsSync);
  if (path === undefined) return { display: { kind: display } };
  const budget = { left: largestFirmware, memoryBytes: largestFirmware };
  return { display: { kind: display, rom: readImage(path, 'video BIOS', 'display', budget, readWhole) } };
}

/**
 * What makes firmware start a system from an interface.
 * @param field of the configuration that asks for it @throws ContractError when this machine has none
 */
export function readNetworkRom(model: NetworkConfig['model'], field: string): Uint8Array {
  const file = networkRoms[model];
  const named = process.env['VANDERPOOL_FIRMWARE'];
  const path = [...(named === undefined ? [] : [join(named, basename(file))]), join('.cache/guests/ipxe/ipxe-qemu/usr', file), join('/usr', file)].find(existsSync);
  if (path === undefined) throw new ContractError('file-unreadable', 'No firmware for booting from the network is on this machine.', 'Install the package ipxe-qemu, or run "npm run guests ipxe".', field);
  return readImage(path, 'option ROM', field, { left: largestFirmware, memoryBytes: largestFirmware }, readWhole);
}

/** A module's string begins with its file name, which what is booted skips. */
function readBoot({ boot, memoryBytes }: MachineSettings, read: Reader): LoadedBoot {
  if (boot.kind === 'monitor') return boot;
  const budget = { left: memoryBytes, memoryBytes };
  const readOne = (path: string, what: string, field: string): Uint8Array => readImage(path, what, field, budget, read);
  const kernel = readOne(boot.kernel, 'kernel', 'boot.kernel');
  const modules = boot.modules.map((module, index) => ({
    data: readOne(module.path, 'module', `boot.modules.${index}.path`), commandLine: `${basename(module.path)} ${module.commandLine}`.trim(),
  }));
  const source = { kind: 'image', kernel, append: boot.append, modules } as const;
  return boot.initrd === null ? source : { ...source, initrd: readOne(boot.initrd, 'initrd', 'boot.initrd') };
}

interface Budget {
  left: number;
  readonly memoryBytes: number;
}

/** Reads one file whole. Its size is looked at first, so that a huge file is refused and not read. */
function readImage(path: string, what: string, field: string, budget: Budget, read: Reader): Uint8Array {
  const descriptor = open(path, what, field);
  try {
    const status = fstatSync(descriptor);
    if (status.isDirectory()) throw unreadable(path, what, field, 'it is a folder');
    if (status.size > budget.left) {
      const message = `The ${what} "${path}" (${formatMemory(status.size)}) does not fit into the guest's ${formatMemory(budget.memoryBytes)} of memory.`;
      throw new ContractError('bad-image', message, 'Give the guest more memory, or choose a smaller file.', field);
    }
    const data = read(descriptor, status.size, what);
    if (data.length === 0) throw new ContractError('bad-image', `The ${what} "${path}" is empty.`, 'Choose another file, or fetch it again.', field);
    budget.left -= data.length;
    return data;
  } catch (error) {
    if (error instanceof ContractError) throw error;
    throw unreadable(path, what, field, unreadableBecause(error)); // A disk that fails, a file beyond what can be read at once.
  } finally {
    closeSync(descriptor);
  }
}

function open(path: string, what: string, field: string): number {
  try {
    // A named pipe would make the open wait for its writer.
    if (!statSync(path).isFile() && !statSync(path).isDirectory()) throw unreadable(path, what, field, 'it is no regular file');
    return openSync(path, 'r');
  } catch (error) {
    if (error instanceof ContractError) throw error;
    throw unreadable(path, what, field, unreadableBecause(error));
  }
}

function unreadable(path: string, what: string, field: string, reason: string): ContractError {
  return new ContractError('file-unreadable', `The ${what} "${path}" cannot be read: ${reason}.`, 'Check the path and its permissions.', field);
}
