import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeDisk } from '../../core/block/commands.ts';
import { writeOva } from '../helpers/appliances.ts';
import { useInterface } from '../helpers/interface.ts';
import { machineDouble, vanderpool } from '../helpers/command-line.ts';

/** Disks and network interfaces in the interface, as the engine then has them. */
let library = '';
let page: Page;
useInterface((opened) => ({ page, library } = opened), { VANDERPOOL_MACHINE: machineDouble });

beforeAll(async () => {
  writeFileSync(join(library, 'disk.img'), new Uint8Array(65536));
  writeFileSync(join(library, 'install.iso'), new Uint8Array(65536));
});

async function configOf(name: string): Promise<{ disks: unknown[]; networks: { forwards: unknown[] }[] }> {
  const { stdout } = await vanderpool(['vm', 'show', name, '--json', '--library', library]);
  return (JSON.parse(stdout) as { config: { disks: unknown[]; networks: { forwards: unknown[] }[] } }).config;
}

describe('hardware in the interface', () => {
  it('the wizard makes a PC with a CD-ROM drive of an ISO image', async () => {
    await page.getByRole('button', { name: 'New virtual machine' }).first().click();
    await page.getByRole('radio', { name: /ISO or disk image/ }).click();
    await page.getByRole('textbox', { name: /^ISO or disk image/ }).fill(join(library, 'install.iso'));
    await page.getByLabel('Name', { exact: true }).fill('Installer');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('option', { name: /^Installer/ }).waitFor();
    const { disks, networks } = await configOf('Installer');
    expect(disks).toEqual([{ path: join(library, 'install.iso'), kind: 'cdrom', bus: 'ahci', format: 'raw', readOnly: true }]);
    expect(networks).toHaveLength(1);
  });

  it('the editor adds a disk and a port forward, and takes them away again', async () => {
    await page.getByRole('tab', { name: 'Configuration' }).click();
    await page.getByRole('button', { name: 'Add a disk' }).click();
    await page.getByLabel('Disk 2', { exact: true }).last().fill(join(library, 'disk.img'));
    await page.getByRole('button', { name: 'Add a port forward' }).click();
    await page.getByLabel(/^Host port of/).fill('8080');
    await page.getByLabel(/^Guest port of/).fill('80');
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    const after = await configOf('Installer');
    expect(after.disks[1]).toMatchObject({ path: join(library, 'disk.img'), bus: 'virtio', kind: 'disk' });
    expect(after.networks[0]?.forwards).toEqual([{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 }]);
    await page.getByRole('button', { name: 'Remove Disk 2' }).click();
    await page.getByRole('button', { name: 'Remove network interface 1' }).click();
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    await expect.poll(() => configOf('Installer')).toMatchObject({ networks: [], disks: [{ kind: 'cdrom' }] });
  });

  it('changes the order in which firmware tries disks, and connects serial ports', async () => {
    await page.getByRole('button', { name: 'Add a disk' }).click();
    await page.getByLabel('Disk 2', { exact: true }).last().fill(join(library, 'disk.img'));
    await page.getByRole('button', { name: 'Disk 2 boots earlier' }).click();
    for (const [port, connection, field, value] of [['COM2', /^TCP server/, 'COM2: port of 127.0.0.1', '4567'], ['COM3', /^Pseudoterminal/, 'COM3: link to the terminal', join(library, 'com3')]] as const) {
      await page.getByRole('combobox', { name: `Connection of ${port}` }).click();
      await page.getByRole('option', { name: connection }).click();
      await page.getByLabel(field, { exact: true }).fill(value);
    }
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'serial.png'), fullPage: true });
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    const config = await configOf('Installer');
    expect(config.disks).toMatchObject([{ kind: 'disk' }, { kind: 'cdrom' }]);
    expect((config as { serial?: unknown[] }).serial?.slice(1, 3)).toMatchObject([{ attach: 'console', line: { kind: 'tcp-server', port: 4567 } }, { line: { kind: 'pty', path: join(library, 'com3') } }]);
    await page.getByRole('button', { name: 'Remove Disk 1' }).click();
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
  });

  it('shares a folder, gives a balloon and sockets, and makes a serial port a virtio console', async () => {
    await page.getByRole('button', { name: 'Share a folder' }).click();
    mkdirSync(join(library, 'to share'));
    await page.getByLabel('Folder 1', { exact: true }).fill(library);
    await page.getByRole('button', { name: 'Browse for folder 1' }).click();
    const chooser = page.getByRole('dialog', { name: 'Choose folder 1' });
    await chooser.getByRole('option', { name: 'to share' }).dblclick();
    await chooser.getByText('There is no folder in this one').waitFor();
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'folder.png') });
    await chooser.getByRole('button', { name: 'Choose this folder' }).click();
    await expect.poll(() => page.getByLabel('Folder 1', { exact: true }).inputValue()).toBe(join(library, 'to share'));
    await expect.poll(() => page.getByLabel('Tag', { exact: true }).inputValue()).toBe('to-share');
    await page.getByLabel('Tag', { exact: true }).fill('shared');
    await page.getByRole('switch', { name: 'Folder 1 may be written' }).click();
    await page.getByRole('switch', { name: 'Memory balloon' }).click();
    await page.getByRole('textbox', { name: /^Sockets/ }).fill(join(library, 'v'));
    await page.getByRole('combobox', { name: 'Device of COM2' }).click();
    await page.getByRole('option', { name: /^Virtio/ }).click();
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    const config = await configOf('Installer');
    expect(config).toMatchObject({ balloon: true, vsock: join(library, 'v'), shares: [{ folder: join(library, 'to share'), tag: 'shared', writable: true }] });
    expect((config as { serial?: unknown[] }).serial?.[1]).toMatchObject({ device: 'virtio' });
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'paravirtual.png'), fullPage: true });
  });

  it('an interface becomes an e1000e on a switch, with its cable pulled', async () => {
    await page.getByRole('button', { name: 'Add a network interface' }).click();
    await page.getByRole('combobox', { name: 'Model of interface 1' }).click();
    await page.getByRole('option', { name: /^Intel 82574L/ }).click();
    await page.getByRole('combobox', { name: 'Network of interface 1' }).click();
    await page.getByRole('option', { name: /^Switch/ }).click();
    await page.getByLabel('Switch of interface 1', { exact: true }).fill('lab');
    await page.getByRole('switch', { name: 'Addresses by DHCP on interface 1' }).click();
    await page.getByRole('switch', { name: 'Cable of interface 1 plugged in' }).click();
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    expect((await configOf('Installer')).networks[0]).toMatchObject({ model: 'e1000e', attach: 'switch', switchName: 'lab', switchDhcp: true, linkUp: false });
  });

  it('firmware boots from an interface, and is told what to fetch', async () => {
    await page.getByRole('combobox', { name: 'Network of interface 1' }).click();
    await page.getByRole('option', { name: /^This host/ }).click();
    await page.getByRole('combobox', { name: 'Boot order of interface 1' }).click();
    await page.getByRole('option', { name: 'Boots after the disks' }).click();
    await page.getByLabel('Boot file of interface 1', { exact: true }).fill(join(library, 'boot.ipxe'));
    await page.getByLabel('Capture file of interface 1', { exact: true }).fill(join(library, 'frames.pcap'));
    await page.getByRole('switch', { name: 'Interface 1 reaches services of this host' }).click();
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'netboot.png'), fullPage: true });
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByRole('button', { name: 'Save changes' }).waitFor({ state: 'detached' });
    expect((await configOf('Installer')).networks[0]).toMatchObject({ attach: 'user', netBoot: 'last', bootFile: join(library, 'boot.ipxe'), capture: join(library, 'frames.pcap'), hostLoopback: true });
  });

  it('says at its field when a port is none', async () => {
    await page.getByRole('button', { name: 'Add a network interface' }).click();
    await page.getByRole('button', { name: 'Add a port forward' }).last().click();
    await page.getByLabel(/^Host port of/).fill('99999');
    await page.getByRole('alert').filter({ hasText: /1 to 65535/ }).waitFor();
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'hardware.png'), fullPage: true });
    await page.getByRole('button', { name: 'Discard' }).click();
  });

  it('the wizard makes an empty disk to install on, which firmware tries before the ISO image', async () => {
    await page.getByRole('button', { name: 'New virtual machine' }).first().click();
    await page.getByRole('radio', { name: /ISO or disk image/ }).click();
    await page.getByRole('textbox', { name: /^ISO or disk image/ }).fill(join(library, 'install.iso'));
    await page.getByRole('button', { name: 'New disk…' }).click();
    await expect.poll(() => page.getByLabel('File', { exact: true }).inputValue()).toBe(join(library, 'install.qcow2'));
    await page.getByLabel('File', { exact: true }).fill(join(library, 'disk.img'));
    await page.getByRole('button', { name: 'Create the disk' }).click();
    await page.getByText(/There is a file .* already/).waitFor();
    await page.getByLabel('File', { exact: true }).fill(join(library, 'disk to install on.qcow2'));
    await page.getByLabel('Size', { exact: true }).fill('8G');
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'new-disk.png') });
    await page.getByRole('button', { name: 'Create the disk' }).click();
    await page.getByText(/disk to install on\.qcow2/).waitFor();
    expect((await describeDisk(join(library, 'disk to install on.qcow2')))).toMatchObject({ format: 'qcow2', size: 8 * 2 ** 30 });
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'wizard.png') });
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('heading', { name: 'install', exact: true }).waitFor();
    expect((await configOf('install')).disks).toMatchObject([{ path: join(library, 'disk to install on.qcow2'), kind: 'disk', bus: 'virtio' }, { path: join(library, 'install.iso'), kind: 'cdrom' }]);
  });

  it('the wizard imports an appliance, and says what is wrong with one', async () => {
    await page.getByRole('button', { name: 'New virtual machine' }).first().click();
    await page.getByRole('radio', { name: /^Import/ }).click();
    const path = page.getByRole('textbox', { name: 'File to import', exact: true });
    await path.fill(join(library, 'disk.img'));
    await page.getByText(/is no appliance/).waitFor();
    await path.fill(writeOva(library, Buffer.alloc(1 << 20, 'content'), { memory: 8192 }));
    await page.getByText('It wants 8G of memory and gets 3G.').waitFor();
    await page.screenshot({ path: join(process.env['HARDWARE_SCREENSHOT'] ?? library, 'appliance.png') });
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('heading', { name: 'Web server', exact: true }).waitFor();
    await expect.poll(() => configOf('Web server')).toMatchObject({ memoryBytes: 3 * 2 ** 30, disks: [{ bus: 'virtio' }, { bus: 'ahci' }, { kind: 'cdrom' }] });
  });

  it('a machine is cloned as it is', async () => {
    await page.getByRole('option', { name: /^Web server/ }).press('Alt+c');
    const dialog = page.getByRole('dialog', { name: 'Clone “Web server”' });
    await expect.poll(() => dialog.getByLabel('Name of the new machine').inputValue()).toBe('Web server copy');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Web server copy', level: 1 }).waitFor();
    expect((await configOf('Web server copy')).disks).toEqual((await configOf('Web server')).disks);
  });
});
