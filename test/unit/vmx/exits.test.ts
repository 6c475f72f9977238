import { describe, expect, it } from 'vitest';
import type { Assembler } from '../../../core/isa/assembler.ts';
import { absolute, dword, register as r } from '../../../core/isa/registers.ts';
import { EXIT_REASONS } from '../../../core/vmm/exitReasons.ts';
import * as C from '../../../core/vmx/control-bits.ts';
import * as L from '../../../core/cpu/layout.ts';
import * as F from '../../../core/vmx/fields.ts';
import { fieldOffset } from '../../../core/vmx/vmcs.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import { EPT, GDT, IDT, hypervisorImage } from '../../helpers/hypervisor.ts';
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

/** Controls of the valid VMCS. */
const PRIMARY = 0x94006172;
const SECONDARY = 0xa2;
const primary = (bits: number): Fields => [[F.PRIMARY_CONTROLS, (PRIMARY | bits) >>> 0]];
const secondary = (bits: number): Fields => [[F.SECONDARY_CONTROLS, SECONDARY | bits]];
const POINTER = absolute(0x300000);
const APIC_PAGE = 0x500000;
const apic: Fields = [...primary(C.PRIMARY_TPR_SHADOW), [F.VIRTUAL_APIC_ADDRESS, 0x600000], [F.APIC_ACCESS_ADDRESS, APIC_PAGE], [F.GUEST_INTERRUPT_STATUS, 0x5100]];
const delivers: Fields = [[F.PIN_BASED_CONTROLS, 0x1f], ...secondary(C.SECONDARY_APIC_ACCESSES | C.SECONDARY_VIRTUAL_INTERRUPTS)];
const wrmsr = (msr: number, low: number): Code => a => { a.emit('MOV', r.ecx, msr).emit('MOV', r.eax, low).emit('XOR', r.edx, r.edx).emit('WRMSR'); };
/** Writes an x2APIC register that sends a message, and waits for it. */
const send = (msr: number, low: number): Code => a => {
  for (const [index, value] of [[0x1b, 0xfee00900], [0x1b, 0xfee00d00], [0x80f, 0x1ff], [msr, low]] as const) wrmsr(index, value | 0)(a);
  a.label('spin').emit('JMP', 'spin');
};
/** A task gate in vector 30H, and a TSS that it names. */
const taskGate: Code = a => {
  a.emit('MOV', dword(absolute(IDT + 0x180)), 0x180000).emit('MOV', dword(absolute(IDT + 0x184)), 0x8500);
  a.emit('MOV', dword(absolute(GDT + 24)), 0x67).emit('MOV', dword(absolute(GDT + 28)), 0x8970).emit('INT', 0x30);
};

const EXITS: readonly (readonly [string, number, Code, Fields?])[] = [
  ['an external interrupt', 1, send(0x83f, 0x61), [[F.PIN_BASED_CONTROLS, 0x1f]]],
  ['INIT', 3, send(0x830, 0x4500)],
  ['a window for NMIs', 8, a => { a.emit('NOP'); }, [[F.PIN_BASED_CONTROLS, 0x3e], ...primary(C.PRIMARY_NMI_WINDOW)]],
  ['a task switch', 9, taskGate],
  ['INVLPG', 14, a => { a.emit('INVLPG', POINTER); }, primary(C.PRIMARY_INVLPG)],
  ['RDPMC', 15, a => { a.emit('RDPMC'); }, primary(C.PRIMARY_RDPMC)],
  ['VMCLEAR', 19, a => { a.emit('VMCLEAR', POINTER); }], ['VMLAUNCH', 20, a => { a.emit('VMLAUNCH'); }], ['VMPTRLD', 21, a => { a.emit('VMPTRLD', POINTER); }],
  ['VMPTRST', 22, a => { a.emit('VMPTRST', POINTER); }], ['VMRESUME', 24, a => { a.emit('VMRESUME'); }], ['VMWRITE', 25, a => { a.emit('VMWRITE', r.eax, r.ecx); }],
  ['VMXON', 27, a => { a.emit('VMXON', POINTER); }], ['INVEPT', 50, a => { a.emit('INVEPT', r.eax, POINTER); }], ['INVVPID', 53, a => { a.emit('INVVPID', r.eax, POINTER); }],
  ['MOV of a debug register', 29, a => { a.emit('MOV', r.eax, r.dr7); }, primary(C.PRIMARY_MOV_DR)],
  ['WRMSR outside the bitmaps', 32, wrmsr(0x4000, 0)],
  ['MWAIT', 36, a => { a.emit('MWAIT'); }, primary(C.PRIMARY_MWAIT)], ['MONITOR', 39, a => { a.emit('MONITOR'); }, primary(C.PRIMARY_MONITOR)],
  ['PAUSE', 40, a => { a.emit('PAUSE'); }, primary(C.PRIMARY_PAUSE)],
  ['a task priority below the threshold', 43, a => { a.emit('MOV', dword(absolute(APIC_PAGE + 0x80)), 0x10); }, [...apic, ...secondary(C.SECONDARY_APIC_ACCESSES), [F.TPR_THRESHOLD, 2]]],
  ['an access to the APIC page', 44, a => { a.emit('MOV', r.eax, absolute(APIC_PAGE + 0x20)); }, [...apic, ...secondary(C.SECONDARY_APIC_ACCESSES)]],
  ['an EOI that the bitmap names', 45, a => { a.emit('MOV', dword(absolute(APIC_PAGE + 0xb0)), 0); }, [...apic, ...delivers, [F.EOI_EXIT_BITMAP_1, 1 << 0x11]]],
  ['a write to the virtual APIC', 56, a => { a.emit('MOV', dword(absolute(APIC_PAGE + 0x300)), 0xc0051); }, [...apic, ...delivers]],
  ['SGDT', 46, a => { a.emit('SGDT', POINTER); }, secondary(C.SECONDARY_DESCRIPTOR_TABLES)], ['SLDT', 47, a => { a.emit('SLDT', r.eax); }, secondary(C.SECONDARY_DESCRIPTOR_TABLES)],
  ['an EPT entry that cannot be', 49, a => { a.emit('MOV', dword(absolute(EPT + 0x1008)), 2).emit('MOV', r.eax, absolute(0x40000000)); }],
  ['RDTSCP', 51, a => { a.emit('RDTSCP'); }, [...primary(C.PRIMARY_RDTSC), ...secondary(C.SECONDARY_RDTSCP)]],
  ['WBINVD', 54, a => { a.emit('WBINVD'); }, secondary(C.SECONDARY_WBINVD)], ['RDRAND', 57, a => { a.emit('RDRAND', r.eax); }, secondary(C.SECONDARY_RDRAND)],
  ['INVPCID', 58, a => { a.emit('INVPCID', r.eax, POINTER); }, [...primary(C.PRIMARY_INVLPG), ...secondary(C.SECONDARY_INVPCID)]],
  ['VMFUNC', 59, a => { a.emit('VMFUNC'); }, secondary(C.SECONDARY_VM_FUNCTIONS)], ['RDSEED', 61, a => { a.emit('RDSEED', r.eax); }, secondary(C.SECONDARY_RDSEED)],
  ['a full page-modification log', 62, a => { a.emit('MOV', POINTER, r.eax); }, [...secondary(C.SECONDARY_PML), [F.EPT_POINTER, EPT | 0x5e], [F.PML_ADDRESS, 0x700000], [F.PML_INDEX, 0xffff]]],
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

/** Reasons whose tests are elsewhere, and those that this processor never has. */
const ELSEWHERE: Readonly<Record<number, string>> = { 4: 'below', 33: 'below', 34: 'below' };
const NEVER: Readonly<Record<number, string>> = {
  5: 'no SMM', 6: 'no SMM', 11: 'no SMX', 17: 'no SMM', 41: 'no machine checks', 60: 'no SGX', 63: 'no supervisor state component', 64: 'no supervisor state component',
  66: 'no sub-page permissions', 67: 'no WAITPKG', 68: 'no WAITPKG', 69: 'no Key Locker',
};

describe('the table of exit reasons', () => {
  it('has no row without a test', () => {
    const known = new Set([...EXITS.map(([, reason]) => reason), ...Object.keys({ ...ELSEWHERE, ...NEVER }).map(Number)]);
    expect(EXIT_REASONS.filter(([reason]) => !known.has(reason))).toEqual([]);
  });
});

describe('a nested guest that waits for a start-up message', () => {
  it('exits for it, with the vector', () => {
    const cpu = instantiate();
    cpu.write32(L.VMX_OPERATION, 1);
    cpu.write32(L.NON_ROOT, 1);
    cpu.write32(L.ACTIVITY, 3);
    cpu.call('exitForStartUp', 8);
    const field = (encoding: number): number => cpu.read32(L.VMCS + fieldOffset(encoding));
    expect([field(F.EXIT_REASON_FIELD), field(F.EXIT_QUALIFICATION_FIELD), field(F.GUEST_ACTIVITY_STATE), cpu.read32(L.NON_ROOT)]).toEqual([4, 8, 3, 0]);
  });
});

describe('the time that an exit stores', () => {
  /** What is stored by an exit at `rip`, `ticks` behind an RDTSC at 100H that found 1,000. */
  const storedAt = (rip: bigint, ticks: number): bigint => {
    const cpu = instantiate();
    let now = 1000;
    cpu.device.time = () => now;
    const area = 0x3000;
    cpu.write32(L.VMX_OPERATION, 1);
    cpu.write32(L.NON_ROOT, 1);
    cpu.write32(L.RAM_BASE + area, 0x10);
    cpu.write32(L.VMCS + fieldOffset(F.EXIT_MSR_STORE_COUNT), 1);
    cpu.write32(L.VMCS + fieldOffset(F.EXIT_MSR_STORE_ADDRESS), area);
    cpu.write64(L.RIP, 0x100n);
    cpu.write64(L.NEXT_RIP, 0x102n);
    cpu.call('rdtsc');
    now += ticks;
    cpu.write64(L.RIP, rip);
    cpu.write32(L.FAULT, L.FAULT_VM_EXIT);
    cpu.call('deliverPending');
    return cpu.read64(L.RAM_BASE + area + 8);
  };
  it('is that of the exit', () => {
    expect([storedAt(0x102n, 140), storedAt(0x5000n, 140)]).toEqual([1140n, 1140n]);
  });
  it('is no later behind RDTSC than the instructions in between take: the rest is part of the exit', () => {
    expect([storedAt(0x102n, 9000), storedAt(0x141n, 9000)]).toEqual([1400n, 1400n]);
  });
  it('is the host\'s where it is not known what was in between', () => {
    expect([storedAt(0x142n, 9000), storedAt(0x101n, 9000)]).toEqual([10_000n, 10_000n]);
  });
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
