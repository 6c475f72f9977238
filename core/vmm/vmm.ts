/**
 * Root mode: the workstation's own hypervisor. It enters the guest, and everything the guest does that concerns the machine around
 * the processor comes back here as a VM exit with the SDM's reason and qualification.
 */
import type { Pc } from '../machine/pc.ts';
import type { SliceResult } from '../machine/types.ts';
import type { VcpuInterrupts } from '../platform/interrupts.ts';
import { Processor, exitReason } from '../cpu/processor.ts';
import {
  ACTIVITY, CR4, CR8, EXIT_QUALIFICATION, GPR, INTERRUPT_WINDOW, NMI_WINDOW, XCR0, PAGE_KIND, PAGE_MMIO,
} from '../cpu/layout.ts';
import type { AccessSize } from '../platform/device.ts';
import { Cpuid } from './cpuid.ts';
import { describeState } from './describe.ts';
import type { CpuModel } from '../cpu/models.ts';
import { MsrFile } from './msrs.ts';

const RAX = GPR;
const RCX = GPR + 8;
const RDX = GPR + 16;
const RBX = GPR + 24;
const ACTIVITY_ACTIVE = 0;
const ACTIVITY_HLT = 1;
const TYPE_EXTERNAL = 0;
const TYPE_NMI = 2;

const EXIT_NAMES: Readonly<Record<number, string>> = {
  [exitReason.externalInterrupt]: 'external-interrupt', [exitReason.tripleFault]: 'triple-fault', [exitReason.interruptWindow]: 'interrupt-window',
  [exitReason.cpuid]: 'cpuid', [exitReason.hlt]: 'hlt', [exitReason.controlRegister]: 'control-register', [exitReason.io]: 'io-instruction',
  [exitReason.rdmsr]: 'rdmsr', [exitReason.wrmsr]: 'wrmsr', [exitReason.mwait]: 'mwait', [exitReason.eptViolation]: 'ept-violation',
  [exitReason.preemptionTimer]: 'preemption-timer',
};

/** Instructions between two looks at the clock, and how long a slice lasts. */
const ENTRY_BUDGET = 50_000;
const SLICE_MS = 1;

export class Vmm {
  private readonly cpu: Processor;
  private readonly pc: Pc;
  private readonly vcpu: VcpuInterrupts;
  private readonly cpuid: Cpuid;
  private readonly msrs = new MsrFile();
  private readonly counts = new Uint32Array(80);
  private readonly cpus: number;

  constructor(cpu: Processor, pc: Pc, model: CpuModel, cpus: number) {
    this.cpu = cpu;
    this.pc = pc;
    this.cpus = cpus;
    this.cpuid = new Cpuid(model);
    const vcpu = pc.interrupts.localApics[0];
    if (!vcpu) throw new Error('a machine has at least one vCPU');
    this.vcpu = vcpu;
    this.vcpu.onApicPageChange = () => this.mapApic();
    this.mapApic();
  }

  /** VM exits so far by the name of the basic reason. */
  get exits(): Record<string, number> {
    const result: Record<string, number> = {};
    this.counts.forEach((count, reason) => {
      if (count > 0) result[EXIT_NAMES[reason] ?? `reason-${reason}`] = count;
    });
    return result;
  }

  reset(): void {
    this.msrs.reset();
    this.mapApic();
  }

  private apicPage = -1;

  /** The local APIC's page is MMIO wherever IA32_APIC_BASE puts it; the page it leaves is what it was. */
  private mapApic(): void {
    const page = this.vcpu.apicPage;
    if (page === this.apicPage) return;
    if (this.apicPage >= 0 && this.apicPage < this.cpu.ram.length) this.cpu.setPageKind(this.apicPage, 4096, 1);
    this.apicPage = page;
    if (page >= 0 && page < 0x100000000) this.cpu.bytes[PAGE_KIND + (page >>> 12)] = PAGE_MMIO;
    this.cpu.call('flushAll');
  }

  /** Runs the guest for about a millisecond. */
  runSlice(): SliceResult {
    const { cpu, pc, vcpu } = this;
    const { view } = cpu;
    const end = performance.now() + SLICE_MS;
    for (;;) {
      pc.poll();
      if (pc.exit) return { kind: 'stopped', exit: pc.exit };
      if (view.getUint32(ACTIVITY, true) !== ACTIVITY_ACTIVE) {
        if (!vcpu.eventPending && !vcpu.nmiPending) {
          if (pc.clock.skipIdle()) continue;
          return { kind: 'halted', wakeInNs: pc.clock.untilNextNs() };
        }
        view.setUint32(ACTIVITY, ACTIVITY_ACTIVE, true);
      }
      this.prepareInjection();
      const reason = cpu.enter(ENTRY_BUDGET);
      this.counts[reason]!++;
      const stop = this.handle(reason);
      if (stop) return stop;
      if (pc.exit) return { kind: 'stopped', exit: pc.exit };
      if (performance.now() >= end) return { kind: 'ran' };
    }
  }

  /** Injects what is pending, or asks to be told when it can be. */
  private prepareInjection(): void {
    const { cpu, vcpu } = this;
    cpu.view.setUint32(INTERRUPT_WINDOW, 0, true);
    cpu.view.setUint32(NMI_WINDOW, 0, true);
    cpu.setCr8(vcpu.readCr8());
    if (cpu.injectionPending) return;
    if (vcpu.nmiPending && !cpu.nmiBlocked) {
      vcpu.takeNmi();
      cpu.inject(TYPE_NMI, 2);
      return;
    }
    if (vcpu.pendingVector() < 0) return;
    if (cpu.interruptible) {
      this.counts[exitReason.externalInterrupt]!++;
      cpu.inject(TYPE_EXTERNAL, vcpu.acknowledge());
    } else cpu.view.setUint32(INTERRUPT_WINDOW, 1, true);
  }

  private handle(reason: number): SliceResult | null {
    const { cpu } = this;
    switch (reason) {
      case exitReason.tripleFault: return { kind: 'stopped', exit: { reason: 'triple-fault', state: this.describe() } };
      case exitReason.cpuid: this.handleCpuid(); return null;
      case exitReason.hlt: case exitReason.mwait:
        cpu.skip();
        cpu.view.setUint32(ACTIVITY, ACTIVITY_HLT, true);
        return null;
      case exitReason.io: this.handleIo(); return null;
      case exitReason.rdmsr: this.handleRdmsr(); return null;
      case exitReason.wrmsr: this.handleWrmsr(); return null;
      case exitReason.controlRegister: this.vcpu.writeCr8(cpu.view.getUint32(CR8, true)); return null;
      default: return null;
    }
  }

  private register(offset: number): number {
    return this.cpu.view.getUint32(offset, true);
  }

  private setRegister(offset: number, value: number): void {
    this.cpu.view.setBigUint64(offset, BigInt(value >>> 0), true);
  }

  private handleCpuid(): void {
    const cr4 = this.register(CR4);
    const result = this.cpuid.query(this.register(RAX), this.register(RCX), {
      apicId: 0, cpus: this.cpus, apicEnabled: this.vcpu.apicPage >= 0 || this.x2apic, osxsave: (cr4 & (1 << 18)) !== 0, ospke: (cr4 & (1 << 22)) !== 0,
      xcr0: this.register(XCR0),
    });
    this.setRegister(RAX, result.eax);
    this.setRegister(RBX, result.ebx);
    this.setRegister(RCX, result.ecx);
    this.setRegister(RDX, result.edx);
    this.cpu.skip();
  }

  private get x2apic(): boolean {
    const base = this.vcpu.readMsr(0x1b);
    return base !== null && (base.low & 0x800) !== 0;
  }

  /** Qualification of an I/O exit: size - 1 in bits 2:0, direction (1 = in) in bit 3, port in bits 31:16. @sdm 3C table 28-5 */
  private handleIo(): void {
    const { view } = this.cpu;
    const qualification = view.getUint32(EXIT_QUALIFICATION, true);
    const size = ((qualification & 7) + 1) as AccessSize;
    const port = qualification >>> 16;
    if (qualification & 8) {
      const value = this.pc.ports.read(port, size);
      if (size === 4) this.setRegister(RAX, value);
      else if (size === 2) view.setUint16(RAX, value, true);
      else view.setUint8(RAX, value);
    } else {
      const value = this.register(RAX);
      this.pc.ports.write(port, size, size === 4 ? value : value & (size === 2 ? 0xffff : 0xff));
    }
    this.cpu.skip();
  }

  private handleRdmsr(): void {
    const msr = this.register(RCX);
    let value: readonly [number, number] | null;
    if (this.vcpu.ownsMsr(msr)) {
      const own = this.vcpu.readMsr(msr);
      value = own && [own.low, own.high];
    } else value = this.msrs.read(msr);
    if (!value) {
      this.cpu.generalProtection();
      return;
    }
    this.setRegister(RAX, value[0]);
    this.setRegister(RDX, value[1]);
    this.cpu.skip();
  }

  private handleWrmsr(): void {
    const msr = this.register(RCX);
    const low = this.register(RAX);
    const high = this.register(RDX);
    const accepted = this.vcpu.ownsMsr(msr) ? this.vcpu.writeMsr(msr, low, high) : this.msrs.write(msr, low, high);
    if (accepted) this.cpu.skip();
    else this.cpu.generalProtection();
  }

  // ---- accesses that wait for their data: EPT violations of MMIO, units of string I/O -----------------------------------------

  private highWord = 0;

  mmioRead(low: number, high: number, size: number): number {
    this.counts[exitReason.eptViolation]!++;
    this.highWord = 0xffffffff;
    if (high !== 0) return 0xffffffff;
    if (this.vcpu.apicPage >= 0 && low >>> 12 === this.vcpu.apicPage >>> 12) {
      this.highWord = 0;
      return this.vcpu.readRegister(low & 0xfff, Math.min(size, 4) as 1 | 2 | 4);
    }
    if (size === 8) {
      const value = this.pc.memoryBus.readWide(low);
      this.highWord = value.high;
      return value.low;
    }
    return this.pc.memoryBus.read(low, size as AccessSize);
  }

  mmioReadHigh(): number {
    return this.highWord;
  }

  mmioWrite(low: number, high: number, size: number, valueLow: number, valueHigh: number): void {
    this.counts[exitReason.eptViolation]!++;
    if (high !== 0) return;
    if (this.vcpu.apicPage >= 0 && low >>> 12 === this.vcpu.apicPage >>> 12) {
      this.vcpu.writeRegister(low & 0xfff, Math.min(size, 4) as 1 | 2 | 4, valueLow);
      return;
    }
    if (size === 8) this.pc.memoryBus.writeWide(low, valueLow, valueHigh);
    else this.pc.memoryBus.write(low, size as AccessSize, valueLow);
  }

  portRead(port: number, size: number): number {
    this.counts[exitReason.io]!++;
    return this.pc.ports.read(port, size as AccessSize);
  }

  portWrite(port: number, size: number, value: number): void {
    this.counts[exitReason.io]!++;
    this.pc.ports.write(port, size as AccessSize, value);
  }

  describe(): string {
    return describeState(this.cpu);
  }
}
