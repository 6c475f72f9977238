/** The ground under the commands: entry, descriptor table, interrupt controllers, exceptions, the prompt's loop. */
import { acpiPorts, sleepType } from '../platform/acpiPm.ts';
import { localApicBase } from '../platform/memoryLayout.ts';
import { at, dword, indexed, mem, qword, register, word } from '../isa/registers.ts';
import type { Program } from './program.ts';

const { rax, rbx, rdx, rsi, rdi, rsp, r12, r13, r14, eax, edi, ebx, al } = register;

const STACK = 65536;
const CODE_SELECTOR = 0x10;
export const vector = { serial: 0x24, timer: 0x40, self: 0x41, spurious: 0xff } as const;
const PIC_BASE = 0x20;

/** Registers of the local APIC by their offsets. @sdm 3A table 11-1 */
export const apic = {
  version: 0x30, taskPriority: 0x80, endOfInterrupt: 0xb0, spurious: 0xf0, commandLow: 0x300, timer: 0x320, initial: 0x380, divide: 0x3e0,
} as const;

/** The local APIC's page is below 4 GB but above what a displacement reaches: its address goes through a register. */
export function apicWrite(p: Program, offset: number, value: number): void {
  p.emit('MOV', eax, localApicBase).emit('MOV', dword(mem(rax, offset)), value);
}

/** Exceptions with their names. @sdm 3A table 6-1 */
const EXCEPTIONS: readonly (readonly [vector: number, name: string, hasError: boolean])[] = [
  [0, '#DE, divide error', false], [1, '#DB, debug', false], [2, 'NMI', false], [3, '#BP, breakpoint', false], [4, '#OF, overflow', false],
  [5, '#BR, bound range', false], [6, '#UD, invalid opcode', false], [7, '#NM, no coprocessor', false], [8, '#DF, double fault', true],
  [10, '#TS, invalid TSS', true], [11, '#NP, segment not present', true], [12, '#SS, stack fault', true],
  [13, '#GP, general protection', true],
  [14, '#PF, page fault', true], [16, '#MF, x87 error', false], [17, '#AC, alignment', true], [18, '#MC, machine check', false],
  [19, '#XM, SIMD error', false],
];
const STUB_BYTES = 16;

export function entry(p: Program, banner: () => void): void {
  p.reserve('stack', STACK);
  p.reserve('idt', 256 * 16);
  p.reserve('idtPointer', 16);
  p.reserve('information', 8);
  p.reserve('startTime', 8);
  p.reserve('timerFired', 8);
  p.reserve('selfFired', 8);
  p.label('entry').emit('LEA', rsp, p.variable('stack', STACK)).emit('MOV', p.variable('information'), rsi).emit('CLD');
  p.emit('RDTSC').emit('SHL', rdx, 32).emit('OR', rax, rdx).emit('MOV', p.variable('startTime'), rax);
  descriptorTable(p);
  interruptControllers(p);
  p.emit('CALL', 'startConsole').emit('STI');
  banner();
  p.emit('JMP', 'prompt');
}

function descriptorTable(p: Program): void {
  p.emit('XOR', ebx, ebx).label('.gate').call('setGate', rbx, 0).emit('INC', ebx).emit('CMP', ebx, 256).emit('JB', '.gate');
  const gate = (number: number, label: string): void => {
    p.emit('MOV', edi, number).emit('LEA', rsi, at(label)).emit('CALL', 'setGate');
  };
  p.emit('XOR', ebx, ebx).label('.exception').emit('MOV', edi, ebx).emit('MOV', eax, ebx).emit('SHL', eax, 4);
  p.emit('LEA', rsi, at('exceptionStubs')).emit('ADD', rsi, rax).emit('CALL', 'setGate').emit('INC', ebx).emit('CMP', ebx, 32);
  p.emit('JB', '.exception');
  gate(vector.serial, 'serialInterrupt');
  gate(vector.timer, 'timerInterrupt');
  gate(vector.self, 'selfInterrupt');
  p.emit('LEA', rax, p.variable('idt')).emit('MOV', word(p.variable('idtPointer')), 256 * 16 - 1);
  p.emit('MOV', p.variable('idtPointer', 2), rax);
  p.emit('LIDT', { ...p.variable('idtPointer'), size: null });
}

/** The 8259A pair at 20H and 28H with COM1 alone unmasked; the local APIC enabled. */
function interruptControllers(p: Program): void {
  const out = (port: number, value: number): void => void p.emit('MOV', al, value).emit('OUT', port, al);
  for (const [port, base, cascade] of [[0x20, PIC_BASE, 4], [0xa0, PIC_BASE + 8, 2]] as const) {
    out(port, 0x11);
    for (const value of [base, cascade, 1]) out(port + 1, value);
  }
  out(0x21, 0xff & ~(1 << (vector.serial - PIC_BASE)));
  out(0xa1, 0xff);
  apicWrite(p, apic.spurious, 0x100 | vector.spurious);
}

export function interruptRoutines(p: Program): void {
  // setGate(vector, handler): a handler of 0 stands for one that returns at once.
  p.label('setGate').emit('TEST', rsi, rsi).emit('JNZ', '.handler').emit('LEA', rsi, at('ignored')).label('.handler');
  p.emit('SHL', edi, 4).emit('LEA', rdx, p.variable('idt')).emit('ADD', rdi, rdx).emit('MOV', word(mem(rdi)), register.si);
  p.emit('MOV', word(mem(rdi, 2)), CODE_SELECTOR).emit('MOV', word(mem(rdi, 4)), 0x8e00).emit('SHR', rsi, 16);
  p.emit('MOV', word(mem(rdi, 6)), register.si);
  p.emit('SHR', rsi, 16).emit('MOV', qword(mem(rdi, 8)), rsi).emit('RET');

  p.label('ignored').emit('IRETQ');
  for (const name of ['timer', 'self']) {
    p.label(`${name}Interrupt`).emit('PUSH', rax).emit('MOV', p.variable(`${name}Fired`), 1);
    apicWrite(p, apic.endOfInterrupt, 0);
    p.emit('POP', rax).emit('IRETQ');
  }
  exceptions(p);
}

function exceptions(p: Program): void {
  p.a.align(STUB_BYTES);
  p.label('exceptionStubs');
  for (let number = 0; number < 32; number++) {
    p.a.align(STUB_BYTES);
    if (!EXCEPTIONS.some(([of, , hasError]) => of === number && hasError)) p.emit('PUSH', 0);
    p.emit('PUSH', number).emit('JMP', 'exception');
  }
  // Vector, error code, RIP. Nothing is resumed: the command that caused it ends.
  p.label('exception').emit('POP', rbx).emit('POP', r12).emit('POP', r13).emit('CLD').emit('MOV', r14, register.cr2);
  p.say('\n', 'Exception ', { decimal: rbx }, ' (');
  p.emit('LEA', rdx, at('exceptionNames')).emit('MOV', rdi, qword(indexed(rdx, rbx, 8))).emit('CALL', 'putText');
  p.say(') at ', { hex: r13, digits: 16 }, ', error code ', { hex: r12, digits: 4 });
  p.emit('CMP', ebx, 14).emit('JNE', '.said').say(', address ', { hex: r14, digits: 16 });
  p.label('.said').line('\n', 'The command was cut off.');
  p.emit('JMP', 'prompt');
  p.a.align(8);
  const names = Array.from({ length: 32 }, (_, number) => EXCEPTIONS.find(([of]) => of === number)?.[1] ?? 'reserved');
  p.label('exceptionNames').a.words(8, ...names.map(name => p.text(name)));
}

/** The ends that a machine has. Each is a routine that does not return. */
export function endings(p: Program): void {
  p.label('powerOff').emit('MOV', register.dx, acpiPorts.pm1Control).emit('MOV', register.ax, (sleepType.s5 << 10) | 0x2000);
  p.emit('OUT', register.dx, register.ax);
  p.label('sleepForever').emit('CLI').emit('HLT').emit('JMP', 'sleepForever');
  p.label('resetMachine').emit('MOV', register.dx, 0xcf9).emit('MOV', al, 2).emit('OUT', register.dx, al).emit('MOV', al, 6);
  p.emit('OUT', register.dx, al);
  p.emit('JMP', 'sleepForever');
  // An interrupt without a descriptor table, then its double fault, then the triple fault.
  p.label('tripleFault').emit('MOV', word(p.variable('idtPointer')), 0).emit('LIDT', { ...p.variable('idtPointer'), size: null });
  p.emit('INT3');
}

