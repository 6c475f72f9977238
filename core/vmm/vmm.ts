/**
 * Root mode: the workstation's own hypervisor. It enters the guest, and everything the guest does that concerns the machine around
 * the processor comes back here as a VM exit with the SDM's reason and qualification.
 */
import type { Pc } from '../machine/pc.ts';
import type { SliceResult } from '../machine/types.ts';
import { tscPerNs } from '../platform/clock.ts';
import type { Timer } from '../platform/clock.ts';
import type { VcpuInterrupts } from '../platform/interrupts.ts';
import { Processor, exitReason } from '../cpu/processor.ts';
import {
  ACTIVITY, CR4, CR8, EFLAGS, EXIT_DEBUGGER, EXIT_GPA, EXIT_QUALIFICATION, EXIT_REASON, FERR, FERR_ASSERTED, FERR_IGNORED, GPR, NMI_WINDOW, PAGE_KIND,
  PAGE_MMIO, VMX_OPERATION, XCR0,
} from '../cpu/layout.ts';
import type { AccessSize, Component } from '../platform/device.ts';
import { Cpuid } from './cpuid.ts';
import { describeState } from './describe.ts';
import { eptQualification, ioQualification } from './exits.ts';
import { exitReasonName } from './exitReasons.ts';
import { ExitTrace } from './exitTrace.ts';
import type { CpuModel } from '../cpu/models.ts';
import { MsrFile } from './msrs.ts';
import { ProcessorState } from './processorState.ts';
import { initProcessor, resetProcessor } from './resetState.ts';
import { TimeStamp } from './timeStamp.ts';
import { VmxState } from './vmxState.ts';
import type { InitialVcpuState } from '../boot/loader.ts';

const RAX = GPR;
const RCX = GPR + 8;
const RDX = GPR + 16;
const RBX = GPR + 24;
const ACTIVITY_ACTIVE = 0;
const ACTIVITY_HLT = 1;
const INTERRUPT_FLAG = 0x200;
/** Time-stamp counts in a tick of the VMX-preemption timer (IA32_VMX_MISC). */
const PREEMPTION_TICK = 32;
/** What `interruptExits` says of external interrupts in a nested guest: its own, or exits that acknowledge them. */
const INTERRUPTS_STAY = 0;
const INTERRUPTS_ACKNOWLEDGED = 2;
const TYPE_EXTERNAL = 0;
const TYPE_NMI = 2;

/** Instructions between two looks at the clock, and how long a slice lasts. */
const ENTRY_BUDGET = 50_000;
const SLICE_MS = 1;

export class Vmm {
  private readonly cpu: Processor;
  private readonly pc: Pc;
  private readonly vcpu: VcpuInterrupts;
  private readonly cpuid: Cpuid;
  private readonly model: CpuModel;
  private readonly timeStamp: TimeStamp;
  private readonly preemption: Timer;
  private readonly msrs = new MsrFile();
  private readonly counts = new Uint32Array(80);
  private readonly cpus: number;
  /** What root mode and the processor add to a saved machine, in the order in which it is loaded: after the devices. */
  readonly components: readonly Component[];

  constructor(cpu: Processor, pc: Pc, model: CpuModel, cpus: number) {
    this.cpu = cpu;
    this.pc = pc;
    this.cpus = cpus;
    this.model = model;
    this.cpuid = new Cpuid(model);
    const vcpu = pc.interrupts.localApics[0];
    if (!vcpu) throw new Error('a machine has at least one vCPU');
    this.vcpu = vcpu;
    this.preemption = pc.clock.timer('VMX preemption', () => {});
    this.timeStamp = new TimeStamp(cpu, pc.clock, vcpu);
    this.components = [new ProcessorState(cpu, 0), new VmxState(cpu, 0), this.msrs, this.timeStamp];
    this.vcpu.onApicPageChange = () => this.mapApic();
    this.mapApic();
  }

  /** VM exits so far by the name of the basic reason. */
  get exits(): Record<string, number> {
    const result: Record<string, number> = {};
    this.counts.forEach((count, reason) => {
      if (count > 0) result[exitReasonName(reason)] = count;
    });
    return result;
  }

  /** The trace of exits while somebody watches; see `traceExits`. */
  trace: ExitTrace | null = null;

  /** Starts a fresh trace of exits, or ends it. */
  traceExits(on: boolean): void {
    this.trace = on ? new ExitTrace(this.cpu, 0) : null;
    // Regions keep registers to themselves while an access is completed in place; a trace shows them as they are.
    this.cpu.debug.traceExits(on);
  }

  /** While exits are traced: a nested guest has left for its hypervisor, or goes on. */
  nestedSwitch(left: boolean): void {
    if (left) this.trace?.nestedExit();
    else this.trace?.entry(2);
  }

  /** Everything to its power-on state; the guest will start where `initial` says. */
  reset(initial: InitialVcpuState): void {
    this.msrs.reset();
    resetProcessor(this.cpu, initial, this.model);
    this.timeStamp.reset();
    this.mapApic();
  }

  private apicPage = -1;
  private kindUnderApic = PAGE_MMIO;

  /** The local APIC's page is MMIO wherever IA32_APIC_BASE puts it; the page it leaves is what it was. */
  private mapApic(): void {
    const page = this.vcpu.apicPage;
    if (page === this.apicPage) return;
    const kinds = this.cpu.bytes;
    const addressable = (address: number): boolean => address >= 0 && address < 0x100000000;
    if (addressable(this.apicPage)) kinds[PAGE_KIND + this.apicPage / 4096] = this.kindUnderApic;
    this.apicPage = page;
    if (addressable(page)) {
      this.cpu.call('touchMemory', page, 1, 0);
      this.kindUnderApic = kinds[PAGE_KIND + page / 4096] ?? PAGE_MMIO;
      kinds[PAGE_KIND + page / 4096] = PAGE_MMIO;
    }
    this.cpu.call('flushBanks');
  }

  /** Runs the guest for about a millisecond. */
  runSlice(): SliceResult {
    const { cpu, pc, vcpu } = this;
    const { view } = cpu;
    const end = performance.now() + SLICE_MS;
    for (;;) {
      pc.poll();
      if (pc.exit) return { kind: 'stopped', exit: pc.exit };
      this.followCoprocessor();
      if (vcpu.eventPending) this.takeSignals();
      if (cpu.nonRoot) this.leaveNested();
      if (view.getUint32(ACTIVITY, true) !== ACTIVITY_ACTIVE) {
        if (!this.wakes()) {
          this.armPreemption();
          if (pc.clock.skipIdle()) {
            // A timer whose interrupt nobody takes would keep this loop forever.
            if (performance.now() >= end) return { kind: 'ran' };
            continue;
          }
          return { kind: 'halted', wakeInNs: pc.clock.untilNextNs() };
        }
        view.setUint32(ACTIVITY, ACTIVITY_ACTIVE, true);
        this.prepareInjection();
      } else if (!cpu.debug.stepping) this.prepareInjection();
      this.trace?.entry();
      const reason = cpu.enter(ENTRY_BUDGET);
      if (reason === EXIT_DEBUGGER) return { kind: 'held' };
      this.counts[reason]!++;
      this.trace?.exit(reason);
      const stop = this.handle(reason);
      if (stop) return stop;
      if (cpu.debug.stepping) {
        // The step was an instruction that root mode has completed.
        cpu.debug.stop = { kind: 'step' };
        return { kind: 'held' };
      }
      if (pc.exit) return { kind: 'stopped', exit: pc.exit };
      if (performance.now() >= end) return { kind: 'ran' };
    }
  }

  /**
   * INIT restarts the processor. A start-up message means something only to a processor that waits for one, which a bootstrap processor
   * never does; system management mode does not exist, so its interrupts end here.
   */
  private takeSignals(): void {
    const { vcpu } = this;
    vcpu.takeSmi();
    vcpu.takeStartUp();
    // VMX root operation blocks INIT; a nested guest exits because of it.
    if (this.cpu.view.getUint32(VMX_OPERATION, true) !== 0 && !this.cpu.nonRoot) return;
    if (!vcpu.takeInit()) return;
    if (this.cpu.nonRoot) this.cpu.exitToHypervisor('exitForInit');
    else initProcessor(this.cpu, this.model);
  }

  /** FERR# goes to the chipset, IGNNE# comes from it. */
  private followCoprocessor(): void {
    const { cpu: { view }, pc: { coprocessor } } = this;
    const pins = view.getUint32(FERR, true);
    coprocessor.setError(pins !== 0);
    if (coprocessor.ignored) view.setUint32(FERR, FERR_ASSERTED | FERR_IGNORED, true);
  }

  /** The VMX-preemption timer runs on while a nested guest is halted: the clock has to come back for it. */
  private armPreemption(): void {
    const { cpu, pc: { clock } } = this;
    const left = cpu.nonRoot ? cpu.call('preemptionTimerLeft') >>> 0 : 0;
    this.preemption.set(left > 0 ? clock.nowNs() + Math.ceil((left * PREEMPTION_TICK) / tscPerNs) : null);
  }

  /** What makes a nested guest exit to its hypervisor before it goes on: the preemption timer, windows, NMIs, external interrupts. */
  private leaveNested(): void {
    const { cpu, vcpu } = this;
    if (cpu.exitToHypervisor('boundary')) return;
    if (vcpu.nmiPending && cpu.call('nmiExits') !== 0 && !cpu.nmiBlocked) {
      vcpu.takeNmi();
      cpu.exitToHypervisor('exitForNmi');
      return;
    }
    const exits = cpu.call('interruptExits');
    if (exits === INTERRUPTS_STAY || vcpu.pendingVector() < 0) return;
    this.counts[exitReason.externalInterrupt]!++;
    cpu.exitToHypervisor('exitForInterrupt', exits === INTERRUPTS_ACKNOWLEDGED ? vcpu.acknowledge() : -1);
  }

  /** What ends HLT: an NMI, or an interrupt that the guest will take. Nothing but INIT ends the other states. @sdm 2A HLT */
  private wakes(): boolean {
    const { view } = this.cpu;
    if (view.getUint32(ACTIVITY, true) !== ACTIVITY_HLT) return false;
    return this.vcpu.nmiPending || (this.vcpu.eventPending && (view.getUint32(EFLAGS, true) & INTERRUPT_FLAG) !== 0);
  }

  /** Injects what is pending, or asks to be told when it can be. */
  private prepareInjection(): void {
    const { cpu, vcpu } = this;
    cpu.requestWindows(false, false);
    cpu.setCr8(vcpu.readCr8());
    if (cpu.injectionPending) return;
    if (vcpu.nmiPending) {
      if (cpu.nmiBlocked) cpu.requestWindows(false, true);
      else {
        vcpu.takeNmi();
        cpu.inject(TYPE_NMI, 2);
        return;
      }
    }
    if (vcpu.pendingVector() < 0) return;
    if (cpu.interruptible) {
      this.counts[exitReason.externalInterrupt]!++;
      this.trace?.exit(exitReason.externalInterrupt);
      cpu.inject(TYPE_EXTERNAL, vcpu.acknowledge());
    } else cpu.requestWindows(true, vcpu.nmiPending);
  }

  private handle(reason: number): SliceResult | null {
    const { cpu } = this;
    switch (reason) {
      case exitReason.tripleFault: return { kind: 'stopped', exit: { reason: 'triple-fault', state: this.describe() } };
      case exitReason.cpuid: this.handleCpuid(); return null;
      case exitReason.hlt: case exitReason.mwait:
        // A trap of the instruction (single step) ends the halt before it begins.
        if (cpu.skip()) cpu.view.setUint32(ACTIVITY, ACTIVITY_HLT, true);
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

  /** The value of an MSR that root mode keeps, or null for #GP(0). */
  msrRead(msr: number): readonly [number, number] | null {
    if (this.vcpu.ownsMsr(msr)) {
      const own = this.vcpu.readMsr(msr);
      return own && [own.low, own.high];
    }
    return this.timeStamp.ownsMsr(msr) ? this.timeStamp.readMsr(msr) : this.msrs.read(msr);
  }

  private handleRdmsr(): void {
    const value = this.msrRead(this.register(RCX));
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
    if (this.msrWrite(msr, low, high)) this.cpu.skip();
    else this.cpu.generalProtection();
  }

  /** False asks for #GP(0). */
  msrWrite(msr: number, low: number, high: number): boolean {
    if (msr === 0x1b && (low & 0x400) !== 0 && !this.model.features.includes('x2apic')) return false;
    if (this.vcpu.ownsMsr(msr)) return this.vcpu.writeMsr(msr, low, high);
    if (!this.timeStamp.ownsMsr(msr)) return this.msrs.write(msr, low, high);
    this.timeStamp.writeMsr(msr, low, high);
    return true;
  }

  // ---- accesses that wait for their data: EPT violations of MMIO, units of string I/O -----------------------------------------

  private highWord = 0;

  /** An exit that is handled while its instruction waits: the fields say the same as those of one that unwinds. */
  private noteExit(reason: number, qualification: number): void {
    const { view } = this.cpu;
    this.counts[reason]!++;
    view.setUint32(EXIT_REASON, reason, true);
    view.setUint32(EXIT_QUALIFICATION, qualification, true);
    view.setUint32(EXIT_QUALIFICATION + 4, 0, true);
    this.trace?.exit(reason);
  }

  /** The processor has put the linear address into EXIT_LINEAR. */
  private noteEptViolation(gpaLow: number, gpaHigh: number, qualification: number): void {
    const { view } = this.cpu;
    view.setUint32(EXIT_GPA, gpaLow, true);
    view.setUint32(EXIT_GPA + 4, gpaHigh, true);
    this.noteExit(exitReason.eptViolation, qualification);
  }

  mmioRead(low: number, high: number, size: number): number {
    this.noteEptViolation(low, high, eptQualification.read);
    const value = this.readMmio(low, high, size);
    this.trace?.entry();
    return value;
  }

  private readMmio(low: number, high: number, size: number): number {
    this.highWord = 0xffffffff;
    const address = high * 2 ** 32 + low;
    if (address - (address % 4096) === this.vcpu.apicPage) {
      this.highWord = 0;
      return this.vcpu.readRegister(low & 0xfff, Math.min(size, 4) as 1 | 2 | 4);
    }
    if (size === 8) {
      const value = this.pc.memoryBus.readWide(address);
      this.highWord = value.high;
      return value.low;
    }
    return this.pc.memoryBus.read(address, size as AccessSize);
  }

  mmioReadHigh(): number {
    return this.highWord;
  }

  mmioWrite(low: number, high: number, size: number, valueLow: number, valueHigh: number): void {
    this.noteEptViolation(low, high, eptQualification.write);
    this.writeMmio(high * 2 ** 32 + low, size, valueLow, valueHigh);
    // The guest goes on without an exit: an end of interrupt or an interrupt to itself must not wait for the end of the slice.
    if (this.vcpu.pendingVector() >= 0) this.cpu.requestWindows(true, (this.cpu.view.getUint32(NMI_WINDOW, true) & 1) !== 0);
    this.trace?.entry();
  }

  private writeMmio(address: number, size: number, valueLow: number, valueHigh: number): void {
    if (address - (address % 4096) === this.vcpu.apicPage) {
      this.vcpu.writeRegister(address % 4096, Math.min(size, 4) as 1 | 2 | 4, valueLow);
    } else if (size === 8) this.pc.memoryBus.writeWide(address, valueLow, valueHigh);
    else this.pc.memoryBus.write(address, size as AccessSize, valueLow);
  }

  portRead(port: number, size: number): number {
    this.noteExit(exitReason.io, ioQualification(port, size, true, true));
    const value = this.pc.ports.read(port, size as AccessSize);
    this.trace?.entry();
    return value;
  }

  portWrite(port: number, size: number, value: number): void {
    this.noteExit(exitReason.io, ioQualification(port, size, false, true));
    this.pc.ports.write(port, size as AccessSize, value);
    this.trace?.entry();
  }

  describe(): string {
    return describeState(this.cpu);
  }
}
