/** Disks and network interfaces of the library's VMs: rows in, parts of a configuration out. */
import type Database from 'better-sqlite3';
import type { Kysely } from 'kysely';
import type { VmConfig } from '../contract/vm.ts';
import type { Tables } from './tables.ts';

/** As the rows have it: `vm` of the contract checks it with everything else. */
export interface Hardware {
  readonly disks: readonly unknown[];
  readonly networks: readonly unknown[];
}

/** Reads the hardware of all VMs at once; the function returned picks one VM's. */
export async function readHardware(tables: Kysely<Tables>): Promise<(vm: string) => Hardware> {
  const [disks, networks, forwards] = await Promise.all([
    tables.selectFrom('disks').selectAll().orderBy('position').execute(),
    tables.selectFrom('networks').selectAll().orderBy('position').execute(),
    tables.selectFrom('port_forwards').selectAll().orderBy('position').execute(),
  ]);
  return (vm) => ({
    disks: disks.filter(({ vm_id }) => vm_id === vm).map(({ path, kind, bus, format, read_only, slot }) => ({ path, kind, bus, format, readOnly: read_only === 1, ...inSlot(slot) })),
    networks: networks.filter(({ vm_id }) => vm_id === vm).map(({ position, model, attach, mac, host_loopback, capture, slot, switch_name, switch_dhcp, link_up, net_boot, boot_file }) => ({
      model, attach, mac, capture, hostLoopback: host_loopback === 1, switchName: switch_name, switchDhcp: switch_dhcp === 1, linkUp: link_up === 1, netBoot: net_boot, bootFile: boot_file, ...inSlot(slot),
      forwards: forwards.filter(({ vm_id, network }) => vm_id === vm && network === position)
        .map(({ protocol, host_address, host_port, guest_port }) => ({ protocol, hostAddress: host_address, hostPort: host_port, guestPort: guest_port })),
    })),
  });
}

/** Replaces a VM's rows; within the caller's transaction. */
export function writeHardware(sqlite: Database.Database, id: string, { disks, networks, balloon, vsock, shares, autostart, schedule }: VmConfig): void {
  sqlite.prepare('UPDATE vms SET balloon = ?, vsock = ?, shares = ?, autostart = ?, schedule = ? WHERE id = ?')
    .run(Number(balloon), vsock, JSON.stringify(shares), Number(autostart), schedule && JSON.stringify(schedule), id);
  for (const table of ['disks', 'port_forwards', 'networks']) sqlite.prepare(`DELETE FROM ${table} WHERE vm_id = ?`).run(id);
  const disk = sqlite.prepare('INSERT INTO disks (vm_id, position, path, kind, bus, format, read_only, slot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
  for (const [index, { path, kind, bus, format, readOnly, slot }] of disks.entries()) disk.run(id, index, path, kind, bus, format, Number(readOnly), slot ?? null);
  const network = sqlite.prepare('INSERT INTO networks (vm_id, position, model, attach, mac, host_loopback, capture, slot, switch_name, switch_dhcp, link_up, net_boot, boot_file) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const forward = sqlite.prepare('INSERT INTO port_forwards (vm_id, network, position, protocol, host_address, host_port, guest_port) VALUES (?, ?, ?, ?, ?, ?, ?)');
  for (const [index, { model, attach, mac, hostLoopback, capture, forwards, slot, switchName, switchDhcp, linkUp, netBoot, bootFile }] of networks.entries()) {
    network.run(id, index, model, attach, mac, Number(hostLoopback), capture, slot ?? null, switchName, Number(switchDhcp), Number(linkUp), netBoot, bootFile);
    for (const [number, { protocol, hostAddress, hostPort, guestPort }] of forwards.entries()) {
      forward.run(id, index, number, protocol, hostAddress, hostPort, guestPort);
    }
  }
}

function inSlot(slot: number | null): { readonly slot?: number } {
  return slot === null ? {} : { slot };
}
