/** The descriptor of an appliance (DMTF DSP0243, OVF 1 and 2): what machine it wants, in the classes of CIM. */
import { CPUS_MAXIMUM, MEMORY_DEFAULT, MEMORY_MAXIMUM, MEMORY_MINIMUM, MIB, NAME_LENGTH } from '../contract/limits.ts';
import { formatSize } from '../contract/memory.ts';
import { DISKS_MAXIMUM, NETWORKS_MAXIMUM } from '../contract/hardware.ts';
import type { DiskConfig, NetworkConfig } from '../contract/hardware.ts';
import { badAppliance } from './errors.ts';
import { all, find, parseXml, textOf } from './xml.ts';
import type { Element } from './xml.ts';

export interface ApplianceDisk {
  /** Name of the file in the appliance; null: the disk is empty. */
  readonly file: string | null;
  /** Of the empty one. */
  readonly bytes: number;
  readonly bus: DiskConfig['bus'];
}

export interface Appliance {
  readonly name: string;
  readonly notes: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly firmware: 'bios' | 'uefi';
  readonly disks: readonly ApplianceDisk[];
  readonly drives: number;
  readonly networks: readonly NetworkConfig['model'][];
  /** Name of the file with its UEFI variables; null: it has none of ours. */
  readonly variables: string | null;
  /** What the machine gets otherwise than the appliance wants it. */
  readonly changes: readonly string[];
}

/** The setting that leads to a file of UEFI variables as EDK II keeps them in flash. Others keep theirs in forms of their own, and pass this over. */
export const VARIABLES_KEY = 'vanderpool.uefiVariables';

/** CIM_ResourceAllocationSettingData.ResourceType. */
export const resource = { processor: '3', memory: '4', ethernet: '10', cdDrive: '15', disk: '17' } as const;

/** @param path of the appliance, for messages @throws ContractError `bad-image` */
export function readOvf(text: string, path: string): Appliance {
  const envelope = parseXml(text);
  if (envelope?.name !== 'Envelope') throw badAppliance(path, 'has no descriptor that can be read');
  const systems = all(envelope, 'VirtualSystem');
  const [system] = systems;
  if (!system || systems.length > 1) throw badAppliance(path, `describes ${systems.length} machines; one is supported`, 'Export its machines one by one.');
  const items = ['Item', 'StorageItem', 'EthernetPortItem'].flatMap((name) => all(system, name));
  const ofType = (type: string): readonly Element[] => items.filter((item) => textOf(item, 'ResourceType') === type);
  const cpus = Math.max(1, ...ofType(resource.processor).map((item) => Number(textOf(item, 'VirtualQuantity'))).filter(Number.isSafeInteger));
  const memory = ofType(resource.memory).map((item) => Number(textOf(item, 'VirtualQuantity')) * unitOf(textOf(item, 'AllocationUnits'), MIB)).find((bytes) => bytes > 0) ?? MEMORY_DEFAULT;
  const memoryBytes = Math.min(MEMORY_MAXIMUM, Math.max(MEMORY_MINIMUM, Math.ceil(memory / MIB) * MIB));
  const disks = ofType(resource.disk).map((item) => diskOf(envelope, item, items, path));
  const networks = ofType(resource.ethernet).map((item) => (/virtio/i.test(textOf(item, 'ResourceSubType')) ? 'virtio' : 'e1000e'));
  const drives = ofType(resource.cdDrive).length;
  if (disks.length + drives > DISKS_MAXIMUM) throw badAppliance(path, `has ${disks.length + drives} disks and drives; ${DISKS_MAXIMUM} are possible`);
  return {
    name: nameOf(system), notes: textOf(find(system, 'AnnotationSection') ?? system, 'Annotation').slice(0, 8000),
    cpus: Math.min(cpus, CPUS_MAXIMUM), memoryBytes, firmware: isUefi(system) ? 'uefi' : 'bios', disks, drives, networks: networks.slice(0, NETWORKS_MAXIMUM), variables: variablesOf(envelope, system),
    changes: [
      ...(cpus > CPUS_MAXIMUM ? [`It wants ${cpus} processors and gets ${CPUS_MAXIMUM}.`] : []),
      ...(memory > MEMORY_MAXIMUM ? [`It wants ${formatSize(memory)} of memory and gets ${formatSize(MEMORY_MAXIMUM)}.`] : []),
      ...(networks.length > NETWORKS_MAXIMUM ? [`It wants ${networks.length} network interfaces and gets ${NETWORKS_MAXIMUM}.`] : []),
    ],
  };
}

/** `ovf:/disk/ID` leads to a disk, that to a file. */
function diskOf(envelope: Element, item: Element, items: readonly Element[], path: string): ApplianceDisk {
  const id = /\/disk\/(.+)$/.exec(textOf(item, 'HostResource'))?.[1];
  const disk = all(envelope, 'Disk').find(({ attributes }) => attributes.get('diskId') === id);
  const reference = fileIdOf(textOf(item, 'HostResource')) ?? disk?.attributes.get('fileRef');
  const file = fileOf(envelope, reference);
  const bus = busOf(items.find((one) => textOf(one, 'InstanceID') === textOf(item, 'Parent')));
  if (file) {
    const compression = file.attributes.get('compression');
    if (compression !== undefined && compression !== 'identity') throw badAppliance(path, `has the disk ${file.attributes.get('href') ?? ''} compressed by ${compression}, which is not supported`);
    return { file: file.attributes.get('href') ?? '', bytes: 0, bus };
  }
  const bytes = Number(disk?.attributes.get('capacity')) * unitOf(disk?.attributes.get('capacityAllocationUnits') ?? '', 1);
  if (!disk || reference !== undefined || !Number.isSafeInteger(bytes) || bytes <= 0) throw badAppliance(path, 'names a disk that is not in it');
  return { file: null, bytes: Math.ceil(bytes / 512) * 512, bus };
}

function variablesOf(envelope: Element, system: Element): string | null {
  const setting = all(system, 'ExtraConfig').find(({ attributes }) => attributes.get('key') === VARIABLES_KEY);
  const id = fileIdOf(setting?.attributes.get('value') ?? '');
  return id === undefined ? null : fileOf(envelope, id)?.attributes.get('href') ?? null;
}

/** `ovf:/file/ID`. */
function fileIdOf(text: string): string | undefined {
  return /\/file\/(.+)$/.exec(text)?.[1];
}

function fileOf(envelope: Element, id: string | undefined): Element | undefined {
  return all(envelope, 'File').find(({ attributes }) => attributes.get('id') === id);
}

/** What the guest has a driver for if it had one for its controller: SATA is what everybody knows. */
function busOf(controller: Element | undefined): DiskConfig['bus'] {
  const kind = controller ? textOf(controller, 'ResourceSubType') : '';
  return /nvme/i.test(kind) ? 'nvme' : /virtio/i.test(kind) ? 'virtio' : 'ahci';
}

/** `byte * 2^20`, or in words as of old; `otherwise` where nothing is said. */
function unitOf(text: string, otherwise: number): number {
  const [, exponent] = /^\s*bytes?\s*\*\s*2\s*\^\s*(\d{1,2})\s*$/i.exec(text) ?? [];
  if (exponent !== undefined) return 2 ** Number(exponent);
  const words: Readonly<Record<string, number>> = { byte: 1, bytes: 1, kilobytes: 2 ** 10, kb: 2 ** 10, megabytes: 2 ** 20, mb: 2 ** 20, gigabytes: 2 ** 30, gb: 2 ** 30 };
  return words[text.trim().toLowerCase()] ?? otherwise;
}

/** VMware says it in a setting, VirtualBox in its own part. */
function isUefi(system: Element): boolean {
  const setting = all(system, 'Config').find(({ attributes }) => attributes.get('key') === 'firmware');
  return setting?.attributes.get('value') === 'efi' || /^efi/i.test(find(system, 'Firmware')?.attributes.get('type') ?? '');
}

function nameOf(system: Element): string {
  return machineName(textOf(system, 'Name') || (system.attributes.get('id') ?? ''), 'Appliance');
}

/** What of a text can be a machine's name, with room for a number behind it. */
export function machineName(text: string, otherwise: string): string {
  return text.replace(/[^\p{L}\p{N} ._+()-]/gu, ' ').replace(/\s+/g, ' ').replace(/^[^\p{L}\p{N}]+/u, '').trim().slice(0, NAME_LENGTH - 5).trim() || otherwise;
}
