/** The interrupt controllers as tables: local APIC, I/O APIC, 8259A pair. */
import type { InspectSection } from '../contract/inspect.ts';
import type { InterruptSystem } from '../platform/interruptSystem.ts';
import type { LocalApic } from '../platform/localApic.ts';
import { lvtRows } from '../platform/localApicRegisters.ts';
import { hex, section } from './tables.ts';

const DELIVERY = ['fixed', 'lowest priority', 'SMI', 'reserved', 'NMI', 'INIT', 'start-up', 'ExtINT'];
const TIMER_MODES = ['one-shot', 'periodic', 'TSC deadline', 'reserved'];
/** Registers that stand for themselves, with the offset in the APIC's page. @sdm 3A table 11-1 */
const REGISTERS: readonly (readonly [string, number])[] = [
  ['ID', 0x20], ['Version', 0x30], ['TPR', 0x80], ['PPR', 0xa0], ['LDR', 0xd0], ['DFR', 0xe0], ['SVR', 0xf0], ['ESR', 0x280], ['ICR low', 0x300],
  ['ICR high', 0x310], ['Timer initial count', 0x380], ['Timer current count', 0x390], ['Timer divide', 0x3e0],
];
const VECTOR_SETS: readonly (readonly [string, number])[] = [['In service (ISR)', 0x100], ['Requested (IRR)', 0x200], ['Level-triggered (TMR)', 0x180]];

export function interruptSections({ localApics, ioApic, pic }: InterruptSystem): InspectSection[] {
  return [...localApics.flatMap(localApicSections), ioApicSection(ioApic.saveState()), picSection(pic.saveState())];
}

function localApicSections(apic: LocalApic, index: number): InspectSection[] {
  const read = (offset: number): number => apic.readRegister(offset, 4) >>> 0;
  const base = apic.readMsr(0x1b) ?? { low: 0, high: 0 };
  const mode = base.low & 0x800 ? (base.low & 0x400 ? 'x2APIC' : 'xAPIC') : 'disabled';
  const registers = REGISTERS.map(([name, offset]) => [name, hex(read(offset)), name === 'SVR' ? (read(offset) & 0x100 ? 'enabled by software' : 'disabled by software') : '']);
  const sets = VECTOR_SETS.map(([name, offset]) => [name, vectorsOf(read, offset), '']);
  const lvt = lvtRows.map(({ name, register }) => {
    const value = read(register * 16);
    return [name, hex(value), hex(value & 0xff), name === 'timer' ? (TIMER_MODES[(value >> 17) & 3] ?? '') : (DELIVERY[(value >> 8) & 7] ?? ''), value & 0x10000 ? 'masked' : ''];
  });
  return [
    section(`Local APIC ${index}`, ['Register', 'Value', 'Meaning'], [['IA32_APIC_BASE', hex((BigInt(base.high) << 32n) | BigInt(base.low >>> 0)), mode], ...registers, ...sets]),
    section(`Local vector table ${index}`, ['Entry', 'Value', 'Vector', 'Mode', 'Mask'], lvt),
  ];
}

/** Vectors of a set of eight words, sixteen bytes apart. */
function vectorsOf(read: (offset: number) => number, offset: number): string {
  const vectors: string[] = [];
  for (let vector = 0; vector < 256; vector++) {
    if ((read(offset + (vector >> 5) * 16) >>> (vector & 31)) & 1) vectors.push(hex(vector));
  }
  return vectors.length > 0 ? vectors.join(' ') : 'none';
}

/** @sdm I/O APIC data sheet 3.2.4 */
function ioApicSection(state: Readonly<Record<string, unknown>>): InspectSection {
  const { low, high, lines } = state as { readonly low: readonly number[]; readonly high: readonly number[]; readonly lines: readonly number[] };
  const rows = low.map((value, pin) => [
    String(pin), hex(((BigInt(high[pin] ?? 0) & 0xffffffffn) << 32n) | BigInt(value >>> 0)), hex(value & 0xff), DELIVERY[(value >> 8) & 7] ?? '',
    `${value & 0x800 ? 'logical' : 'physical'} ${hex((high[pin] ?? 0) >>> 24)}`, value & 0x8000 ? 'level' : 'edge', value & 0x2000 ? 'low' : 'high',
    [value & 0x10000 ? 'masked' : '', value & 0x4000 ? 'remote IRR' : '', lines[pin] ? 'asserted' : ''].filter((word) => word !== '').join(' '),
  ]);
  return section('I/O APIC', ['Pin', 'Entry', 'Vector', 'Delivery', 'Destination', 'Trigger', 'Active', 'State'], rows);
}

function picSection({ master, slave }: Readonly<Record<string, unknown>>): InspectSection {
  const second = slave as Readonly<Record<string, unknown>>;
  const text = (value: unknown): string => (typeof value === 'number' ? hex(value) : String(value));
  return section('8259A pair', ['Field', 'Master', 'Slave'], Object.entries(master as object).map(([field, value]) => [field, text(value), text(second[field])]));
}
