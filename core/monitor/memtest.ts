/** `memtest`: patterns over the RAM that nothing uses, written in full before they are read back. */
import { at, indexed, mem, qword, register } from '../isa/registers.ts';
import { checkBreak } from './commands.ts';
import type { CommandRow } from './commands.ts';
import { information } from './inventory.ts';
import type { Program } from './program.ts';

const { rax, rbx, rcx, rdx, rsi, rdi, rbp, r12, r13, r14, r15, eax, ebp, r13d } = register;

const DEFAULT_MEGABYTES = 16;
/** Pieces of the progress bar. */
const PIECES = 32;
const SHOWN_ERRORS = 8;
/** The last pattern is each word's own address, turned by the key of the row. */
const PATTERNS = [0n, 0xffffffffffffffffn, 0x5555555555555555n, 0xaaaaaaaaaaaaaaaan] as const;

export const memoryTestCommands: readonly CommandRow[] = [
  { name: 'memtest', usage: '[MB|all]', help: 'write patterns to free memory and read them back', body: memoryTest },
];

/**
 * Free RAM lies between the monitor and the end of memory.
 * RBX: start, R12: bytes in a piece, R13: pattern's number, R14: the pattern, R15: errors.
 */
function memoryTest(p: Program): void {
  p.reserve('testEnd', 8);
  p.emit('MOV', rdx, p.variable('information')).emit('MOV', rbx, qword(mem(rdx, information.end))).emit('ADD', rbx, 0xfffff);
  p.emit('AND', rbx, -0x100000);
  p.emit('MOV', r12, qword(mem(rdx, information.memoryBytes))).emit('SUB', r12, rbx).emit('SHR', r12, 20);
  p.emit('CALL', 'nextWord').emit('MOV', r13, rax).emit('MOV', eax, DEFAULT_MEGABYTES).emit('TEST', r13, r13).emit('JZ', '.defaulted');
  p.emit('MOV', rdi, r13).emit('LEA', rsi, at(p.text('all'))).emit('CALL', 'sameText').emit('MOV', rax, r12).emit('JE', '.chosen');
  p.emit('MOV', rax, r13).emit('CALL', 'numberFromWord').emit('TEST', rax, rax).emit('JZ', 'usage').emit('CMP', rax, r12);
  p.emit('JBE', '.chosen');
  p.line('Only ', { decimal: r12 }, ' MB are free.').emit('JMP', 'prompt');
  p.label('.defaulted').emit('CMP', rax, r12).emit('CMOVA', rax, r12).emit('TEST', rax, rax).emit('JZ', '.tooSmall');
  p.label('.chosen').emit('MOV', r12, rax).emit('SHL', r12, 20).emit('LEA', rdx, indexed(rbx, r12)).emit('MOV', p.variable('testEnd'), rdx);
  p.emit('MOV', r14, rdx).emit('DEC', r14);
  p.emit('MOV', r13, rax).line('  Testing ', { decimal: r13 }, ' MB, ', { hex: rbx, digits: 8 }, ' - ', { hex: r14, digits: 8 });
  p.emit('SHR', r12, 5).emit('XOR', r13d, r13d).emit('XOR', register.r15d, register.r15d);
  p.label('.pattern').emit('CMP', r13d, PATTERNS.length).emit('JE', '.ownAddress').emit('LEA', rdx, at('patterns'));
  p.emit('MOV', r14, qword(indexed(rdx, r13, 8)));
  p.say('  ', { hex: r14, digits: 16 }).emit('JMP', '.start');
  p.label('.ownAddress').say('  own address     ');
  p.label('.start').say('  [');
  pass(p, 'testWrite');
  pass(p, 'testRead');
  p.emit('TEST', r15, r15).emit('JNZ', '.failed').line('] ok').emit('INC', r13d).emit('CMP', r13d, PATTERNS.length + 1);
  p.emit('JB', '.pattern');
  p.line('  No error was found.').emit('RET');
  p.label('.failed').line('] FAILED').line('  ', { decimal: r15 }, ' words read back wrong.').emit('RET');
  p.label('.tooSmall').line('No memory is free.').emit('JMP', 'prompt');
  p.a.align(8);
  p.label('patterns').a.words(8, ...PATTERNS);
}

/** All pieces through one routine; every second of them draws a mark, so that writing and reading fill the bar together. */
function pass(p: Program, routine: string): void {
  p.emit('XOR', ebp, ebp);
  p.label(`.${routine}`);
  checkBreak(p);
  p.emit('MOV', rdi, r12).emit('IMUL', rdi, rbp).emit('ADD', rdi, rbx).emit('CALL', routine);
  p.emit('INC', ebp).emit('TEST', ebp, 1).emit('JNZ', `.${routine}Odd`).call('putCharacter', 0x23);
  p.label(`.${routine}Odd`).emit('CMP', ebp, PIECES).emit('JB', `.${routine}`);
}

/** testWrite(address), testRead(address): one piece; R12 to R14 as in the command. */
export function memoryTestRoutines(p: Program): void {
  p.label('testWrite').emit('MOV', rcx, r12).emit('SHR', rcx, 3).emit('MOV', rax, r14).emit('CMP', r13d, PATTERNS.length);
  p.emit('JE', '.address');
  p.emit('REP STOSQ').emit('RET');
  p.label('.address').emit('MOV', mem(rdi), rdi).emit('ADD', rdi, 8).emit('DEC', rcx).emit('JNZ', '.address').emit('RET');

  p.label('testRead').emit('MOV', rcx, r12).emit('SHR', rcx, 3).emit('CMP', r13d, PATTERNS.length).emit('JE', '.address');
  p.label('.word').emit('CMP', mem(rdi), r14).emit('JNE', '.wrong').label('.right').emit('ADD', rdi, 8).emit('DEC', rcx);
  p.emit('JNZ', '.word').emit('RET');
  p.label('.address').emit('MOV', r14, rdi).emit('CMP', mem(rdi), rdi).emit('JNE', '.wrongAddress').label('.rightAddress');
  p.emit('ADD', rdi, 8).emit('DEC', rcx).emit('JNZ', '.address').emit('RET');
  p.label('.wrong').emit('CALL', 'testError').emit('JMP', '.right').label('.wrongAddress').emit('CALL', 'testError');
  p.emit('JMP', '.rightAddress');

  // testError: the word at RDI should have been R14. Keeps RDI and RCX.
  p.label('testError').emit('INC', r15).emit('CMP', r15, SHOWN_ERRORS).emit('JBE', '.show').emit('RET');
  p.label('.show').emit('PUSH', rdi).emit('PUSH', rcx).emit('PUSH', rbx).emit('PUSH', r12).emit('MOV', rbx, rdi).emit('MOV', r12, mem(rdi));
  p.say('\n    ', { hex: rbx, digits: 8 }, ': wrote ', { hex: r14, digits: 16 }, ', read ', { hex: r12, digits: 16 });
  p.emit('POP', r12).emit('POP', rbx).emit('POP', rcx).emit('POP', rdi).emit('RET');
}

