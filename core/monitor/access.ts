/** Memory, ports and the machine's ends: `peek`, `poke`, `in`, `out`, `crash`, `reboot`, `halt`, `off`. */
import { at, byte, indexed, mem, register } from '../isa/registers.ts';
import { checkBreak } from './commands.ts';
import type { CommandRow } from './commands.ts';
import type { Program } from './program.ts';

const { rax, rbx, rdx, rsi, rdi, rbp, r12, r13, eax, ebx, edx, edi, ebp, ax, dx, al, r13d } = register;

const DUMP_BYTES = 64;
const ROW = 16;

export const accessCommands: readonly CommandRow[] = [
  { name: 'peek', usage: 'ADDRESS [COUNT]', help: 'show bytes of memory', body: peek },
  { name: 'poke', usage: 'ADDRESS VALUE [SIZE]', help: 'write to memory', body: poke },
  { name: 'in', usage: 'PORT [SIZE]', help: 'read an I/O port', body: inPort },
  { name: 'out', usage: 'PORT VALUE [SIZE]', help: 'write an I/O port', body: outPort },
  { name: 'crash', usage: '', help: 'end the machine with a triple fault (asks first)', body: crash },
  { name: 'reboot', usage: '', help: 'reset the machine', body: p => void p.line('Resetting.').emit('CALL', 'drain')
    .emit('JMP', 'resetMachine') },
  { name: 'halt', usage: '', help: 'stop the processor for good', body: halt },
  { name: 'off', usage: '', help: 'switch the machine off', body: p => void p.line('Switching off.').emit('CALL', 'drain')
    .emit('JMP', 'powerOff') },
];

/** A number that the command cannot do without. */
function needNumber(p: Program): void {
  p.emit('CALL', 'takeNumber').emit('TEST', edx, edx).emit('JZ', 'usage');
}

/** A line has sixteen bytes: address, hexadecimal, text. */
function peek(p: Program): void {
  needNumber(p);
  p.emit('MOV', rbx, rax).emit('CALL', 'takeNumber').emit('MOV', r12, rax).emit('TEST', edx, edx).emit('JNZ', '.counted');
  p.emit('MOV', r12, DUMP_BYTES);
  p.label('.counted').emit('ADD', r12, rbx);
  p.label('.row').emit('CMP', rbx, r12).emit('JAE', '.done');
  checkBreak(p);
  p.say('  ', { hex: rbx, digits: 12 }, '  ').emit('XOR', ebp, ebp);
  p.label('.byte').emit('LEA', rax, indexed(rbx, rbp)).emit('CMP', rax, r12).emit('JAE', '.bytes').emit('MOVZX', r13d, byte(mem(rax)));
  p.emit('LEA', rdx, p.variable('row')).emit('MOV', indexed(rdx, rbp), register.r13b).say({ hex: r13, digits: 2 }, ' ');
  p.emit('INC', ebp).emit('CMP', ebp, ROW).emit('JB', '.byte');
  p.label('.bytes').emit('MOV', r13, rbp).say({ column: 66 }).emit('XOR', ebp, ebp);
  p.label('.text').emit('CMP', rbp, r13).emit('JE', '.texts').emit('LEA', rdx, p.variable('row'));
  p.emit('MOVZX', edi, byte(indexed(rdx, rbp)));
  p.emit('LEA', eax, mem(rdi, -0x20)).emit('CMP', eax, 0x5e).emit('JBE', '.printable').emit('MOV', edi, 0x2e);
  p.label('.printable').emit('CALL', 'putCharacter').emit('INC', ebp).emit('JMP', '.text');
  p.label('.texts').line().emit('ADD', rbx, ROW).emit('JMP', '.row').label('.done').emit('RET');
}

export function accessRoutines(p: Program): void {
  p.reserve('row', ROW);
  // drain(): waits until the transmitter has sent everything.
  p.label('drain').emit('MOV', dx, 0x3fd).label('.busy').emit('IN', al, dx).emit('TEST', al, 0x40).emit('JZ', '.busy').emit('RET');
}

/** Jumps by the size in RAX: 1, 2, 4 or 8. */
function bySize(p: Program, cases: Readonly<Partial<Record<1 | 2 | 4 | 8, () => void>>>): void {
  for (const size of [1, 2, 4, 8] as const) {
    const body = cases[size];
    if (!body) continue;
    p.emit('CMP', eax, size).emit('JNE', `.not${size}`);
    body();
    p.emit('RET').label(`.not${size}`);
  }
  p.emit('JMP', 'usage');
}

function poke(p: Program): void {
  needNumber(p);
  p.emit('MOV', rbx, rax);
  needNumber(p);
  p.emit('MOV', r12, rax).emit('CALL', 'takeSize');
  bySize(p, {
    1: () => void p.emit('MOV', mem(rbx), register.r12b), 2: () => void p.emit('MOV', mem(rbx), register.r12w),
    4: () => void p.emit('MOV', mem(rbx), register.r12d), 8: () => void p.emit('MOV', mem(rbx), r12),
  });
}

/** A port in RBX; ports end at FFFFH. */
function needPort(p: Program): void {
  needNumber(p);
  p.emit('CMP', rax, 0xffff).emit('JA', 'usage').emit('MOV', ebx, eax);
}

function inPort(p: Program): void {
  needPort(p);
  p.emit('CALL', 'takeSize').emit('MOV', edx, ebx);
  const show = (digits: number): void => void p.emit('MOV', r13, rax).line('  ', { hex: r13, digits });
  bySize(p, {
    1: () => { p.emit('IN', al, dx); show(2); }, 2: () => { p.emit('IN', ax, dx); show(4); }, 4: () => { p.emit('IN', eax, dx); show(8); },
  });
}

function outPort(p: Program): void {
  needPort(p);
  needNumber(p);
  p.emit('MOV', r12, rax).emit('CALL', 'takeSize').emit('MOV', edx, ebx);
  const write = (from: typeof al): void => void p.emit('MOV', rax, r12).emit('OUT', dx, from);
  bySize(p, { 1: () => write(al), 2: () => write(ax), 4: () => write(eax) });
}

function crash(p: Program): void {
  p.say('This ends the machine with a triple fault. Type yes to do it: ').emit('CALL', 'readLine');
  p.emit('LEA', rax, p.variable('line')).emit('MOV', p.variable('cursor'), rax).emit('CALL', 'nextWord').emit('TEST', rax, rax);
  p.emit('JZ', '.no');
  p.emit('MOV', rdi, rax).emit('LEA', rsi, at(p.text('yes'))).emit('CALL', 'sameText').emit('JNE', '.no');
  p.emit('CALL', 'drain').emit('JMP', 'tripleFault').label('.no').line('Nothing was done.').emit('RET');
}

function halt(p: Program): void {
  p.line('Halted. Only a reset, or the power switch, ends this.').emit('CALL', 'drain').emit('JMP', 'sleepForever');
}
