/** One vCPU's local APIC, by both of its interfaces: the xAPIC register page and the x2APIC MSRs. @sdm 3A 11 */

import { LocalApicTimer } from './localApicTimer.ts';
import { InterruptPriority } from './interruptPriority.ts';
import { StateReader } from './state.ts';
import { EoiOffer } from './eoiOffer.ts';
import { extract } from './device.ts';
import { deliveryMode } from './interrupts.ts';
import { ipiOf, isAddressed } from './localApicMessages.ts';
import { LocalVectorTable, lvtEntry } from './localVectorTable.ts';
import {
  apicBaseBit, apicError, apicRegister, apicVersion, msrApicBase, msrTscDeadline, msrX2apicFirst, msrX2apicLast, x2apicRows,
} from './localApicRegisters.ts';
import type { AccessSize, Component, DeviceState, WideValue } from './device.ts';
import type { InterruptMessage, LevelInterrupt, VcpuInterrupts } from './interrupts.ts';
import type { Shorthand } from './localApicMessages.ts';
import type { VirtualClock } from './clock.ts';

/** What a local APIC is connected to. */
export interface ApicFabric {
  /** Sends an IPI. `self` and `others` are the shorthands. */
  send(message: InterruptMessage, from: LocalApic, shorthand: Shorthand): void;
  /** Broadcasts the end of a level-triggered interrupt to the I/O APICs. */
  endOfInterrupt(vector: number): void;
  /** The INTA cycles for an external (8259A) interrupt. */
  acknowledgeExternal(): number;
  /** The vector those cycles would give. */
  peekExternal(): number;
}

const svrEnable = 0x100;
const svrSuppressEoi = 0x1000;
const defaultBase = 0xfee00000;
const pageMask = 0xfffff000;

export class LocalApic implements Component, VcpuInterrupts {
  readonly name: string;
  readonly version = 1;
  /** The vCPU's number. */
  readonly index: number;
  /** The APIC ID after power-on, which x2APIC mode keeps. */
  readonly initialId: number;
  onInterruptRequest: () => void = () => {};
  onApicPageChange: () => void = () => {};
  /** By which a guest ends interrupts without an exit, where it wants to. */
  readonly eoiOffer = new EoiOffer();
  private readonly fabric: ApicFabric;
  private readonly timer: LocalApicTimer;
  private readonly baseHighMask: number;
  private baseLow = 0;
  private baseHigh = 0;
  private id = 0;
  private ldr = 0;
  private dfr = 0xffffffff;
  private svr = 0xff;
  /** Errors as ESR shows them, and those gathered since it was last written. */
  private esr = 0;
  private errors = 0;
  private icrLow = 0;
  private icrHigh = 0;
  private readonly lvt = new LocalVectorTable(message => this.enabled && this.accept(message));
  /** An ExtINT message from an I/O APIC. */
  private extInt = false;
  private nmi = false;
  private init = false;
  private smi = false;
  private startUp = -1;
  private readonly priority = new InterruptPriority(() => this.enabled, () => this.onInterruptRequest());

  constructor(index: number, initialId: number, clock: VirtualClock, fabric: ApicFabric, physicalAddressBits: number) {
    this.index = index;
    this.initialId = initialId;
    this.name = `local-apic-${index}`;
    this.fabric = fabric;
    this.baseHighMask = 2 ** Math.max(0, physicalAddressBits - 32) - 1;
    this.timer = new LocalApicTimer(clock, `${this.name} timer`, () => this.lvt.deliver(lvtEntry.timer));
    this.reset();
  }

  // ---- What the vCPU sees -------------------------------------------------------------------------------------------

  pendingVector(): number {
    return this.externalPending() ? this.fabric.peekExternal() : this.priority.deliverable;
  }

  acknowledge(): number {
    if (this.externalPending()) {
      this.extInt = false;
      return this.fabric.acknowledgeExternal();
    }
    this.settleEoi();
    const vector = this.priority.serve();
    // Gone since it was announced: the spurious vector, with no in-service bit. @sdm 3A 11.9
    if (vector < 0) return this.svr & 0xff;
    // What waits must be told of by an exit, and a level-triggered interrupt ends in the I/O APIC too.
    if (!this.priority.waiting && !this.priority.isLevel(vector)) this.eoiOffer.make();
    return vector;
  }

  /** The guest may have ended the interrupt in service in its memory alone. Root mode asks before each VM entry. */
  settleEoi(): void {
    if (this.eoiOffer.settle()) this.endOfInterrupt();
  }

  get nmiPending(): boolean {
    return this.nmi;
  }

  takeNmi(): boolean {
    const pending = this.nmi;
    this.nmi = false;
    return pending;
  }

  get initPending(): boolean {
    return this.init;
  }

  takeInit(): boolean {
    const pending = this.init;
    this.init = false;
    return pending;
  }

  takeStartUp(): number {
    const vector = this.startUp;
    this.startUp = -1;
    return vector;
  }

  takeSmi(): boolean {
    const pending = this.smi;
    this.smi = false;
    return pending;
  }

  get eventPending(): boolean {
    return this.nmi || this.init || this.smi || this.startUp >= 0 || this.priority.deliverable >= 0 || this.externalPending();
  }

  readCr8(): number {
    return this.priority.tpr >> 4;
  }

  writeCr8(value: number): void {
    this.priority.tpr = (value & 0xf) << 4;
  }

  setTscOffset(offset: bigint): void {
    this.timer.setTscOffset(offset);
  }

  get apicPage(): number {
    return this.enabled && !this.x2apic ? this.baseHigh * 2 ** 32 + ((this.baseLow & pageMask) >>> 0) : -1;
  }

  // ---- MSRs ---------------------------------------------------------------------------------------------------------

  ownsMsr(msr: number): boolean {
    return msr === msrApicBase || msr === msrTscDeadline || (msr >= msrX2apicFirst && msr <= msrX2apicLast);
  }

  readMsr(msr: number): WideValue | null {
    if (msr === msrApicBase) return { low: this.baseLow, high: this.baseHigh };
    if (msr === msrTscDeadline) {
      const deadline = this.timer.readDeadline();
      return { low: Number(deadline & 0xffffffffn), high: Number(deadline >> 32n) };
    }
    const register = msr - msrX2apicFirst;
    if (!this.x2apic || x2apicRows.get(register)?.read !== true) return null;
    return { low: this.readApic(register), high: register === apicRegister.icrLow ? this.icrHigh : 0 };
  }

  writeMsr(msr: number, low: number, high: number): boolean {
    if (msr === msrApicBase) return this.writeBase(low >>> 0, high >>> 0);
    if (msr === msrTscDeadline) {
      this.timer.writeDeadline((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0));
      return true;
    }
    const register = msr - msrX2apicFirst;
    const row = this.x2apic ? x2apicRows.get(register) : undefined;
    if (row?.write !== true || (low & ~row.writable) !== 0) return false;
    if (register === apicRegister.icrLow) {
      this.icrHigh = high >>> 0;
    } else if (high !== 0) {
      return false;
    }
    if (register === apicRegister.selfIpi) this.accept({ mode: deliveryMode.fixed, vector: low & 0xff, level: false });
    else this.writeApic(register, low >>> 0);
    return true;
  }

  /** @sdm 3A 11.12.5: which transitions between disabled, xAPIC and x2APIC mode are legal. */
  private writeBase(low: number, high: number): boolean {
    if ((low & 0x2ff) !== 0 || (high & ~this.baseHighMask) !== 0) return false;
    const enable = (low & apicBaseBit.enable) !== 0;
    const x2apic = (low & apicBaseBit.x2apic) !== 0;
    if (x2apic && (!enable || !this.enabled)) return false;
    if (this.x2apic && enable && !x2apic) return false;
    const before = this.apicPage;
    const wasEnabled = this.enabled;
    const wasX2apic = this.x2apic;
    this.baseLow = low;
    this.baseHigh = high;
    if (wasEnabled && !enable) {
      this.id = this.initialId;
      this.resetRegisters();
    }
    if (x2apic && !wasX2apic) this.enterX2apic();
    this.priority.update();
    if (this.apicPage !== before) this.onApicPageChange();
    return true;
  }

  /** The logical ID derives from the initial ID; ICR's destination widens. */
  private enterX2apic(): void {
    this.id = this.initialId;
    this.ldr = (((this.id >>> 4) << 16) | (1 << (this.id & 15))) >>> 0;
    this.icrHigh = 0;
  }

  private get enabled(): boolean {
    return (this.baseLow & apicBaseBit.enable) !== 0;
  }

  private get x2apic(): boolean {
    return (this.baseLow & apicBaseBit.x2apic) !== 0;
  }

  /** Whether software has enabled it, too. */
  get acceptsVectors(): boolean {
    return this.enabled && (this.svr & svrEnable) !== 0;
  }

  // ---- Registers ----------------------------------------------------------------------------------------------------

  /** A read of the register page. Registers are 32 bits wide on 16-byte boundaries; the rest of the page reads zero. */
  readRegister(offset: number, size: AccessSize): number {
    const byte = offset & 0xf;
    return byte + size > 4 ? 0 : extract(this.readApic(offset >> 4), byte, size);
  }

  /** A write of the register page. Only aligned 32-bit writes are defined; others are ignored. */
  writeRegister(offset: number, size: AccessSize, value: number): void {
    if (size === 4 && (offset & 0xf) === 0) this.writeApic(offset >> 4, value >>> 0);
  }

  private readApic(register: number): number {
    this.settleEoi();
    if (register >= apicRegister.isr && register < apicRegister.esr) return this.priority.word(register - apicRegister.isr);
    if (register >= apicRegister.lvtTimer && register <= apicRegister.lvtError) return this.lvt.read(register - apicRegister.lvtTimer);
    switch (register) {
      case apicRegister.id: return this.x2apic ? this.id : (this.id << 24) >>> 0;
      case apicRegister.version: return apicVersion;
      case apicRegister.tpr: return this.priority.tpr;
      case apicRegister.apr: return 0;
      case apicRegister.ppr: return this.priority.ppr;
      case apicRegister.ldr: return this.ldr;
      case apicRegister.dfr: return this.dfr;
      case apicRegister.svr: return this.svr;
      case apicRegister.esr: return this.esr;
      case apicRegister.icrLow: return this.icrLow;
      case apicRegister.icrHigh: return this.icrHigh;
      case apicRegister.initialCount: return this.timer.initialCount;
      case apicRegister.currentCount: return this.timer.currentCount;
      case apicRegister.divide: return this.timer.divide;
      case apicRegister.eoi:
      case apicRegister.rrd: return 0;
      default:
        this.raiseError(apicError.illegalRegister);
        return 0;
    }
  }

  private writeApic(register: number, value: number): void {
    this.settleEoi();
    if (register >= apicRegister.lvtTimer && register <= apicRegister.lvtError) {
      this.lvt.write(register - apicRegister.lvtTimer, value, (this.svr & svrEnable) === 0);
      if (register === apicRegister.lvtTimer) this.timer.setMode((value >> 17) & 3);
      return;
    }
    switch (register) {
      case apicRegister.id:
        this.id = value >>> 24;
        break;
      case apicRegister.tpr:
        this.priority.tpr = value & 0xff;
        break;
      case apicRegister.eoi:
        this.endOfInterrupt();
        break;
      case apicRegister.ldr:
        this.ldr = (value & 0xff000000) >>> 0;
        break;
      case apicRegister.dfr:
        this.dfr = (value | 0x0fffffff) >>> 0;
        break;
      case apicRegister.svr:
        this.svr = value & 0x13ff;
        if ((value & svrEnable) === 0) this.lvt.maskAll();
        break;
      case apicRegister.esr:
        this.esr = this.errors;
        this.errors = 0;
        break;
      case apicRegister.icrLow:
        this.icrLow = value & 0xccfff;
        this.sendIcr();
        break;
      case apicRegister.icrHigh:
        this.icrHigh = (value & 0xff000000) >>> 0;
        break;
      case apicRegister.initialCount:
        this.timer.writeInitialCount(value);
        break;
      case apicRegister.divide:
        this.timer.writeDivide(value);
        break;
      case apicRegister.version:
      case apicRegister.apr:
      case apicRegister.ppr:
      case apicRegister.rrd:
      case apicRegister.currentCount:
        break;
      default:
        if (register < apicRegister.isr || register >= apicRegister.esr) this.raiseError(apicError.illegalRegister);
    }
  }

  // ---- Acceptance and end -------------------------------------------------------------------------------------------

  get ppr(): number {
    return this.priority.ppr;
  }

  private endOfInterrupt(): void {
    const vector = this.priority.end();
    if (vector < 0 || !this.priority.isLevel(vector)) return;
    this.lvt.endOfInterrupt(vector);
    if ((this.svr & svrSuppressEoi) === 0) this.fabric.endOfInterrupt(vector);
  }

  /** Whether a message's destination names this APIC. */
  matches(message: Pick<InterruptMessage, 'logical' | 'destination' | 'wide'>): boolean {
    const { id, ldr, dfr, x2apic } = this;
    return this.enabled && isAddressed(message, { id, ldr, dfr, x2apic });
  }

  /** Takes a message that is addressed to this APIC. Returns false when it was not accepted. */
  accept({ mode, vector, level }: Pick<InterruptMessage, 'mode' | 'vector' | 'level'>): boolean {
    switch (mode) {
      case deliveryMode.fixed:
      case deliveryMode.lowestPriority:
        return this.acceptVector(vector, level);
      case deliveryMode.smi:
        this.smi = true;
        break;
      case deliveryMode.nmi:
        this.nmi = true;
        break;
      case deliveryMode.init:
        this.init = true;
        this.startUp = -1;
        this.initReset();
        break;
      case deliveryMode.startUp:
        this.startUp = vector;
        break;
      case deliveryMode.extInt:
        this.extInt = true;
        break;
      default:
        return false;
    }
    this.onInterruptRequest();
    return true;
  }

  private acceptVector(vector: number, level: boolean): boolean {
    if (!this.acceptsVectors) return false;
    if (vector < 16) {
      this.raiseError(apicError.receiveIllegalVector);
      return false;
    }
    this.settleEoi();
    this.priority.accept(vector, level);
    return true;
  }

  /** A focus processor holds the vector already. @sdm 3A 11.6.2.4 */
  isFocus(vector: number): boolean {
    return (this.svr & 0x200) === 0 && this.priority.holds(vector);
  }

  private sendIcr(): void {
    const ipi = ipiOf(this.icrLow, this.icrHigh, this.x2apic);
    if (ipi === null) return;
    const { mode, vector } = ipi.message;
    if ((mode === deliveryMode.fixed || mode === deliveryMode.lowestPriority) && vector < 16) this.raiseError(apicError.sendIllegalVector);
    else this.fabric.send(ipi.message, this, ipi.shorthand);
  }

  private raiseError(bit: number): void {
    const fresh = (this.errors & bit) === 0;
    this.errors |= bit;
    if (fresh) this.lvt.deliver(lvtEntry.error);
  }

  // ---- Local sources ------------------------------------------------------------------------------------------------

  /** LINT0 (0) or LINT1 (1). */
  pin(number: 0 | 1): LevelInterrupt {
    return {
      set: asserted => {
        if (this.lvt.setPin(number, asserted) && this.externalPending()) this.onInterruptRequest();
      },
    };
  }

  /** Whether the 8259A's request reaches this vCPU: through LINT0 as ExtINT, or directly while the APIC is disabled. */
  private externalPending(): boolean {
    return (this.extInt && this.enabled) || this.lvt.external(this.enabled);
  }

  // ---- Reset and state ----------------------------------------------------------------------------------------------

  reset(): void {
    const before = this.apicPage;
    this.baseLow = (defaultBase | apicBaseBit.enable | (this.index === 0 ? apicBaseBit.bsp : 0)) >>> 0;
    this.baseHigh = 0;
    this.id = this.initialId;
    this.nmi = false;
    this.init = false;
    this.smi = false;
    this.startUp = -1;
    this.resetRegisters();
    this.timer.setTscOffset(0n);
    if (this.apicPage !== before) this.onApicPageChange();
  }

  /** The state that firmware leaves on the boot processor: the 8259A wired through LINT0, NMI on LINT1. */
  enterVirtualWireMode(): void {
    this.writeApic(apicRegister.svr, svrEnable | 0xff);
    this.writeApic(apicRegister.lvtLint0, deliveryMode.extInt << 8);
    this.writeApic(apicRegister.lvtLint1, deliveryMode.nmi << 8);
  }

  /** INIT keeps the base MSR and the ID. @sdm 3A 11.4.7.3 */
  private initReset(): void {
    this.resetRegisters();
    if (this.x2apic) this.enterX2apic();
  }

  private resetRegisters(): void {
    this.ldr = 0;
    this.dfr = 0xffffffff;
    this.svr = 0xff;
    this.esr = 0;
    this.errors = 0;
    this.icrLow = 0;
    this.icrHigh = 0;
    this.extInt = false;
    this.lvt.reset();
    this.timer.reset();
    this.priority.reset();
  }

  saveState(): DeviceState {
    this.settleEoi();
    const { version, baseLow, baseHigh, id, ldr, dfr, svr, esr, errors, icrLow, icrHigh, extInt, nmi, init, smi, startUp } = this;
    return {
      version, baseLow, baseHigh, id, ldr, dfr, svr, esr, errors, icrLow, icrHigh, extInt, nmi, init, smi, startUp,
      ...this.priority.save(), timer: this.timer.save(), ...this.lvt.save(),
    };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const next = {
      baseLow: reader.uint('baseLow', 32), baseHigh: reader.integer('baseHigh', 0, this.baseHighMask), id: reader.uint('id', 32),
      ldr: reader.uint('ldr', 32), dfr: reader.uint('dfr', 32), svr: reader.uint('svr', 13),
      esr: reader.uint('esr', 8), errors: reader.uint('errors', 8), icrLow: reader.uint('icrLow', 20), icrHigh: reader.uint('icrHigh', 32),
      extInt: reader.boolean('extInt'), nmi: reader.boolean('nmi'), init: reader.boolean('init'), smi: reader.boolean('smi'),
      startUp: reader.integer('startUp', -1, 255),
    };
    if ((next.baseLow & 0xc00) === apicBaseBit.x2apic) reader.refuse('baseLow', 'x2APIC mode only while the APIC is enabled');
    const loadPriority = this.priority.load(reader);
    const loadTable = this.lvt.load(reader);
    const loadTimer = this.timer.load(reader.record('timer'));
    const before = this.apicPage;
    Object.assign(this, next);
    loadTable();
    loadTimer();
    loadPriority();
    if (this.apicPage !== before) this.onApicPageChange();
  }
}
