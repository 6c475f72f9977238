import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../../../core/machine/types.ts';
import { CODE, asm, image, smallMachine } from '../../helpers/small-guest.ts';

interface Debugged {
  /** The answer to a packet; null: there is none yet. */
  ask(packet: string): string | null;
  /** Lets the machine run, and says why it stopped. */
  go(packet: string): string;
}

function debugged(machine: Machine): Debugged {
  const ask = (packet: string): string | null => {
    const reply = machine.answer('gdb', { packet: Buffer.from(packet, 'latin1') });
    return reply === null ? null : Buffer.from(reply).toString('latin1');
  };
  const go = (packet: string): string => {
    expect(ask(packet)).toBeNull();
    for (let i = 0; i < 1000 && !machine.held; i++) machine.runSlice();
    return ask('?') ?? '';
  };
  return { ask, go };
}

/** A machine that is held before its first instruction: three instructions, then a loop over memory. */
async function held(): Promise<Debugged & { readonly machine: Machine }> {
  const code = [...asm.eax(0x11223344), ...asm.ebx(2), 0x43, ...asm.incMemory(0x200000), ...asm.loadEax(0x200000), ...asm.spin];
  const { machine } = await smallMachine(image(code), { jit: 'on' });
  machine.answer('debug-hold', {});
  return { machine, ...debugged(machine) };
}

const little = (value: number): string => Buffer.from(Uint32Array.of(value).buffer).toString('hex');
/** Numbers of GDB's registers of 32 bits. */
const EAX = '0', EBX = '3', EIP = '8';

async function heldAs386(): ReturnType<typeof held> {
  const target = await held();
  target.ask(`qRcmd,${Buffer.from('registerset i386').toString('hex')}`);
  target.ask('qSupported:swbreak+');
  return target;
}

describe('a machine as GDB sees it', () => {
  it('describes its registers, and lists them in that order', async () => {
    const { ask } = await heldAs386();
    const xml = ask('qXfer:features:read:target.xml:0,4000') ?? '';
    const registers = [...xml.matchAll(/<reg name="(\w+)" bitsize="(\d+)"/g)].map(([, name, bits]) => ({ name, bits: Number(bits) }));
    expect(xml).toContain('<architecture>i386</architecture>');
    expect(registers.slice(0, 9).map(({ name }) => name)).toEqual(['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eip']);
    expect(ask('g')).toHaveLength(registers.reduce((sum, { bits }) => sum + bits / 4, 0));
  });

  it('has 64-bit registers where the processor has long mode', async () => {
    const { ask } = await held();
    ask('qSupported');
    expect(ask('qXfer:features:read:target.xml:0,4000')).toContain('<architecture>i386:x86-64</architecture>');
    expect(ask('p10')).toBe(`${little(CODE)}00000000`);
  });

  it('steps, one instruction each', async () => {
    const { ask, go } = await heldAs386();
    expect(go('s')).toBe('T05thread:1;');
    expect([ask(`p${EAX}`), ask(`p${EIP}`)]).toEqual([little(0x11223344), little(CODE + 5)]);
    go('vCont;s:1');
    expect([ask(`p${EBX}`), ask(`p${EIP}`)]).toEqual([little(2), little(CODE + 10)]);
  });

  it('stops at breakpoints and tells their kind', async () => {
    const { ask, go } = await heldAs386();
    expect(ask(`Z0,${(CODE + 10).toString(16)},1`)).toBe('OK');
    expect(ask(`Z1,${(CODE + 11).toString(16)},1`)).toBe('OK');
    expect(go('c')).toBe('T05swbreak:;thread:1;');
    expect(go('c')).toBe('T05hwbreak:;thread:1;');
    expect(ask(`p${EBX}`)).toBe(little(3));
  });

  it('shows memory as the guest has it: a breakpoint leaves no trace there', async () => {
    const { ask } = await heldAs386();
    const before = ask(`m${CODE.toString(16)},10`);
    ask(`Z0,${CODE.toString(16)},1`);
    expect(ask(`m${CODE.toString(16)},10`)).toBe(before);
  });

  it('stops behind accesses to watched memory', async () => {
    const { ask, go } = await heldAs386();
    ask('Z2,200002,2');
    expect(go('c')).toBe('T05watch:200002;thread:1;');
    expect(ask('m200000,4')).toBe('01000000');
    ask('z2,200002,2');
    ask('Z3,200000,4');
    expect(go('c')).toBe('T05rwatch:200000;thread:1;');
  });

  it('writes registers and memory, code included', async () => {
    const { ask, go } = await heldAs386();
    go('s');
    expect(ask(`P${EBX}=${little(0xdeadbeef)}`)).toBe('OK');
    // MOV EBX becomes five NOPs.
    expect(ask(`M${(CODE + 5).toString(16)},5:9090909090`)).toBe('OK');
    ask(`Z0,${(CODE + 10).toString(16)},1`);
    go('c');
    expect(ask(`p${EBX}`)).toBe(little(0xdeadbeef));
    expect(ask(`X${(CODE).toString(16)},2:\x90\xf4`)).toBe('OK');
    expect(ask(`m${CODE.toString(16)},2`)).toBe('90f4');
  });

  it('writes control registers as the guest would, and refuses what they cannot hold', async () => {
    const { ask, go } = await held();
    ask('qSupported');
    const names = [...(ask('qXfer:features:read:target.xml:0,4000') ?? '').matchAll(/<reg name="(\w+)"/g)].map(([, name]) => name);
    const number = (name: string): string => names.indexOf(name).toString(16);
    const wide = (value: bigint): string => Buffer.from(BigUint64Array.of(value).buffer).toString('hex');
    const set = (name: string, value: bigint): string | null => ask(`P${number(name)}=${wide(value)}`);
    const get = (name: string): bigint => Buffer.from(ask(`p${number(name)}`) ?? '', 'hex').readBigUInt64LE();
    const cr0 = get('cr0');
    for (const [name, value] of [['cr0', cr0 | 0x10000n], ['cr2', 0x1234n], ['cr3', 0x5000n], ['cr4', 0x20n], ['cr8', 7n], ['efer', 0x101n], ['lstar', 0xffff800000001000n], ['gdt_base', 0x7000n]] as const) {
      expect([name, set(name, value), get(name)]).toEqual([name, 'OK', value]);
    }
    // Reserved bits, PG without PE, priorities above 15, addresses that are not canonical, long mode as PG is set, limits of more than 16 bits.
    for (const [name, value] of [['cr0', 1n << 32n], ['cr0', 0x80000000n], ['cr4', 1n << 40n], ['cr8', 16n], ['lstar', 1n << 63n], ['idt_base', 1n << 63n], ['efer', 0x2n]] as const) {
      const before = get(name);
      expect([name, set(name, value), get(name)]).toEqual([name, 'E01', before]);
    }
    expect(ask(`P${number('gdt_limit')}=${little(0x10000)}`)).toBe('E01');
    // No fault of a refused write is left behind, and the task priority is the local APIC's.
    go('s');
    expect([get('rip'), get('cr8')]).toEqual([BigInt(CODE + 5), 7n]);
  });

  /** Registers by name, as numbers. */
  function registers({ ask }: Debugged): { get(name: string): bigint; set(name: string, value: bigint): string | null } {
    ask('qSupported');
    const rows = [...(ask('qXfer:features:read:target.xml:0,4000') ?? '').matchAll(/<reg name="(\w+)" bitsize="(\d+)"/g)].map(([, name, bits]) => ({ name, bytes: Number(bits) / 8 }));
    const at = (name: string): string => rows.findIndex((row) => row.name === name).toString(16);
    return {
      get: (name) => Buffer.from((ask(`p${at(name)}`) ?? '').padEnd(16, '0'), 'hex').readBigUInt64LE(),
      set: (name, value) => ask(`P${at(name)}=${Buffer.from(BigUint64Array.of(value).buffer).toString('hex').slice(0, 2 * (rows.find((row) => row.name === name)?.bytes ?? 8))}`),
    };
  }

  it('loads segment registers with their descriptors, and refuses those that the guest could not load', async () => {
    const target = await held();
    const { ask, go } = target;
    const { get, set } = registers(target);
    const descriptor = (base: number, access: number): string => Buffer.from([0xff, 0xff, base, base >> 8, base >> 16, access, 0xcf, base >>> 24]).toString('hex');
    const table = 0x7000;
    // Null, code, data at 2 MiB, a TSS, data that is not present.
    const rows = ['00'.repeat(8), descriptor(0, 0x9b), descriptor(0x200000, 0x93), descriptor(0, 0x89), descriptor(0, 0x13)];
    expect(ask(`M${table.toString(16)},${(rows.length * 8).toString(16)}:${rows.join('')}`)).toBe('OK');
    set('gdt_base', BigInt(table));
    set('gdt_limit', BigInt(rows.length * 8 - 1));
    for (const [name, value] of [['cs', 0x08n], ['ds', 0x10n], ['es', 0n], ['ss', 0x10n], ['fs', 0x10n], ['gs', 0x10n]] as const) {
      expect([name, set(name, value), get(name)]).toEqual([name, 'OK', value]);
    }
    expect([get('fs_base'), get('rip')]).toEqual([0x200000n, BigInt(CODE)]);
    // A task and a null selector for CS, code for SS, what is absent, beyond the table, wider than a selector.
    for (const [name, value] of [['cs', 0x18n], ['cs', 0n], ['ss', 0x08n], ['ds', 0x20n], ['es', 0x28n], ['gs', 0x10010n]] as const) {
      const before = get(name);
      expect([name, set(name, value), get(name)]).toEqual([name, 'E01', before]);
    }
    expect([set('fs_base', 0x1234n), get('fs_base'), set('gs_base', 1n << 63n)]).toEqual(['OK', 0x1234n, 'E01']);
    // The guest goes on, with no fault left behind, and its data is where DS says.
    go('s');
    expect(get('rip')).toBe(BigInt(CODE + 5));
    for (let step = 0; step < 3; step++) go('s');
    expect(ask('m400000,4')).toBe('01000000');
  });

  it('writes the control registers of x87 and SSE, without bits that do not exist', async () => {
    const { get, set } = registers(await held());
    for (const [name, value] of [['fctrl', 0x27fn], ['ftag', 0xfffcn], ['fstat', 0x3800n], ['fiseg', 0x10n], ['fioff', 0x1234n], ['foseg', 0x18n], ['fooff', 0x5678n], ['fop', 0x7ffn], ['mxcsr', 0x1fc0n]] as const) {
      expect([name, set(name, value), get(name)]).toEqual([name, 'OK', value]);
    }
    for (const [name, value] of [['mxcsr', 0x10000n], ['fctrl', 0x10000n], ['fop', 0x800n]] as const) expect([name, set(name, value)]).toEqual([name, 'E01']);
    // An exception that is no longer masked is pending.
    expect([set('fstat', 1n), set('fctrl', 0x37en), get('fstat')]).toEqual(['OK', 'OK', 0x8081n]);
  });

  it('reads and writes any MSR by number', async () => {
    const { ask } = await held();
    const monitor = (text: string): string => Buffer.from(ask(`qRcmd,${Buffer.from(text).toString('hex')}`) ?? '', 'hex').toString().trim();
    expect(monitor('msr 0xc0000082 0xffff800000001000')).toBe('MSR 0xc0000082 is 0xffff800000001000');
    expect(monitor('msr c0000082')).toBe('MSR 0xc0000082 is 0xffff800000001000');
    expect(monitor('msr c0000082 8000000000000000')).toBe('MSR 0xc0000082 does not exist, or cannot hold the value.');
    expect(monitor('msr 1b')).toBe('MSR 0x1b is 0xfee00900');
    expect(monitor('msr 12345678')).toBe('There is no MSR 0x12345678.');
    expect(monitor('msr 1g')).toBe('Usage: monitor msr INDEX [VALUE]');
  });

  it('refuses memory that is a device or is not there', async () => {
    const { ask } = await heldAs386();
    expect([ask('mfee00000,4'), ask('m1000000,4'), ask('Mfee00000,1:00')]).toEqual(['E0e', 'E0e', 'E0e']);
  });

  it('goes on without its breakpoints when the debugger leaves', async () => {
    const { machine, ask } = await heldAs386();
    ask(`Z0,${(CODE + 10).toString(16)},1`);
    expect(ask('D')).toBe('OK');
    for (let i = 0; i < 5; i++) expect(machine.runSlice().kind).toBe('ran');
    expect(machine.held).toBe(false);
  });

  it('ends when it is killed', async () => {
    const { machine, ask } = await heldAs386();
    ask('vKill;1');
    expect(machine.runSlice()).toEqual({ kind: 'stopped', exit: { reason: 'power-off' } });
  });

  it('answers any packet without an error of its own', async () => {
    const { machine, ask } = await heldAs386();
    const letters = fc.constantFrom(...'gGpPmMXZzHTqQvDs?c!'.split(''));
    const rest = fc.oneof(fc.string({ maxLength: 40 }), fc.stringMatching(/^[0-9a-f]{0,20}[,:;=][0-9a-f]{0,20}[,:;]?[0-9a-f]{0,20}$/), fc.constantFrom('Cont;', 'Supported', 'Xfer:features:read:target.xml:ffff,ffffffff', 'Rcmd,zz', 'Rcmd,77616c6b', 'fThreadInfo'));
    fc.assert(fc.property(letters, rest, (letter, text) => {
      ask(letter + text);
      machine.answer('debug-hold', {});
    }), { numRuns: 3000 });
  });
});

describe('several processors as threads', () => {
  const PAGE = 8;
  /** Two processors: the first counts in EBX, the second, once started at 8000H, in CX. */
  async function two() {
    const loop16 = [0x41, 0xeb, 0xfd];
    const place = loop16.flatMap((byte, index) => [0xc6, 0x05, index, PAGE * 16, 0, 0, byte]);
    const send = (command: number): number[] => [...asm.store(0xfee00310, 1 << 24), ...asm.store(0xfee00300, command)];
    const code = [...place, ...send(0x4500), ...send(0x4600 | PAGE), 0x43, 0xeb, 0xfd];
    const { machine } = await smallMachine(image(code), { jit: 'on', cpus: 2 });
    const { ask, go } = debugged(machine);
    machine.answer('debug-hold', {});
    ask(`qRcmd,${Buffer.from('registerset i386').toString('hex')}`);
    ask('qSupported:swbreak+');
    return { ask, go };
  }
  const ECX = '1';

  it('are listed, and chosen for what commands are about', async () => {
    const { ask } = await two();
    expect([ask('qfThreadInfo'), ask('qC'), ask('T2'), ask('T3')]).toEqual(['m1,2', 'QC1', 'OK', 'E01']);
    expect([ask('Hg2'), ask('qC'), ask(`p${EIP}`)]).toEqual(['OK', 'QC2', little(0xfff0)]);
    expect([ask('Hg1'), ask(`p${EIP}`)]).toEqual(['OK', little(CODE)]);
  });

  it('stop together at the breakpoint of one, which the stop names', async () => {
    const { ask, go } = await two();
    ask(`Z0,${(PAGE << 12).toString(16)},1`);
    expect(go('c')).toBe('T05swbreak:;thread:2;');
    expect(ask(`p${EIP}`)).toBe(little(0));
  });

  it('step one at a time, while the others stand still', async () => {
    const { ask, go } = await two();
    ask(`Z0,${(PAGE << 12).toString(16)},1`);
    go('c');
    ask(`z0,${(PAGE << 12).toString(16)},1`);
    ask('Hg1');
    const before = [ask(`p${EBX}`), ask(`p${EIP}`)];
    expect(go('vCont;s:2;c')).toBe('T05thread:2;');
    expect(ask(`p${ECX}`)?.slice(0, 4)).toBe('0100');
    ask('Hg1');
    expect([ask(`p${EBX}`), ask(`p${EIP}`)]).toEqual(before);
  });
});
