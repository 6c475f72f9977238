/** What the inspector can look at, as rows. */
import type { InspectQuery, InspectSubject } from '../../core/contract/index.ts';

export interface SubjectRow {
  readonly name: InspectSubject | 'physical';
  readonly label: string;
  readonly about: string;
  readonly address: 'none' | 'optional' | 'needed';
  /** The query, or null when an address is needed and missing; `wide`: there is room for 16 bytes in a row. */
  readonly query: (address: string | null, wide: boolean) => InspectQuery | null;
}

const plain = (what: 'registers' | 'vectors' | 'tlb' | 'interrupts' | 'map' | 'vmcs') => (): InspectQuery => ({ what });
const INSTRUCTIONS = 40;
const BYTES = 512;
const memory = (space: 'virtual' | 'physical') => (address: string | null, wide: boolean): InspectQuery | null => (
  address === null ? null : { what: 'memory', space, address, length: BYTES, line: wide ? 16 : 8 });

export const SUBJECTS: readonly [SubjectRow, ...SubjectRow[]] = [
  { name: 'registers', label: 'Registers', about: 'Control registers by bit', address: 'none', query: plain('registers') },
  { name: 'code', label: 'Code', about: 'Instructions around RIP', address: 'optional', query: (address) => ({ what: 'code', address, count: INSTRUCTIONS }) },
  { name: 'memory', label: 'Memory', about: 'By linear address', address: 'needed', query: memory('virtual') },
  { name: 'physical', label: 'Physical memory', about: 'By guest-physical address', address: 'needed', query: memory('physical') },
  { name: 'walk', label: 'Page walk', about: 'How an address is translated', address: 'needed', query: (address) => address === null ? null : { what: 'walk', address } },
  { name: 'vmcs', label: 'VMCS', about: "Of the guest's own hypervisor", address: 'none', query: plain('vmcs') },
  { name: 'root', label: 'Root mode', about: 'EPT and bitmaps of the VM itself', address: 'optional', query: (address) => ({ what: 'root', address }) },
  { name: 'interrupts', label: 'Interrupt controllers', about: 'Local APIC, I/O APIC, 8259A', address: 'none', query: plain('interrupts') },
  { name: 'map', label: 'Memory map', about: 'RAM, devices and ports', address: 'none', query: plain('map') },
  { name: 'tlb', label: 'TLB', about: 'Cached translations', address: 'none', query: plain('tlb') },
  { name: 'vectors', label: 'x87 and SSE', about: 'Floating point and vectors', address: 'none', query: plain('vectors') },
];

/** A hexadecimal address as people type it; null when it is none. */
export function parseAddress(text: string): string | null {
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text.trim().replaceAll('_', ''))?.[1];
  return digits === undefined ? null : `0x${digits.toLowerCase()}`;
}
