/** The virtual APIC of a nested guest, as the guest and its hypervisor see it. @sdm 3C 30 */
import { describe, expect, it } from 'vitest';
import type { Assembler } from '../../../core/isa/assembler.ts';
import { absolute, dword, offsetOf, register as r } from '../../../core/isa/registers.ts';
import * as F from '../../../core/vmx/fields.ts';
import * as C from '../../../core/vmx/control-bits.ts';
import { hypervisorImage, IDT, MSR_BITMAPS } from '../../helpers/hypervisor.ts';
import type { Fields } from '../../helpers/hypervisor.ts';
import { runToEnd, smallMachine } from '../../helpers/small-guest.ts';

type Code = (a: Assembler) => void;

/** The page that the guest takes for its APIC, and that which answers. */
const ACCESS = 0x500000;
const VIRTUAL = 0x600000;
const POSTED = 0x601000;
const VECTOR = 0x51;
const NOTIFICATION = 0x61;
const X2APIC_FIRST = 0x800;

const PRIMARY = 0x94006172 | C.PRIMARY_TPR_SHADOW;
const SECONDARY = 0xa2;
const controls = (secondary: number, rest: Fields = []): Fields => [
  [F.PIN_BASED_CONTROLS, 0x1f], [F.EXIT_CONTROLS, 0x36dff | C.EXIT_ACKNOWLEDGE_INTERRUPT], [F.PRIMARY_CONTROLS, PRIMARY], [F.SECONDARY_CONTROLS, SECONDARY | secondary],
  [F.VIRTUAL_APIC_ADDRESS, VIRTUAL], [F.APIC_ACCESS_ADDRESS, ACCESS], [F.TPR_THRESHOLD, 0], [F.GUEST_INTERRUPT_STATUS, 0], ...rest,
];
const PAGE = C.SECONDARY_APIC_ACCESSES;
const REGISTERS = PAGE | C.SECONDARY_APIC_REGISTERS;
const INTERRUPTS = PAGE | C.SECONDARY_VIRTUAL_INTERRUPTS;
const X2APIC = C.SECONDARY_X2APIC | C.SECONDARY_APIC_REGISTERS | C.SECONDARY_VIRTUAL_INTERRUPTS;

const field = (encoding: number): Code => a => { a.emit('MOV', r.ecx, encoding).emit('VMREAD', r.eax, r.ecx); };
const word = (address: number): Code => a => { a.emit('MOV', r.eax, absolute(address)); };
const reason = field(F.EXIT_REASON_FIELD);
const qualification = field(F.EXIT_QUALIFICATION_FIELD);
const read = (offset: number): Code => a => { a.emit('MOV', r.ebx, absolute(ACCESS + offset)); };
const write = (offset: number, value: number): Code => a => { a.emit('MOV', dword(absolute(ACCESS + offset)), value); };
const both = (...parts: readonly Code[]): Code => a => { for (const part of parts) part(a); };
const call: Code = a => { a.emit('VMCALL'); };

/** Runs the guest until its first exit; what `host` then leaves in EAX. */
async function after(guest: Code, host: Code, fields: Fields, jit: 'off' | 'always' = 'off'): Promise<number | undefined> {
  const image = hypervisorImage(guest, a => {
    host(a);
    a.emit('OUT', 0xf4, r.eax).emit('HLT');
  }, fields);
  const exit = await runToEnd(await smallMachine(image, { cpuModel: 'max', jit }), 200);
  return exit?.reason === 'debug-exit' ? exit.value : undefined;
}

/** Sets the gate of a vector to the label `handler` of the guest's code: 32-bit, present. */
const gate = (vector: number): Code => a => {
  a.emit('MOV', r.eax, offsetOf('handler')).emit('MOV', r.edx, r.eax).emit('AND', r.eax, 0xffff).emit('OR', r.eax, 0x100000).emit('MOV', absolute(IDT + vector * 8), r.eax);
  a.emit('AND', r.edx, 0xffff0000 | 0).emit('OR', r.edx, 0x8e00).emit('MOV', absolute(IDT + vector * 8 + 4), r.edx);
};
/** The handler that a gate leads to: it leaves for the hypervisor. */
const handler: Code = a => { a.label('handler').emit('VMCALL'); };

const EXITS: readonly (readonly [string, Code, number, number, number])[] = [
  ['a read of a register that is not virtualized', read(0x20), PAGE, 44, 0x20],
  ['a write of such a register', write(0x300, 0), PAGE, 44, 0x1300],
  ['a fetch from the page', a => { a.emit('MOV', r.eax, ACCESS).emit('JMP', r.eax); }, REGISTERS, 44, 0x2000],
  ['a read that leaves its register', read(0x82), REGISTERS, 44, 0x82],
  ['a write that APIC-register virtualization lets through', write(0xf0, 0x1ff), REGISTERS, 56, 0xf0],
  ['an EOI without virtual-interrupt delivery', write(0xb0, 0), REGISTERS, 56, 0xb0],
  ['an IPI to others', write(0x300, 0xc0000 | VECTOR), INTERRUPTS, 56, 0x300],
  ['an x2APIC self-IPI with a vector that does not exist', a => { a.emit('MOV', r.ecx, 0x83f).emit('MOV', r.eax, 5).emit('XOR', r.edx, r.edx).emit('WRMSR'); }, X2APIC, 56, 0x3f0],
];

describe('a nested guest exits for', () => {
  for (const [what, guest, secondary, number, says] of EXITS) {
    it.each(['off', 'always'] as const)(`${what} (jit %s)`, async jit => {
      const fields = controls(secondary);
      expect([await after(both(guest, call), reason, fields, jit), await after(both(guest, call), qualification, fields, jit)]).toEqual([number, says]);
    });
  }

  it('a task priority below the threshold', async () => {
    const fields = controls(PAGE, [[F.TPR_THRESHOLD, 4]]);
    expect(await after(both(write(0x80, 0x30), call), reason, fields)).toBe(43);
  });

  it('an EOI that the bitmap names, with the vector', async () => {
    const fields = controls(INTERRUPTS, [[F.EOI_EXIT_BITMAP_1, 1 << (VECTOR - 64)], [F.GUEST_INTERRUPT_STATUS, VECTOR << 8]]);
    expect([await after(both(write(0xb0, 0), call), reason, fields), await after(both(write(0xb0, 0), call), qualification, fields)]).toEqual([45, VECTOR]);
  });

  it('an access, at the instruction, whose length it says', async () => {
    expect(await after(read(0x20), field(F.EXIT_INSTRUCTION_LENGTH), controls(PAGE))).toBe(6);
  });

  it('a write behind the instruction', async () => {
    const length = both(field(F.GUEST_RIP), a => { a.emit('SUB', r.eax, offsetOf('here')); });
    expect(await after(both(write(0xf0, 1), a => { a.label('here'); }, call), length, controls(REGISTERS))).toBe(0);
  });
});

describe('a virtual APIC where there is no memory', () => {
  it.each(['off', 'always'] as const)('harms nobody: reads exit, and what is written is lost (jit %s)', async jit => {
    const nowhere: Fields = [...controls(REGISTERS | C.SECONDARY_VIRTUAL_INTERRUPTS), [F.VIRTUAL_APIC_ADDRESS, 0xf0000000]];
    expect(await after(both(read(0x30), call), reason, nowhere, jit)).toBe(44);
    expect(await after(both(write(0x80, 0x40), write(0xb0, 0), write(0x300, 0x40000 | VECTOR), write(0x380, 1), call), reason, nowhere, jit)).toBe(56);
  });
});

describe('without an exit', () => {
  it.each(['off', 'always'] as const)('registers are those of the virtual-APIC page (jit %s)', async jit => {
    const guest = both(a => { a.emit('MOV', dword(absolute(VIRTUAL + 0x30)), 0x1234); }, read(0x30), a => { a.emit('MOV', absolute(0x700000), r.ebx); }, call);
    expect(await after(guest, word(0x700000), controls(REGISTERS), jit)).toBe(0x1234);
  });

  it('the task priority keeps its low byte', async () => {
    expect(await after(both(write(0x80, 0x12345), call), word(VIRTUAL + 0x80), controls(PAGE))).toBe(0x45);
  });

  it.each(['off', 'always'] as const)('an interrupt to itself is delivered, and is then in service (jit %s)', async jit => {
    const guest = both(gate(VECTOR), a => { a.emit('STI'); }, write(0x300, 0x40000 | VECTOR), a => { a.emit('NOP').emit('UD2'); }, handler);
    const fields = controls(INTERRUPTS);
    expect([await after(guest, reason, fields, jit), await after(guest, field(F.GUEST_INTERRUPT_STATUS), fields, jit), await after(guest, word(VIRTUAL + 0xa0), fields, jit)])
      .toEqual([18, VECTOR << 8, VECTOR & 0xf0]);
  });

  it('it waits for IF, for the shadow of STI, and for the priority', async () => {
    const send = both(gate(VECTOR), write(0x300, 0x40000 | VECTOR));
    const closed = both(send, a => { a.emit('NOP').emit('UD2'); }, handler);
    const shadow = both(send, a => { a.emit('STI').emit('UD2'); }, handler);
    const busy = both(write(0x80, 0x60), send, a => { a.emit('STI').emit('NOP').emit('UD2'); }, handler);
    const lowered = both(write(0x80, 0x60), send, a => { a.emit('STI').emit('NOP'); }, write(0x80, 0x40), a => { a.emit('UD2'); }, handler);
    const reasons = [closed, shadow, busy, lowered].map(guest => after(guest, reason, controls(INTERRUPTS)));
    expect(await Promise.all(reasons)).toEqual([0, 0, 0, 18]);
  });

  it('EOI takes it out of service and lets the next one in', async () => {
    const guest = both(
      gate(VECTOR), gate(VECTOR - 0x20), write(0x300, 0x40000 | VECTOR), write(0x300, 0x40000 | (VECTOR - 0x20)), a => { a.emit('XOR', r.ebx, r.ebx).emit('STI').emit('NOP').emit('UD2'); },
      a => { a.label('handler').emit('INC', r.ebx); }, write(0xb0, 0), a => { a.emit('CMP', r.ebx, 2).emit('JE', 'done').emit('STI').emit('NOP').emit('UD2').label('done'); }, call,
    );
    expect([await after(guest, reason, controls(INTERRUPTS)), await after(guest, field(F.GUEST_INTERRUPT_STATUS), controls(INTERRUPTS))]).toEqual([18, 0]);
  });

  it('an interrupt that is requested at VM entry ends HLT', async () => {
    const primary: Fields = [[F.PRIMARY_CONTROLS, PRIMARY & ~C.PRIMARY_HLT], [F.GUEST_INTERRUPT_STATUS, VECTOR]];
    const guest = both(gate(VECTOR), a => { a.emit('STI').emit('HLT').emit('UD2'); }, handler);
    expect(await after(guest, reason, controls(INTERRUPTS, primary))).toBe(18);
  });

  it.each([['self-IPI', 0x83f, VECTOR], ['task priority', 0x808, 0x40]] as const)('x2APIC registers are MSRs: %s', async (_name, msr, value) => {
    const guest = both(
      gate(VECTOR), a => { a.emit('MOV', r.ecx, msr).emit('MOV', r.eax, value).emit('XOR', r.edx, r.edx).emit('WRMSR').emit('RDMSR').emit('MOV', absolute(0x700000), r.eax); }, call, handler,
    );
    const fields = controls(X2APIC, [[F.MSR_BITMAPS, MSR_BITMAPS]]);
    expect([await after(guest, reason, fields), await after(guest, word(0x700000), fields)]).toEqual([18, value]);
    expect(await after(guest, word(VIRTUAL + ((msr - X2APIC_FIRST) << 4)), fields)).toBe(value);
  });

  it('posted interrupts arrive with their notification', async () => {
    const fields = controls(INTERRUPTS, [
      [F.PIN_BASED_CONTROLS, 0x1f | C.PIN_POSTED_INTERRUPTS], [F.POSTED_INTERRUPT_NOTIFICATION_VECTOR, NOTIFICATION], [F.POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, POSTED],
    ]);
    // Of the real APIC, in x2APIC mode, nothing is intercepted: the guest posts to itself and sends the notification.
    const set = (msr: number, low: number): Code => a => { a.emit('MOV', r.ecx, msr).emit('MOV', r.eax, low).emit('XOR', r.edx, r.edx).emit('WRMSR'); };
    const post = both(
      a => { a.emit('MOV', dword(absolute(POSTED + 8)), 1 << (VECTOR - 64)).emit('MOV', dword(absolute(POSTED + 32)), 1); },
      set(0x1b, 0xfee00900 | 0), set(0x1b, 0xfee00d00 | 0), set(0x80f, 0x1ff), set(0x83f, NOTIFICATION),
    );
    const guest = both(gate(VECTOR), a => { a.emit('STI'); }, post, a => { a.label('spin').emit('JMP', 'spin'); }, handler);
    const inService: Code = a => { a.emit('MOV', r.ecx, 0x813).emit('RDMSR'); };
    expect([await after(guest, reason, fields), await after(guest, word(POSTED + 8), fields), await after(guest, word(POSTED + 32), fields), await after(guest, inService, fields)])
      .toEqual([18, 0, 0, 0]);
  });
});
