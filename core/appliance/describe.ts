/** Writes the descriptor of an appliance (DMTF DSP0243, OVF 1): what every program that reads them knows, and no more. */
import { driveBus } from '../contract/hardware.ts';
import type { DiskConfig, NetworkConfig } from '../contract/hardware.ts';
import { MIB } from '../contract/limits.ts';
import type { VmConfig } from '../contract/vm.ts';
import { VARIABLES_KEY, resource } from './ovf.ts';

export interface DescribedDisk {
  readonly file: string;
  /** Of the file. */
  readonly length: number;
  /** Of the disk. */
  readonly bytes: number;
  readonly bus: DiskConfig['bus'];
}

type DescribedMachine = Pick<VmConfig, 'name' | 'notes' | 'cpus' | 'memoryBytes' | 'firmware'> & { readonly disks: readonly DescribedDisk[]; readonly drives: number; readonly networks: readonly NetworkConfig['model'][]; readonly variables: { readonly file: string; readonly length: number } | null };

/** A controller as others name it: its type and subtype. A USB disk hangs on what everybody knows. */
const controllers: Readonly<Record<DiskConfig['bus'], readonly [string, string]>> = {
  ahci: ['20', 'AHCI'], usb: ['20', 'AHCI'], nvme: ['20', 'vmware.nvme.controller'], virtio: ['20', 'VirtioSCSI'], scsi: ['20', 'VirtioSCSI'],
};
const cards: Readonly<Record<NetworkConfig['model'], string>> = { e1000e: 'E1000', virtio: 'virtio' };
const NETWORK = 'NAT';
const STREAM_OPTIMIZED = 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized';

type Fields = Readonly<Record<string, string | number>>;

export function describeMachine({ name, notes, cpus, memoryBytes, firmware, disks, drives, networks, variables }: DescribedMachine): string {
  const wanted = [...disks.map(({ bus }) => bus), ...(drives > 0 ? [driveBus] as const : [])];
  const kinds = [...new Set(wanted.map((bus) => controllers[bus]))];
  // Numbers of the items: processors, memory, controllers, and what hangs on them.
  const controllerOf = (bus: DiskConfig['bus']): number => 3 + kinds.indexOf(controllers[bus]);
  const placed = new Map<number, number>();
  const onController = (bus: DiskConfig['bus']): Fields => {
    const parent = controllerOf(bus);
    const place = placed.get(parent) ?? 0;
    placed.set(parent, place + 1);
    return { AddressOnParent: place, Parent: parent };
  };
  const items: readonly Fields[] = [
    { AllocationUnits: 'hertz * 10^6', ElementName: `${cpus} virtual CPU(s)`, ResourceType: resource.processor, VirtualQuantity: cpus },
    { AllocationUnits: 'byte * 2^20', ElementName: `${memoryBytes / MIB} MB of memory`, ResourceType: resource.memory, VirtualQuantity: memoryBytes / MIB },
    ...kinds.map(([type, subtype], index) => ({ Address: index, ElementName: `Controller ${index + 1}`, ResourceSubType: subtype, ResourceType: type })),
    ...disks.map(({ bus }, index) => ({ ...onController(bus), ElementName: `Disk ${index + 1}`, HostResource: `ovf:/disk/vmdisk${index + 1}`, ResourceType: resource.disk })),
    ...Array.from({ length: drives }, (_, index) => ({ ...onController(driveBus), AutomaticAllocation: 'false', ElementName: `CD-ROM ${index + 1}`, ResourceType: resource.cdDrive })),
    ...networks.map((model, index) => ({ AutomaticAllocation: 'true', Connection: NETWORK, ElementName: `Ethernet ${index + 1}`, ResourceSubType: cards[model], ResourceType: resource.ethernet })),
  ];
  const files = [...disks.map(({ file, length }, index) => ({ file, length, id: `file${index + 1}` })), ...(variables ? [{ ...variables, id: 'variables' }] : [])];
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>${lines(4, files.map(({ file, length, id }) => `<File ovf:href="${escaped(file)}" ovf:id="${id}" ovf:size="${length}"/>`))}
  </References>${section(disks.length > 0, 'DiskSection', 'Virtual disks', disks.map(({ bytes }, index) => `<Disk ovf:capacity="${bytes}" ovf:diskId="vmdisk${index + 1}" ovf:fileRef="file${index + 1}" ovf:format="${STREAM_OPTIMIZED}"/>`))}${section(networks.length > 0, 'NetworkSection', 'Networks', [`<Network ovf:name="${NETWORK}"><Description>The host's network behind address translation</Description></Network>`])}
  <VirtualSystem ovf:id="${escaped(name)}">
    <Info>A virtual machine</Info>
    <Name>${escaped(name)}</Name>
    <OperatingSystemSection ovf:id="102"><Info>The guest's operating system is not known</Info></OperatingSystemSection>${notes === '' ? '' : `
    <AnnotationSection><Info>Notes</Info><Annotation>${escaped(notes)}</Annotation></AnnotationSection>`}
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System><vssd:ElementName>Virtual hardware</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemIdentifier>${escaped(name)}</vssd:VirtualSystemIdentifier><vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType></System>${lines(6, items.map((fields, index) => item({ ...fields, InstanceID: index + 1 })))}${firmware === 'uefi' ? `
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>` : ''}${variables ? `
      <vmw:ExtraConfig ovf:required="false" vmw:key="${VARIABLES_KEY}" vmw:value="ovf:/file/variables"/>` : ''}
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;
}

/** The schema wants an item's fields in the order of their names. */
function item(fields: Fields): string {
  const elements = Object.entries(fields).toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([name, value]) => `<rasd:${name}>${escaped(String(value))}</rasd:${name}>`);
  return `<Item>${elements.join('')}</Item>`;
}

function section(present: boolean, name: string, info: string, elements: readonly string[]): string {
  return present ? `\n  <${name}>${lines(4, [`<Info>${info}</Info>`, ...elements])}\n  </${name}>` : '';
}

function lines(indent: number, elements: readonly string[]): string {
  return elements.map((element) => `\n${' '.repeat(indent)}${element}`).join('');
}

function escaped(text: string): string {
  // XML 1.0 has no other characters, not even escaped.
  return text.replaceAll(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, '').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
