/**
 * Root mode: the workstation's own hypervisor. It enters the guest, and everything the guest does that concerns the machine around
 * the processor comes back here as a VM exit with the SDM's reason and qualification.
 */
// The global of that name is a getter that looks it up at each use.
import { performance } from 'node:perf_hooks';
import type { Pc } from '../machine/pc.ts';
import type { SliceResult } from '../machine/types.ts';
import type { Topology } from '../platform/topology.ts';
import { exitReason } from '../cpu/host.ts';
import { Processor } from '../cpu/processor.ts';
import { EFLAGS, CODE_SIZE, CPL, EXIT_DEBUGGER, EXIT_GPA, EXIT_QUALIFICATION, EXIT_REASON, NMI_WINDOW } from '../cpu/layout.ts';
import type { AccessSize, Component } from '../platform/device.ts';
import { ApicPages } from './apicPages.ts';
import { Cpuid } from './cpuid.ts';
import { describeState } from './describe.ts';
import { eptAccess, eptQualification, ioQualification } from './exits.ts';
import { exitReasonName } from './exitReasons.ts';
import { ExitTrace } from './exitTrace.ts';
import type { CpuModel } from '../cpu/models.ts';
import { programIoBitmaps, programMsrBitmaps } from './rootVmcs.ts';
import { Turns } from './turns.ts';
import { RAX, Vcpu } from './vcpu.ts';
import type { InitialVcpuState } from '../boot/loader.ts';

const INTERRUPT_FLAG = 0x200;

/** Exits before their time is up between two looks at the clock. */
const CLOCK_EXITS = 8;
/** CODE_SIZE of 64-bit code. */
const LONG_CODE = 2;

export class Vmm {
  private readonly cpu: Processor;
  private readonly pc: Pc;
  private readonly vcpus: readonly Vcpu[];
  private readonly turns: Turns;
  private readonly apicPages: ApicPages;
  /** What root mode and the processor add to a saved machine, in the order in which it is loaded: after the devices. */
  readonly components: readonly Component[];

  /** `kvmWallMs`: the time of day at virtual time 0, in milliseconds since 1970, for guests that see KVM; null: they do not. */
  constructor(cpu: Processor, pc: Pc, model: CpuModel, topology: Topology, kvmWallMs: (() => number) | null = null) {
    this.cpu = cpu;
    this.pc = pc;
    const cpuid = new Cpuid(model, topology, kvmWallMs !== null);
    const interrupted = (vector: number): void => this.trace?.interrupt(vector);
    this.vcpus = Array.from({ length: cpu.vcpus }, (_, index) => new Vcpu(index, { cpu, pc, model, cpuid, kvmWallMs, interrupted }));
    programIoBitmaps(cpu);
    programMsrBitmaps(cpu);
    this.turns = new Turns(cpu, this.vcpus);
    this.apicPages = new ApicPages(cpu);
    this.components = [...this.vcpus.flatMap(({ components }) => components), ...(cpu.vcpus > 1 ? [this.turns] : [])];
    for (const vcpu of this.vcpus) {
      vcpu.apic.onApicPageChange = () => this.apicPages.follow(vcpu.index, vcpu.apic.apicPage);
      vcpu.apic.onApicPageChange();
    }
  }

  /** VM exits so far by the name of the basic reason. */
  get exits(): Record<string, number> {
    const result: Record<string, number> = {};
    for (const { counts } of this.vcpus) {
      counts.forEach((count, reason) => {
        if (count > 0) result[exitReasonName(reason)] = (result[exitReasonName(reason)] ?? 0) + count;
      });
    }
    return result;
  }

  /** The trace of exits while somebody watches; see `traceExits`. */
  trace: ExitTrace | null = null;

  /** Starts a fresh trace of exits, or ends it. */
  traceExits(on: boolean): void {
    this.trace = on ? new ExitTrace(this.cpu) : null;
    // Regions keep registers to themselves while an access is completed in place; a trace shows them as they are.
    this.cpu.debug.traceExits(on);
  }

  /** While exits are traced: a nested guest has left for its hypervisor, or goes on. */
  nestedSwitch(left: boolean): void {
    if (left) this.trace?.nestedExit();
    else this.trace?.entry(2);
  }

  /** Everything to its power-on state; the first vCPU will start where `initial` says. */
  reset(initial: InitialVcpuState): void {
    for (const vcpu of this.vcpus) {
      this.cpu.on(vcpu.index, () => vcpu.reset(initial));
      vcpu.apic.onApicPageChange();
    }
    this.turns.reset();
  }

  /** The vCPU that runs, or ran last. */
  private get vcpu(): Vcpu {
    return this.turns.current;
  }

  /** How long a slice lasts, in milliseconds of the host; 0: one VM entry. */
  sliceMs = 1;

  /** Runs the guest for a slice. */
  runSlice(): SliceResult {
    const { cpu, pc, turns } = this;
    let looked = performance.now();
    const end = looked + this.sliceMs;
    let exits = 0;
    for (;;) {
      pc.poll();
      if (pc.exit) return { kind: 'stopped', exit: pc.exit };
      if (pc.power.sleep !== 'awake' || !turns.next()) {
        // Of a machine that is to wake, root mode's caller makes a new start.
        if (pc.power.sleep === 'waking') return { kind: 'ran' };
        for (const vcpu of this.vcpus) vcpu.armPreemption();
        if (pc.clock.skipIdle()) {
          // A timer whose interrupt nobody takes would keep this loop forever.
          if (performance.now() >= end) return { kind: 'ran' };
          continue;
        }
        pc.clock.idle();
        return { kind: 'halted', wakeInNs: pc.clock.untilNextNs() };
      }
      pc.clock.busy();
      this.trace?.entry();
      const reason = cpu.enter(turns.budget);
      if (reason === EXIT_DEBUGGER) return { kind: 'held' };
      this.vcpu.counts[reason]!++;
      this.trace?.exit(reason);
      const stop = this.handle(reason);
      if (stop) return stop;
      if (cpu.debug.stepping) {
        // The step was an instruction that root mode has completed.
        cpu.debug.stop = { kind: 'step' };
        return { kind: 'held' };
      }
      if (pc.exit) return { kind: 'stopped', exit: pc.exit };
      // The clock is looked at where time has passed, and now and then where it seems not to.
      if (reason !== exitReason.preemptionTimer && ++exits % CLOCK_EXITS !== 0) continue;
      const now = performance.now();
      if (reason === exitReason.preemptionTimer) turns.lasted(now - looked);
      if (now >= end) return { kind: 'ran' };
      looked = now;
    }
  }

  private handle(reason: number): SliceResult | null {
    if (this.vcpu.handle(reason)) return null;
    switch (reason) {
      case exitReason.tripleFault: return { kind: 'stopped', exit: { reason: 'triple-fault', state: describeState(this.cpu) } };
      case exitReason.hlt: this.vcpu.halt(); return null;
      case exitReason.mwait: this.handleMwait(); return null;
      case exitReason.pause: this.yield(); return null;
      case exitReason.io: this.handleIo(); return null;
      default: return null;
    }
  }

  /** No store is watched: with other vCPUs, which may make one, MWAIT returns at once. */
  private handleMwait(): void {
    if (this.vcpus.length > 1) this.yield();
    else this.vcpu.halt();
  }

  /** The guest waits for another vCPU. */
  private yield(): void {
    this.cpu.skip();
    this.turns.end();
  }

  private handleIo(): void {
    const { view } = this.cpu;
    const qualification = view.getUint32(EXIT_QUALIFICATION, true);
    const size = ((qualification & 7) + 1) as AccessSize;
    const port = qualification >>> 16;
    if (qualification & 8) {
      const value = this.pc.ports.read(port, size);
      if (size === 4) {
        view.setUint32(RAX, value, true);
        view.setUint32(RAX + 4, 0, true);
      } else if (size === 2) view.setUint16(RAX, value, true);
      else view.setUint8(RAX, value);
    } else {
      const value = view.getUint32(RAX, true);
      this.pc.ports.write(port, size, size === 4 ? value : value & (size === 2 ? 0xffff : 0xff));
    }
    this.cpu.skip();
  }

  /** The value of an MSR that root mode keeps for the running vCPU, or null for #GP(0). */
  msrRead(msr: number): readonly [number, number] | null {
    return this.vcpu.msrRead(msr);
  }

  /** False asks for #GP(0). */
  msrWrite(msr: number, low: number, high: number): boolean {
    return this.vcpu.msrWrite(msr, low, high);
  }

  /** VMCALL of the running vCPU: false when it is none of root mode's business. */
  hypercall(): boolean {
    const { kvm } = this.vcpu;
    if (!kvm) return false;
    this.noteExit(exitReason.vmcall, 0);
    const { view } = this.cpu;
    const bits = view.getUint32(CODE_SIZE, true) === LONG_CODE ? 64 : 32;
    const answer = kvm.hypercall(BigInt.asUintN(bits, view.getBigUint64(RAX, true)), view.getUint32(CPL, true));
    view.setBigUint64(RAX, BigInt.asUintN(bits, answer), true);
    this.trace?.entry();
    return true;
  }

  // ---- accesses that wait for their data: EPT violations of MMIO, units of string I/O -----------------------------------------

  private highWord = 0;

  /** An exit that is handled while its instruction waits: the fields say the same as those of one that unwinds. */
  private noteExit(reason: number, qualification: number): void {
    const { view } = this.cpu;
    this.vcpu.counts[reason]!++;
    view.setUint32(EXIT_REASON, reason, true);
    view.setUint32(EXIT_QUALIFICATION, qualification, true);
    view.setUint32(EXIT_QUALIFICATION + 4, 0, true);
    this.trace?.exit(reason);
  }

  /** The processor has put the linear address into EXIT_LINEAR. */
  private noteEptViolation(gpaLow: number, gpaHigh: number, access: number): void {
    const { view, ept } = this.cpu;
    view.setUint32(EXIT_GPA, gpaLow, true);
    view.setUint32(EXIT_GPA + 4, gpaHigh, true);
    this.noteExit(exitReason.eptViolation, eptQualification(access, gpaHigh === 0 ? ept.rightsOf(gpaLow >>> 12) : 0));
  }

  mmioRead(low: number, high: number, size: number): number {
    this.noteEptViolation(low, high, eptAccess.read);
    const value = this.readMmio(low, high, size);
    this.trace?.entry();
    return value;
  }

  private readMmio(low: number, high: number, size: number): number {
    this.highWord = 0xffffffff;
    const address = high * 2 ** 32 + low;
    if (address - (address % 4096) === this.vcpu.apic.apicPage) {
      this.highWord = 0;
      return this.vcpu.apic.readRegister(low & 0xfff, Math.min(size, 4) as 1 | 2 | 4);
    }
    const memory = this.apicPages.memoryBelow(address, size);
    if (memory) {
      this.highWord = size === 8 ? littleEndian(memory.subarray(4)) : 0;
      return littleEndian(memory.subarray(0, 4));
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
    this.noteEptViolation(low, high, eptAccess.write);
    this.writeMmio(high * 2 ** 32 + low, size, valueLow, valueHigh);
    // The guest goes on without an exit: an end of interrupt or an interrupt to itself must not wait for the end of the slice. Where an open
    // window is noticed depends on what was decoded: a machine that repeats itself waits, unless the guest has yet to open it.
    if (this.vcpu.apic.pendingVector() >= 0 && !(this.cpu.exact && this.interruptsOn)) this.cpu.requestWindows(true, (this.cpu.view.getUint32(NMI_WINDOW, true) & 1) !== 0);
    this.trace?.entry();
  }

  private get interruptsOn(): boolean {
    return (this.cpu.view.getUint32(EFLAGS, true) & INTERRUPT_FLAG) !== 0;
  }

  private writeMmio(address: number, size: number, valueLow: number, valueHigh: number): void {
    if (address - (address % 4096) === this.vcpu.apic.apicPage) {
      this.vcpu.apic.writeRegister(address % 4096, Math.min(size, 4) as 1 | 2 | 4, valueLow);
      return;
    }
    const memory = this.apicPages.memoryBelow(address, size);
    if (memory) for (let i = 0; i < size; i++) memory[i] = (i < 4 ? valueLow >>> (i * 8) : valueHigh >>> ((i - 4) * 8)) & 0xff;
    else if (size === 8) this.pc.memoryBus.writeWide(address, valueLow, valueHigh);
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

  /** The registers of every vCPU, for people. */
  describe(): string {
    const texts = this.vcpus.map(({ index }) => this.cpu.on(index, () => describeState(this.cpu)));
    return texts.length === 1 ? texts.join('') : texts.map((text, index) => `vCPU ${index}\n${text}`).join('\n\n');
  }
}

function littleEndian(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => ((value << 8) | byte) >>> 0, 0);
}
