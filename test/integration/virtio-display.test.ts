/** Debian on a virtio display: its own drivers show its console there, follow the size that is asked for, and hear keyboard and tablet. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { DebianVm } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { startTestEngine, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { readFont, screenText } from '../helpers/screen.ts';

const VM = 'Debian';
const TEST_MS = 240_000;
const WAIT_MS = 120_000;

let folder = '';
let test: TestEngine;
let guest: DebianVm;

const call: TestEngine['client']['call'] = (operation, input) => test.client.call(operation, input);
const ask = (command: string): Promise<string> => guest.ask(command);

/** What of a screen a person reads, and its size. */
async function screen(): Promise<{ readonly size: string; readonly text: string }> {
  const { png, width, height } = await call('display.capture', { vm: VM });
  return { size: `${width}x${height}`, text: screenText(png, readFont()) };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-display-'));
  const files = await driverGuest('amd64-full', folder, undefined, ['virtio_pci', 'virtio_gpu', 'virtio_input', 'evdev']);
  test = await startTestEngine(undefined, machineModuleUrl());
  guest = await DebianVm.create(test.client, VM, files, { memoryBytes: 512 << 20, display: 'virtio' });
  await guest.boot(WAIT_MS);
}, 600_000);
afterAll(async () => {
  await test.end();
  rmSync(folder, { recursive: true, force: true });
});

describe('Debian on a virtio display', () => {
  it('shows its console by its own driver, on a screen of the size that is asked for', async () => {
    expect(await ask('cat /sys/class/graphics/fb0/name; cat /sys/class/drm/card0-Virtual-1/status')).toBe('virtio_gpudrmfb\nconnected\n');
    await ask('echo this is on the screen > /dev/tty1');
    const { size } = await until(async () => ((await screen()).text.includes('this is on the screen') ? screen() : undefined), 'the line is on the screen', WAIT_MS);
    expect(size).toBe('1280x800');
    await call('display.input', { vm: VM, input: { size: { width: 1024, height: 600 } } });
    expect(await ask('for i in $(seq 100); do head -n 1 /sys/class/drm/card0-Virtual-1/modes | grep -q 1024x600 && break; sleep 0.1; done; head -n 1 /sys/class/drm/card0-Virtual-1/modes')).toBe('1024x600\n');
  }, TEST_MS);

  it('hears keyboard and tablet by virtio, before and after a snapshot', async () => {
    expect(await ask("grep -c 'Vanderpool Virtio' /proc/bus/input/devices")).toBe('2\n');
    const device = (await ask("for e in /sys/class/input/event*; do grep -q Tablet $e/device/name && basename $e; done")).trim();
    await ask(`(dd if=/dev/input/${device} bs=24 count=3 2>/dev/null | od -An -v -td2 -w24 | awk '{print $9, $10, $11}' > /tmp/tablet) & (head -n 1 /dev/tty1 > /tmp/typed) & until [ $(ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c -e /dev/input/ -e '/dev/tty1$') -ge 2 ]; do sleep 0.1; done`);
    await call('display.input', { vm: VM, input: { place: { x: 1234, y: 5678, dz: 0, buttons: 0 } } });
    expect(await ask('for i in $(seq 100); do [ -s /tmp/tablet ] && break; sleep 0.1; done; cat /tmp/tablet')).toBe('3 0 1234\n3 1 5678\n0 0 0\n');
    const before = await screen();
    await call('vm.suspend', { vm: VM });
    await call('vm.resume', { vm: VM });
    expect(await screen()).toEqual(before);
    for (const code of ['KeyH', 'KeyI', 'Enter']) await call('display.input', { vm: VM, input: { keys: [{ code, down: true }, { code, down: false }] } });
    expect(await ask('for i in $(seq 100); do [ -s /tmp/typed ] && break; sleep 0.1; done; cat /tmp/typed')).toBe('hi\n');
  }, TEST_MS);
});
