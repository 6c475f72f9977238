/** The differentiated system description: what stands on this PC's board, in AML. */

import * as aml from './aml.ts';
import { acpiPorts, sleepType } from '../acpiPm.ts';
import { comPorts } from '../../devices/uart16550.ts';
import { hpetBase, pciInterruptPins, pciLegacyIrqs } from '../memoryLayout.ts';
import { apicIds } from '../topology.ts';
import type { AddressRange } from '../memoryLayout.ts';
import type { Topology } from '../topology.ts';

export interface DsdtOptions {
  readonly topology: Topology;
  readonly keyboard: boolean;
  /** Where PCI memory may lie. */
  readonly pciMemory: readonly AddressRange[];
  /** The enhanced configuration window; null: none. */
  readonly ecam: { readonly base: number; readonly length: number } | null;
}

/** The body of the DSDT. */
export function dsdtBody(options: DsdtOptions): Uint8Array {
  return Uint8Array.from([
    // The interrupt model that the system has chosen: 0 for the 8259A, 1 for the I/O APIC.
    ...aml.name('\\PICM', aml.integer(0)),
    ...aml.method('\\_PIC', 1, aml.storeArgument0('\\PICM')),
    ...sleepState('\\_S0', sleepType.s0),
    ...sleepState('\\_S3', sleepType.s3),
    ...sleepState('\\_S5', sleepType.s5),
    ...aml.scope('\\_SB', ...apicIds(options.topology).map((_id, index) => processor(index)), pciRoot(options), ...ecamReservation(options)),
  ]);
}

function sleepState(path: string, type: number): number[] {
  return aml.name(path, aml.packageOf(aml.integer(type), aml.integer(type), aml.integer(0), aml.integer(0)));
}

function processor(index: number): number[] {
  const label = `C${index.toString(16).toUpperCase().padStart(3, '0')}`;
  return aml.device(label, aml.name('_HID', aml.string('ACPI0007')), aml.name('_UID', aml.integer(index)));
}

/** A board device that claims the enhanced configuration window, as the MCFG table requires. @pci-firmware 4.1.2 */
function ecamReservation({ ecam }: DsdtOptions): number[][] {
  return ecam === null ? [] : [legacy('ECAM', 'PNP0C02', aml.memoryResource(ecam.base, ecam.length))];
}

function pciRoot({ keyboard, pciMemory, ecam }: DsdtOptions): number[] {
  const lastBus = ecam === null ? 0xff : (ecam.length >>> 20) - 1;
  return aml.device(
    'PCI0',
    aml.name('_HID', aml.eisaId('PNP0A08')),
    aml.name('_CID', aml.eisaId('PNP0A03')),
    aml.name('_UID', aml.integer(0)),
    aml.name('_BBN', aml.integer(0)),
    aml.name(
      '_CRS',
      aml.resources(
        aml.busWindow(0, lastBus),
        aml.portResource(0xcf8, 8),
        aml.portWindow(0x0000, 0x0cf7),
        aml.portWindow(0x0d00, 0xffff),
        aml.memoryWindow(0xa0000, 0xbffff),
        ...pciMemory.map(({ base, end }) => aml.memoryWindow(base, end - 1)),
      ),
    ),
    operatingSystemCapabilities(),
    aml.method('_PRT', 0, aml.ifTrue(aml.path('PICM'), aml.returns(routing(pciInterruptPins))), aml.returns(routing(pciLegacyIrqs))),
    lpcBridge(keyboard),
  );
}

/** What of PCI Express the system may have for itself: hot-plug and the capability structure. @pci-firmware 4.5.1 */
function operatingSystemCapabilities(): number[] {
  const pciExpress = aml.uuid('33db4d5b-1ff7-401c-9657-7441c03dd766');
  const granted = { hotPlug: 0x01, capability: 0x10 };
  const failure = { unknownUuid: 0x04, unknownRevision: 0x08 };
  const buffer = aml.argument(3);
  return aml.method(
    '_OSC', 4,
    aml.dwordField(buffer, 0, 'CDW1'),
    aml.ifTrue(
      aml.equal(aml.argument(0), pciExpress),
      aml.dwordField(buffer, 8, 'CDW3'),
      aml.keepBits('CDW3', granted.hotPlug | granted.capability),
      aml.ifTrue(aml.not(aml.equal(aml.argument(1), aml.integer(1))), aml.setBits('CDW1', failure.unknownRevision)),
    ),
    aml.otherwise(aml.setBits('CDW1', failure.unknownUuid)),
    aml.returns(buffer),
  );
}

/** For each slot and pin the interrupt: pins rotate from slot to slot. */
function routing(inputs: readonly number[]): number[] {
  const entries: number[][] = [];
  for (let slot = 1; slot < 31; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      entries.push(aml.packageOf(aml.integer(slot * 0x10000 + 0xffff), aml.integer(pin), aml.integer(0), aml.integer(inputs[(slot + pin) & 3] ?? 0)));
    }
  }
  return aml.packageOf(...entries);
}

function legacy(label: string, id: string, ...descriptors: readonly (readonly number[])[]): number[] {
  return aml.device(label, aml.name('_HID', aml.eisaId(id)), aml.name('_CRS', aml.resources(...descriptors)));
}

function lpcBridge(keyboard: boolean): number[] {
  const { portResource: ports, irqResource: irq } = aml;
  return aml.device(
    'ISA',
    aml.name('_ADR', aml.integer(0x1f0000)),
    legacy('PIC', 'PNP0000', ports(0x20, 2), ports(0xa0, 2), ports(0x4d0, 2), irq(2)),
    legacy('TMR', 'PNP0100', ports(0x40, 4), irq(0)),
    legacy('RTC', 'PNP0B00', ports(0x70, 2), irq(8)),
    legacy('SPKR', 'PNP0800', ports(0x61, 1)),
    legacy('HPET', 'PNP0103', aml.memoryResource(hpetBase, 0x400)),
    // Ports that no driver owns, so that none is given away.
    legacy('SYSR', 'PNP0C02', ports(0x80, 1), ports(0x92, 1), ports(acpiPorts.smiCommand, 2), ports(acpiPorts.base, acpiPorts.length)),
    ...(keyboard ? [legacy('KBD', 'PNP0303', ports(0x60, 1), ports(0x64, 1), irq(1)), legacy('MOU', 'PNP0F13', irq(12))] : []),
    ...comPorts.map(({ base, irq: line }, index) =>
      aml.device(
        `COM${index + 1}`,
        aml.name('_HID', aml.eisaId('PNP0501')),
        aml.name('_UID', aml.integer(index + 1)),
        aml.name('_CRS', aml.resources(ports(base, 8), irq(line))),
      ),
    ),
  );
}
