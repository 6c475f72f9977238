import { describe, expect, it } from 'vitest';
import { byte, dword, far, indexed, mem, qword, register as r, word } from '../../core/isa/registers.ts';
import type { Assembler } from '../../core/isa/assembler.ts';
import { CR3 } from '../../core/cpu/layout.ts';
import {
  CODE, CODE0_16, CODE0_32, CODE3, CODE3_32, DATA, DATA0, DATA0_16, DATA3, GDT, Guest, PML4, STACK, STACK0, TIERS, TSS32, TSS32B, TSS32B_SELECTOR,
  TSS32_SELECTOR,
} from '../helpers/guest-program.ts';

const PAGE = 0x1000;
const USER_CODE = 0x140000;
const USER_STACK = 0x2a000;
const V8086 = 0x20000;

function toUser(a: Assembler): void {
  a.emit('PUSH', DATA3).emit('PUSH', USER_STACK).emit('PUSH', 2).emit('PUSH', CODE3).emit('PUSH', USER_CODE).emit('IRETQ');
}

describe.each(TIERS)('real mode, regions %s', (tier) => {
  it('addresses are segment times 16 plus offset, and registers are 16 bits wide', () => {
    const guest = new Guest(tier);
    guest.startReal(0x7c00);
    guest.load(16, 0x7c00, (a) => {
      a.emit('MOV', r.ax, 0x1234).emit('MOV', r.ds, r.ax).emit('MOV', r.bx, 8).emit('MOV', r.eax, 0xabcd0001);
      a.emit('MOV', mem(r.bx, 2), r.ax).emit('HLT');
    });
    expect([guest.run().kind, guest.read(0x12340 + 10, 4)]).toEqual(['hlt', 0x0001]);
  });

  it('INT goes through the vector table at 0 with a frame of words, IRET returns', () => {
    const guest = new Guest(tier);
    guest.startReal(0x7c00);
    guest.write(0x21 * 4, 0x8000 | (0x0000 << 16), 4);
    guest.load(16, 0x8000, a => a.emit('MOV', r.bp, r.sp).emit('MOV', r.cx, mem(r.bp)).emit('MOV', r.dx, mem(r.bp, 4)).emit('IRET'));
    const a = guest.load(16, 0x7c00, p => p.emit('STI').emit('INT', 0x21).label('after').emit('PUSHF').emit('POP', r.bx).emit('HLT'));
    const stop = guest.run();
    expect([stop.kind, guest.get('rcx'), guest.get('rdx') & 0x200, guest.get('rbx') & 0x200, guest.get('rsp')]).toEqual(['hlt', a.addressOf('after'), 0x200, 0x200, 0x7000]);
  });

  it('an offset beyond the limit of 64 KB is interrupt 13', () => {
    const guest = new Guest(tier);
    guest.startReal(0x7c00);
    guest.write(13 * 4, 0x8000, 4);
    guest.load(16, 0x8000, a => a.emit('HLT'));
    guest.load(16, 0x7c00, a => a.emit('MOV', r.ebx, 0x10000).emit('MOV', r.al, byte(mem(r.ebx))).emit('HLT'));
    expect(guest.run().rip).toBe(0x8000);
    expect(guest.read(guest.get('rsp'), 2), 'RIP of the faulting instruction; there is no error code').toBe(0x7c06);
  });

  it('an indirect jump to one offset leads elsewhere in each segment', () => {
    const guest = new Guest(tier);
    guest.startReal(0x7c00);
    guest.load(16, 0x7c00, p => p.emit('MOV', r.si, 40).emit('MOV', r.bx, 0).emit('MOV', r.dx, 0x100).emit('JMP FAR', far(0x3000, 0)));
    for (const [segment, other, step] of [[0x3000, 0x4000, 1], [0x4000, 0x3000, 0x100]] as const) {
      guest.load(16, segment * 16, p => p.emit('JMP', r.dx));
      guest.load(16, segment * 16 + 0x100, p => p.emit('ADD', r.bx, step).emit('DEC', r.si).emit('JZ', 'end').emit('JMP FAR', far(other, 0)).label('end').emit('HLT'));
    }
    expect([guest.run().kind, guest.get('rbx')]).toEqual(['hlt', 20 * 0x101]);
  });

  it('goes to protected mode and on to 32-bit code', () => {
    const guest = new Guest(tier);
    guest.startReal(0x7c00);
    guest.load(32, CODE, a => a.emit('MOV', r.eax, DATA0).emit('MOV', r.ds, r.ax).emit('MOV', r.ebx, DATA)
      .emit('MOV', dword(mem(r.ebx)), 77).emit('MOV', r.cx, r.cs).emit('HLT'));
    guest.load(16, 0x7c00, a => a.emit('MOV', r.eax, r.cr0).emit('OR', r.al, 1)
      .emit('MOV', r.cr0, r.eax).data([0x66, 0xea, 0, 0, 0x10, 0, CODE0_32, 0]));
    expect([guest.run().kind, guest.read(DATA, 4), guest.get('rcx')]).toEqual(['hlt', 77, CODE0_32]);
  });
});

describe.each(TIERS)('16-bit protected mode, regions %s', (tier) => {
  it('IP and SP wrap at 64 KB, and limits are checked', () => {
    const guest = new Guest(tier);
    guest.start32();
    guest.load(16, 0x7c00, (a) => {
      a.emit('MOV', r.sp, 0x7000).emit('PUSH', r.ax).emit('MOV', r.cx, r.sp).emit('MOV', r.bx, 0xffff).label('fault');
      a.emit('MOV', r.ax, word(mem(r.bx))).emit('HLT');
    });
    guest.load(32, CODE, (a) => {
      a.emit('MOV', r.eax, DATA0_16).emit('MOV', r.ds, r.ax).emit('MOV', r.ss, r.ax).emit('MOV', r.esp, 0x12340000);
      a.emit('JMP FAR', far(CODE0_16, 0x7c00));
    });
    const stop = guest.run();
    expect([stop.vector, stop.error, stop.cs, guest.get('rcx') & 0xffff]).toEqual([13, 0, CODE0_16, 0x6ffe]);
    expect(guest.get('rsp') >>> 16, 'the upper half of ESP is not touched').toBe(0x1234);
  });
});

describe.each(TIERS)('virtual-8086 mode, regions %s', (tier) => {
  /** Enters virtual-8086 mode at 0x7c00 by IRETD with nine words. */
  function enter(guest: Guest, iopl: number, program: (a: Assembler) => void): ReturnType<Guest['run']> {
    guest.start32();
    guest.load(16, 0x7c00, program);
    guest.load(32, CODE, (a) => {
      for (const segment of [0, 0, 0x1000, 0]) a.emit('PUSH', segment);
      a.emit('PUSH', 0).emit('PUSH', 0x7000).emit('PUSH', V8086 | (iopl << 12) | 0x202).emit('PUSH', 0).emit('PUSH', 0x7c00).emit('IRETD');
    });
    return guest.run();
  }

  it('runs real-mode code at privilege 3; a fault pushes the data segments and clears them', () => {
    const guest = new Guest(tier);
    const stop = enter(guest, 3, a => a.emit('MOV', r.ax, 0x1234).emit('MOV', r.fs, r.ax).emit('MOV', r.bx, 0x10)
      .emit('MOV', mem(r.bx), r.ax).emit('HLT'));
    expect([stop.vector, stop.error, stop.rip, stop.cs, stop.flags & V8086, stop.rsp, stop.ss]).toEqual([13, 0, 0x7c00 + 3 + 2 + 3 + 2, 0, V8086, 0x7000, 0]);
    expect(guest.read(0x10010, 2), 'DS was 1000H').toBe(0x1234);
    const frame = guest.get('rsp') + 4 + 4;
    expect([20, 24, 28, 32].map(offset => guest.read(frame + offset, 4)), 'ES DS FS GS').toEqual([0, 0x1000, 0x1234, 0]);
    expect([guest.cpl, guest.selector(3), guest.selector(4)]).toEqual([0, 0, 0]);
    expect(guest.get('rsp')).toBe(STACK0 - 9 * 4 - 4 - 4);
  });

  it('CLI, STI, PUSHF, POPF, INT and IRET are #GP when IOPL is below 3', () => {
    for (const name of ['CLI', 'STI', 'PUSHF', 'POPF', 'IRET'] as const) {
      const guest = new Guest(tier);
      const stop = enter(guest, 0, a => a.emit(name).emit('HLT'));
      expect([name, stop.vector, stop.error, stop.rip]).toEqual([name, 13, 0, 0x7c00]);
    }
    const guest = new Guest(tier);
    const stop = enter(guest, 0, a => a.emit('INT', 0x80));
    expect([stop.vector, stop.error, stop.rip]).toEqual([13, 0, 0x7c00]);
  });

  it('INT n reaches a protected-mode gate of ring 0 when IOPL is 3', () => {
    const guest = new Guest(tier);
    const stop = enter(guest, 3, a => a.emit('INT', 0x80).emit('HLT'));
    expect([stop.vector, stop.rip, stop.flags & V8086]).toEqual([0x80, 0x7c02, V8086]);
  });

  it('instructions of protected mode do not exist', () => {
    const guest = new Guest(tier);
    const stop = enter(guest, 3, a => a.emit('SLDT', r.ax));
    expect([stop.vector, stop.rip]).toEqual([6, 0x7c00]);
  });
});

describe.each(TIERS)('hardware task switch, regions %s', (tier) => {
  function twoTasks(tasks: Guest): void {
    tasks.start32();
    const put = (offset: number, value: number): void => tasks.write(TSS32B + offset, value, 4);
    put(0x20, 0x150000); // EIP
    put(0x24, 2);
    put(0x28, 0xaaaa); // EAX
    put(0x38, 0x2c000); // ESP
    for (const [offset, selector] of [[0x48, DATA0], [0x4c, CODE0_32], [0x50, DATA0], [0x54, DATA0], [0x58, DATA0], [0x5c, DATA0]] as const) put(offset, selector);
    put(0x64, 0x680000);
  }

  it('CALL saves the old task, sets NT and the back link; IRET returns', () => {
    const guest = new Guest(tier);
    twoTasks(guest);
    guest.load(32, 0x150000, a => a.emit('MOV', r.ecx, r.eax).emit('PUSHFD').emit('POP', r.edx).emit('MOV', dword(mem(r.ebx, DATA)), 9)
      .emit('IRETD'));
    const a = guest.load(32, CODE, p => p.emit('MOV', r.eax, 0x1111).emit('CALL FAR', far(TSS32B_SELECTOR, 0)).label('after')
      .emit('PUSHFD').emit('POP', r.esi).emit('HLT'));
    expect(guest.run().kind).toBe('hlt');
    expect([guest.get('rax'), guest.get('rcx'), guest.get('rsi') & 0x4000], 'registers are those of the first task').toEqual([0x1111, 0, 0]);
    expect([guest.read(TSS32 + 0x20, 4), guest.read(TSS32 + 0x28, 4)]).toEqual([a.addressOf('after'), 0x1111]);
    expect([guest.read(TSS32B, 2), guest.read(TSS32B + 0x2c, 4), guest.read(TSS32B + 0x30, 4) & 0x4000]).toEqual([TSS32_SELECTOR, 0xaaaa, 0x4000]);
    expect([guest.read(DATA, 4), guest.read(GDT + TSS32_SELECTOR + 5, 1), guest.read(GDT + TSS32B_SELECTOR + 5, 1)], 'busy, available').toEqual([9, 0x8b, 0x89]);
    expect(guest.cpu.view.getBigUint64(0x10220, true) & 8n, 'CR0.TS').toBe(8n);
  });

  it('a task gate in the interrupt table switches for an exception, with the error code on the new stack', () => {
    const guest = new Guest(tier);
    twoTasks(guest);
    guest.gate32(13, TSS32B_SELECTOR, 0, { type: 0x85 });
    guest.load(32, 0x150000, a => a.emit('POP', r.ecx).emit('HLT'));
    guest.load(32, CODE, a => a.emit('MOV', r.eax, 0x5555).emit('MOV', r.ds, r.ax));
    const stop = guest.run();
    expect([stop.kind, stop.rip, guest.get('rcx')]).toEqual(['hlt', 0x150001, 0x5554]);
    expect(guest.read(TSS32 + 0x20, 4), 'the fault can be restarted').toBe(CODE + 5);
  });

  it('a switch to a busy task is #GP with its selector', () => {
    const guest = new Guest(tier);
    twoTasks(guest);
    guest.load(32, CODE, a => a.emit('JMP FAR', far(TSS32_SELECTOR, 0)));
    const stop = guest.run();
    expect([stop.vector, stop.error, stop.rip]).toEqual([13, TSS32_SELECTOR, CODE]);
  });
});

describe.each(TIERS)('page faults and their error codes, regions %s', (tier) => {
  const touch: Record<string, (a: Assembler) => Assembler> = {
    read: a => a.emit('MOV', r.eax, dword(mem(r.rbx))), write: a => a.emit('MOV', dword(mem(r.rbx)), 1), fetch: a => a.emit('JMP', r.rbx),
  };
  // Bits: 0 present, 1 write, 2 user, 3 reserved, 4 fetch.
  it.each([
    ['read', 'supervisor', 'absent', 0, 0x00], ['write', 'supervisor', 'absent', 0, 0x02], ['fetch', 'supervisor', 'absent', 0, 0x10],
    ['read', 'user', 'absent', 0, 0x04], ['write', 'user', 'absent', 0, 0x06], ['fetch', 'user', 'absent', 0, 0x14],
    ['write', 'supervisor', 'read-only', 5, 0x03], ['write', 'user', 'read-only', 5, 0x07],
    ['read', 'user', 'supervisor', 3, 0x05], ['write', 'user', 'supervisor', 3, 0x07], ['fetch', 'user', 'supervisor', 3, 0x15],
    ['read', 'supervisor', 'reserved-bit', 7n | (1n << 45n), 0x09], ['fetch', 'user', 'reserved-bit', 7n | (1n << 45n), 0x1d],
    ['fetch', 'supervisor', 'no-execute', 7n | (1n << 63n), 0x11], ['fetch', 'user', 'no-execute', 7n | (1n << 63n), 0x15],
  ] as const)('a %s by the %s of a page that is %s', (what, who, _page, bits, error) => {
    const guest = new Guest(tier);
    guest.page(DATA, bits === 0 ? 0 : DATA, bits);
    if (who === 'user') guest.load(64, USER_CODE, a => touch[what]!(a.emit('MOV', r.ebx, DATA)));
    const stop = guest.run64((a) => {
      if (who === 'user') toUser(a);
      else touch[what]!(a.emit('MOV', r.ebx, DATA));
    });
    expect([stop.vector, stop.error, guest.cr2]).toEqual([14, error, BigInt(DATA)]);
  });

  it('without CR0.WP a supervisor writes to a read-only page', () => {
    const guest = new Guest(tier);
    guest.start({ cr0: 0x80000031 });
    guest.page(DATA, DATA, 5);
    expect([guest.run64(a => touch['write']!(a.emit('MOV', r.ebx, DATA)).emit('HLT')).kind, guest.read(DATA, 4)]).toEqual(['hlt', 1]);
  });

  it('SMEP: a supervisor does not execute user pages', () => {
    const guest = new Guest(tier);
    guest.start({ cr4: 0x620 | (1 << 20) });
    for (const address of [CODE, 0x10000]) guest.page(address, address, 3);
    guest.poke(DATA, [0xf4]);
    const stop = guest.run64(a => touch['fetch']!(a.emit('MOV', r.ebx, DATA)));
    expect([stop.vector, stop.error, guest.cr2]).toEqual([14, 0x11, BigInt(DATA)]);
  });

  it('SMAP: a supervisor reads and writes user pages only with AC set', () => {
    const guest = new Guest(tier);
    guest.start({ cr4: 0x620 | (1 << 21) });
    guest.page(STACK - PAGE, STACK - PAGE, 3);
    for (const address of [0x1000, 0x2000, 0x3000, 0x25000]) guest.page(address, address, 3);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('STAC').emit('MOV', dword(mem(r.rbx)), 5).emit('CLAC').label('fault');
      a.emit('MOV', r.eax, dword(mem(r.rbx)));
    });
    expect([stop.vector, stop.error, guest.cr2, guest.read(DATA, 4)]).toEqual([14, 0x01, BigInt(DATA), 5]);
  });

  it('sets accessed bits on a read and the dirty bit on a write, and neither on a fault', () => {
    const guest = new Guest(tier);
    const entry = 0x7000 + (DATA >>> 12) * 8;
    guest.run64(a => a.emit('MOV', r.ebx, DATA).emit('MOV', r.eax, dword(mem(r.rbx))).emit('MOV', dword(mem(r.rbx, PAGE)), 1).emit('HLT'));
    expect([guest.read(entry, 1) & 0x60, guest.read(entry + 8, 1) & 0x60]).toEqual([0x20, 0x60]);
    const faulting = new Guest(tier);
    faulting.page(DATA, DATA, 5);
    faulting.run64(a => touch['write']!(a.emit('MOV', r.ebx, DATA)));
    expect(faulting.read(entry, 1) & 0x40).toBe(0);
  });
});

describe.each(TIERS)('paging modes, regions %s', (tier) => {
  it('pages of 2 MB and 1 GB', () => {
    const guest = new Guest(tier);
    guest.write(PML4 + 0x2000 + 8 * 100, 0x400000 + 0x87, 8);
    guest.write(PML4 + 0x1000 + 8 * 3, 0x87, 8);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, 100 * 0x200000 + 0x1234).emit('MOV', dword(mem(r.rbx)), 0x11).emit('MOV', r.rbx, 3 * 0x40000000 + DATA);
      a.emit('MOV', dword(mem(r.rbx)), 0x22).emit('HLT');
    });
    expect([stop.kind, guest.read(0x401234, 4), guest.read(DATA, 4)]).toEqual(['hlt', 0x11, 0x22]);
  });

  it('a reserved bit in the address of a large page is a page fault', () => {
    const guest = new Guest(tier);
    guest.write(PML4 + 0x2000 + 8 * 100, 0x402000 + 0x87, 8);
    const stop = guest.run64(a => a.emit('MOV', r.ebx, 100 * 0x200000).emit('MOV', r.eax, mem(r.rbx)));
    expect([stop.vector, stop.error]).toEqual([14, 9]);
  });

  it('5-level paging reaches linear addresses of 57 bits', () => {
    const guest = new Guest(tier);
    const pml5 = 0x30000;
    guest.write(pml5, PML4 + 7, 8);
    guest.write(pml5 + 8, PML4 + 7, 8);
    guest.start({ cr3: pml5, cr4: 0x620 | 0x1000 });
    const stop = guest.run64((a) => {
      a.emit('MOV', r.rbx, (1n << 48n) + BigInt(DATA)).emit('MOV', dword(mem(r.rbx)), 0x57).emit('MOV', r.rbx, 1n << 56n);
      a.emit('MOV', r.eax, mem(r.rbx)).emit('HLT');
    });
    expect([stop.vector, stop.error, guest.read(DATA, 4)], '2^56 is not canonical').toEqual([13, 0, 0x57]);
  });

  it('PAE and 32-bit paging translate in protected mode', () => {
    for (const pae of [true, false]) {
      const guest = new Guest(tier);
      const root = 0x30000;
      const table = 0x31000;
      const linear = 0x00c00000;
      if (pae) {
        guest.write(root, table + 1, 8);
        for (let i = 0; i < 2; i++) guest.write(table + i * 8, i * 0x200000 + 0x83, 8);
        guest.write(table + (linear >>> 21) * 8, 0x200083, 8);
      } else {
        guest.write(root, 0x83, 4);
        guest.write(root + (linear >>> 22) * 4, table + 3, 4);
        guest.write(table, DATA + 3, 4);
      }
      guest.start32({ cr4: pae ? 0x20 : 0x10 });
      guest.load(32, CODE, (a) => {
        a.emit('MOV', r.eax, root).emit('MOV', r.cr3, r.eax).emit('MOV', r.eax, r.cr0).emit('OR', r.eax, 0x80000000);
        a.emit('MOV', r.cr0, r.eax);
        a.emit('MOV', r.ebx, linear).emit('MOV', dword(mem(r.ebx, 8)), 0x99).emit('MOV', r.ebx, 0x40000000).emit('MOV', r.eax, mem(r.ebx));
      });
      const stop = guest.run();
      expect([pae, stop.vector, stop.error, guest.read(DATA + 8, 4), guest.cr2]).toEqual([pae, 14, 0, 0x99, 0x40000000n]);
      expect(Number(guest.cpu.view.getBigUint64(CR3, true))).toBe(root);
    }
  });
});

describe.each(TIERS)('canonical addresses, regions %s', (tier) => {
  const bad = 0x8000_0000_0000n;

  it.each([
    ['a load is #GP', 13, (a: Assembler) => a.emit('MOV', r.rbx, bad).emit('MOV', r.eax, mem(r.rbx))],
    ['a store through RBP is #SS', 12, (a: Assembler) => a.emit('MOV', r.rbp, bad).emit('MOV', mem(r.rbp), r.eax)],
    ['a load with an index through RSP is #SS', 12, (a: Assembler) => a.emit('MOV', r.rax, bad).emit('MOV', r.eax, indexed(r.rsp, r.rax))],
    ['PUSH is #SS', 12, (a: Assembler) => a.emit('MOV', r.rsp, bad).emit('SUB', r.rsp, -16).emit('PUSH', r.rax)],
    ['POP is #SS', 12, (a: Assembler) => a.emit('MOV', r.rsp, bad).emit('POP', r.rax)],
    ['CALL is #SS', 12, (a: Assembler) => a.emit('MOV', r.rsp, bad).emit('ADD', r.rsp, 32).emit('CALL', CODE)],
    ['RET is #SS', 12, (a: Assembler) => a.emit('MOV', r.rsp, bad).emit('RET')],
    ['LEAVE is #SS', 12, (a: Assembler) => a.emit('MOV', r.rbp, bad).emit('LEAVE')],
    ['PUSH of memory that is not canonical, on a good stack, is #GP', 13, (a: Assembler) => a.emit('MOV', r.rbx, bad)
      .emit('PUSH', mem(r.rbx))],
    ['CALL to one is #GP', 13, (a: Assembler) => a.emit('MOV', r.rbx, bad).emit('CALL', r.rbx)],
    ['an access that ends beyond the lower half is #GP', 13, (a: Assembler) => a.emit('MOV', r.rbx, bad - 4n)
      .emit('MOV', r.rax, qword(mem(r.rbx)))],
    ['WRMSR of LSTAR is #GP', 13, (a: Assembler) => a.emit('MOV', r.ecx, 0xc0000082).emit('XOR', r.eax, r.eax).emit('MOV', r.edx, 0x1000000)
      .emit('WRMSR')],
  ] as const)('%s with error code 0', (_what, vector, emit) => {
    const guest = new Guest(tier);
    const stop = guest.run64(a => emit(a).emit('HLT'));
    expect([stop.vector, stop.error]).toEqual([vector, 0]);
  });
});

describe.each(TIERS)('compatibility mode, regions %s', (tier) => {
  it('addresses of 32-bit code wrap at 4 GB, and INT goes to the 64-bit system', () => {
    const guest = new Guest(tier);
    guest.gate(0x80, 0x10000 + 0x80 * 16, { dpl: 3 });
    guest.load(32, USER_CODE, a => a.emit('MOV', r.eax, DATA3).emit('MOV', r.ds, r.ax).emit('MOV', r.ebx, 0xfffffffc)
      .emit('MOV', r.eax, mem(r.ebx, DATA + 4)).emit('MOV', r.cx, r.cs).emit('INT', 0x80));
    guest.write(DATA, 0x4321, 4);
    const stop = guest.run64(a => a.emit('PUSH', DATA3).emit('PUSH', USER_STACK).emit('PUSH', 2).emit('PUSH', CODE3_32)
      .emit('PUSH', USER_CODE).emit('IRETQ'));
    expect([stop.vector, stop.cs, guest.get('rax'), guest.get('rcx') & 0xffff]).toEqual([0x80, CODE3_32, 0x4321, CODE3_32]);
  });
});

describe.each(TIERS)('a code segment that ends inside a page, regions %s', (tier) => {
  const SHORT = 0x70;
  /** 32-bit code at CODE through a descriptor of `limit`; another at 0x7c00 jumps there. */
  function run(limit: number, start: number, program: (a: Assembler) => void): [Guest, ReturnType<Guest['run']>] {
    const guest = new Guest(tier);
    guest.start32({ rip: 0x7c00 });
    guest.write(GDT + SHORT, 0x00409b0000000000n | (BigInt(CODE) << 16n) | BigInt(limit & 0xffff) | (BigInt(limit >> 16) << 48n), 8);
    guest.load(32, CODE + start, program);
    guest.load(32, 0x7c00, a => a.emit('JMP FAR', far(SHORT, start)));
    return [guest, guest.run()];
  }
  const count = (a: Assembler): Assembler => a.emit('MOV', r.ecx, 5).label('again').emit('INC', r.eax).emit('LOOP', 'again').emit('CALL', 'sub').emit('HLT').label('sub').emit('ADD', r.eax, 0x100).emit('RET');

  it('runs up to its last byte: loops, calls and returns', () => {
    const [guest, stop] = run(0x17, 0, count);
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 0x105]);
  });

  it('faults at the instruction that does not end within it, and has run those before', () => {
    const [guest, stop] = run(0x17, 0x10, a => a.emit('INC', r.eax).emit('INC', r.eax).emit('MOV', r.eax, 0x12345678).emit('MOV', r.ebx, 1).emit('HLT'));
    expect([stop.vector, stop.error, stop.rip, guest.get('rbx')]).toEqual([13, 0, 0x17, 0]);
    expect(guest.get('rax')).toBe(0x12345678);
  });

  it('faults at the next instruction when the last one ends with it', () => {
    const [guest, stop] = run(0x11, 0x10, a => a.emit('INC', r.eax).emit('INC', r.eax).emit('HLT'));
    expect([stop.vector, stop.rip, guest.get('rax')]).toEqual([13, 0x12, 2]);
  });

  it('does so in the page behind, and when the instruction crosses into it', () => {
    const [, crossing] = run(0x1000, 0xffd, a => a.emit('MOV', r.eax, 0x12345678).emit('HLT'));
    expect([crossing.vector, crossing.rip]).toEqual([13, 0xffd]);
    const [guest, stop] = run(0x1002, 0xffd, a => a.emit('MOV', r.eax, 0x12345678).emit('INC', r.ebx).emit('HLT'));
    expect([stop.vector, stop.rip, guest.get('rax'), guest.get('rbx')]).toEqual([13, 0x1003, 0x12345678, 1]);
  });

  it('is not taken for another segment over the same page', () => {
    const guest = new Guest(tier);
    guest.start32({ rip: 0x7c00 });
    guest.write(GDT + SHORT, 0x00409b0000000000n | (BigInt(CODE) << 16n) | 0x12n, 8);
    guest.load(32, CODE, a => a.emit('CMP', r.ebx, 0).emit('JE', 'flat').emit('JMP', 'far').label('flat').data([0xbb, 1, 0, 0, 0]).emit('JMP FAR', far(SHORT, 0)).label('far').emit('HLT'));
    guest.load(32, 0x7c00, a => a.emit('XOR', r.ebx, r.ebx).emit('JMP FAR', far(CODE0_32, CODE)));
    const stop = guest.run();
    expect([stop.vector, stop.cs, guest.get('rbx')]).toEqual([13, SHORT, 1]);
  });
});
