import { beforeAll, describe, expect, it } from 'vitest';
import { Translations } from '../../core/cpu/jit/translation.ts';
import { RIP } from '../../core/cpu/layout.ts';
import type { Assembler } from '../../core/isa/assembler.ts';
import { dword, mem, register as r } from '../../core/isa/registers.ts';
import { CODE, DATA, Guest, PML4 } from '../helpers/guest-program.ts';

/** Where the first 4 MB are a second time. */
const KERNEL = 0xffffffff80000000n;
/** A loop that calls a function on another page, which adds what the kernel's address of an object is told to be. */
const FUNCTION = CODE + 0x1000;
const TIMES = 4_000_000;
const BUDGET = 400_000_000;
/** An address as a 64-bit kernel has them, and how far another boot puts it. */
const OBJECT = 0xffffffff81234568n;
const MOVED = 0x7a00000n;

function load(guest: Guest, object: bigint, second = object, step = 1, at = FUNCTION): void {
  guest.load(64, at, a => address(a, r.rax, object).emit('ADD', r.rdx, r.rax).emit('ADD', r.rsi, step).emit('RET'));
  guest.load(64, CODE, a => address(a.label('loop').emit('CALL', at), r.rbx, second).emit('XOR', r.rdi, r.rbx).emit('DEC', r.rcx).emit('JNZ', 'loop').emit('HLT'));
}

/** MOV of 64 bits with an immediate of 32. */
function address(a: Assembler, register: typeof r.rax, value: bigint): Assembler {
  return a.emit('MOV', register, BigInt.asIntN(64, value));
}

function run(guest: Guest, times: number): { readonly sum: number | bigint; readonly count: number; readonly mix: number | bigint } {
  // The last entries of the top table and the next: the first ones, and of those the 2 GiB at the top.
  guest.write(PML4 + 0xff8, PML4 + 0x1000 + 7, 8);
  guest.write(PML4 + 0x1ff0, PML4 + 0x2000 + 7, 8);
  guest.start({});
  guest.cpu.view.setBigUint64(RIP, KERNEL + BigInt(CODE), true);
  for (const name of ['rdx', 'rsi', 'rdi', 'rax'] as const) guest.set(name, 0);
  guest.set('rcx', times);
  expect(guest.run(BUDGET).kind).toBe('hlt');
  return { sum: guest.get('rdx'), count: Number(guest.get('rsi')), mix: guest.get('rdi') };
}

/** Runs the program until V8 has optimised its region; what is kept of it. */
async function kept(at = FUNCTION): Promise<Translations> {
  const translations = new Translations();
  const guest = new Guest('off', translations);
  load(guest, OBJECT, OBJECT, 1, at);
  while (translations.list().length === 0) {
    run(guest, TIMES);
    // V8 optimises beside the program.
    await new Promise((resolve) => setTimeout(resolve, 20));
    guest.cpu.jit!.keep(0);
  }
  return new Translations(translations.list());
}

let translations: Translations;
beforeAll(async () => {
  translations = await kept();
});

type Changes = readonly [object?: bigint, second?: bigint, step?: number];

/** Another machine with the program, as it may be changed. */
function again(...changes: Changes): Guest {
  const guest = new Guest('off', new Translations(translations.list()));
  load(guest, changes[0] ?? OBJECT, changes[1], changes[2]);
  return guest;
}

describe('code that an earlier run has compiled', () => {
  it('is taken over at the first sample, and does the same', () => {
    const guest = again();
    const plain = new Guest('off');
    load(plain, OBJECT);
    expect(run(guest, 100_000)).toEqual(run(plain, 100_000));
    expect(guest.cpu.jit!.counters).toMatchObject({ kept: 1, regions: 0 });
  });

  it('is taken over where the kernel lies elsewhere, with its addresses', () => {
    const guest = again(OBJECT + MOVED);
    const plain = new Guest('off');
    load(plain, OBJECT + MOVED);
    expect(run(guest, 100_000)).toEqual(run(plain, 100_000));
    expect(guest.cpu.jit!.counters.kept).toBe(1);
  });

  it('is not taken over where the code is another: one byte, an address alone, an address that is none of the kernel', () => {
    const others: readonly Changes[] = [[OBJECT, OBJECT, 2], [OBJECT, OBJECT + MOVED], [OBJECT + 0x50000000n, OBJECT + 0x50000000n]];
    for (const changes of others) {
      const guest = again(...changes);
      const plain = new Guest('off');
      load(plain, changes[0] ?? OBJECT, changes[1], changes[2]);
      expect(run(guest, 100_000)).toEqual(run(plain, 100_000));
      expect(guest.cpu.jit!.counters.kept, String(changes)).toBe(0);
    }
  });

  it('sees what the guest writes to it, on each of its pages', () => {
    for (const place of [FUNCTION, CODE]) {
      const guest = again();
      run(guest, 100_000);
      expect(guest.cpu.jit!.counters.kept).toBe(1);
      // The program changes its own address of the object, at each place, by a store.
      guest.load(64, DATA, a => a.emit('MOV', dword(mem(r.rdi, 0)), Number(BigInt.asIntN(32, OBJECT + 0x100n))).emit('HLT'));
      const at = guest.cpu.ram.subarray(place, place + 64);
      const field = Buffer.from(at).indexOf(Buffer.from([0x68, 0x45, 0x23, 0x81]));
      expect(field).toBeGreaterThan(0);
      guest.start({ rip: DATA });
      guest.set('rdi', place + field);
      expect(guest.run(1000).kind).toBe('hlt');
      const plain = new Guest('off');
      load(plain, place === FUNCTION ? OBJECT + 0x100n : OBJECT, place === CODE ? OBJECT + 0x100n : OBJECT);
      expect(run(guest, 1000), String(place)).toEqual(run(plain, 1000));
    }
  });
});

/** The function lies before its page, so that an instruction lies on both: the MOV, the middle of its address, and the ADD behind it. */
describe.each([[FUNCTION - 5, 'an address', false], [FUNCTION - 9, 'code alone', true]] as const)('code that an earlier run has compiled, at %i, with %s on two pages', (at, _what, moves) => {
  let earlier: Translations;
  beforeAll(async () => {
    earlier = await kept(at);
  });

  /** Whether it is taken over by a machine in which the object and the function's step are these. */
  function takenOver(object: bigint, step: number): boolean {
    const guest = new Guest('off', new Translations(earlier.list()));
    const plain = new Guest('off');
    for (const each of [guest, plain]) load(each, object, object, step, at);
    expect(run(guest, 100_000)).toEqual(run(plain, 100_000));
    return guest.cpu.jit!.counters.kept > 0;
  }

  it('is taken over where it is the same', () => {
    expect(takenOver(OBJECT, 1)).toBe(true);
  });

  it('is taken over where the kernel lies elsewhere, if all its addresses can be told', () => {
    expect(takenOver(OBJECT + MOVED, 1)).toBe(moves);
  });

  it('is not taken over where the second page has other code', () => {
    expect(takenOver(OBJECT, 2)).toBe(false);
  });
});

describe('a guest that sleeps', () => {
  /** How often the loop is run until there is a small region, and until its code has been met twice, for which compiling does not pay. */
  it.each([['what runs in baseline code', 110_000, true], ['what was met and not compiled', 20_000, false]])('has %s compiled for its next run', (_what, times, compiled) => {
    const translations = new Translations();
    const guest = new Guest('off', translations);
    load(guest, OBJECT);
    run(guest, times);
    const { jit } = guest.cpu;
    expect(jit!.counters.regions > 0).toBe(compiled);
    expect(translations.list()).toEqual([]);
    // It sleeps in its loop's page.
    let steps = 0;
    while (jit!.prepareNextRun() && steps < 20) steps++;
    expect(steps).toBeLessThan(20);
    expect(translations.list().map(({ large }) => large)).toContain(false);

    const next = new Guest('off', new Translations(translations.list()));
    load(next, OBJECT);
    const plain = new Guest('off');
    load(plain, OBJECT);
    expect(run(next, 100_000)).toEqual(run(plain, 100_000));
    expect(next.cpu.jit!.counters.kept).toBeGreaterThan(0);
  });
});
