/** The rows of the database, as the newest migration leaves them. */
import type { Generated } from 'kysely';

export interface VmRow {
  readonly id: string;
  readonly name: string;
  readonly group_name: string;
  /** As JSON. */
  readonly tags: string;
  readonly position: number;
  readonly memory_bytes: number;
  readonly cpus: number;
  readonly topology: string | null;
  readonly cpu_model: string;
  readonly jit: string;
  readonly clock: string;
  readonly iommu: string;
  readonly caching_mode: number;
  readonly usb: string;
  readonly kvm: string;
  readonly firmware: string;
  readonly gdb_port: number | null;
  readonly gdb_wait: number;
  readonly display: string;
  readonly autostart: number;
  readonly schedule: string | null;
  readonly balloon: number;
  readonly vsock: string | null;
  /** As JSON. */
  readonly shares: string;
  readonly boot_kind: string;
  readonly kernel: string | null;
  readonly initrd: string | null;
  readonly append: string;
  readonly notes: string;
  readonly state: string;
  readonly exit_reason: string | null;
  readonly exit_detail: string | null;
  readonly exit_value: number | null;
  readonly exit_at: number | null;
  readonly created_at: number;
  readonly started_at: number | null;
}

export interface BootModuleRow {
  readonly vm_id: string;
  readonly position: number;
  readonly path: string;
  readonly command_line: string;
}

export interface SerialPortRow {
  readonly vm_id: string;
  readonly port: number;
  readonly attach: string;
  readonly label: string;
  readonly device: string;
  /** JSON; null: none. */
  readonly line: string | null;
}

export interface DiskRow {
  readonly vm_id: string;
  readonly position: number;
  readonly path: string;
  readonly kind: string;
  readonly bus: string;
  readonly format: string;
  readonly read_only: number;
  readonly slot: number | null;
}

export interface NetworkRow {
  readonly vm_id: string;
  readonly position: number;
  readonly model: string;
  readonly attach: string;
  readonly mac: string;
  readonly host_loopback: number;
  readonly capture: string | null;
  readonly slot: number | null;
  readonly switch_name: string;
  readonly switch_dhcp: number;
  readonly link_up: number;
  readonly net_boot: string;
  readonly boot_file: string;
}

export interface PortForwardRow {
  readonly vm_id: string;
  readonly network: number;
  readonly position: number;
  readonly protocol: string;
  readonly host_address: string;
  readonly host_port: number;
  readonly guest_port: number;
}

export interface EventRow {
  readonly id: Generated<number>;
  readonly at: number;
  readonly vm_id: string | null;
  readonly vm_name: string | null;
  readonly kind: string;
  readonly detail: string;
}

export interface SettingRow {
  readonly name: string;
  readonly value: string;
}

export interface DeviceRow {
  readonly id: string;
  readonly kind: string;
  readonly name: string;
  readonly vendor: string;
  readonly product: string;
  readonly serial: string;
  readonly path: string | null;
  readonly slot: number;
  readonly vm_id: string | null;
  readonly assigned_at: number | null;
}

export interface Tables {
  devices: DeviceRow;
  vms: VmRow;
  boot_modules: BootModuleRow;
  serial_ports: SerialPortRow;
  disks: DiskRow;
  networks: NetworkRow;
  port_forwards: PortForwardRow;
  events: EventRow;
  settings: SettingRow;
}
