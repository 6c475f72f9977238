/**
 * One vCPU as root mode knows it: what is due before it runs (signals, events to inject, the end of a halt) and the exits that concern the
 * processor alone. All but `mayRun` is for the vCPU that is selected.
 */
import type { Pc } from '../machine/pc.ts';
import { tscPerNs } from '../platform/clock.ts';
import type { Timer } from '../platform/clock.ts';
import type { Component } from '../platform/device.ts';
import type { LocalApic } from '../platform/localApic.ts';
import { exitReason } from '../cpu/host.ts';
import type { Processor } from '../cpu/processor.ts';
import { ACTIVITY, CR4, CR8, EFLAGS, FERR, FERR_ASSERTED, FERR_IGNORED, GPR, INIT_BLOCKED, NON_ROOT, VMX_OPERATION, XCR0 } from '../cpu/layout.ts';
import type { CpuModel } from '../cpu/models.ts';
import type { Cpuid } from './cpuid.ts';
import { KvmInterface } from './kvmInterface.ts';
import { MsrFile } from './msrs.ts';
import { ProcessorState } from './processorState.ts';
import { initProcessor, resetProcessor, startProcessor } from './resetState.ts';
import { programRootVmcs } from './rootVmcs.ts';
import { TimeStamp } from './timeStamp.ts';
import { VmxState } from './vmxState.ts';
import { resetVector } from '../boot/entryState.ts';
import type { InitialVcpuState } from '../boot/loader.ts';

export const RAX = GPR;
const RCX = GPR + 8;
const RDX = GPR + 16;
const RBX = GPR + 24;
const ACTIVITY_ACTIVE = 0;
const ACTIVITY_HLT = 1;
const ACTIVITY_WAIT_FOR_SIPI = 3;
const INTERRUPT_FLAG = 0x200;
/** Time-stamp counts in a tick of the VMX-preemption timer (IA32_VMX_MISC). */
const PREEMPTION_TICK = 32;
/** What `interruptExits` says of external interrupts in a nested guest: its own, or exits that acknowledge them. */
const INTERRUPTS_STAY = 0;
const INTERRUPTS_ACKNOWLEDGED = 2;
/** One for each vector; a level-triggered one could come back for ever. */
const MOST_NOTIFICATIONS = 256;
const APIC_EOI = 0xb0;
const TYPE_EXTERNAL = 0;
const TYPE_NMI = 2;
const REASONS = 80;
const BOOTSTRAP = 0;

/** What all vCPUs of a machine have in common. */
export interface VcpuParts {
  readonly cpu: Processor;
  readonly pc: Pc;
  readonly model: CpuModel;
  readonly cpuid: Cpuid;
  /** Milliseconds since 1970 at virtual time 0, for guests that see KVM; null: they do not. */
  readonly kvmWallMs: (() => number) | null;
  /** An external interrupt has made the guest leave: it is counted, and traced. */
  readonly interrupted: (vector: number) => void;
}

export class Vcpu {
  readonly index: number;
  readonly apic: LocalApic;
  /** VM exits by basic reason. */
  readonly counts = new Uint32Array(REASONS);
  /** What a saved machine holds of it, in the order in which it is loaded. */
  readonly components: readonly Component[];
  private readonly parts: VcpuParts;
  private readonly cpu: Processor;
  private readonly timeStamp: TimeStamp;
  private readonly msrs: MsrFile;
  readonly kvm: KvmInterface | null;
  private readonly preemption: Timer;

  constructor(index: number, parts: VcpuParts) {
    const { cpu, pc } = parts;
    const apic = pc.interrupts.localApics[index];
    if (!apic) throw new Error(`vCPU ${index} has no local APIC`);
    this.index = index;
    this.apic = apic;
    this.parts = parts;
    this.cpu = cpu;
    this.msrs = new MsrFile(index);
    this.timeStamp = new TimeStamp(cpu, index, pc.clock, apic);
    this.preemption = pc.clock.timer('VMX preemption', () => {});
    this.kvm = parts.kvmWallMs && new KvmInterface(index, {
      memory: pc.chipsetMemory, eoi: apic.eoiOffer, wallMs: parts.kvmWallMs, ns: () => pc.clock.nowNs(), tsc: ns => this.timeStamp.at(ns),
    });
    this.components = [new ProcessorState(cpu, index), new VmxState(cpu, index), this.msrs, this.timeStamp, ...(this.kvm ? [this.kvm] : [])];
  }

  /** The state at power-on: the bootstrap processor starts where `initial` says, the others wait to be started. @sdm 3A 9.4 */
  reset(initial: InitialVcpuState): void {
    const { cpu, parts: { model } } = this;
    this.msrs.reset();
    this.kvm?.reset();
    programRootVmcs(cpu);
    resetProcessor(cpu, this.index === BOOTSTRAP ? initial : resetVector, model);
    if (this.index !== BOOTSTRAP) this.activity = ACTIVITY_WAIT_FOR_SIPI;
    this.timeStamp.reset();
  }

  private get activity(): number {
    return this.cpu.view.getUint32(this.cpu.fieldOf(this.index, ACTIVITY), true);
  }

  private set activity(state: number) {
    this.cpu.view.setUint32(ACTIVITY, state, true);
  }

  /** Whether it is worth asking if it is ready. A nested guest's halt may end by its hypervisor's timer. */
  get mayRun(): boolean {
    const { cpu } = this;
    return this.activity === ACTIVITY_ACTIVE || this.apic.eventPending || cpu.view.getUint32(cpu.fieldOf(this.index, NON_ROOT), true) !== 0;
  }

  /** Does what is due before the next VM entry; false when the vCPU is halted. */
  ready(): boolean {
    const { cpu } = this;
    this.apic.settleEoi();
    if (this.index === BOOTSTRAP) this.followCoprocessor();
    if (this.apic.eventPending) this.takeSignals();
    if (cpu.nonRoot) this.leaveNested();
    if (this.activity !== ACTIVITY_ACTIVE) {
      if (!this.wakes()) return false;
      this.activity = ACTIVITY_ACTIVE;
      this.prepareInjection();
    } else if (!cpu.debug.stepping) this.prepareInjection();
    return true;
  }

  /** INIT restarts the processor, and a start-up message starts one that waits for it. System management mode does not exist: its interrupts end here. */
  private takeSignals(): void {
    const { apic, cpu } = this;
    apic.takeSmi();
    this.takeInit();
    const vector = apic.takeStartUp();
    if (vector < 0 || this.activity !== ACTIVITY_WAIT_FOR_SIPI) return;
    if (cpu.nonRoot) cpu.exitToHypervisor('exitForStartUp', vector);
    else startProcessor(cpu, vector);
  }

  /** VMX root operation blocks INIT, and so does a nested guest that waits for SIPI; any other exits because of it. @sdm 3C 26.2 */
  private takeInit(): void {
    const { apic, cpu } = this;
    const blocked = cpu.nonRoot ? this.activity === ACTIVITY_WAIT_FOR_SIPI : cpu.view.getUint32(VMX_OPERATION, true) !== 0;
    cpu.view.setUint32(INIT_BLOCKED, blocked && apic.initPending ? 1 : 0, true);
    if (blocked || !apic.takeInit()) return;
    if (cpu.nonRoot) {
      cpu.exitToHypervisor('exitForInit');
      return;
    }
    this.kvm?.reset();
    initProcessor(cpu, this.parts.model);
    if (this.index !== BOOTSTRAP) this.activity = ACTIVITY_WAIT_FOR_SIPI;
  }

  /** FERR# goes to the chipset, IGNNE# comes from it. */
  private followCoprocessor(): void {
    const { cpu: { view }, parts: { pc: { coprocessor } } } = this;
    const pins = view.getUint32(FERR, true);
    coprocessor.setError(pins !== 0);
    if (coprocessor.ignored) view.setUint32(FERR, FERR_ASSERTED | FERR_IGNORED, true);
  }

  /** The VMX-preemption timer runs on while a nested guest is halted: the clock has to come back for it. */
  armPreemption(): void {
    const { cpu, index, parts: { pc: { clock } } } = this;
    const nested = cpu.view.getUint32(cpu.fieldOf(index, NON_ROOT), true) !== 0;
    const left = nested ? cpu.on(index, () => cpu.call('preemptionTimerLeft')) >>> 0 : 0;
    this.preemption.set(left > 0 ? clock.nowNs() + Math.ceil((left * PREEMPTION_TICK) / tscPerNs) : null);
  }

  /**
   * What is due before a nested guest goes on: a virtual interrupt, or what makes it exit to its hypervisor (the preemption timer, windows, NMIs,
   * external interrupts). Notifications of posted interrupts end here, and more than one may wait.
   */
  private leaveNested(): void {
    const { cpu, apic } = this;
    for (let notifications = 0; notifications < MOST_NOTIFICATIONS; notifications++) {
      if (cpu.exitToHypervisor('boundary') && !cpu.nonRoot) return;
      if (apic.nmiPending && cpu.call('nmiExits') !== 0 && !cpu.nmiBlocked) {
        apic.takeNmi();
        cpu.exitToHypervisor('exitForNmi');
        return;
      }
      const exits = cpu.call('interruptExits');
      if (exits === INTERRUPTS_STAY || apic.pendingVector() < 0) return;
      this.counts[exitReason.externalInterrupt]!++;
      const vector = exits === INTERRUPTS_ACKNOWLEDGED ? apic.acknowledge() : -1;
      if (vector < 0 || cpu.call('postedInterrupts', vector) === 0) {
        cpu.exitToHypervisor('exitForInterrupt', vector);
        return;
      }
      apic.writeRegister(APIC_EOI, 4, 0);
    }
  }

  /**
   * Another vCPU's turn begins: an NMI that has come would have been taken at the next instruction, and another one may come before this vCPU runs
   * again.
   */
  takeNmi(): void {
    const { apic, cpu } = this;
    if (!apic.nmiPending || this.activity !== ACTIVITY_ACTIVE || cpu.nonRoot || cpu.injectionPending || cpu.nmiBlocked) return;
    apic.takeNmi();
    cpu.inject(TYPE_NMI, 2);
  }

  /** What ends HLT: an NMI, or an interrupt that the guest will take. Nothing but INIT and SIPI ends the other states. @sdm 2A HLT */
  private wakes(): boolean {
    const { apic, cpu } = this;
    if (this.activity !== ACTIVITY_HLT) return false;
    return apic.nmiPending || (apic.eventPending && (cpu.view.getUint32(EFLAGS, true) & INTERRUPT_FLAG) !== 0);
  }

  /** Injects what is pending, or asks to be told when it can be. */
  private prepareInjection(): void {
    const { cpu, apic } = this;
    cpu.setCr8(apic.readCr8());
    if (cpu.injectionPending) {
      cpu.requestWindows(apic.pendingVector() >= 0, apic.nmiPending);
      return;
    }
    cpu.requestWindows(false, false);
    if (apic.nmiPending) {
      if (cpu.nmiBlocked) cpu.requestWindows(false, true);
      else {
        apic.takeNmi();
        cpu.inject(TYPE_NMI, 2);
        return;
      }
    }
    if (apic.pendingVector() < 0) return;
    // Behind the last notification the hypervisor's interrupts wait for the next round.
    if (cpu.interruptible && !(cpu.nonRoot && cpu.call('interruptExits') !== INTERRUPTS_STAY)) {
      this.counts[exitReason.externalInterrupt]!++;
      const vector = apic.acknowledge();
      this.parts.interrupted(vector);
      cpu.inject(TYPE_EXTERNAL, vector);
    } else cpu.requestWindows(true, apic.nmiPending);
  }

  /** HLT has exited: the vCPU is halted, unless a trap of the instruction (single step) ends the halt before it begins. */
  halt(): void {
    if (this.cpu.skip()) this.activity = ACTIVITY_HLT;
  }

  /** Completes an instruction that concerns the processor alone; false for other reasons. */
  handle(reason: number): boolean {
    switch (reason) {
      case exitReason.cpuid: this.handleCpuid(); return true;
      case exitReason.rdmsr: this.handleRdmsr(); return true;
      case exitReason.wrmsr: this.handleWrmsr(); return true;
      case exitReason.controlRegister: this.apic.writeCr8(this.register(CR8)); return true;
      default: return false;
    }
  }

  private register(offset: number): number {
    return this.cpu.view.getUint32(offset, true);
  }

  private setRegister(offset: number, value: number): void {
    this.cpu.view.setUint32(offset, value, true);
    this.cpu.view.setUint32(offset + 4, 0, true);
  }

  private handleCpuid(): void {
    const { apic, cpu, parts: { cpuid } } = this;
    const cr4 = this.register(CR4);
    const result = cpuid.query(this.register(RAX), this.register(RCX), {
      apicId: apic.initialId, apicEnabled: apic.apicPage >= 0 || this.x2apic, osxsave: (cr4 & (1 << 18)) !== 0,
      ospke: (cr4 & (1 << 22)) !== 0, xcr0: this.register(XCR0),
    });
    this.setRegister(RAX, result.eax);
    this.setRegister(RBX, result.ebx);
    this.setRegister(RCX, result.ecx);
    this.setRegister(RDX, result.edx);
    cpu.skip();
  }

  private get x2apic(): boolean {
    const base = this.apic.readMsr(0x1b);
    return base !== null && (base.low & 0x800) !== 0;
  }

  /** The value of an MSR that root mode keeps, or null for #GP(0). */
  msrRead(msr: number): readonly [number, number] | null {
    if (this.apic.ownsMsr(msr)) {
      const own = this.apic.readMsr(msr);
      return own && [own.low, own.high];
    }
    if (this.kvm?.ownsMsr(msr)) return this.kvm.readMsr(msr);
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
    if (this.msrWrite(this.register(RCX), this.register(RAX), this.register(RDX))) this.cpu.skip();
    else this.cpu.generalProtection();
  }

  /** False asks for #GP(0). */
  msrWrite(msr: number, low: number, high: number): boolean {
    if (msr === 0x1b && (low & 0x400) !== 0 && !this.parts.model.features.includes('x2apic')) return false;
    if (this.apic.ownsMsr(msr)) return this.apic.writeMsr(msr, low, high);
    if (this.kvm?.ownsMsr(msr)) return this.kvm.writeMsr(msr, low, high);
    if (!this.timeStamp.ownsMsr(msr)) return this.msrs.write(msr, low, high);
    this.timeStamp.writeMsr(msr, low, high);
    this.kvm?.tscChanged();
    return true;
  }
}
