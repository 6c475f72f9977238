/** A configuration as it is being typed: text where people type text, and what is wrong with it field by field. */
import { asContractError, ContractError, differentTags, formatMemory, parseMemory, vmConfig, vmDefaults } from '../../core/contract/index.ts';
import type { BootModulePath, DiskConfig, ErrorShape, NetworkConfig, SerialPortConfig, ShareConfig, VmConfig } from '../../core/contract/index.ts';
import type { FieldProblem } from '../controls/field.tsx';
import { fileName } from '../state/format.ts';

export interface BootDraft {
  readonly kind: 'monitor' | 'image' | 'firmware';
  /** `bios`, `uefi` or a file. */
  readonly firmware: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly append: string;
  readonly modules: readonly BootModulePath[];
}

export interface Draft {
  readonly name: string;
  readonly group: string;
  /** As people write them, one behind another. */
  readonly tags: string;
  /** As people write sizes: `512M`, `1G`. */
  readonly memory: string;
  readonly cpus: string;
  readonly topology: VmConfig['topology'];
  readonly cpuModel: string;
  readonly jit: VmConfig['jit'];
  readonly clock: VmConfig['clock'];
  readonly iommu: VmConfig['iommu'];
  readonly cachingMode: boolean;
  readonly usb: VmConfig['usb'];
  readonly kvm: VmConfig['kvm'];
  /** Empty: GDB has no port. */
  readonly gdbPort: string;
  readonly gdbWait: boolean;
  readonly display: VmConfig['display'];
  readonly boot: BootDraft;
  readonly disks: readonly DiskConfig[];
  readonly networks: readonly NetworkConfig[];
  readonly balloon: boolean;
  /** Empty: the guest has no sockets to this host. */
  readonly vsock: string;
  readonly shares: readonly ShareConfig[];
  readonly serial: readonly SerialPortConfig[];
  readonly autostart: boolean;
  readonly schedule: VmConfig['schedule'];
  readonly notes: string;
}

/** Problems by the contract's name of the field: `memoryBytes`, `boot.kernel`. */
export type Problems = Readonly<Record<string, FieldProblem>>;

/** Linux speaks on the serial port only when told to. */
export const DEFAULT_APPEND = 'console=ttyS0';

const emptyImage: Omit<BootDraft, 'kind'> = { firmware: 'bios', kernel: '', initrd: '', append: DEFAULT_APPEND, modules: [] };

export function draftOf(config: VmConfig): Draft {
  return {
    name: config.name,
    group: config.group,
    tags: writtenTags(config.tags),
    memory: formatMemory(config.memoryBytes),
    cpus: String(config.cpus),
    topology: config.topology,
    cpuModel: config.cpuModel,
    jit: config.jit,
    clock: config.clock,
    iommu: config.iommu,
    cachingMode: config.cachingMode,
    usb: config.usb,
    kvm: config.kvm,
    gdbPort: config.gdb === null ? '' : String(config.gdb.port),
    gdbWait: config.gdb?.wait ?? false,
    display: config.display,
    boot: bootDraftOf(config),
    disks: config.disks,
    networks: config.networks,
    balloon: config.balloon,
    vsock: config.vsock ?? '',
    shares: config.shares,
    serial: config.serial,
    autostart: config.autostart,
    schedule: config.schedule,
    notes: config.notes,
  };
}

/** Tags as they are typed, with spaces or commas between them. */
export function readTags(text: string): string[] {
  return differentTags(text.split(/[\s,]+/).filter(Boolean));
}

export function writtenTags(tags: readonly string[]): string {
  return tags.join(' ');
}

function bootDraftOf({ boot, firmware }: VmConfig): BootDraft {
  const image = boot.kind === 'image' ? { kernel: boot.kernel, initrd: boot.initrd ?? '', append: boot.append, modules: boot.modules } : {};
  return { ...emptyImage, ...image, ...(firmware === '' ? { kind: boot.kind } : { kind: 'firmware', firmware }) };
}

/** The draft that a new VM starts from. */
export function newDraft(name: string): Draft {
  return draftOf({ ...vmDefaults, name });
}

export type ReadDraft = { readonly config: VmConfig; readonly problems: null } | { readonly config: null; readonly problems: Problems };

/** Reads a draft by the contract's own schema, so that the form refuses what the engine would refuse. */
export function readDraft(draft: Draft): ReadDraft {
  const problems: Record<string, FieldProblem> = {};
  let memoryBytes = 0;
  try {
    memoryBytes = parseMemory(draft.memory);
  } catch (thrown) {
    problems['memoryBytes'] = asContractError(thrown);
  }
  const { boot } = draft;
  if (boot.kind === 'firmware' && boot.firmware.trim() === '') problems['firmware'] = { message: 'A file is needed.' };
  const result = vmConfig.safeParse({
    name: draft.name,
    group: draft.group,
    tags: readTags(draft.tags),
    memoryBytes,
    cpus: /^\d+$/.test(draft.cpus.trim()) ? Number(draft.cpus) : 0,
    topology: draft.topology,
    cpuModel: draft.cpuModel,
    jit: draft.jit,
    clock: draft.clock,
    iommu: draft.iommu,
    cachingMode: draft.cachingMode,
    usb: draft.usb,
    kvm: draft.kvm,
    gdb: draft.gdbPort.trim() === '' ? null : { port: /^\d+$/.test(draft.gdbPort.trim()) ? Number(draft.gdbPort) : 0, wait: draft.gdbWait },
    display: draft.display,
    firmware: boot.kind === 'firmware' ? boot.firmware.trim() : '',
    boot: boot.kind !== 'image'
      ? { kind: 'monitor' }
      : { kind: 'image', kernel: boot.kernel.trim(), initrd: boot.initrd.trim() || null, append: boot.append.trim(), modules: boot.modules },
    disks: draft.disks,
    networks: draft.networks,
    balloon: draft.balloon,
    vsock: draft.vsock.trim() || null,
    shares: draft.shares.map((share) => ({ ...share, folder: share.folder.trim() })),
    serial: draft.serial,
    autostart: draft.autostart,
    schedule: draft.schedule,
    notes: draft.notes,
  });
  for (const issue of result.error?.issues ?? []) {
    const field = issue.path[0] === 'tags' ? 'tags' : issue.path.map(String).join('.');
    problems[field] ??= { message: sentence(issue.message) };
  }
  if (result.success && Object.keys(problems).length === 0) return { config: result.data, problems: null };
  return { config: null, problems };
}

/** An error of the engine at the field that it is about, or null when it is about none. */
export function fieldProblem(error: ErrorShape | ContractError): Problems | null {
  if (error.field === undefined) return null;
  const field = error.field.replace(/^(config|changes)\./, '');
  // What is wrong with the images as a whole stands at the first of them.
  return { [field === 'boot' ? 'boot.kernel' : field]: error };
}

export function sentence(text: string): string {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/** What differs between two configurations, as the changes to send. */
export function changesBetween(before: VmConfig, after: VmConfig): Partial<VmConfig> {
  const keys = Object.keys(after) as (keyof VmConfig)[];
  return Object.fromEntries(keys.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key])).map((key) => [key, after[key]]));
}

/** A name for a new VM that no other bears: `Monitor`, `Monitor 2`. */
export function freeName(wanted: string, taken: readonly string[]): string {
  const lower = new Set(taken.map((name) => name.toLowerCase()));
  if (!lower.has(wanted.toLowerCase())) return wanted;
  for (let number = 2; ; number++) {
    if (!lower.has(`${wanted} ${number}`.toLowerCase())) return `${wanted} ${number}`;
  }
}

/** A name for a VM from the medium that it starts from: `debian-12.5.0-amd64-netinst.iso` becomes `debian-12.5.0-amd64-netinst`. */
export function nameForMedium(path: string): string {
  return fileName(path.trim()).replace(/\.(iso|img|raw|qcow2)$/i, '').replace(/[^\p{L}\p{N} ._+()-]/gu, '').trim().slice(0, 60) || 'PC';
}

/** A name for a VM from its kernel's file: `vmlinuz-6.1.0-18-cloud-amd64` becomes `Linux 6.1.0-18-cloud-amd64`. */
export function nameForKernel(path: string): string {
  const file = fileName(path.trim());
  if (file === '') return 'Linux';
  const linux = /^(?:vmlinuz|bzimage|linux)[-_.]?(.*)$/i.exec(file);
  const name = linux ? `Linux ${linux[1] ?? ''}` : file.replace(/\.(elf|bin|flat|img)$/i, '');
  return name.replace(/[^\p{L}\p{N} ._+()-]/gu, '').trim().slice(0, 60) || 'Linux';
}
