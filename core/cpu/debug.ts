/**
 * A debugger outside the guest: breakpoints, watchpoints and single steps that use nothing of the guest's own (not its TF, not DR0 to DR7)
 * and that cost nothing while there are none.
 *
 * Breakpoints are linear addresses. Decoded code is kept by physical page, so a breakpoint marks its offset in every page: there the
 * translator puts a stop instead of an instruction, and regions end. Whoever reaches a mark without being at a breakpoint's full linear address
 * steps over it. So a breakpoint needs no mapping when it is set, and holds in every address space and alias.
 *
 * Watched pages have no look-aside entries, so an access to one takes the slow path (assembly/slow-access.ts). There the instruction is given up
 * before it has done anything, as for a fault, and is run again on its own; what it then accesses is noted, and the guest stops behind it.
 */
import {
  DEBUG_EXITS, DEBUG_HIT, DEBUG_HIT_KIND, DEBUG_MODE, DEBUG_STEPPING, DEBUG_WATCH, DEBUG_WATCHES, DEBUG_WATCH_COUNT, DEBUG_WATCH_LIMIT,
} from './layout.ts';

export type WatchKind = 'write' | 'read' | 'access';

export interface Watchpoint {
  /** Linear address of the first byte. */
  readonly address: bigint;
  readonly length: number;
  readonly kind: WatchKind;
}

/** Why the guest does not go on. */
export type DebugStop =
  | { readonly kind: 'breakpoint' }
  | { readonly kind: 'step' }
  /** The debugger asked for it. */
  | { readonly kind: 'interrupt' }
  | { readonly kind: 'watch'; readonly address: bigint; readonly watch: WatchKind };

/** What the unit needs of its processor. */
export interface DebuggedProcessor {
  readonly view: DataView;
  readonly markedOffsets: Set<number>;
  /** The vCPU that is selected. */
  readonly vcpu: number;
  call(name: string): number;
}

const KINDS: Readonly<Record<WatchKind, number>> = { write: 1, read: 2, access: 3 };
const WATCH_BYTES = 16;
const PAGE_MASK = 4095n;

export class DebugUnit {
  /** Set when the processor has stopped for the debugger, until `resume`. */
  stop: DebugStop | null = null;
  /** Whether anything here can change how instructions run: asked before and after every slice. */
  active = false;
  private readonly cpu: DebuggedProcessor;
  private readonly breakpoints = new Set<bigint>();
  private watchpoints: readonly Watchpoint[] = [];
  private exits = false;
  private alone = false;
  private single = false;
  /** Where execution resumes: the breakpoint that the guest stands on does not stop it again. */
  private passing: bigint | null = null;
  /** The vCPU that it is about, and the only one that runs while the debugger steps. */
  vcpu = 0;

  constructor(cpu: DebuggedProcessor) {
    this.cpu = cpu;
  }

  private refresh(): void {
    this.active = this.cpu.markedOffsets.size > 0 || this.watchpoints.length > 0 || this.exits || this.single || this.alone;
  }

  /** The debugger waits for one instruction. */
  get stepping(): boolean {
    return this.single;
  }

  setBreakpoint(address: bigint): void {
    this.breakpoints.add(address);
  }

  clearBreakpoint(address: bigint): void {
    this.breakpoints.delete(address);
  }

  /** Marks follow the breakpoints only as the guest goes on: debuggers take all away at each stop, and put them back. */
  private mark(): void {
    const { markedOffsets } = this.cpu;
    const wanted = new Set([...this.breakpoints].map((address) => Number(address & PAGE_MASK)));
    if (wanted.size === markedOffsets.size && [...wanted].every((offset) => markedOffsets.has(offset))) return;
    markedOffsets.clear();
    for (const offset of wanted) markedOffsets.add(offset);
    this.cpu.call('dropAllCode');
  }

  /** False when there are too many. */
  setWatchpoint(watchpoint: Watchpoint): boolean {
    if (this.watchpoints.length >= DEBUG_WATCH_LIMIT) return false;
    this.writeWatchpoints([...this.watchpoints, watchpoint]);
    return true;
  }

  clearWatchpoint({ address, length, kind }: Watchpoint): void {
    this.writeWatchpoints(this.watchpoints.filter((other) => other.address !== address || other.length !== length || other.kind !== kind));
  }

  /**
   * While VM exits are traced, every instruction that reaches a device's memory runs on its own, so that its exit shows exact registers; and root
   * mode is told of the exits and entries of nested guests, of which it is no part.
   */
  traceExits(on: boolean): void {
    this.exits = on;
    this.writeMode();
  }

  /** Takes away every breakpoint and watchpoint. */
  clear(): void {
    this.breakpoints.clear();
    this.writeWatchpoints([]);
    this.resume(null, false);
  }

  /** The guest goes on, the selected vCPU from linear address `rip`: that one alone for one instruction, or all until something stops them. */
  resume(rip: bigint | null, single: boolean): void {
    if (!single) this.mark();
    this.stop = null;
    this.single = single;
    this.passing = rip;
    this.vcpu = this.cpu.vcpu;
    this.refresh();
    this.cpu.view.setUint32(DEBUG_HIT_KIND, 0, true);
  }

  // ---- for the processor ------------------------------------------------------------------------------------------------------

  /** Before an instruction at linear address `rip`: whether it must run on its own; `stop` is set when it must not run. */
  before(rip: bigint): boolean {
    const own = this.cpu.vcpu === this.vcpu;
    const passing = own && this.passing === rip;
    if (own) this.passing = null;
    if (!passing && this.breakpoints.has(rip)) this.stop = { kind: 'breakpoint' };
    return this.alone || this.single || this.cpu.markedOffsets.has(Number(rip & PAGE_MASK));
  }

  /** The instruction was given up because it must run on its own. */
  again(): void {
    this.alone = true;
    this.refresh();
  }

  /** After an instruction, or many. */
  after(): void {
    const { view } = this.cpu;
    this.alone = false;
    const kind = view.getUint32(DEBUG_HIT_KIND, true);
    if (kind !== 0) {
      view.setUint32(DEBUG_HIT_KIND, 0, true);
      this.stop = { kind: 'watch', address: view.getBigUint64(DEBUG_HIT, true), watch: kind === 1 ? 'write' : kind === 2 ? 'read' : 'access' };
    } else if (this.single) this.stop = { kind: 'step' };
    this.refresh();
  }

  setStepping(on: boolean): void {
    this.cpu.view.setUint32(DEBUG_STEPPING, on ? 1 : 0, true);
  }

  private writeWatchpoints(watchpoints: readonly Watchpoint[]): void {
    const { view } = this.cpu;
    this.watchpoints = watchpoints;
    view.setUint32(DEBUG_WATCH_COUNT, watchpoints.length, true);
    watchpoints.forEach(({ address, length, kind }, i) => {
      view.setBigUint64(DEBUG_WATCHES + i * WATCH_BYTES, address, true);
      view.setUint32(DEBUG_WATCHES + i * WATCH_BYTES + 8, length, true);
      view.setUint32(DEBUG_WATCHES + i * WATCH_BYTES + 12, KINDS[kind], true);
    });
    this.writeMode();
  }

  private writeMode(): void {
    this.refresh();
    this.cpu.view.setUint32(DEBUG_MODE, (this.watchpoints.length > 0 ? DEBUG_WATCH : 0) | (this.exits ? DEBUG_EXITS : 0), true);
    this.cpu.call('flushBanks');
  }
}
