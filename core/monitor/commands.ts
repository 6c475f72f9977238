/** The monitor's commands as rows, and the loop that reads a line and finds its row. */
import { at, mem, qword, register } from '../isa/registers.ts';
import type { Program } from './program.ts';

const { rax, rbx, rsi, rdi, rsp } = register;

export interface CommandRow {
  readonly name: string;
  /** What follows the name. */
  readonly usage: string;
  readonly help: string;
  /** Emits the routine's body. It ends with RET, or with a jump to `prompt`. */
  readonly body: (p: Program) => void;
}

const ROW_BYTES = 32;
const HELP_COLUMN = 32;

/** Needs `command`, the row of the command that runs. */
export function commandLoop(p: Program, rows: readonly CommandRow[]): void {
  p.reserve('command', 8);
  // Everything that gives a command up jumps here, from whatever depth of calls.
  p.label('prompt').emit('LEA', rsp, p.variable('stack', 65536)).emit('STI').emit('MOV', p.variable('column'), 0);
  p.say('monitor> ').emit('CALL', 'readLine').emit('LEA', rax, p.variable('line')).emit('MOV', p.variable('cursor'), rax);
  p.emit('CALL', 'nextWord').emit('TEST', rax, rax).emit('JZ', 'prompt').emit('MOV', rbx, rax).emit('LEA', register.r12, at('commands'));
  p.label('.find').emit('MOV', rsi, qword(mem(register.r12))).emit('TEST', rsi, rsi).emit('JZ', '.unknown').call('sameText', rbx);
  p.emit('JE', '.found');
  p.emit('ADD', register.r12, ROW_BYTES).emit('JMP', '.find');
  p.label('.found').emit('MOV', p.variable('command'), register.r12).emit('CALL', mem(register.r12, 24)).emit('JMP', 'prompt');
  p.label('.unknown').line("There is no command '", { text: rbx }, "'. Type help for those that are.").emit('JMP', 'prompt');

  p.label('usage').emit('MOV', rbx, p.variable('command'));
  p.line('Write: ', { text: qword(mem(rbx)) }, ' ', { text: qword(mem(rbx, 8)) }).emit('JMP', 'prompt');

  // ^C while a command runs; what was typed since is dropped.
  p.label('interrupted').emit('MOV', p.variable('break'), 0).emit('MOV', rax, p.variable('ringHead'));
  p.emit('MOV', p.variable('ringTail'), rax);
  p.line('^C').emit('JMP', 'prompt');

  const help: CommandRow = { name: 'help', usage: '', help: 'this list', body: helpBody };
  const all = [help, ...rows];
  p.a.align(8);
  p.label('commands');
  for (const { name, usage, help: text } of all) p.a.words(8, p.text(name), p.text(usage), p.text(text), `command ${name}`);
  p.a.words(8, 0);
  for (const { name, body } of all) {
    p.label(`command ${name}`);
    body(p);
  }
}

/** Ends the command when ^C was typed. */
export function checkBreak(p: Program): void {
  p.emit('CMP', p.variable('break'), 0).emit('JNE', 'interrupted');
}

function helpBody(p: Program): void {
  p.emit('LEA', rbx, at('commands')).label('.row').emit('MOV', rdi, qword(mem(rbx))).emit('TEST', rdi, rdi).emit('JZ', '.helped');
  p.say('  ', { text: qword(mem(rbx)) }, ' ', { text: qword(mem(rbx, 8)) }, { column: HELP_COLUMN }).line({ text: qword(mem(rbx, 16)) });
  p.emit('ADD', rbx, ROW_BYTES).emit('JMP', '.row');
  p.label('.helped').line('\n', 'Numbers are decimal, or hexadecimal with 0x. SIZE is b, w, d or q.');
  p.line('Ctrl-C ends a command, Ctrl-U empties the line, the up key brings the last one back.').emit('RET');
}

