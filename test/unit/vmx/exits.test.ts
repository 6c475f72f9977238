import { describe, expect, it } from 'vitest';
import type { Assembler } from '../../../core/isa/assembler.ts';
import { absolute, dword, register as r } from '../../../core/isa/registers.ts';
import * as F from '../../../core/vmx/fields.ts';
import { hypervisorImage } from '../../helpers/hypervisor.ts';
import type { Fields } from '../../helpers/hypervisor.ts';
import { runToEnd, smallMachine } from '../../helpers/small-guest.ts';

type Code = (a: Assembler) => void;
const read = (field: number): Code => a => { a.emit('MOV', r.ecx, field).emit('VMREAD', r.eax, r.ecx); };
const end: Code = a => { a.emit('OUT', 0xf4, r.eax).emit('HLT'); };

/** What a field of the VMCS holds after the guest's first exit. */
async function after(guest: Code, field: number, fields: Fields = []): Promise<number | undefined> {
  const image = hypervisorImage(guest, a => {
    read(field)(a);
    end(a);
  }, fields);
  const exit = await runToEnd(await smallMachine(image, { cpuModel: 'max' }), 200);
  return exit?.reason === 'debug-exit' ? exit.value : undefined;
}

const EXITS: readonly (readonly [string, number, Code, Fields?])[] = [
  ['CPUID', 10, a => { a.emit('CPUID'); }],
  ['HLT', 12, a => { a.emit('HLT'); }],
  ['INVD', 13, a => { a.emit('INVD'); }],
  ['VMCALL', 18, a => { a.emit('VMCALL'); }],
  ['VMXOFF', 26, a => { a.emit('VMXOFF'); }],
  ['VMREAD', 23, a => { a.emit('VMREAD', r.eax, r.ecx); }],
  ['an undefined instruction', 0, a => { a.emit('UD2'); }],
  ['RDMSR outside the bitmaps', 31, a => { a.emit('MOV', r.ecx, 0x4000).emit('RDMSR'); }],
  ['XSETBV', 55, a => { a.emit('MOV', r.eax, 0x42010).emit('MOV', r.cr4, r.eax).emit('XSETBV'); }],
  ['a triple fault', 2, a => { a.emit('LIDT', absolute(0x300000)).emit('INT3'); }],
  ['memory that EPT does not map', 48, a => { a.emit('MOV', r.eax, absolute(0x40000000)); }],
  ['OUT with unconditional exits', 30, a => { a.emit('OUT', 0x80, r.eax); }, [[F.PRIMARY_CONTROLS, 0x95006172]]],
  ['RDTSC', 16, a => { a.emit('RDTSC'); }, [[F.PRIMARY_CONTROLS, 0x94007172]]],
  ['a bit of CR0 that the hypervisor owns', 28, a => { a.emit('CLTS').emit('MOV', r.eax, r.cr0).emit('XOR', r.eax, 8).emit('MOV', r.cr0, r.eax); }, [[F.CR0_GUEST_HOST_MASK, 8]]],
  ['the monitor trap flag', 37, a => { a.emit('NOP').emit('NOP'); }, [[F.PRIMARY_CONTROLS, 0x9c006172]]],
  ['the preemption timer', 52, a => { a.label('spin').emit('JMP', 'spin'); }, [[F.PIN_BASED_CONTROLS, 0x5e], [F.PREEMPTION_TIMER_VALUE, 1000]]],
  ['the preemption timer while it is halted', 52, a => { a.emit('HLT'); }, [[F.PIN_BASED_CONTROLS, 0x5e], [F.PREEMPTION_TIMER_VALUE, 1000], [F.PRIMARY_CONTROLS, 0x94006172]]],
  ['an interrupt window', 7, a => { a.emit('STI').emit('NOP').emit('NOP'); }, [[F.PRIMARY_CONTROLS, 0x94006176]]],
];

describe('a nested guest exits', () => {
  for (const [what, reason, guest, fields = []] of EXITS) {
    it(`because of ${what}`, async () => {
      expect(await after(guest, F.EXIT_REASON_FIELD, fields)).toBe(reason);
    });
  }
});

describe('an exit says', () => {
  it('the port, the size and the direction of I/O', async () => {
    expect(await after(a => { a.emit('OUT', 0x80, r.eax); }, F.EXIT_QUALIFICATION_FIELD, [[F.PRIMARY_CONTROLS, 0x95006172]])).toBe(0x800043);
  });
  it('what an EPT violation was about', async () => {
    const store: Code = a => { a.emit('MOV', dword(absolute(0x40000123)), 1); };
    expect([await after(store, F.EXIT_QUALIFICATION_FIELD), await after(store, F.GUEST_PHYSICAL_ADDRESS), await after(store, F.GUEST_LINEAR_ADDRESS)])
      .toEqual([0x182, 0x40000123, 0x40000123]);
  });
  it('the length of the instruction, and where it is', async () => {
    expect(await after(a => { a.emit('CPUID'); }, F.EXIT_INSTRUCTION_LENGTH)).toBe(2);
  });
  it('the exception, with the event whose delivery it interrupted', async () => {
    const guest: Code = a => { a.emit('LIDT', absolute(0x300000)).emit('INT', 0x30); };
    const fields: Fields = [[F.EXCEPTION_BITMAP, 0x2000]];
    expect([await after(guest, F.EXIT_INTERRUPTION_INFORMATION, fields), await after(guest, F.IDT_VECTORING_INFORMATION, fields)]).toEqual([0x80000b0d | 0, 0x80000430 | 0].map(value => value >>> 0));
  });
  it('which registers an instruction named', async () => {
    // Register operand EBX (bits 6:3, with bit 10), second register ESI (bits 31:28).
    expect(await after(a => { a.emit('VMREAD', r.ebx, r.esi); }, F.EXIT_INSTRUCTION_INFORMATION)).toBe(0x60000418);
  });
});

describe('a VM entry that fails', () => {
  it('because of guest state is exit 33, with the entry-failure bit', async () => {
    expect(await after(a => { a.emit('HLT'); }, F.EXIT_REASON_FIELD, [[F.GUEST_RFLAGS, 0]])).toBe(0x80000021);
  });
  it('because of an MSR is exit 34', async () => {
    expect(await after(a => { a.emit('HLT'); }, F.EXIT_REASON_FIELD, [[F.ENTRY_MSR_LOAD_COUNT, 1], [F.ENTRY_MSR_LOAD_ADDRESS, 0x7ffff000]])).toBe(0x80000022);
  });
});
