/** The pages of local APICs: MMIO wherever the IA32_APIC_BASE of a vCPU puts its own; what they cover is as it was when they go. @sdm 3A 11.4.4 */
import type { Processor } from '../cpu/processor.ts';
import { PAGE_MMIO, PAGE_RAM, RAM_BASE } from '../cpu/layout.ts';
import type { PageKind } from './rootEpt.ts';

const PAGE_BYTES = 4096;

function addressable(address: number): boolean {
  return address >= 0 && address < 0x100000000;
}

export class ApicPages {
  private readonly cpu: Processor;
  /** Where each vCPU has its page; -1: nowhere. */
  private readonly pages: number[];
  /** What each covered page is otherwise. */
  private readonly covered = new Map<number, PageKind>();

  constructor(cpu: Processor) {
    this.cpu = cpu;
    this.pages = Array.from({ length: cpu.vcpus }, () => -1);
  }

  /** A vCPU's page may have moved. */
  follow(vcpu: number, page: number): void {
    const before = this.pages[vcpu] ?? -1;
    if (page === before) return;
    this.pages[vcpu] = page;
    if (!this.pages.includes(before)) this.uncover(before);
    if (addressable(page) && !this.covered.has(page)) this.cover(page);
    this.cpu.call('flushBanks');
  }

  private cover(page: number): void {
    const { cpu } = this;
    cpu.call('touchMemory', page, 1, 0);
    this.covered.set(page, cpu.ept.kindOf(page / PAGE_BYTES));
    cpu.ept.map(page, PAGE_BYTES, PAGE_MMIO);
  }

  private uncover(page: number): void {
    const kind = this.covered.get(page);
    if (kind !== undefined) this.cpu.ept.map(page, PAGE_BYTES, kind);
    this.covered.delete(page);
  }

  /** The memory that a vCPU reaches where another one has its APIC: `size` bytes at an address; null when there is none. */
  memoryBelow(address: number, size: number): Uint8Array | null {
    const kind = this.covered.get(address - (address % PAGE_BYTES)) ?? PAGE_MMIO;
    return kind === PAGE_RAM ? this.cpu.bytes.subarray(RAM_BASE + address, RAM_BASE + address + size) : null;
  }
}
