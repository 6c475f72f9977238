/** GDB from Debian against an unmodified Debian kernel. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { vanderpool } from '../helpers/command-line.ts';
import { runGdb } from '../helpers/gdb.ts';
import { freePort } from '../helpers/ports.ts';
import { GuestShell, guestOptions, provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

const PREPARE_MS = 600_000;
const TEST_MS = 200_000;
/** Code of a 64-bit kernel lies here without address randomisation. */
const KERNEL_TEXT = 'ffffffff81000000';

let guest: Guest;
let shell: GuestShell;
let port = 0;

const connect = (): string => `target remote 127.0.0.1:${port}`;

describe('GDB and a Debian kernel on two vCPUs', () => {
  beforeAll(async () => {
    guest = await provideGuest('amd64');
    port = await freePort();
    shell = new GuestShell([...guestOptions(guest, 'shell nokaslr', 400), '--cpus', '2', '--gdb', `127.0.0.1:${port}`]);
    await shell.waitFor('# ');
  }, PREPARE_MS);

  afterAll(async () => {
    shell.child.kill();
    await shell.ended;
  });

  it('finds the guest stopped, with 64-bit registers and its vCPUs as threads', async () => {
    const said = await runGdb([connect(), 'info threads', 'info registers cs cr0 efer', 'detach']);
    expect(said).toMatch(/1 +Thread 1 \(vCPU 0\)/);
    expect(said).toMatch(/2 +Thread 2 \(vCPU 1\)/);
    expect(said).toMatch(/cs +0x(10|33)/);
    expect(said).toMatch(/efer +0xd01/);
    expect(await shell.ask('echo alive')).toBe('alive\n');
  }, TEST_MS);

  it("stops at a breakpoint in 64-bit kernel code, steps, and reads code and registers", async () => {
    // The entry of system calls: the shell makes one as soon as it is typed at.
    const debugging = runGdb([connect(), 'hbreak *$lstar', 'continue', 'printf "AT %d\\n", $pc == $lstar', 'x/2i $pc', 'stepi', 'printf "BEHIND %d\\n", $pc - $lstar', 'detach']);
    await knock();
    const said = await debugging;
    expect(said).toContain('AT 1');
    expect(said).toMatch(/=> 0xffffffff81[0-9a-f]+:\s+swapgs/);
    expect(said).toContain('BEHIND 3');
    expect(await shell.ask('echo still here')).toBe('still here\n');
  }, TEST_MS);

  it('stops in what the second vCPU does, with both to be looked at', async () => {
    const debugging = runGdb([
      connect(), 'hbreak *$lstar', 'condition 1 $_thread == 2', 'continue', 'printf "ON %d AT %d\\n", $_thread, $pc == $lstar', 'set $entry = $lstar',
      'thread apply all printf "THREAD %d SYSCALLS %d\\n", $_thread, $lstar == $entry', 'thread 1', 'set $before = $pc', 'thread 2', 'stepi',
      'printf "BEHIND %d\\n", $pc - $lstar', 'thread 1', 'printf "STOOD %d\\n", $pc == $before', 'delete', 'detach',
    ]);
    await knock('taskset 2 true');
    const said = await debugging;
    expect(said).toContain('ON 2 AT 1');
    expect([...said.matchAll(/THREAD (\d) SYSCALLS 1/g)].map(([, thread]) => thread).sort()).toEqual(['1', '2']);
    expect(said).toContain('BEHIND 3');
    expect(said).toContain('STOOD 1');
    expect(await shell.ask('echo both')).toContain('both\n');
  }, TEST_MS);

  it('stops behind a write to watched memory', async () => {
    const debugging = runGdb([
      connect(), 'hbreak *$lstar', 'continue', 'delete',
      // The entry code pushes the frame of a system call onto the kernel's stack: its first word is the user's SS.
      'stepi 4', 'set $slot = $rsp - 8', 'set *(unsigned long *) $slot = 0', 'watch *(unsigned long *) $slot', 'continue', 'printf "WROTE %lx AT %d\\n", *(unsigned long *) $slot, $slot - $rsp', 'delete', 'detach',
    ]);
    await knock();
    const said = await debugging;
    expect(said).toMatch(/Hardware watchpoint \d+: \*\(unsigned long \*\) \$slot/);
    expect(said).toContain('New value = 43');
    expect(said).toContain('WROTE 2b AT 0');
    expect(await shell.ask('echo unharmed')).toBe('unharmed\n');
  }, TEST_MS);

  it('reads and writes memory by virtual and by physical address', async () => {
    const said = await runGdb([
      connect(), 'set $code = *(unsigned long *) 0x' + KERNEL_TEXT, 'monitor walk ' + KERNEL_TEXT,
      'monitor physical on', 'printf "SAME %d\\n", *(unsigned long *) 0x1000000 == $code',
      // Below 1 MB, in a page that firmware left and nobody uses.
      'set *(unsigned long *) 0x500 = 0x1122334455667788', 'monitor physical off', 'printf "SEEN %lx\\n", *(unsigned long *) 0xffff888000000500', 'x/gx 0x123456789abc', 'detach',
    ]);
    expect(said).toMatch(/result +0x1000000 +2 MiB page +supervisor read execute/);
    expect(said).toContain('SAME 1');
    expect(said).toContain('SEEN 1122334455667788');
    expect(said).toContain('Cannot access memory at address 0x123456789abc');
  }, TEST_MS);

  it('writes control registers, which the guest goes on with', async () => {
    const said = await runGdb([
      connect(), 'set $old = $cr0', 'set $cr0 = $cr0 & ~0x10000', 'printf "WP %d\\n", ($cr0 >> 16) & 1', 'set $cr0 = $old', 'printf "WP %d\\n", ($cr0 >> 16) & 1',
      'set $cr2 = 0x123456', 'printf "CR2 %lx\\n", $cr2', 'set $cr0 = 0x80000000', 'printf "SAME %d\\n", $cr0 == $old',
      // Through tables that map nothing the kernel's code cannot be seen.
      'set $tables = $cr3', 'monitor physical on', 'set *(unsigned long *) 0x1ff8 = 0', 'monitor physical off', 'set $cr3 = 0x1000', `x/gx 0x${KERNEL_TEXT}`, 'set $cr3 = $tables', `x/gx 0x${KERNEL_TEXT}`, 'detach',
    ]);
    expect(said).toMatch(/WP 0\nWP 1\nCR2 123456\n/);
    expect(said).toContain('Could not write register');
    expect(said).toContain('SAME 1');
    expect(said).toContain(`Cannot access memory at address 0x${KERNEL_TEXT}`);
    expect(said).toMatch(new RegExp(`0x${KERNEL_TEXT}.*:\\s+0x`));
    expect(await shell.ask('echo as before')).toBe('as before\n');
  }, TEST_MS);

  it('loads segment registers and reads MSRs, as the guest could', async () => {
    const said = await runGdb([
      connect(), 'set $old = $es', 'set $es = 0x2b', 'printf "ES %x\\n", $es', 'set $es = $old', 'set $mxcsr = 0x1fa0', 'printf "MXCSR %x\\n", $mxcsr', 'set $mxcsr = 0x1f80',
      // The kernel's data is no code.
      'set $cs = 0x18', 'printf "CS %x\\n", $cs', 'monitor msr c0000082', 'printf "LSTAR %lx\\n", $lstar', 'detach',
    ]);
    expect(said).toMatch(/ES 2b\nMXCSR 1fa0\n/);
    expect(said).toContain('Could not write register "cs"');
    expect(said).toContain('CS 10');
    const [, lstar] = /LSTAR (\w+)/.exec(said) ?? [];
    expect(said).toContain(`MSR 0xc0000082 is 0x${lstar}`);
    expect(await shell.ask('echo as it was')).toBe('as it was\n');
  }, TEST_MS);

  it('interrupts a guest that runs, and lets it go on when the connection is lost', async () => {
    const said = await runGdb([connect(), 'echo GOING\\n', 'continue', 'info registers rip'], 'GOING');
    expect(said).toContain('SIGINT');
    expect(said).toMatch(/rip +0x/);
    expect(await shell.ask('echo running')).toBe('running\n');
  }, TEST_MS);
});

describe('the debugger of a guest that waits', () => {
  it('starts before the first instruction, and a kill ends the guest', async () => {
    const waitPort = await freePort();
    const ending = vanderpool(['run', '--gdb', `127.0.0.1:${waitPort}`, '--gdb-wait', '--timeout', '60'], { keepOpen: true });
    const said = await untilConnected(() => runGdb([`target remote 127.0.0.1:${waitPort}`, 'stepi', 'info registers rip', 'kill']));
    expect(said).toMatch(/rip +0x/);
    expect((await ending).status).toBe(0);
  }, TEST_MS);

  it('shows as a pause in the library, which only GDB ends', async () => {
    const library = mkdtempSync(join(tmpdir(), 'vanderpool-gdb-'));
    const command = (...args: string[]): ReturnType<typeof vanderpool> => vanderpool([...args, '--library', library]);
    const waitPort = await freePort();
    try {
      await command('vm', 'create', 'held', '--memory', '64M', '--gdb', `127.0.0.1:${waitPort}`, '--gdb-wait');
      await command('vm', 'start', 'held');
      const state = async (): Promise<string> => (JSON.parse((await command('vm', 'show', 'held', '--json')).stdout) as { readonly state: string }).state;
      await vi.waitFor(async () => expect(await state()).toBe('paused'), { timeout: 60_000 });
      const { status, stderr } = await command('vm', 'resume', 'held');
      expect([status, stderr]).toEqual([1, expect.stringContaining('GDB holds it')]);
      await runGdb([`target remote 127.0.0.1:${waitPort}`, 'detach']);
      await vi.waitFor(async () => expect(await state()).toBe('running'), { timeout: 60_000 });
      // The port is taken: a second VM that wants it says so and does not run.
      await command('vm', 'create', 'second', '--memory', '64M', '--gdb', String(waitPort));
      expect((await command('vm', 'start', 'second')).stderr).toContain(`GDB's port ${waitPort} on 127.0.0.1 cannot be opened: another program has it`);
      expect((await command('vm', 'edit', 'second', '--gdb', 'off')).status).toBe(0);
    } finally {
      await command('engine', 'stop', '--force');
      rmSync(library, { recursive: true, force: true });
    }
  }, TEST_MS);

  it('refuses addresses that others could reach, with a reason', async () => {
    const { status, stderr } = await vanderpool(['run', '--gdb', '0.0.0.0:1234']);
    expect(status).toBe(125);
    expect(stderr).toContain('"0.0.0.0" is not 127.0.0.1');
    expect(stderr).toContain('ssh -L 1234:127.0.0.1:1234');
  });
});

/** Types into the shell until it has surely made a system call with GDB connected. */
async function knock(command = ''): Promise<void> {
  for (let i = 0; i < 30; i++) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    shell.child.stdin.write(`${command}\n`);
  }
}

async function untilConnected(attempt: () => Promise<string>): Promise<string> {
  for (;;) {
    const said = await attempt();
    if (!/Connection refused|could not connect/.test(said)) return said;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
