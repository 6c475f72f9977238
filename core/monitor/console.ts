/** The monitor's console on COM1: output, input by interrupt, and a line editor. */
import { at, byte, indexed, mem, register } from '../isa/registers.ts';
import { comPorts } from '../devices/uart16550.ts';
import type { Program } from './program.ts';

const { rax, rbx, rcx, rdx, rsi, rdi, r12, eax, ecx, edx, edi, ebx, al, dl, dil, dx } = register;

const BASE = comPorts[0].base;
const RING = 256;
export const LINE_LENGTH = 200;
const LINE_STATUS = BASE + 5;

const CTRL_C = 3;
const CTRL_U = 0x15;
const ESCAPE = 0x1b;

export function consoleRoutines(p: Program): void {
  p.reserve('ring', RING);
  p.reserve('ringHead', 8);
  p.reserve('ringTail', 8);
  p.reserve('break', 8);
  p.reserve('fifoRoom', 8);
  p.reserve('column', 8);
  p.reserve('line', LINE_LENGTH + 1);
  p.reserve('last', LINE_LENGTH + 1);
  p.reserve('digits', 32);
  output(p);
  numbers(p);
  input(p);
  editor(p);
}

/** Sets the UART up: 115200 8N1, FIFOs, OUT2 for its interrupt, received data interrupts. */
export function startUart(p: Program): void {
  // What was typed before this moment would be lost when the FIFOs are switched on.
  p.emit('CALL', 'receive');
  const write = (port: number, value: number): void => {
    p.emit('MOV', dx, port).emit('MOV', al, value).emit('OUT', dx, al);
  };
  write(BASE + 1, 0);
  write(BASE + 3, 0x80);
  write(BASE, 1);
  write(BASE + 1, 0);
  write(BASE + 3, 0x03);
  write(BASE + 2, 0x07);
  write(BASE + 4, 0x0b);
  write(BASE + 1, 0x01);
}

/** The interrupt of COM1. Changes no register. */
export function serialInterrupt(p: Program): void {
  p.label('serialInterrupt');
  for (const kept of [rax, rcx, rdx]) p.emit('PUSH', kept);
  p.emit('CALL', 'receive').emit('MOV', al, 0x20).emit('OUT', 0x20, al);
  for (const kept of [rdx, rcx, rax]) p.emit('POP', kept);
  p.emit('IRETQ');

  // receive(): moves what has arrived into the ring.
  p.label('receive').emit('MOV', dx, LINE_STATUS).emit('IN', al, dx).emit('TEST', al, 1).emit('JZ', '.received');
  p.emit('MOV', dx, BASE).emit('IN', al, dx);
  p.emit('CMP', al, CTRL_C).emit('JNE', '.keep').emit('MOV', p.variable('break'), 1);
  p.label('.keep').emit('MOV', rcx, p.variable('ringHead'));
  p.emit('LEA', rdx, mem(rcx, 1)).emit('AND', edx, RING - 1);
  // A full ring drops what comes.
  p.emit('CMP', rdx, p.variable('ringTail')).emit('JE', 'receive');
  p.emit('PUSH', rdx).emit('LEA', rdx, p.variable('ring')).emit('MOV', indexed(rdx, rcx), al).emit('POP', rdx);
  p.emit('MOV', p.variable('ringHead'), rdx).emit('JMP', 'receive');
  p.label('.received').emit('RET');
}

function output(p: Program): void {
  // putByte(character): waits for room in the transmitter, 16 bytes at a time.
  p.label('putByte').emit('CMP', p.variable('fifoRoom'), 0).emit('JNE', '.room');
  p.emit('MOV', dx, LINE_STATUS).label('.wait').emit('IN', al, dx).emit('TEST', al, 0x20).emit('JZ', '.wait');
  p.emit('MOV', p.variable('fifoRoom'), 16);
  p.label('.room').emit('DEC', p.variable('fifoRoom')).emit('MOV', dx, BASE).emit('MOV', al, dil).emit('OUT', dx, al).emit('RET');

  // putCharacter(character): a line feed is preceded by a carriage return; counts the column.
  p.label('putCharacter').emit('CMP', dil, 10).emit('JE', '.newLine').emit('INC', p.variable('column')).emit('JMP', 'putByte');
  p.label('.newLine').emit('MOV', p.variable('column'), 0).emit('MOV', edi, 13).emit('CALL', 'putByte').emit('MOV', edi, 10);
  p.emit('JMP', 'putByte');

  p.label('putText').emit('PUSH', rbx).emit('MOV', rbx, rdi);
  p.label('.next').emit('MOVZX', edi, byte(mem(rbx))).emit('INC', rbx).emit('TEST', edi, edi).emit('JZ', '.done');
  p.emit('CALL', 'putCharacter').emit('JMP', '.next').label('.done').emit('POP', rbx).emit('RET');

  // putBlanks(count): nothing when the count is not positive.
  p.label('putBlanks').emit('PUSH', rbx).emit('MOV', rbx, rdi).label('.blank').emit('DEC', rbx).emit('JS', '.blanks');
  p.emit('MOV', edi, 32).emit('CALL', 'putCharacter').emit('JMP', '.blank').label('.blanks').emit('POP', rbx).emit('RET');

  p.label('padTo').emit('SUB', rdi, p.variable('column')).emit('JMP', 'putBlanks');
}

function numbers(p: Program): void {
  // Both write digits backwards from the end of `digits`; RBX is where the text begins.
  const finish = (width: boolean): void => {
    p.label(width ? '.digitsDone' : '.hexDone');
    if (width) {
      p.emit('LEA', rax, p.variable('digits', 31)).emit('SUB', rax, rbx).emit('MOV', rdi, r12).emit('SUB', rdi, rax);
      p.emit('CALL', 'putBlanks');
    }
    p.call('putText', rbx).emit('POP', r12).emit('POP', rbx).emit('RET');
  };
  // putHundredths(value, width), putDecimal(value, width): right-aligned.
  p.label('putHundredths').emit('PUSH', rbx).emit('PUSH', r12).emit('MOV', r12, rsi).emit('MOV', rax, rdi);
  p.emit('LEA', rbx, p.variable('digits', 31));
  p.emit('MOV', byte(mem(rbx)), 0).emit('MOV', ecx, 10);
  for (let i = 0; i < 2; i++) p.emit('XOR', edx, edx).emit('DIV', rcx).emit('ADD', dl, 0x30).emit('DEC', rbx).emit('MOV', mem(rbx), dl);
  p.emit('DEC', rbx).emit('MOV', byte(mem(rbx)), 0x2e).emit('JMP', 'putDigits');
  p.label('putDecimal').emit('PUSH', rbx).emit('PUSH', r12).emit('MOV', r12, rsi).emit('MOV', rax, rdi);
  p.emit('LEA', rbx, p.variable('digits', 31));
  p.emit('MOV', byte(mem(rbx)), 0).emit('MOV', ecx, 10);
  p.label('putDigits').emit('XOR', edx, edx).emit('DIV', rcx).emit('ADD', dl, 0x30).emit('DEC', rbx).emit('MOV', mem(rbx), dl);
  p.emit('TEST', rax, rax).emit('JNZ', 'putDigits');
  finish(true);

  // putHex(value, digits): with leading zeros.
  p.label('putHex').emit('PUSH', rbx).emit('PUSH', r12).emit('MOV', r12, rsi).emit('LEA', rbx, p.variable('digits', 31));
  p.emit('MOV', byte(mem(rbx)), 0);
  p.emit('LEA', rdx, at('hexDigits'));
  p.label('.hexDigit').emit('DEC', r12).emit('JS', '.hexDone').emit('MOV', eax, edi).emit('AND', eax, 15);
  p.emit('MOV', al, byte(indexed(rdx, rax)));
  p.emit('DEC', rbx).emit('MOV', mem(rbx), al).emit('SHR', rdi, 4).emit('JMP', '.hexDigit');
  finish(false);
  p.label('hexDigits').a.data('0123456789abcdef');
}

function input(p: Program): void {
  // getCharacter(): sleeps until there is one. Between the look at the ring and HLT no interrupt is taken: none is lost, and an idle
  // monitor costs nothing.
  p.label('getCharacter').emit('CLI').emit('MOV', rcx, p.variable('ringTail')).emit('CMP', rcx, p.variable('ringHead')).emit('JNE', '.got');
  p.emit('STI').emit('HLT').emit('JMP', 'getCharacter');
  p.label('.got').emit('LEA', rdx, p.variable('ring')).emit('MOVZX', eax, byte(indexed(rdx, rcx))).emit('INC', ecx);
  p.emit('AND', ecx, RING - 1);
  p.emit('MOV', p.variable('ringTail'), rcx).emit('STI').emit('RET');
}

/** readLine(): the line's length in RAX, the zero-terminated text in `line`. */
function editor(p: Program): void {
  const erase = (): void => void p.say('\b \b');
  p.label('readLine').emit('PUSH', rbx);
  p.label('.empty').emit('XOR', ebx, ebx);
  p.label('.key').emit('CALL', 'getCharacter').emit('CMP', al, 13).emit('JE', '.enter').emit('CMP', al, 10).emit('JE', '.enter');
  p.emit('CMP', al, 8).emit('JE', '.backspace').emit('CMP', al, 0x7f).emit('JE', '.backspace');
  p.emit('CMP', al, CTRL_C).emit('JE', '.cancel').emit('CMP', al, CTRL_U).emit('JE', '.kill').emit('CMP', al, ESCAPE).emit('JE', '.escape');
  // Other control characters mean nothing here; bytes of UTF-8 are kept.
  p.label('.take').emit('CMP', al, 32).emit('JB', '.key').emit('CMP', ebx, LINE_LENGTH).emit('JAE', '.full');
  p.emit('LEA', rdx, p.variable('line')).emit('MOV', indexed(rdx, rbx), al).emit('INC', ebx).emit('MOV', edi, eax).emit('CALL', 'putByte');
  p.emit('JMP', '.key');
  p.label('.full').call('putByte', 7).emit('JMP', '.key');
  p.label('.backspace').emit('TEST', ebx, ebx).emit('JZ', '.key').emit('DEC', ebx);
  erase();
  p.emit('JMP', '.key');
  p.label('.kill').emit('DEC', ebx).emit('JS', '.empty');
  erase();
  p.emit('JMP', '.kill');
  p.label('.cancel').say('^C\n').emit('XOR', ebx, ebx).emit('JMP', '.end');
  // A cursor key is ESC [ letter. Up brings the last line back.
  p.label('.escape').emit('CALL', 'getCharacter').emit('CMP', al, 0x5b).emit('JNE', '.take');
  p.label('.sequence').emit('CALL', 'getCharacter').emit('CMP', al, 0x40).emit('JB', '.sequence').emit('CMP', al, 0x41).emit('JNE', '.key');
  p.label('.wipe').emit('DEC', ebx).emit('JS', '.recall');
  erase();
  p.emit('JMP', '.wipe');
  p.label('.recall').emit('XOR', ebx, ebx).emit('LEA', rdx, p.variable('line')).emit('LEA', rsi, p.variable('last'));
  p.label('.copy').emit('MOV', al, byte(indexed(rsi, rbx))).emit('TEST', al, al).emit('JZ', '.recalled').emit('MOV', indexed(rdx, rbx), al);
  p.emit('INC', ebx).emit('JMP', '.copy');
  p.label('.recalled').emit('LEA', rdx, p.variable('line')).emit('MOV', byte(indexed(rdx, rbx)), 0).call('putText', rdx);
  p.emit('JMP', '.key');
  p.label('.enter').say('\n');
  p.label('.end').emit('LEA', rdx, p.variable('line')).emit('MOV', byte(indexed(rdx, rbx)), 0).emit('MOV', p.variable('break'), 0);
  p.emit('MOV', eax, ebx).emit('TEST', eax, eax).emit('JZ', '.nothing');
  p.emit('MOV', rsi, rdx).emit('LEA', rdi, p.variable('last')).emit('LEA', ecx, mem(rbx, 1)).emit('REP MOVSB').emit('MOV', eax, ebx);
  p.label('.nothing').emit('POP', rbx).emit('RET');
}

