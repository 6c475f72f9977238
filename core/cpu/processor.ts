/**
 * The emulated vCPUs of a machine: their linear memory, the compiled helpers, the interpreter, and what root mode needs to enter and leave them.
 * One of them is selected; everything here is about that one.
 *
 * `enter` is VM entry: it runs the guest until a VM exit and returns the SDM's basic exit reason; the exit's qualification and the
 * rest are in the state (core/cpu/layout.ts).
 */
import './v8Flags.ts';
import { randomBytes } from 'node:crypto';
import { COLD_LIMIT, InterpreterCode } from './interpreter/code.ts';
import { HOT_NUMBERS, pairName } from './interpreter/pairs.ts';
import type { PrebuiltCode } from './interpreter/prebuilt.ts';
import { DebugUnit } from './debug.ts';
import type { DebuggedProcessor } from './debug.ts';
import { VmEntry, STATUS_EXIT, STATUS_OK, injectionPending, linearRip } from './entry.ts';
import type { FrequentHelpers } from './entry.ts';
import { EntryBudget } from './entryBudget.ts';
import { JitManager } from './jit/manager.ts';
import type { Translations } from './jit/translation.ts';
import { helperImports } from './host.ts';
import type { InstructionHost, ProcessorHost } from './host.ts';
import { helperSignatures } from './helpers.ts';
import type { HelperSignatures } from './helpers.ts';
import { Translator } from './translator.ts';
import type { TranslatorHelpers } from './translator.ts';
import { PRIMARY_INTERRUPT_WINDOW, PRIMARY_NMI_WINDOW } from '../vmx/control-bits.ts';
import { RootEpt } from '../vmm/rootEpt.ts';
import type { PageKind } from '../vmm/rootEpt.ts';
import { instructionInformation } from '../vmx/information.ts';
import {
  CR4_ALLOWED, CR8, EFER_ALLOWED, ENTRY_INTR_INFO, EXIT_REASON, HISTORY_WRITTEN, INSTRUCTIONS, INTERRUPT_WINDOW, NEXT_RIP, NMI_WINDOW,
  NON_ROOT, PAGE_CODE, PAGE_HISTORY, PAGE_MMIO, PAGE_RAM, PHYS_RESERVED, RAM_BASE, RAM_SIZE, REGION_CHECKS, REGION_CHECKS_SIZE, RIP, ROM_BASE, ROM_GPA,
  ROOT_CR8, ROOT_EPT, ROOT_EPT_POINTER, ROOT_PRIMARY, RUNNING_VCPU, STATE, TIME_UP, VCPU_LIMIT, VCPU_STATES, VCPU_STATE_SIZE, WINDOW_EMPTY, WINDOW_ROOT,
  XCR0_ALLOWED,
} from './layout.ts';

/** An instruction form, or a pair of them, and how often it ran. */
export interface ExecutedForm {
  readonly name: string;
  readonly count: number;
}

interface HelperExports {
  readonly [name: string]: WebAssembly.ExportValue;
}
type HelperFunction = (...args: (number | bigint)[]) => number;

/** Root mode's controls for windows. */
const WINDOWS = PRIMARY_INTERRUPT_WINDOW | PRIMARY_NMI_WINDOW;

/** Entries of the function table: forms, and regions. */
const TABLE_SIZE = 65536;
const HIGH_PAGES = (RAM_BASE >>> 16) + 1;

export interface ProcessorOptions {
  /** The compiled helpers (dist/cpu.wasm). */
  readonly helpers: WebAssembly.Module;
  /** Bytes of the same module: signatures are read from them. */
  readonly helperBytes: Uint8Array;
  readonly ramBytes: number;
  /** How many vCPUs; absent: one. At most VCPU_LIMIT. */
  readonly vcpus?: number;
  readonly host: ProcessorHost;
  /** CPUID features of the model: instructions of others are undefined. Absent: all. */
  readonly features?: ReadonlySet<string>;
  /** `on` compiles what is hot, `always` whatever is decoded. */
  readonly jit?: 'off' | 'on' | 'always';
  /** VM entries end at places that follow from the guest alone, and the count of instructions stands still while one lasts. */
  readonly exact?: boolean;
  /** Folder into which every compiled region is written, for whoever tunes them. */
  readonly dumpRegions?: string | undefined;
  /** What earlier runs have compiled, and where this one keeps its own (`JitManager.keep`); absent: nothing is kept. */
  readonly translations?: Translations | undefined;
  /** Made from the same sources; absent: what is needed is emitted when it is needed. */
  readonly prebuilt?: PrebuiltCode | undefined;
  /** For tests: how few forms there is room for (interpreter/code.ts). */
  readonly formLimit?: number | undefined;
  /** Counts executed operations, for the choice of hot forms. */
  readonly profile?: boolean;
}

export class Processor {
  readonly memory: WebAssembly.Memory;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly ram: Uint8Array;
  readonly translator: Translator;
  readonly helpers: HelperExports;
  /** The same, for what is called at every VM entry or exit: `call` looks a name up each time. */
  private readonly frequent: FrequentHelpers;
  readonly signatures: HelperSignatures;
  private readonly interpreter: InterpreterCode;
  readonly jit: JitManager | null = null;
  readonly debug: DebugUnit;
  /** Which guest-physical pages are mapped, and how. */
  readonly ept: RootEpt;
  readonly vcpus: number;
  readonly exact: boolean;
  private readonly entry: VmEntry;
  /** The count of instructions at the VM entry that is under way; null: none is. */
  private enteredAt: number | null = null;

  constructor(options: ProcessorOptions) {
    const pages = HIGH_PAGES + Math.ceil(options.ramBytes / 65536);
    // The maximum is a reservation of address space alone.
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true });
    this.view = new DataView(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.ram = new Uint8Array(this.memory.buffer, RAM_BASE, options.ramBytes);
    this.signatures = helperSignatures(options.helperBytes);
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SIZE });
    const { host } = options;
    const aside = <T>(work: () => T): T => (host.aside ? host.aside(work) : work());
    const instance = new WebAssembly.Instance(options.helpers, {
      env: { memory: this.memory },
      host: helperImports(this.view, host, {
        operands: () => this.describeOperands(),
        length: () => this.translator.instructionAtRip()?.length ?? 0,
        onStack: () => this.translator.stackOperand(),
        decode: (gpa, descriptor) => aside(() => {
          const record = this.translator.decode(gpa, descriptor);
          if (record !== 0 && descriptor !== 0 && options.jit === 'always') this.jit?.compile(gpa);
          return record;
        }),
      }),
    });
    this.helpers = instance.exports;
    this.frequent = instance.exports as unknown as FrequentHelpers;
    const profile = options.profile === true;
    this.interpreter = new InterpreterCode({
      memory: this.memory, table, helpers: this.helpers as WebAssembly.ModuleImports, signatures: this.signatures, profile,
      prebuilt: profile ? null : options.prebuilt ?? null, formLimit: options.formLimit, dropRegion: index => this.jit?.drop(index) ?? true,
    });
    this.translator = new Translator(
      this.memory, instance.exports as unknown as TranslatorHelpers, this.interpreter.numbers, long => this.interpreter.pairs(long), (program, name) => this.interpreter.compileForm(program, name), options.features,
    );
    if (options.jit === 'on' || options.jit === 'always') {
      this.jit = new JitManager({
        aside, dumpFolder: options.dumpRegions,
        memory: this.memory, table, helpers: this.helpers as WebAssembly.ModuleImports, signatures: this.signatures, features: options.features,
        firstIndex: COLD_LIMIT, lastIndex: TABLE_SIZE - 1, dropAllCode: () => { this.call('dropAllCode'); },
        pageAddress: delta => this.call('sampleAddress', delta) >>> 0, markedOffsets: this.translator.markedOffsets,
        translations: options.translations, tableFor: gpa => this.call('tableFor', gpa) >>> 0,
        markDecoded: (descriptor, from, to) => { this.call('markDecoded', descriptor, from, to); },
        clearLinks: () => { this.call('clearLinks'); },
        singleOperation: (operation, long) => this.interpreter.pairs(long).single(operation),
      });
    }
    this.exact = options.exact === true;
    this.debug = new DebugUnit(debugged(this));
    this.entry = new VmEntry({
      view: this.view, interpreter: this.interpreter, translator: this.translator, jit: this.jit, debug: this.debug, exact: this.exact, frequent: this.frequent,
      budget: new EntryBudget(this.view, this.jit !== null, this.exact), sampleAddress: instance.exports['sampleAddress'] as (delta: number) => number,
      call: (name, ...args) => this.call(name, ...args),
    });
    this.view.setUint32(RAM_SIZE, options.ramBytes, true);
    this.nameEmptyWindow();
    this.vcpus = options.vcpus ?? 1;
    if (this.vcpus > VCPU_LIMIT) throw new Error(`at most ${VCPU_LIMIT} vCPUs`);
    this.ept = new RootEpt(this.memory);
    this.ept.map(0, options.ramBytes, PAGE_RAM);
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) this.view.setUint32(this.fieldOf(vcpu, ROOT_EPT_POINTER), ROOT_EPT, true);
  }

  /** The time that is being read is late: a VM entry that is under way ends behind the instruction. */
  endEntry(): void {
    this.view.setUint32(TIME_UP, 1, true);
  }

  /** Calls somebody as often as can be, between instructions: wherever the interpreter jumps and a region ends. */
  observe(observer: (() => void) | null): void {
    this.entry.observe(observer);
  }

  /** The vCPU that everything here is about, from 0. */
  get vcpu(): number {
    return this.view.getUint32(RUNNING_VCPU, true);
  }

  /** Makes everything here be about another vCPU. Between two VM entries only. */
  select(vcpu: number): void {
    this.call('selectVcpu', vcpu);
  }

  /** Does something about another vCPU; what it returns. */
  on<T>(vcpu: number, action: () => T): T {
    const before = this.vcpu;
    this.select(vcpu);
    try {
      return action();
    } finally {
      this.select(before);
    }
  }

  /** Where a field of a vCPU's own state (core/cpu/layout.ts) lies now. */
  fieldOf(vcpu: number, field: number): number {
    return vcpu === this.vcpu ? field : VCPU_STATES + vcpu * VCPU_STATE_SIZE + field - STATE;
  }

  /** WINDOW_EMPTY lies among the processor's state, which a reset clears: 0 would open page 0 through every empty window. */
  private nameEmptyWindow(): void {
    this.view.setBigUint64(WINDOW_EMPTY, (1n << 62n) | (BigInt.asUintN(48, randomBytes(8).readBigUInt64LE()) << 12n), true);
  }

  /** VM-exit instruction information of the instruction at RIP. */
  private describeOperands(): ReturnType<InstructionHost['operands']> {
    const decoded = this.translator.instructionAtRip();
    return decoded ? instructionInformation(decoded, this.view.getBigUint64(RIP, true)) : { information: 0, displacement: 0n };
  }

  /** Calls a helper by name. */
  call(name: string, ...args: (number | bigint)[]): number {
    const helper = this.helpers[name];
    if (typeof helper !== 'function') throw new Error(`no helper named ${name}`);
    return (helper as HelperFunction)(...args);
  }

  /** Sets what the CPUID model allows in control registers. */
  setLimits(limits: { cr4: bigint; efer: bigint; xcr0: bigint; physicalAddressBits: number }): void {
    this.view.setBigUint64(CR4_ALLOWED, limits.cr4, true);
    this.view.setBigUint64(EFER_ALLOWED, limits.efer, true);
    this.view.setBigUint64(XCR0_ALLOWED, limits.xcr0, true);
    this.view.setBigUint64(PHYS_RESERVED, ((1n << 52n) - 1n) & ~((1n << BigInt(limits.physicalAddressBits)) - 1n), true);
  }

  /** Instruction forms that were emitted on demand. */
  get formsCompiled(): number {
    return this.interpreter.formsCompiled;
  }

  /** Makes guest-physical pages MMIO, RAM or ROM. */
  setPageKind(gpa: number, bytes: number, kind: PageKind): void {
    this.ept.map(gpa, bytes, kind);
    this.call('flushBanks');
  }

  get instructions(): number {
    return this.view.getUint32(INSTRUCTIONS + 4, true) * 2 ** 32 + this.view.getUint32(INSTRUCTIONS, true);
  }

  /** The same for a clock: within a VM entry, of which it is not known how much is done, the count at its beginning. */
  get instructionsForClock(): number {
    return this.enteredAt ?? this.instructions;
  }

  /** Linear address of the next instruction. */
  get linearRip(): bigint {
    return linearRip(this.view);
  }

  /** Whether an external interrupt can be taken now, by the guest or by the hypervisor inside it. */
  get interruptible(): boolean {
    return this.frequent.interruptible() !== 0;
  }

  /** By a shadow or by an NMI that is being handled. */
  get nmiBlocked(): boolean {
    return this.frequent.nmiBlocked() !== 0;
  }

  /** Whether the vCPU runs a nested guest: VMX non-root operation of a hypervisor inside the machine. */
  get nonRoot(): boolean {
    return this.view.getUint32(NON_ROOT, true) !== 0;
  }

  /** Changes root mode's primary controls for the selected vCPU, those of `mask`. */
  setRootControls(mask: number, controls: number): void {
    this.view.setUint32(ROOT_PRIMARY, (this.view.getUint32(ROOT_PRIMARY, true) & ~mask) | controls, true);
  }

  /** Asks for exits as soon as an external interrupt, or an NMI, can be taken. What a nested guest's hypervisor asks for stays. */
  requestWindows(interrupt: boolean, nmi: boolean): void {
    const { view } = this;
    const controls = (interrupt ? PRIMARY_INTERRUPT_WINDOW : 0) | (nmi ? PRIMARY_NMI_WINDOW : 0);
    if ((view.getUint32(ROOT_PRIMARY, true) & WINDOWS) === controls) return;
    this.setRootControls(WINDOWS, controls);
    view.setUint32(INTERRUPT_WINDOW, (view.getUint32(INTERRUPT_WINDOW, true) & ~WINDOW_ROOT) | (interrupt ? WINDOW_ROOT : 0), true);
    view.setUint32(NMI_WINDOW, (view.getUint32(NMI_WINDOW, true) & ~WINDOW_ROOT) | (nmi ? WINDOW_ROOT : 0), true);
  }

  /** Carries out an exit of a nested guest to its hypervisor (a helper of core/cpu/assembly/vm-events.ts). True when there was one. */
  exitToHypervisor(helper: string, ...args: number[]): boolean {
    return this.entry.exitToHypervisor(helper, ...args);
  }

  /** Makes an event pending for the next VM entry (VM-entry interruption information without error code). */
  inject(type: number, vector: number): void {
    this.view.setUint32(ENTRY_INTR_INFO, (0x80000000 | (type << 8) | vector) >>> 0, true);
  }

  get injectionPending(): boolean {
    return injectionPending(this.view);
  }

  /**
   * VM entry: runs at most about `budget` instructions. Returns the basic exit reason; `preemptionTimer` when the budget is used up,
   * `interruptWindow` and `nmiWindow` when the guest can take an event that INTERRUPT_WINDOW or NMI_WINDOW announced,
   * EXIT_DEBUGGER when `debug.stop` is set.
   */
  enter(budget: number): number {
    this.enteredAt = this.instructions;
    try {
      return this.entry.run(budget);
    } finally {
      this.enteredAt = null;
    }
  }

  /** Root mode's own change of the task priority. */
  setCr8(value: number): void {
    this.view.setUint32(CR8, value, true);
    this.view.setUint32(ROOT_CR8, value, true);
  }

  /** Basic reason of an exit that the next `enter` reports before the guest runs; -1 for none. Part of a saved state. */
  get pendingExit(): number {
    return this.entry.isOwed ? this.view.getUint32(EXIT_REASON, true) : -1;
  }

  set pendingExit(reason: number) {
    this.entry.isOwed = reason >= 0;
    if (reason >= 0) this.view.setUint32(EXIT_REASON, reason, true);
  }

  /** Completes an instruction that exited: RIP goes behind it. False when a trap of the instruction was delivered instead of what follows. */
  skip(): boolean {
    const { view } = this;
    view.setUint32(RIP, view.getUint32(NEXT_RIP, true), true);
    view.setUint32(RIP + 4, view.getUint32(NEXT_RIP + 4, true), true);
    const instructions = view.getUint32(INSTRUCTIONS, true) + 1;
    view.setUint32(INSTRUCTIONS, instructions, true);
    if (instructions === 2 ** 32) view.setUint32(INSTRUCTIONS + 4, view.getUint32(INSTRUCTIONS + 4, true) + 1, true);
    const status = this.frequent.endInstruction();
    this.entry.isOwed = status === STATUS_EXIT;
    return status === STATUS_OK;
  }

  /**
   * Lets the guest reach a device's memory without an exit, at page `gpa`. Code does not run there. Null where it cannot be: RAM, ROM or
   * another device is there, or the host gives no memory. `unmap` makes the pages MMIO again; the view must not be used then.
   */
  mapDeviceMemory(gpa: number, size: number): { readonly memory: Uint8Array; unmap(): void } | null {
    const host = RAM_BASE + gpa;
    const end = host + size;
    if (gpa < this.ram.length || gpa + size > ROM_GPA || end > 2 ** 32) return null;
    for (let page = gpa / 4096; page < (gpa + size) / 4096; page++) if (this.ept.kindOf(page) !== PAGE_MMIO) return null;
    const missing = Math.ceil((end - this.memory.buffer.byteLength) / 65536);
    try {
      if (missing > 0) this.memory.grow(missing);
    } catch {
      return null;
    }
    this.bytes.fill(HISTORY_WRITTEN, PAGE_HISTORY + gpa / 4096, PAGE_HISTORY + (gpa + size) / 4096);
    this.setPageKind(gpa, size, PAGE_RAM);
    return { memory: new Uint8Array(this.memory.buffer, host, size), unmap: () => this.setPageKind(gpa, size, PAGE_MMIO) };
  }

  /** The ROM area: its last byte is at guest-physical FFFFFFFFH. Pages of it are MMIO until `setPageKind` says otherwise. */
  get rom(): Uint8Array {
    return this.bytes.subarray(ROM_BASE, RAM_BASE);
  }

  /** A device is about to read RAM: pages that are still in a snapshot are fetched. */
  noteDeviceRead(gpa: number, size: number): void {
    this.call('touchMemory', gpa, size, 0);
  }

  /** A device is about to change RAM, within a page: snapshots are told, and code decoded from there is forgotten. */
  noteDeviceWrite(gpa: number, size: number): void {
    this.call('touchMemory', gpa, size, 1);
    if (this.view.getUint32(PAGE_CODE + (gpa >>> 12) * 4, true) !== 0) this.call('writeToCode', gpa, size);
  }

  /** Raises #GP(0) at the instruction that exited. */
  generalProtection(): void {
    this.call('raiseError', 13, 0);
    this.entry.isOwed = this.call('deliverPending') === STATUS_EXIT;
  }

  /** The selected vCPU's state has been set anew, by INIT: forgets its translations and what root mode left unfinished. */
  restart(): void {
    this.entry.isOwed = false;
    this.setCr8(this.view.getUint32(CR8, true));
    this.call('useBank', 0);
    this.call('flushBanks');
    this.call('updateMode');
  }

  /** The selected vCPU's state has been set anew, and memory perhaps: forgets what root mode left unfinished, and all decoded code. */
  reset(): void {
    this.entry.isOwed = false;
    this.view.setBigInt64(ROOT_CR8, 0n, true);
    this.nameEmptyWindow();
    // The count of changed translations begins anew.
    this.bytes.fill(0, REGION_CHECKS, REGION_CHECKS + REGION_CHECKS_SIZE);
    this.call('useBank', 0);
    this.call('flushBanks');
    this.call('dropAllCode');
    this.call('updateMode');
  }

  /** Forms, and pairs of hot ones, that the interpreter has carried out since the last call; needs `profile`. */
  takeProfile(): { readonly forms: ExecutedForm[]; readonly pairs: ExecutedForm[] } {
    const { operations, pairs } = this.interpreter.takeProfile();
    const name = (operation: number): string => this.translator.nameOf(operation);
    return {
      forms: [...operations].map(([operation, count]) => ({ name: name(operation), count })),
      pairs: [...pairs].map(([both, count]) => ({ name: pairName(name(Math.floor(both / HOT_NUMBERS)), name(both % HOT_NUMBERS)), count })),
    };
  }
}

/** A processor as its debug unit sees it. */
function debugged(cpu: Processor): DebuggedProcessor {
  return {
    view: cpu.view, markedOffsets: cpu.translator.markedOffsets, call: name => cpu.call(name),
    get vcpu() {
      return cpu.vcpu;
    },
  };
}
