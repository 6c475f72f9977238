/** Words of a command line: taken one at a time, as text, as a number, or as an operand size. */
import { byte, indexed, mem, register } from '../isa/registers.ts';
import type { Program } from './program.ts';

const { rax, rbx, rcx, rdx, rsi, rdi, eax, ecx, edx, al, r8 } = register;

export function wordRoutines(p: Program): void {
  p.reserve('cursor', 8);
  // nextWord(): the next word of the line in lower case, zero-terminated; 0 when there is none.
  p.label('nextWord').emit('MOV', rdx, p.variable('cursor'));
  p.label('.skip').emit('MOV', al, byte(mem(rdx))).emit('TEST', al, al).emit('JZ', '.none').emit('CMP', al, 32).emit('JNE', '.begin');
  p.emit('INC', rdx).emit('JMP', '.skip');
  p.label('.begin').emit('MOV', rcx, rdx);
  p.label('.letter').emit('MOV', al, byte(mem(rdx))).emit('TEST', al, al).emit('JZ', '.last').emit('CMP', al, 32).emit('JE', '.terminate');
  p.emit('CMP', al, 0x41).emit('JB', '.lower').emit('CMP', al, 0x5a).emit('JA', '.lower').emit('ADD', byte(mem(rdx)), 32);
  p.label('.lower').emit('INC', rdx).emit('JMP', '.letter');
  p.label('.terminate').emit('MOV', byte(mem(rdx)), 0).emit('INC', rdx);
  p.label('.last').emit('MOV', p.variable('cursor'), rdx).emit('MOV', rax, rcx).emit('RET');
  p.label('.none').emit('XOR', eax, eax).emit('RET');

  // sameText(a, b): zero flag set when equal.
  p.label('sameText').emit('XOR', ecx, ecx).label('.compare').emit('MOV', al, byte(indexed(rdi, rcx)));
  p.emit('CMP', al, byte(indexed(rsi, rcx))).emit('JNE', '.differ');
  p.emit('INC', ecx).emit('TEST', al, al).emit('JNZ', '.compare').label('.differ').emit('RET');

  number(p);
  size(p);
}

/** takeNumber(): RAX is the value and RDX 1, RDX is 0 when the line has no further word. Anything else ends the command with a message. */
function number(p: Program): void {
  p.label('takeNumber').emit('CALL', 'nextWord').emit('XOR', edx, edx).emit('TEST', rax, rax).emit('JNZ', 'numberFromWord').emit('RET');
  // numberFromWord(): as takeNumber, for the word at RAX.
  p.label('numberFromWord').emit('PUSH', rbx).emit('MOV', rbx, rax).emit('MOV', rdi, rax).emit('MOV', r8, 10);
  p.emit('CMP', byte(mem(rdi)), 0x30).emit('JNE', '.value').emit('CMP', byte(mem(rdi, 1)), 0x78).emit('JNE', '.value').emit('ADD', rdi, 2);
  p.emit('MOV', r8, 16);
  p.label('.value').emit('XOR', eax, eax).emit('CMP', byte(mem(rdi)), 0).emit('JE', '.wrong');
  p.label('.figure').emit('MOVZX', ecx, byte(mem(rdi))).emit('TEST', ecx, ecx).emit('JZ', '.number').emit('INC', rdi);
  p.emit('SUB', ecx, 0x30);
  p.emit('CMP', ecx, 10).emit('JB', '.accept').emit('SUB', ecx, 0x31).emit('CMP', ecx, 6).emit('JAE', '.wrong').emit('ADD', ecx, 10);
  p.label('.accept').emit('CMP', rcx, r8).emit('JAE', '.wrong').emit('MUL', r8).emit('JC', '.wrong').emit('ADD', rax, rcx);
  p.emit('JC', '.wrong').emit('JMP', '.figure');
  p.label('.number').emit('MOV', edx, 1).emit('POP', rbx).emit('RET');
  p.label('.wrong').line("'", { text: rbx }, "' is not a number of at most 64 bits. Write it as 1234 or 0x1f.").emit('JMP', 'prompt');
}

/** takeSize(): bytes of an access, from the word b, w, d or q; 1 when there is none. Anything else shows how the command is used. */
function size(p: Program): void {
  p.label('takeSize').emit('CALL', 'nextWord').emit('MOV', ecx, 1).emit('TEST', rax, rax).emit('JZ', '.size');
  p.emit('CMP', byte(mem(rax, 1)), 0).emit('JNE', 'usage').emit('MOV', al, byte(mem(rax)));
  for (const letter of 'bwdq') {
    p.emit('CMP', al, letter.charCodeAt(0)).emit('JE', '.size');
    if (letter !== 'q') p.emit('ADD', ecx, ecx);
  }
  p.emit('JMP', 'usage').label('.size').emit('MOV', eax, ecx).emit('RET');
}
