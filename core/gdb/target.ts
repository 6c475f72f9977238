/**
 * A machine as GDB sees it: answers the packets of its remote protocol between two slices. Everything in a packet is hostile until it is
 * checked. (Debugging with GDB, appendix E)
 */
import type { DebugStop, WatchKind } from '../cpu/debug.ts';
import type { Processor } from '../cpu/processor.ts';
import { CR0, EFER } from '../cpu/layout.ts';
import { readMemory, writeMemory } from '../inspect/guestMemory.ts';
import type { AddressSpace } from '../inspect/guestMemory.ts';
import { PACKET_BYTES } from './frames.ts';
import { monitorCommand } from './monitor.ts';
import type { InspectedBoard } from '../inspect/inspect.ts';
import { REGISTER_SETS, targetDescription } from './registers.ts';
import type { Architecture, TaskPriority } from './registers.ts';

/** What the target may do with its machine besides looking at the processor. */
export interface DebuggedMachine {
  readonly cpu: Processor;
  readonly board: InspectedBoard;
  readonly vcpus: number;
  readonly longMode: boolean;
  /** Ends the machine for good. */
  end(): void;
}

const OK = 'OK';
const UNKNOWN = '';
const BAD_PACKET = 'E01';
const NO_MEMORY = 'E0e';
const NO_ROOM = 'E1c';
/** Numbers of signals in the protocol. */
const SIGTRAP = '05';
const SIGINT = '02';
const WATCH_KINDS: Readonly<Record<string, WatchKind>> = { 2: 'write', 3: 'read', 4: 'access' };
const WATCH_NAMES: Readonly<Record<WatchKind, string>> = { write: 'watch', read: 'rwatch', access: 'awatch' };
const WATCH_LENGTH = 4096n;
const LMA = 1 << 10;
const PG = 0x80000000;

type Reply = string | Uint8Array | null;

export class GdbTarget {
  /** Whether the guest stands still for the debugger. */
  held = false;
  /** The vCPU that stopped, and the one that commands are about; a thread's number is one more. */
  private stopped = 0;
  private thread = 0;
  private readonly machine: DebuggedMachine;
  private readonly cpu: Processor;
  /** How each breakpoint was set, by address: a stop tells which kind it was. */
  private readonly breakpoints = new Map<bigint, 'swbreak' | 'hwbreak'>();
  private architecture: Architecture = 'amd64';
  private chosen: Architecture | null = null;
  private space: AddressSpace = 'virtual';

  constructor(machine: DebuggedMachine) {
    this.machine = machine;
    this.cpu = machine.cpu;
  }

  /** A debugger has come, or asks for a stop. */
  hold(): void {
    this.noticeStop();
    this.cpu.debug.stop ??= { kind: 'interrupt' };
  }

  /** The processor has stopped for the debugger. */
  noticeStop(): void {
    this.held = true;
    this.stopped = this.cpu.vcpu;
    this.thread = this.stopped;
  }

  /** The debugger has gone: its breakpoints go with it, and the guest goes on. */
  release(): void {
    this.breakpoints.clear();
    this.space = 'virtual';
    this.cpu.debug.clear();
    this.held = false;
  }

  /** The reply to a packet; null when it comes as the guest stops. */
  answer(packet: Uint8Array): Uint8Array | null {
    this.cpu.select(this.thread);
    const reply = this.reply(Buffer.from(packet).toString('latin1'), packet);
    return typeof reply === 'string' ? Buffer.from(reply, 'latin1') : reply;
  }

  private reply(text: string, packet: Uint8Array): Reply {
    const rest = text.slice(1);
    switch (text[0]) {
      case '?': return this.stopReply();
      case 'g': return this.readRegisters();
      case 'G': return this.writeRegisters(rest);
      case 'p': return this.readRegister(rest);
      case 'P': return this.writeRegister(rest);
      case 'm': return this.readMemory(rest);
      case 'M': return this.writeMemory(rest, null);
      case 'X': return this.writeMemory(text.slice(1, text.indexOf(':') + 1), packet.subarray(text.indexOf(':') + 1));
      case 'Z': return this.changePoint(rest, true);
      case 'z': return this.changePoint(rest, false);
      case 'c': case 's': return this.resume(text[0] === 's', rest);
      case 'C': case 'S': return this.resume(text[0] === 'S', rest.split(';')[1] ?? '');
      case 'v': return this.verbose(text);
      case 'H': return this.chooseThread(text.slice(2));
      case 'T': return this.threadOf(rest) === null ? BAD_PACKET : OK;
      case 'q': case 'Q': return this.query(text);
      case 'D':
        this.release();
        return OK;
      case 'k':
        this.kill();
        return OK;
      default: return UNKNOWN;
    }
  }

  // ---- running ------------------------------------------------------------------------------------------------------------------

  private resume(single: boolean, address: string): Reply {
    if (address !== '') {
      const to = parseHex(address);
      if (to === null) return BAD_PACKET;
      this.setPointer(to);
    }
    this.cpu.debug.resume(this.cpu.linearRip, single);
    this.held = false;
    return null;
  }

  private setPointer(address: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, address, true);
    REGISTER_SETS.amd64.find(({ name }) => name === 'rip')?.write(this.cpu, bytes, this.apic);
  }

  private verbose(text: string): Reply {
    if (text === 'vCont?') return 'vCont;c;C;s;S';
    if (text.startsWith('vCont;')) return this.resumeThreads(text.split(';').slice(1));
    if (text.startsWith('vKill;')) {
      this.kill();
      return OK;
    }
    return UNKNOWN;
  }

  /** `vCont`, actions with a thread each. A step is one thread's, and the others stand still for it; else all go on. */
  private resumeThreads(actions: readonly string[]): Reply {
    const parts = actions.map((action) => action.split(':', 2));
    if (parts.length === 0 || !parts.every(([verb = '']) => /^([cs]|[CS][0-9a-f]{2})$/i.test(verb))) return BAD_PACKET;
    const step = parts.find(([verb = '']) => verb[0]!.toLowerCase() === 's');
    if (!step) return this.resume(false, '');
    const thread = step[1] === undefined ? this.thread : this.threadOf(step[1]);
    if (thread === null) return BAD_PACKET;
    this.cpu.select(thread);
    return this.resume(true, '');
  }

  private kill(): void {
    this.release();
    this.machine.end();
  }

  private stopReply(): string {
    const stop = this.cpu.debug.stop ?? { kind: 'interrupt' };
    return `T${stop.kind === 'interrupt' ? SIGINT : SIGTRAP}${this.stopReason(stop)}thread:${numberOf(this.stopped)};`;
  }

  private stopReason(stop: DebugStop): string {
    if (stop.kind === 'watch') return `${WATCH_NAMES[stop.watch]}:${this.watchedAddress(stop.address).toString(16)};`;
    if (stop.kind === 'breakpoint') return `${this.breakpoints.get(this.cpu.linearRip) ?? 'hwbreak'}:;`;
    return '';
  }

  private readonly watched = new Set<bigint>();

  /** GDB looks for a watchpoint that covers the address it is told: an access may have begun before it. */
  private watchedAddress(accessed: bigint): bigint {
    const following = [...this.watched].filter((address) => address >= accessed && address < accessed + 64n).sort((a, b) => (a < b ? -1 : 1));
    return this.watched.has(accessed) ? accessed : (following[0] ?? accessed);
  }

  // ---- registers ----------------------------------------------------------------------------------------------------------------

  private get apic(): TaskPriority {
    return this.machine.board.interrupts.localApics[this.thread]!;
  }

  private readRegisters(): string {
    return REGISTER_SETS[this.architecture].map((row) => hexOf(this.bytesOf(row))).join('');
  }

  private bytesOf(row: { readonly bits: number; read(cpu: Processor, bytes: Uint8Array): void }): Uint8Array {
    const bytes = new Uint8Array(row.bits / 8);
    row.read(this.cpu, bytes);
    return bytes;
  }

  private writeRegisters(text: string): string {
    const bytes = parseBytes(text);
    if (!bytes) return BAD_PACKET;
    let at = 0;
    for (const row of REGISTER_SETS[this.architecture]) {
      const size = row.bits / 8;
      if (at + size > bytes.length) break;
      row.write(this.cpu, bytes.subarray(at, at + size), this.apic);
      at += size;
    }
    return OK;
  }

  private readRegister(text: string): string {
    const row = REGISTER_SETS[this.architecture][Number(parseHex(text) ?? -1n)];
    return row ? hexOf(this.bytesOf(row)) : BAD_PACKET;
  }

  private writeRegister(text: string): string {
    const [number = '', value = ''] = text.split('=');
    const row = REGISTER_SETS[this.architecture][Number(parseHex(number) ?? -1n)];
    const bytes = parseBytes(value);
    return row && bytes?.length === row.bits / 8 && row.write(this.cpu, bytes, this.apic) ? OK : BAD_PACKET;
  }

  // ---- memory -------------------------------------------------------------------------------------------------------------------

  private readMemory(text: string): string {
    const range = parseRange(text);
    if (!range || range.length > BigInt(PACKET_BYTES / 2)) return BAD_PACKET;
    const bytes = readMemory(this.cpu, this.space, range.address, Number(range.length));
    return bytes.length > 0 || range.length === 0n ? hexOf(bytes) : NO_MEMORY;
  }

  /** `ADDRESS,LENGTH:` and then hexadecimal digits, or the bytes themselves. */
  private writeMemory(text: string, binary: Uint8Array | null): string {
    const [where = '', digits = ''] = text.split(':');
    const range = parseRange(where);
    const bytes = binary ?? parseBytes(digits);
    if (!range || !bytes || BigInt(bytes.length) !== range.length) return BAD_PACKET;
    return writeMemory(this.cpu, this.space, range.address, bytes) ? OK : NO_MEMORY;
  }

  // ---- breakpoints and watchpoints ------------------------------------------------------------------------------------------------

  /** `TYPE,ADDRESS,KIND`. Software breakpoints are made like the others: memory stays as the guest knows it. */
  private changePoint(text: string, set: boolean): string {
    const [type = '', address = '', length = ''] = text.split(';')[0]?.split(',') ?? [];
    const range = parseRange(`${address},${length}`);
    if (!range) return BAD_PACKET;
    const { debug } = this.cpu;
    if (type === '0' || type === '1') {
      if (set) {
        debug.setBreakpoint(range.address);
        this.breakpoints.set(range.address, type === '0' ? 'swbreak' : 'hwbreak');
      } else {
        debug.clearBreakpoint(range.address);
        this.breakpoints.delete(range.address);
      }
      return OK;
    }
    const kind = WATCH_KINDS[type];
    if (!kind) return UNKNOWN;
    if (range.length < 1n || range.length > WATCH_LENGTH) return BAD_PACKET;
    const watchpoint = { address: range.address, length: Number(range.length), kind };
    debug.clearWatchpoint(watchpoint);
    this.watched.delete(range.address);
    if (!set) return OK;
    this.watched.add(range.address);
    return debug.setWatchpoint(watchpoint) ? OK : NO_ROOM;
  }

  // ---- queries ------------------------------------------------------------------------------------------------------------------

  /** The vCPU of a thread's number; any and all (0 and -1) are the one that commands are about. Null: there is no such thread. */
  private threadOf(text: string): number | null {
    const number = Number.parseInt(text, 16);
    if (number === 0 || number === -1) return this.thread;
    return number >= 1 && number <= this.machine.vcpus ? number - 1 : null;
  }

  private chooseThread(text: string): Reply {
    const thread = this.threadOf(text);
    if (thread === null) return BAD_PACKET;
    this.thread = thread;
    return OK;
  }

  private query(text: string): Reply {
    if (text.startsWith('qSupported')) {
      this.architecture = this.chosen ?? this.currentArchitecture();
      return `PacketSize=${PACKET_BYTES.toString(16)};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+`;
    }
    if (text.startsWith('qXfer:features:read:target.xml:')) return this.description(text.slice('qXfer:features:read:target.xml:'.length));
    if (text.startsWith('qRcmd,')) return this.monitor(text.slice('qRcmd,'.length));
    if (text.startsWith('qThreadExtraInfo,')) return hexOf(Buffer.from(`vCPU ${(Number.parseInt(text.slice('qThreadExtraInfo,'.length), 16) || 1) - 1}`));
    if (text.startsWith('qSymbol')) return OK;
    switch (text) {
      case 'QStartNoAckMode': return OK;
      case 'qfThreadInfo': return `m${Array.from({ length: this.machine.vcpus }, (_, i) => numberOf(i)).join(',')}`;
      case 'qsThreadInfo': return 'l';
      case 'qC': return `QC${numberOf(this.thread)}`;
      case 'qAttached': return '1';
      case 'qqemu.PhyMemMode': return this.space === 'physical' ? '1' : '0';
      case 'Qqemu.PhyMemMode:0': case 'Qqemu.PhyMemMode:1':
        this.space = text.endsWith('1') ? 'physical' : 'virtual';
        return OK;
      default: return UNKNOWN;
    }
  }

  /** Registers of 64 bits where the guest has them or may yet get them; those of 32 bits for a guest that has paging without them. */
  private currentArchitecture(): Architecture {
    const { view } = this.cpu;
    if (!this.machine.longMode) return 'i386';
    const paged = (view.getUint32(CR0, true) & PG) !== 0;
    return paged && !(view.getUint32(EFER, true) & LMA) ? 'i386' : 'amd64';
  }

  private description(text: string): string {
    const range = parseRange(text);
    if (!range) return BAD_PACKET;
    const all = targetDescription(this.architecture);
    const from = Number(range.address);
    const part = all.slice(from, from + Math.min(Number(range.length), PACKET_BYTES / 2));
    return `${from + part.length < all.length ? 'm' : 'l'}${part}`;
  }

  /** `monitor ...` at GDB's prompt. */
  private monitor(text: string): string {
    const bytes = parseBytes(text);
    if (!bytes) return BAD_PACKET;
    const answer = monitorCommand(Buffer.from(bytes).toString('latin1').trim(), {
      cpu: this.cpu, board: this.machine.board,
      physical: (on) => void (this.space = on ? 'physical' : 'virtual'),
      choose: (architecture) => void (this.chosen = architecture),
    });
    return hexOf(Buffer.from(`${answer}\n`.slice(0, PACKET_BYTES / 2 - 1)));
  }
}

/** A thread's number is its vCPU's and one. */
function numberOf(vcpu: number): string {
  return (vcpu + 1).toString(16);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** A number of at most 64 bits. */
function parseHex(text: string): bigint | null {
  return /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : null;
}

function parseRange(text: string): { readonly address: bigint; readonly length: bigint } | null {
  const [first = '', second = ''] = text.split(',');
  const address = parseHex(first);
  const length = parseHex(second);
  return address === null || length === null ? null : { address, length };
}

function parseBytes(text: string): Uint8Array | null {
  return /^([0-9a-f]{2})*$/i.test(text) ? Uint8Array.from(Buffer.from(text, 'hex')) : null;
}
