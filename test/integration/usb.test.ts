/** Debian's own drivers on the USB host controller: tablet, keyboard and a memory stick. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createClient } from '../../core/contract/client.ts';
import { findEngine } from '../../core/engine/connect.ts';
import { vanderpool } from '../helpers/command-line.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { GuestShell } from '../helpers/guests.ts';

it('finds them; the pointer goes where it is put, keys arrive, and what is written to the stick is read from it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-usb-'));
  const [library, stick] = [join(folder, 'library'), join(folder, 'stick.raw')];
  writeFileSync(stick, Buffer.alloc(16 << 20));
  onTestFinished(async () => {
    await vanderpool(['engine', 'stop', '--force', '--library', library]);
    rmSync(folder, { recursive: true, force: true });
  });
  const guest = await driverGuest('i386', folder, undefined, ['usbcore', 'xhci-hcd', 'xhci-pci', 'usbhid', 'hid-generic', 'evdev', 'usb-storage']);
  for (const words of [
    ['vm', 'create', 'debian', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet', '--machine', 'usb=on', '--disk', `${stick},bus=usb,format=raw`],
    ['vm', 'start', 'debian'],
  ]) expect(await vanderpool([...words, '--library', library])).toMatchObject({ status: 0 });
  const shell = new GuestShell(['console', 'debian', '--library', library]);
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  expect(await shell.ask('n=0; while ! test -b /dev/sda && [ $n -lt 50 ]; do usleep 200000; n=$((n+1)); done; cat /proc/bus/input/devices')).toMatch(/Tablet[^]*Keyboard/);

  const answer = await shell.ask('dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null; dd if=/tmp/data of=/dev/sda bs=64k conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; md5sum </tmp/data; head -c 2097152 /dev/sda | md5sum');
  const [written, read] = [...answer.matchAll(/\b[0-9a-f]{32}\b/g)].map(([sum]) => sum);
  expect(written).toMatch(/^[0-9a-f]{32}$/);
  expect(read).toBe(written);
  expect(readFileSync(stick).subarray(0, 4096).some((byte) => byte !== 0)).toBe(true);

  const transport = await findEngine(library);
  if (transport === null) throw new Error('the engine has gone');
  const client = createClient(transport);
  onTestFinished(() => client.close());
  const events = shell.ask("timeout 4 cat /dev/input/event0 >/tmp/tablet & timeout 6 cat /dev/input/event1 >/tmp/keyboard; for f in tablet keyboard; do hexdump -v -e '8/2 \"%d \" \"\\n\"' /tmp/$f; done");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await client.call('display.input', { vm: 'debian', input: { place: { x: 1234, y: 4321, dz: 0, buttons: 1 } } });
  await new Promise((resolve) => setTimeout(resolve, 500));
  await client.call('display.input', { vm: 'debian', input: { keys: [{ code: 'KeyA', down: true }, { code: 'KeyA', down: false }] } });
  const said = await events;
  // Four words of time, then type, code and value: EV_ABS X and Y, BTN_LEFT; KEY_A down and up.
  for (const event of ['3 0 1234 0', '3 1 4321 0', '1 272 1 0', '1 30 1 0', '1 30 0 0']) expect(said).toContain(event);
}, 240_000);
