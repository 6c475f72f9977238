/** Appliances as other programs export them, with a disk made by qemu-img. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ApplianceOptions {
  /** What the descriptor says of the machine. */
  readonly name?: string;
  readonly cpus?: number;
  readonly memory?: number;
  /** Further XML of the system. */
  readonly more?: string;
  /** Name of the disk's file in the descriptor. */
  readonly href?: string;
  /** Changes the disk after its digest was written down. */
  readonly damaged?: boolean;
}

const item = (type: number, fields: Readonly<Record<string, string | number>>): string => {
  return `<Item>${Object.entries({ ...fields, 'rasd:ResourceType': type }).map(([name, value]) => `<${name}>${value}</${name}>`).join('')}</Item>`;
};

export function descriptor({ name = 'Web server', cpus = 2, memory = 1024, more = '', href = 'disk.vmdk' }: ApplianceOptions): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
  <References><File ovf:href="${href}" ovf:id="file1"/></References>
  <DiskSection><Info>Disks</Info><Disk ovf:capacity="8" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1"/><Disk ovf:capacity="1" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="vmdisk2"/></DiskSection>
  <VirtualSystem ovf:id="vm"><Info>A machine</Info><Name>${name}</Name>
    <AnnotationSection><Info>Notes</Info><Annotation>Serves the web &amp; more.</Annotation></AnnotationSection>
    <VirtualHardwareSection><Info>Hardware</Info><!-- of ours -->
      ${item(3, { 'rasd:InstanceID': 1, 'rasd:VirtualQuantity': cpus })}
      ${item(4, { 'rasd:AllocationUnits': 'byte * 2^20', 'rasd:InstanceID': 2, 'rasd:VirtualQuantity': memory })}
      ${item(6, { 'rasd:InstanceID': 3, 'rasd:ResourceSubType': 'VirtioSCSI' })}
      ${item(20, { 'rasd:InstanceID': 4, 'rasd:ResourceSubType': 'AHCI' })}
      ${item(17, { 'rasd:HostResource': 'ovf:/disk/vmdisk1', 'rasd:InstanceID': 5, 'rasd:Parent': 3 })}
      ${item(17, { 'rasd:HostResource': 'ovf:/disk/vmdisk2', 'rasd:InstanceID': 6, 'rasd:Parent': 4 })}
      ${item(15, { 'rasd:InstanceID': 7 })}
      ${item(10, { 'rasd:InstanceID': 8, 'rasd:ResourceSubType': 'E1000' })}
      ${more}
    </VirtualHardwareSection></VirtualSystem>
</Envelope>`;
}

/** Writes `appliance.ova` with its disk, whose content is `content`. @returns its path */
export function writeOva(folder: string, content: Buffer, options: ApplianceOptions = {}): string {
  const [raw, vmdk] = [join(folder, 'content.img'), join(folder, 'content.vmdk')];
  writeFileSync(raw, content);
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized', raw, vmdk]);
  const disk = readFileSync(vmdk);
  const ovf = Buffer.from(descriptor(options));
  const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  const manifest = Buffer.from(`SHA256(appliance.ovf)= ${digest(ovf)}\nSHA256(disk.vmdk)= ${digest(disk)}\n`);
  if (options.damaged === true) disk.writeUInt8(disk.readUInt8(disk.length >> 1) ^ 1, disk.length >> 1);
  const path = join(folder, 'appliance.ova');
  writeFileSync(path, tar([['appliance.ovf', ovf], ['appliance.mf', manifest], ['disk.vmdk', disk]]));
  return path;
}

export function tar(members: readonly (readonly [string, Buffer])[]): Buffer {
  const pieces = members.flatMap(([name, bytes]) => {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('        0', 148);
    header.write('ustar\x0000', 257);
    header.write(`${header.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')}\0 `, 148);
    return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
  });
  return Buffer.concat([...pieces, Buffer.alloc(1024)]);
}
