/** What the machine is: `cpu`, `mem`, `time`. */
import { FEATURES } from '../cpu/models.ts';
import type { FeatureRow } from '../cpu/models.ts';
import { at, byte, dword, indexed, mem, qword, register } from '../isa/registers.ts';
import { cmos } from '../platform/rtc.ts';
import type { CommandRow } from './commands.ts';
import type { Program } from './program.ts';

const { rax, rbx, rcx, rdx, rdi, r12, r13, r14, r15, eax, ebx, ecx, edx, edi, esi, r12d, r14d, al } = register;

/** Where the values of a list begin. */
const VALUE = 16;
const WRAP = 78;

/** What the loader leaves at the address in RSI. */
export const information = { memoryBytes: 0, rootPointer: 8, end: 16, regions: 24, list: 32, regionBytes: 24 } as const;

export const inventoryCommands: readonly CommandRow[] = [
  { name: 'cpu', usage: '', help: 'the processor: model, features, clock', body: cpu },
  { name: 'mem', usage: '', help: "the firmware's memory map", body: memory },
  { name: 'time', usage: '', help: 'the real-time clock, and how long the monitor runs', body: time },
];

export function inventoryRoutines(p: Program): void {
  p.reserve('cpuid', 64);
  p.reserve('clock', 16);
  // queryCpuid(leaf, subleaf): the four registers in `cpuid`. Most leaves have no subleaves.
  p.label('queryCpuid').emit('PUSH', rbx).emit('MOV', eax, edi).emit('MOV', ecx, esi).emit('CPUID');
  [eax, ebx, ecx, edx].forEach((from, i) => p.emit('MOV', dword(p.variable('cpuid', i * 4)), from));
  p.emit('POP', rbx).emit('RET');

  // tscMegahertz(): from leaf 15H, 0 when it says nothing. @sdm 3B 19.7.3
  p.label('tscMegahertz').emit('PUSH', rbx).emit('MOV', eax, 0x15).emit('XOR', ecx, ecx).emit('CPUID').emit('TEST', eax, eax);
  p.emit('JZ', '.unknown');
  p.emit('MOV', register.r8, rax).emit('MOV', eax, ecx).emit('MUL', rbx).emit('DIV', register.r8).emit('XOR', edx, edx);
  p.emit('MOV', ecx, 1_000_000).emit('DIV', rcx);
  p.emit('POP', rbx).emit('RET').label('.unknown').emit('XOR', eax, eax).emit('POP', rbx).emit('RET');
}

function field(p: Program, name: string): void {
  p.say(`  ${name}`, { column: VALUE });
}

/** One line from a leaf whose registers are text, in the given order. */
function cpuidText(p: Program, leaf: number, order: readonly number[], at16: number): void {
  p.call('queryCpuid', leaf);
  order.forEach((from, i) => p.emit('MOV', eax, dword(p.variable('cpuid', from * 4)))
    .emit('MOV', dword(p.variable('cpuidText', at16 + i * 4)), eax));
}

function printCpuidText(p: Program, length: number): void {
  p.emit('MOV', byte(p.variable('cpuidText', length)), 0).emit('LEA', rdi, p.variable('cpuidText')).emit('CALL', 'putText').line();
}

/** Prints `value` after it was masked. */
function bits(p: Program, offset: number, shift: number, mask: number): void {
  p.emit('MOV', r12d, dword(p.variable('cpuid', offset)));
  if (shift > 0) p.emit('SHR', r12d, shift);
  p.emit('AND', r12d, mask).say({ decimal: r12 });
}

function cpu(p: Program): void {
  p.reserve('cpuidText', 64);
  field(p, 'Vendor');
  cpuidText(p, 0, [1, 3, 2], 0);
  printCpuidText(p, 12);
  field(p, 'Model');
  for (let i = 0; i < 3; i++) cpuidText(p, 0x80000002 + i, [0, 1, 2, 3], i * 16);
  printCpuidText(p, 48);
  field(p, 'Signature');
  p.call('queryCpuid', 1);
  // The extended family is zero on every model here; the extended model counts for families 6 and 15.
  p.say('family ');
  bits(p, 0, 8, 15);
  p.emit('MOV', eax, dword(p.variable('cpuid'))).emit('MOV', r12d, eax).emit('SHR', r12d, 4).emit('AND', r12d, 15);
  p.emit('SHR', eax, 12).emit('AND', eax, 0xf0).emit('OR', r12d, eax).say(', model ', { decimal: r12 }, ', stepping ');
  bits(p, 0, 0, 15);
  p.line();
  field(p, 'Processors');
  bits(p, 4, 16, 255);
  p.say('; this one has APIC id ');
  bits(p, 4, 24, 255);
  p.line();
  field(p, 'Addresses');
  p.call('queryCpuid', 0x80000008);
  bits(p, 0, 0, 255);
  p.say(' bits physical, ');
  bits(p, 0, 8, 255);
  p.line(' bits linear');
  field(p, 'Clock');
  p.emit('CALL', 'tscMegahertz').emit('MOV', r12, rax).line('TSC ', { decimal: r12 }, ' MHz');
  field(p, 'Hypervisor');
  cpuidText(p, 0x40000000, [1, 2, 3], 0);
  printCpuidText(p, 12);
  controlRegisters(p);
  features(p);
}

function controlRegisters(p: Program): void {
  field(p, 'Control');
  for (const name of ['cr0', 'cr3', 'cr4'] as const) p.emit('MOV', r12, register[name])
    .say(`${name.toUpperCase()} `, { hex: r12, digits: 8 }, '  ');
  p.emit('MOV', ecx, 0xc0000080).emit('RDMSR').emit('MOV', r12d, eax).line('EFER ', { hex: r12, digits: 4 });
}

const REGISTER_INDEX = { eax: 0, ebx: 1, ecx: 2, edx: 3 } as const;
const FEATURE_BYTES = 16;

/** The names of the features that CPUID shows, broken into lines. */
function features(p: Program): void {
  field(p, 'Features');
  p.emit('LEA', r12, at('features'));
  p.label('.feature').emit('MOV', edi, dword(mem(r12))).emit('CMP', edi, 0xffffffff).emit('JE', '.listed');
  p.emit('MOVZX', esi, byte(mem(r12, 6))).emit('CALL', 'queryCpuid');
  p.emit('MOVZX', eax, byte(mem(r12, 4))).emit('MOVZX', ecx, byte(mem(r12, 5))).emit('LEA', rdx, p.variable('cpuid'));
  p.emit('MOV', eax, dword(indexed(rdx, rax, 4)));
  p.emit('BT', eax, ecx).emit('JNC', '.absent').emit('MOV', r13, qword(mem(r12, 8)));
  // A name that would not fit begins a line.
  p.emit('XOR', ecx, ecx).label('.measure').emit('CMP', byte(indexed(r13, rcx)), 0).emit('JE', '.measured').emit('INC', ecx);
  p.emit('JMP', '.measure');
  p.label('.measured').emit('ADD', rcx, p.variable('column')).emit('CMP', rcx, WRAP).emit('JB', '.fits').say('\n', { column: VALUE });
  p.label('.fits').say({ text: r13 }, ' ');
  p.label('.absent').emit('ADD', r12, FEATURE_BYTES).emit('JMP', '.feature');
  p.label('.listed').line().emit('RET');
  p.a.align(8);
  p.label('features');
  for (const [name, [leaf, where, bit, subleaf = 0]] of Object.entries<FeatureRow>(FEATURES)) {
    p.a.words(4, leaf).data([REGISTER_INDEX[where], bit, subleaf, 0]).words(8, p.text(name));
  }
  p.a.words(4, 0xffffffff);
}

const TYPE_NAMES = ['?', 'usable', 'reserved', 'ACPI tables', 'ACPI non-volatile'];

function memory(p: Program): void {
  p.emit('MOV', rbx, p.variable('information')).emit('MOV', r12, qword(mem(rbx, information.regions)));
  p.emit('LEA', r13, mem(rbx, information.list)).emit('XOR', r14d, r14d);
  p.label('.region').emit('DEC', r12).emit('JS', '.regions').emit('MOV', r15, qword(mem(r13))).say('  ', { hex: r15, digits: 12 }, ' - ');
  p.emit('ADD', r15, qword(mem(r13, 8))).emit('DEC', r15).say({ hex: r15, digits: 12 });
  p.emit('MOV', r15, qword(mem(r13, 8))).emit('SHR', r15, 10).say({ decimal: r15, width: 10 }, ' KB  ');
  p.emit('MOV', eax, dword(mem(r13, 16))).emit('CMP', eax, 1).emit('JNE', '.other').emit('ADD', r14, qword(mem(r13, 8)));
  p.label('.other').emit('CMP', eax, TYPE_NAMES.length).emit('JB', '.named').emit('XOR', eax, eax);
  p.label('.named').emit('LEA', rdx, at('regionTypes')).emit('MOV', rdi, qword(indexed(rdx, rax, 8))).emit('CALL', 'putText').line();
  p.emit('ADD', r13, information.regionBytes).emit('JMP', '.region');
  p.label('.regions').emit('SHR', r14, 10).emit('MOV', r15, qword(mem(rbx, information.memoryBytes))).emit('SHR', r15, 20).line();
  p.line('  ', { decimal: r14 }, ' KB of the machine\'s ', { decimal: r15 }, ' MB are usable.');
  p.emit('MOV', r15, qword(mem(rbx, information.end)));
  p.line('  The monitor lies at 100000 - ', { hex: r15, digits: 6 }, ', page tables and stack of the loader below 100000.');
  p.emit('MOV', r15, qword(mem(rbx, information.rootPointer))).line("  ACPI's root pointer is at ", { hex: r15, digits: 6 }, '.');
  p.emit('RET');
  p.a.align(8);
  p.label('regionTypes').a.words(8, ...TYPE_NAMES.map(name => p.text(name)));
}

const CLOCK_FIELDS = [cmos.century, cmos.year, cmos.month, cmos.day, cmos.hours, cmos.minutes, cmos.seconds] as const;
const SEPARATORS = ['', '-', '-', ' ', ':', ':', ' UTC'];

function time(p: Program): void {
  const read = (offset: number): void => void p.emit('MOV', al, offset).emit('OUT', 0x70, al).emit('IN', al, 0x71);
  // Between two updates the fields belong together.
  p.label('.update');
  read(cmos.a);
  p.emit('TEST', al, 0x80).emit('JNZ', '.update');
  CLOCK_FIELDS.forEach((offset, i) => {
    read(offset);
    p.emit('MOV', byte(p.variable('clock', i)), al);
  });
  read(cmos.b);
  p.emit('MOV', byte(p.variable('clock', 7)), al).say('  ');
  p.emit('XOR', ebx, ebx).label('.field').emit('LEA', rdx, p.variable('clock')).emit('MOVZX', eax, byte(indexed(rdx, rbx)));
  // Binary fields become two decimal figures, as they are in BCD.
  p.emit('TEST', byte(p.variable('clock', 7)), 4).emit('JZ', '.figures').emit('MOV', ecx, 10).emit('XOR', edx, edx).emit('DIV', ecx);
  p.emit('SHL', eax, 4).emit('OR', eax, edx);
  p.label('.figures').call('putHex', rax, 2).emit('LEA', rdx, at('separators')).emit('MOV', rdi, qword(indexed(rdx, rbx, 8)));
  p.emit('CALL', 'putText');
  p.emit('INC', ebx).emit('CMP', ebx, CLOCK_FIELDS.length).emit('JB', '.field');
  p.emit('CALL', 'tscMegahertz').emit('MOV', rcx, rax).emit('RDTSC').emit('SHL', rdx, 32).emit('OR', rax, rdx);
  p.emit('SUB', rax, p.variable('startTime'));
  // Hundredths of a second: ticks over ten thousand times the megahertz.
  p.emit('IMUL', rcx, rcx, 10_000).emit('JZ', '.unknown').emit('XOR', edx, edx).emit('DIV', rcx).emit('MOV', r12, rax);
  p.say(', running for ', { hundredths: r12 }, ' s').label('.unknown').line().emit('RET');
  p.a.align(8);
  p.label('separators').a.words(8, ...SEPARATORS.map(text => p.text(text)));
}
