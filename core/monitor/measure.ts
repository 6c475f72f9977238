/** What things cost: `exits` provokes each kind of VM exit that the machine knows, `bench` runs plain code. */
import { hpetBase, localApicBase } from '../platform/memoryLayout.ts';
import { ioApicBase } from '../platform/ioApic.ts';
import { mem, register } from '../isa/registers.ts';
import { checkBreak } from './commands.ts';
import type { CommandRow } from './commands.ts';
import type { Program } from './program.ts';
import { apic, apicWrite, vector } from './runtime.ts';

const { rax, rbx, rcx, rdx, rsi, rdi, rbp, r12, r13, r14, eax, ecx, edx, ebp, al, r8, r9 } = register;

export const measureCommands: readonly CommandRow[] = [
  { name: 'exits', usage: '', help: 'provoke each kind of VM exit and time it', body: exits },
  { name: 'bench', usage: '', help: 'time plain code: arithmetic, memory, calls', body: bench },
];

export function measureRoutines(p: Program): void {
  p.reserve('buffer', 0x20000);
  // timestamp(): RAX.
  p.label('timestamp').emit('RDTSC').emit('SHL', rdx, 32).emit('OR', rax, rdx).emit('RET');
}

/** Runs `body` RBP times, RBP counting down; the ticks are left in R12. `body` keeps RBP and R13. */
function timed(p: Program, name: string, count: number, body: () => void): void {
  p.emit('MOV', ebp, count).emit('CALL', 'timestamp').emit('MOV', r13, rax);
  p.label(`.${name}`);
  body();
  p.emit('DEC', ebp).emit('JNZ', `.${name}`).emit('CALL', 'timestamp').emit('SUB', rax, r13).emit('MOV', r12, rax);
}

interface ExitRow {
  /** Basic exit reason with its name. @sdm 3D appendix C */
  readonly reason: number;
  readonly name: string;
  readonly what: string;
  readonly count: number;
  readonly body: (p: Program) => void;
}

const MSR_APIC_BASE = 0x1b;
const DELAY_PORT = 0x80;
const TIMER_TICKS = 100_000;
/** Self-interrupt, fixed delivery, edge. */
const SELF = 0x40000;

const readFrom = (address: number) => (p: Program): void => void p.emit('MOV', eax, address).emit('MOV', eax, mem(rax));

const EXITS: readonly ExitRow[] = [
  { reason: 1, name: 'external interrupt', what: 'interrupt to itself', count: 1000, body: selfInterrupt },
  { reason: 10, name: 'CPUID', what: 'leaf 0', count: 2000, body: p => void p.emit('XOR', eax, eax).emit('XOR', ecx, ecx).emit('CPUID') },
  { reason: 12, name: 'HLT', what: 'until a timer of 0.1 ms', count: 20, body: halt },
  { reason: 28, name: 'control register', what: 'MOV CR8', count: 2000, body: p => void p.emit('MOV', eax, ebp).emit('AND', eax, 1)
    .emit('MOV', register.cr8, rax) },
  { reason: 30, name: 'I/O instruction', what: 'IN from port 80H', count: 2000, body: p => void p.emit('IN', al, DELAY_PORT) },
  { reason: 30, name: 'I/O instruction', what: 'OUT to port 80H', count: 2000, body: p => void p.emit('OUT', DELAY_PORT, al) },
  { reason: 31, name: 'RDMSR', what: 'IA32_APIC_BASE', count: 2000, body: p => void p.emit('MOV', ecx, MSR_APIC_BASE).emit('RDMSR') },
  { reason: 32, name: 'WRMSR', what: 'IA32_APIC_BASE, unchanged', count: 2000, body: p => void p.emit('MOV', ecx, MSR_APIC_BASE)
    .emit('RDMSR').emit('WRMSR') },
  { reason: 48, name: 'EPT violation', what: 'read of the local APIC', count: 2000, body: readFrom(localApicBase + apic.version) },
  { reason: 48, name: 'EPT violation', what: 'write to the local APIC', count: 2000, body: p => apicWrite(p, apic.taskPriority, 0) },
  { reason: 48, name: 'EPT violation', what: 'read of the I/O APIC', count: 2000, body: readFrom(ioApicBase + 0x10) },
  { reason: 48, name: 'EPT violation', what: 'read of the HPET', count: 2000, body: readFrom(hpetBase + 0xf0) },
];

function selfInterrupt(p: Program): void {
  p.emit('CLI').emit('MOV', p.variable('selfFired'), 0);
  apicWrite(p, apic.commandLow, SELF | vector.self);
  p.emit('STI');
  const wait = `.self${EXITS.length}`;
  p.label(wait).emit('CMP', p.variable('selfFired'), 0).emit('JE', wait);
}

/** One-shot timer, then HLT; what wakes it may be a key, so the flag is looked at. */
function halt(p: Program): void {
  p.emit('MOV', p.variable('timerFired'), 0);
  apicWrite(p, apic.divide, 0xb);
  apicWrite(p, apic.timer, vector.timer);
  apicWrite(p, apic.initial, TIMER_TICKS);
  p.label('.asleep').emit('CLI').emit('CMP', p.variable('timerFired'), 0).emit('JNE', '.awake').emit('STI').emit('HLT');
  p.emit('JMP', '.asleep');
  p.label('.awake').emit('STI');
}

function exits(p: Program): void {
  p.line('  Reason', { column: 31 }, 'Provoked by', { column: 58 }, '   Ticks', { column: 67 }, '      ns');
  EXITS.forEach(({ reason, name, what, count, body }, i) => {
    checkBreak(p);
    p.say(`  ${String(reason).padStart(3)}  ${name}`, { column: 31 }, what, { column: 58 });
    timed(p, `exit${i}`, count, () => body(p));
    p.emit('MOV', rax, r12).emit('XOR', edx, edx).emit('MOV', ecx, count).emit('DIV', rcx).emit('MOV', r12, rax);
    p.say({ decimal: r12, width: 8 }, ' ');
    nanoseconds(p, `.noClock${i}`);
  });
  p.emit('XOR', eax, eax).emit('MOV', register.cr8, rax).emit('RET');
}

/** R12 ticks as nanoseconds, when the rate is known. */
function nanoseconds(p: Program, skip: string): void {
  p.emit('CALL', 'tscMegahertz').emit('MOV', rcx, rax).emit('TEST', rcx, rcx).emit('JZ', skip).emit('IMUL', rax, r12, 1000);
  p.emit('XOR', edx, edx).emit('DIV', rcx);
  p.emit('MOV', r14, rax).say({ decimal: r14, width: 8 }).label(skip).line();
}

interface BenchRow {
  readonly what: string;
  readonly rounds: number;
  /** Of a round, the loop's own two among them. */
  readonly instructions: number;
  /** What a round does of what is counted, and its name. */
  readonly operations: number;
  readonly unit: string;
  readonly body: (p: Program) => void;
}

const COPY_BYTES = 0x10000;

const BENCHES: readonly BenchRow[] = [
  {
    what: 'integer loop', rounds: 2_000_000, instructions: 10, operations: 8, unit: 'operation',
    body: p => void p.emit('ADD', rax, rbp).emit('XOR', rdx, rax).emit('SHL', r8, 3).emit('LEA', rcx, mem(rax, 7)).emit('SUB', r9, rcx)
      .emit('AND', edx, 0xffff)
      .emit('OR', r8, rdx).emit('IMUL', r9, rax),
  },
  {
    what: 'load and store', rounds: 1_000_000, instructions: 6, operations: 4, unit: 'access',
    body: p => void p.emit('MOV', rax, mem(rbx)).emit('MOV', mem(rbx, 8), rax).emit('MOV', rcx, mem(rbx, 16))
      .emit('MOV', mem(rbx, 24), rcx),
  },
  { what: 'call and return', rounds: 1_000_000, instructions: 4, operations: 1, unit: 'call', body: p => void p.emit('CALL', 'benchLeaf') },
  {
    what: 'branches', rounds: 1_000_000, instructions: 8, operations: 3, unit: 'branch',
    body: p => {
      p.emit('TEST', ebp, 1).emit('JZ', '.even').label('.even').emit('TEST', ebp, 2).emit('JNZ', '.two').label('.two');
      p.emit('CMP', ebp, 500_000).emit('JA', '.above');
      p.label('.above');
    },
  },
  {
    what: 'copy by REP MOVSQ', rounds: 500, instructions: 6, operations: COPY_BYTES / 1024, unit: 'KB',
    body: p => void p.emit('MOV', rsi, rbx).emit('LEA', rdi, mem(rbx, COPY_BYTES)).emit('MOV', ecx, COPY_BYTES / 8).emit('REP MOVSQ'),
  },
];

function bench(p: Program): void {
  p.line('  Code', { column: 24 }, '      Rounds', { column: 38 }, '    ms', { column: 46 }, ' Ticks each', { column: 70 }, '    MIPS');
  p.emit('LEA', rbx, p.variable('buffer'));
  BENCHES.forEach(({ what, rounds, instructions, operations, unit, body }, i) => {
    checkBreak(p);
    p.say(`  ${what}`, { column: 24 }).emit('MOV', r14, rounds).say({ decimal: r14, width: 12 }, { column: 38 });
    timed(p, `bench${i}`, rounds, () => body(p));
    p.emit('CALL', 'tscMegahertz').emit('MOV', r13, rax);
    // Milliseconds.
    p.emit('IMUL', rcx, r13, 1000).emit('MOV', rax, r12).emit('XOR', edx, edx).emit('TEST', rcx, rcx).emit('JZ', `.unknown${i}`);
    p.emit('DIV', rcx).emit('MOV', r14, rax);
    p.say({ decimal: r14, width: 6 }).label(`.unknown${i}`).say({ column: 46 });
    p.emit('IMUL', rax, r12, 100).emit('XOR', edx, edx).emit('MOV', rcx, rounds * operations).emit('DIV', rcx).emit('MOV', r14, rax);
    p.say({ hundredths: r14, width: 11 }, ` / ${unit}`, { column: 70 });
    // Millions of instructions a second: instructions times the megahertz over the ticks.
    p.emit('MOV', rax, rounds * instructions).emit('MUL', r13).emit('TEST', r12, r12).emit('JZ', `.none${i}`).emit('DIV', r12);
    p.emit('MOV', r14, rax);
    p.say({ decimal: r14, width: 8 }).label(`.none${i}`).line();
  });
  p.emit('RET');
  p.label('benchLeaf').emit('RET');
}

