/** A pseudoterminal of the host that is assigned to a machine: Debian sends and receives through it. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { vanderpool } from '../helpers/command-line.ts';
import { GuestShell, provideGuest } from '../helpers/guests.ts';
import { openPair } from '../helpers/pty.ts';

const MIB = 1 << 20;

it('carries a megabyte both ways at once, and not a byte is lost', async () => {
  const guest = await provideGuest('amd64');
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-pty-'));
  const { child, path } = await openPair();
  const library = join(folder, 'library');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await vanderpool(['engine', 'stop', '--force', '--library', library]);
    rmSync(folder, { recursive: true, force: true });
  });
  const command = async (...words: readonly string[]): Promise<void> => {
    const { stderr, status } = await vanderpool([...words, '--library', library]);
    expect(status, stderr).toBe(0);
  };
  await command('vm', 'create', 'debian', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet shell 8250.nr_uarts=8');
  await command('device', 'add', 'serial', path);
  await command('device', 'assign', path, 'debian');
  await command('vm', 'start', 'debian');
  const shell = new GuestShell(['console', 'debian', '--library', library]);
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  // The first serial port that is none of the four on the board.
  expect(await shell.ask('dmesg | grep ttyS4; stty -F /dev/ttyS4 921600 raw -echo crtscts')).toContain('is a Sunix');
  // The line has the speed that the guest has set.
  await expect.poll(() => execFileSync('stty', ['-F', path], { encoding: 'utf8' })).toContain('speed 921600 baud');
  const toGuest = Buffer.from(Uint8Array.from({ length: MIB }, (_, index) => (index * 31 + (index >> 8) * 7) & 0xff));
  const fromGuest: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => fromGuest.push(data));
  const begun = performance.now();
  const answer = shell.ask('dd if=/dev/urandom of=/tmp/out bs=64k count=16 2>/dev/null; cat /tmp/out >/dev/ttyS4 & head -c 1048576 </dev/ttyS4 | md5sum; wait; md5sum </tmp/out');
  child.stdin.write(toGuest);
  const [received, sent] = [...(await answer).matchAll(/\b[0-9a-f]{32}\b/g)].map(([sum]) => sum);
  await expect.poll(() => fromGuest.reduce((sum, piece) => sum + piece.length, 0)).toBe(MIB);
  const md5 = (data: Buffer): string => createHash('md5').update(data).digest('hex');
  expect(received).toBe(md5(toGuest));
  expect(sent).toBe(md5(Buffer.concat(fromGuest)));
  console.log(`a megabyte both ways in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
}, 240_000);
