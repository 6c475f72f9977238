import { beforeAll, describe, expect, it } from 'vitest';
import { createMachine } from '../../core/machine/create.ts';
import { PROMPT, startMonitor } from '../helpers/monitor.ts';
import type { MonitorSession } from '../helpers/monitor.ts';

describe.each(['off', 'always'] as const)('the monitor, regions of hot code %s', (jit) => {
  let session: MonitorSession;
  const command = (line: string): string => session.command(line);

  beforeAll(async () => {
    session = await startMonitor({ jit });
  });

  it('says who it is, then prompts', () => {
    expect(session.output).toMatch(/^\r\nVanderpool monitor \S+\r\n/);
    expect(session.output).toContain('type help');
    expect(session.output.endsWith(PROMPT)).toBe(true);
  });

  it('help lists every command within 80 columns', () => {
    const help = command('help');
    for (const name of ['help', 'cpu', 'mem', 'time', 'memtest', 'exits', 'bench', 'peek', 'poke', 'in', 'out', 'crash', 'reboot', 'halt', 'off']) {
      expect(help).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
  });

  it('cpu shows what CPUID says', () => {
    const text = command('cpu');
    expect(text).toContain('GenuineIntel');
    expect(text).toContain('Vanderpool x86-64-v2 processor');
    expect(text).toContain('family 6, model 106, stepping 6');
    expect(text).toContain('1; this one has APIC id 0');
    expect(text).toContain('40 bits physical, 48 bits linear');
    expect(text).toContain('TSC 2000 MHz');
    expect(text).toMatch(/Features +fpu vme/);
    expect(text.split(/\s+/)).toEqual(expect.arrayContaining(['sse4.2', 'smap', 'x2apic', 'invariant-tsc']));
    expect(text.split(/\s+/), 'not in this model').not.toContain('la57');
  });

  it("mem shows the firmware's map and adds up what is usable", () => {
    const text = command('mem');
    expect(text).toMatch(/000000000000 - 00000009fbff +639 KB {2}usable/);
    expect(text).toMatch(/000000100000 - 000001ffffff +31744 KB {2}usable/);
    expect(text).toMatch(/0000fee00000 - 0000fee00fff +4 KB {2}reserved/);
    expect(text).toContain("32383 KB of the machine's 32 MB are usable");
  });

  it('time shows the real-time clock', () => {
    const shown = /(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC, running for \d+\.\d\d s/.exec(command('time'));
    // By the instruction count every run begins on the same day.
    const apart = Date.parse(`${shown?.[1]?.replace(' ', 'T')}Z`) - Date.UTC(2026, 0, 1);
    expect(apart).toBeGreaterThanOrEqual(0);
    expect(apart).toBeLessThan(120_000);
  });

  it('memtest writes and reads back every pattern', () => {
    const text = command('memtest 2');
    expect(text).toContain('Testing 2 MB, 00200000 - 003fffff');
    expect(text.match(/\[#{32}\] ok/g)).toHaveLength(5);
    expect(text).toContain('No error was found.');
    expect(command('memtest 4000')).toContain('Only 30 MB are free.');
    expect(command('memtest 0')).toContain('Write: memtest [MB|all]');
  });

  it('exits provokes each kind of exit as often as it says', () => {
    const before = session.machine.statistics().exits;
    const text = command('exits');
    const after = session.machine.statistics().exits;
    const more = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
    for (const reason of ['1  external', '10  CPUID', '12  HLT', '28  control', '30  I/O', '31  RDMSR', '32  WRMSR', '48  EPT']) expect(text).toContain(reason);
    expect(more('cpuid')).toBeGreaterThanOrEqual(2000);
    expect(more('hlt')).toBeGreaterThanOrEqual(20);
    expect(more('rdmsr')).toBeGreaterThanOrEqual(4000);
    expect(more('wrmsr')).toBe(2000);
    expect(more('external-interrupt')).toBeGreaterThanOrEqual(1000);
    expect(more('io-instruction')).toBeGreaterThanOrEqual(4000);
    expect(more('ept-violation')).toBeGreaterThanOrEqual(8000);
  });

  it('an interrupt that a write to the local APIC makes pending is taken at once, not at the end of a slice', () => {
    const before = session.machine.statistics().instructions;
    command('exits');
    // A thousand of them among some ten thousand other exits; a slice has fifty thousand instructions.
    expect(session.machine.statistics().instructions - before).toBeLessThan(2_000_000);
  });

  it('peek shows what poke wrote, in every size', () => {
    command('poke 0x300000 0x1122334455667788 q');
    command('poke 0x300008 0x41424344 d');
    command('poke 0x30000c 0x4546 w');
    command('poke 0x30000e 71');
    expect(command('peek 0x300000 15')).toContain('000000300000  88 77 66 55 44 33 22 11 44 43 42 41 46 45 47 ');
    expect(command('peek 0x300008 7')).toContain('DCBAFEG');
    expect(command('peek 0x300000 40').match(/^ {2}0000003000\d0/gm)).toHaveLength(3);
  });

  it('in and out reach the ports', () => {
    command('out 0x3ff 0x5a');
    expect(command('in 0x3ff')).toContain('  5a');
    expect(command('in 0x608 d')).toMatch(/ {2}[0-9a-f]{8}\r/);
    expect(command('in 0x10000')).toContain('Write: in PORT [SIZE]');
  });

  it('an exception ends the command, not the monitor', () => {
    const text = command('peek 0x123456789000');
    expect(text).toContain('Exception 14 (#PF, page fault)');
    expect(text).toContain('error code 0000, address 0000123456789000');
    expect(command('peek 0x8000000000000000')).toContain('Exception 13 (#GP, general protection)');
  });

  it('what is wrong is named', () => {
    expect(command('frob 1')).toContain("There is no command 'frob'.");
    expect(command('peek zz')).toContain("'zz' is not a number");
    expect(command('peek 0x11112222333344445')).toContain('is not a number of at most 64 bits');
    expect(command('poke 1')).toContain('Write: poke ADDRESS VALUE [SIZE]');
    expect(command('')).toBe('');
    expect(command('  HELP  ')).toContain('this list');
  });

  it('edits lines: backspace, Ctrl-U, Ctrl-C, the up key', () => {
    expect(session.type('frobx\x7f\x08 \x08\r')).toContain("no command 'fro'");
    expect(session.type('nonsense\x15bad\r')).toContain("no command 'bad'");
    expect(session.type('half a line\x03')).toContain('^C\r\n');
    expect(session.type('\x1b[A\r')).toContain("no command 'bad'");
    expect(session.type('\x1b[C\x1b[D\x01ugly\r')).toContain("no command 'ugly'");
  });

  it('a line longer than its buffer is cut, and the bell rings', () => {
    const long = session.type(`${'x'.repeat(300)}\r`);
    expect(long.split('\x07')).toHaveLength(101);
    expect(long).toContain(`no command '${'x'.repeat(200)}'`);
  });

  it('Ctrl-C ends a command', () => {
    const text = session.type('memtest all\r', '#');
    expect(text).toContain('Testing 30 MB');
    expect(session.type('\x03')).toContain('^C\r\n');
  });

  it('sleeps while it waits: nothing is executed', () => {
    session.settle();
    const { instructions } = session.machine.statistics();
    session.settle();
    expect(session.machine.statistics().instructions).toBe(instructions);
  });

  it('crash asks first', () => {
    session.type('crash\r', 'do it: ');
    expect(session.type('no\r')).toContain('Nothing was done.');
  });

  it('off switches the machine off', () => {
    session.type('off\r', 'Switching off.');
    session.settle();
    expect(session.exit).toEqual({ reason: 'power-off' });
  });
});

describe('the ends of the monitor', () => {
  it('crash is a triple fault', async () => {
    const session = await startMonitor();
    session.type('crash\r', 'do it: ');
    session.type('yes\r', '\n');
    session.settle();
    expect(session.exit).toMatchObject({ reason: 'triple-fault', state: expect.stringContaining('Next: int3  (cc)') });
  });

  it('reboot resets, and the machine starts again', async () => {
    const session = await startMonitor();
    session.type('reboot\r', 'Resetting.');
    session.settle();
    expect(session.exit).toEqual({ reason: 'reset' });
    session.machine.reset();
    const slices = session.output.length;
    for (let i = 0; i < 1000 && !session.output.slice(slices).includes(PROMPT); i++) session.machine.runSlice();
    expect(session.output.slice(slices)).toContain(PROMPT);
  });

  it('halt sleeps for good', async () => {
    const session = await startMonitor();
    session.type('halt\r', 'ends this.');
    session.settle();
    expect(session.exit).toBeNull();
    const { instructions } = session.machine.statistics();
    session.type('help\r', '');
    session.settle();
    expect(session.machine.statistics().instructions, 'not even a key wakes it').toBe(instructions);
  });

  it('a write to port F4H carries a value out', async () => {
    const session = await startMonitor();
    session.type('out 0xf4 3\r', '3');
    session.settle();
    expect(session.exit).toEqual({ reason: 'debug-exit', value: 3 });
  });

  it('bench counts instructions and ticks', async () => {
    const session = await startMonitor({ clock: 'wall' });
    const text = session.command('bench');
    for (const row of ['integer loop', 'load and store', 'call and return', 'branches', 'copy by REP MOVSQ']) {
      expect(text).toMatch(new RegExp(`${row} +\\d+ +\\d+ +\\d+\\.\\d\\d / \\w+`));
    }
  });

  it('a processor without 64-bit mode is refused by name', async () => {
    const config = { memoryBytes: 32 << 20, cpus: 1, cpuModel: 'i686', boot: { kind: 'monitor' }, jit: 'off', clock: 'wall' } as const;
    await expect(createMachine(config, { serialOutput: () => undefined })).rejects.toThrow("the CPU model 'i686' has no 64-bit mode");
  });
});
