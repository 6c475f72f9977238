/** The VM library: typed rows in, contract objects out. The engine process is its only writer. */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import type { AuditEvent } from '../contract/operations.ts';
import { settings as settingsSchema, settingsDefaults } from '../contract/settings.ts';
import type { Settings, SettingsChanges } from '../contract/settings.ts';
import { formatTopology, parseTopology } from '../contract/topology.ts';
import { vm as vmSchema, vmDefaults } from '../contract/vm.ts';
import type { Vm, VmConfig, VmExit, VmState } from '../contract/vm.ts';
import { openDatabase } from './database.ts';
import type { OpenedDatabase } from './database.ts';
import { readHardware, writeHardware } from './hardware.ts';
import type { Hardware } from './hardware.ts';
import { diskFiles } from '../snapshot/files.ts';
import type { SegmentFiles } from '../snapshot/files.ts';
import { SnapshotStore } from './snapshots.ts';
import { DeviceStore } from './devices.ts';
import type { DiskState } from './disks.ts';
import type { KnownDevice } from './devices.ts';
import type { HostResource } from '../passthrough/resources.ts';
import type { BootModuleRow, SerialPortRow, VmRow } from './tables.ts';

/** What of a VM changes while it lives; the process is the supervisor's knowledge and is not stored. */
export interface VmProgress {
  readonly state: VmState;
  readonly exit?: VmExit;
  readonly startedAt?: number | null;
}

const MONITOR_NAME = 'Monitor';

export class Library {
  readonly folder: string;
  readonly #database: OpenedDatabase;
  readonly snapshots: SnapshotStore;
  readonly #devices: DeviceStore;

  /** @throws ContractError when the folder or its database cannot be used. The caller holds the library's lock. */
  constructor(folder: string, files: SegmentFiles = diskFiles) {
    this.folder = folder;
    this.#database = openDatabase(folder);
    this.snapshots = new SnapshotStore(this.#database, folder, files);
    this.#devices = new DeviceStore(this.#database);
    this.#database.transactions.write(() => this.#firstUse());
  }

  /** Folder for a VM's own files; made when it is first asked for. */
  vmFolder(id: string): string {
    const folder = join(this.folder, 'vms', id);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  /** Keeps room for giving things up again, after that was used. */
  renewReserve(): void {
    this.#database.reserve.renew();
  }

  async list(): Promise<Vm[]> {
    const { tables } = this.#database;
    const [rows, modules, ports, hardware] = await Promise.all([
      tables.selectFrom('vms').selectAll().orderBy('position').orderBy('created_at').execute(),
      tables.selectFrom('boot_modules').selectAll().orderBy('position').execute(),
      tables.selectFrom('serial_ports').selectAll().orderBy('port').execute(),
      readHardware(tables),
    ]);
    return rows.map((row) => toVm(row, modules.filter(({ vm_id }) => vm_id === row.id), ports.filter(({ vm_id }) => vm_id === row.id), hardware(row.id)));
  }

  /** By id, or else by name. @throws ContractError `not-found`. */
  async get(reference: string): Promise<Vm> {
    const vms = await this.list();
    const found = vms.find(({ id }) => id === reference) ?? vms.find(({ config }) => config.name.toLowerCase() === reference.toLowerCase());
    if (found) return found;
    throw new ContractError('not-found', `There is no VM "${reference}" in this library.`, 'See them with `vanderpool vm list`.', 'vm');
  }

  /** @throws ContractError `name-taken`. */
  async create(config: VmConfig): Promise<Vm> {
    await this.#refuseTakenName(config.name, null);
    const id = randomUUID();
    this.#database.transactions.write(() => {
      insertVm(this.#database, id, config, nextPosition(this.#database));
      this.#audit(id, config.name, 'created', '');
    });
    return this.get(id);
  }

  /** @throws ContractError `name-taken`. */
  async edit(before: Vm, config: VmConfig): Promise<Vm> {
    await this.#refuseTakenName(config.name, before.id);
    this.#database.transactions.write(() => this.#update(before, config));
    return this.get(before.id);
  }

  /** A VM goes back to a snapshot of its own: configuration, disks, and the end of a suspended state, all or nothing. @throws ContractError */
  async goBack(before: Vm, snapshot: string, config: VmConfig, disks: readonly DiskState[]): Promise<Vm> {
    this.#database.transactions.write(() => {
      this.#update(before, config);
      this.snapshots.discardSuspended(before.id);
      this.snapshots.goBack(before.id, snapshot, disks);
    });
    return this.get(before.id);
  }

  remove(vm: Vm): void {
    this.#database.transactions.giveUp(() => {
      this.#audit(vm.id, vm.config.name, 'removed', '');
      this.#database.sqlite.prepare('DELETE FROM vms WHERE id = ?').run(vm.id);
    });
  }

  /** Puts a VM at a place of the list and numbers the list anew. */
  async move(vm: Vm, position: number): Promise<Vm[]> {
    const others = (await this.list()).filter(({ id }) => id !== vm.id).map(({ id }) => id);
    others.splice(Math.min(position, others.length), 0, vm.id);
    this.#database.transactions.write(() => {
      const update = this.#database.sqlite.prepare('UPDATE vms SET position = ? WHERE id = ?');
      for (const [index, id] of others.entries()) update.run(index, id);
    });
    return this.list();
  }

  /** Records what became of a VM, with its line in the audit trail when `kind` is given. */
  async record(id: string, progress: VmProgress, kind?: string, detail = ''): Promise<Vm> {
    this.#database.transactions.write(() => {
      const { sqlite } = this.#database;
      sqlite.prepare('UPDATE vms SET state = ? WHERE id = ?').run(progress.state, id);
      if (progress.startedAt !== undefined) sqlite.prepare('UPDATE vms SET started_at = ? WHERE id = ?').run(progress.startedAt, id);
      if (progress.exit) {
        const { reason, detail: exitDetail, value, at } = progress.exit;
        sqlite.prepare('UPDATE vms SET exit_reason = ?, exit_detail = ?, exit_value = ?, exit_at = ? WHERE id = ?').run(reason, exitDetail, value ?? null, at, id);
      }
      if (kind !== undefined) this.#audit(id, null, kind, detail);
    });
    return this.get(id);
  }

  /** A VM's name, for messages; its id when there is no such VM. */
  nameOf(id: string): string {
    return (this.#database.sqlite.prepare('SELECT name FROM vms WHERE id = ?').pluck().get(id) as string | undefined) ?? id;
  }

  /** What SQLite finds wrong with the database; nothing when it is whole. */
  check(): string[] {
    return this.#database.transactions.guard(() => {
      const { sqlite } = this.#database;
      const integrity = sqlite.prepare('PRAGMA integrity_check(20)').pluck().all() as string[];
      const broken = (sqlite.pragma('foreign_key_check') as unknown[]).length;
      return [...integrity.filter((line) => line !== 'ok'), ...(broken > 0 ? [`${broken} rows refer to rows that are not there`] : [])];
    });
  }

  /** A line in a VM's audit trail. */
  note(id: string, kind: string, detail: string): void {
    this.#database.transactions.write(() => this.#audit(id, null, kind, detail));
  }

  /** VMs that an engine left running when it died: no process of theirs is left, so they have crashed. Returns their ids. */
  async recordLostVms(at: number): Promise<string[]> {
    const lost = (await this.list()).filter(({ state }) => state !== 'stopped' && state !== 'crashed');
    const exit: VmExit = { reason: 'crashed', detail: 'The engine ended while the guest was running.', at };
    for (const { id } of lost) await this.record(id, { state: 'crashed', exit, startedAt: null }, 'crashed', exit.detail);
    return lost.map(({ id }) => id);
  }

  async events(vmId: string | null, limit: number): Promise<AuditEvent[]> {
    const all = this.#database.tables.selectFrom('events').selectAll().orderBy('id', 'desc').limit(limit);
    const rows = await (vmId === null ? all : all.where('vm_id', '=', vmId)).execute();
    return rows.map((row) => ({ id: row.id, at: row.at, vmId: row.vm_id, vmName: row.vm_name, kind: row.kind, detail: row.detail }));
  }

  async settings(): Promise<Settings> {
    const rows = await this.#database.tables.selectFrom('settings').selectAll().execute();
    const stored: Record<string, unknown> = { ...settingsDefaults };
    for (const { name, value } of rows) {
      const parsed = settingsSchema.partial().safeParse({ [name]: JSON.parse(value) as unknown });
      // A setting of another version, or a damaged one, is not worth refusing the library for.
      if (parsed.success) Object.assign(stored, parsed.data);
    }
    return settingsSchema.parse(stored);
  }

  async changeSettings(changes: SettingsChanges): Promise<Settings> {
    this.#database.transactions.write(() => {
      const put = this.#database.sqlite.prepare('INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value');
      for (const [name, value] of Object.entries(changes)) if (value !== undefined) put.run(name, JSON.stringify(value));
    });
    return this.settings();
  }

  /** Assignable devices that were ever seen, with their owners. */
  devices(): Promise<KnownDevice[]> {
    return this.#devices.list();
  }

  noteDevices(resources: readonly HostResource[]): void {
    this.#database.transactions.write(() => this.#devices.note(resources));
  }

  forgetDevice(id: string): void {
    this.#database.transactions.write(() => this.#devices.forget(id));
  }

  /** Assigns a device to a VM, or with null releases it; `owner` is the VM whose trail tells of it. */
  assignDevice(id: string, vmId: string | null, name: string, owner: string): void {
    this.#database.transactions.write(() => {
      this.#devices.assign(id, vmId);
      this.#audit(owner, null, vmId === null ? 'device-released' : 'device-assigned', name);
    });
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  /** A new library holds the built-in monitor, so that the first start needs no download. Its removal is for good. */
  #firstUse(): void {
    const { sqlite } = this.#database;
    const used = sqlite.prepare('SELECT count(*) FROM events').pluck().get();
    if (used !== 0) return;
    const id = randomUUID();
    insertVm(this.#database, id, { name: MONITOR_NAME, ...vmDefaults, memoryBytes: 64 * 1024 * 1024 }, 0);
    this.#audit(id, MONITOR_NAME, 'created', 'with the library');
  }

  #update({ id, config: before }: Vm, config: VmConfig): void {
    updateConfig(this.#database, id, config);
    const changed = Object.keys(config).filter((key) => JSON.stringify(config[key as keyof VmConfig]) !== JSON.stringify(before[key as keyof VmConfig]));
    if (changed.length > 0) this.#audit(id, config.name, 'edited', changed.join(', '));
  }

  #audit(vmId: string, vmName: string | null, kind: string, detail: string): void {
    const name = vmName ?? (this.#database.sqlite.prepare('SELECT name FROM vms WHERE id = ?').pluck().get(vmId) as string | undefined) ?? null;
    this.#database.sqlite.prepare('INSERT INTO events (at, vm_id, vm_name, kind, detail) VALUES (?, ?, ?, ?, ?)').run(Date.now(), vmId, name, kind, detail);
  }

  async #refuseTakenName(name: string, besides: string | null): Promise<void> {
    const row = await this.#database.tables.selectFrom('vms').select(['id', 'name']).where('name', '=', name).executeTakeFirst();
    if (!row || row.id === besides) return;
    throw new ContractError('name-taken', `There is a VM "${row.name}" already.`, 'Choose another name.', 'name');
  }
}

function nextPosition({ sqlite }: OpenedDatabase): number {
  return Number(sqlite.prepare('SELECT coalesce(max(position) + 1, 0) FROM vms').pluck().get());
}

function insertVm(database: OpenedDatabase, id: string, config: VmConfig, position: number): void {
  database.sqlite.prepare(
    `INSERT INTO vms (id, name, position, memory_bytes, cpus, cpu_model, jit, clock, boot_kind, state, created_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'monitor', 'stopped', ?)`,
  ).run(id, config.name, position, config.memoryBytes, config.cpus, config.cpuModel, config.jit, config.clock, Date.now());
  updateConfig(database, id, config);
}

function updateConfig({ sqlite }: OpenedDatabase, id: string, config: VmConfig): void {
  const { boot } = config;
  const image = boot.kind === 'image' ? boot : { kernel: null, initrd: null, append: '', modules: [] };
  sqlite.prepare(
    `UPDATE vms SET name = ?, group_name = ?, tags = ?, memory_bytes = ?, cpus = ?, topology = ?, cpu_model = ?, jit = ?, clock = ?, iommu = ?, caching_mode = ?, usb = ?, kvm = ?, firmware = ?, display = ?, gdb_port = ?, gdb_wait = ?,
     boot_kind = ?, kernel = ?, initrd = ?, append = ?, notes = ? WHERE id = ?`,
  ).run(
    config.name, config.group, JSON.stringify(config.tags), config.memoryBytes, config.cpus, config.topology === null ? null : formatTopology(config.topology), config.cpuModel, config.jit, config.clock,
    config.iommu, config.cachingMode ? 1 : 0, config.usb, config.kvm, config.firmware, config.display, config.gdb?.port ?? null, config.gdb?.wait ? 1 : 0, boot.kind, image.kernel, image.initrd, image.append, config.notes, id,
  );
  sqlite.prepare('DELETE FROM boot_modules WHERE vm_id = ?').run(id);
  const module = sqlite.prepare('INSERT INTO boot_modules (vm_id, position, path, command_line) VALUES (?, ?, ?, ?)');
  for (const [index, { path, commandLine }] of image.modules.entries()) module.run(id, index, path, commandLine);
  sqlite.prepare('DELETE FROM serial_ports WHERE vm_id = ?').run(id);
  const port = sqlite.prepare('INSERT INTO serial_ports (vm_id, port, attach, label, device, line) VALUES (?, ?, ?, ?, ?, ?)');
  for (const [index, { attach, label, device, line }] of config.serial.entries()) port.run(id, index, attach, label, device ?? 'uart', line === undefined ? null : JSON.stringify(line));
  writeHardware(sqlite, id, config);
}

/** What cannot be read stays as it is, for the schema to refuse. */
function storedTopology(text: string | null): unknown {
  try {
    return text === null ? null : parseTopology(text);
  } catch {
    return text;
  }
}

/** As `storedTopology`. */
function storedJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Rows were written by this program, yet the file is anyone's: what is not of the contract is refused here. */
function toVm(row: VmRow, modules: readonly BootModuleRow[], ports: readonly SerialPortRow[], hardware: Hardware): Vm {
  const boot = row.boot_kind === 'monitor' ? { kind: 'monitor' } : {
    kind: 'image', kernel: row.kernel, initrd: row.initrd, append: row.append,
    modules: modules.map(({ path, command_line }) => ({ path, commandLine: command_line })),
  };
  const exit = row.exit_reason === null ? null : {
    reason: row.exit_reason, detail: row.exit_detail ?? '', at: row.exit_at ?? 0, ...(row.exit_value === null ? {} : { value: row.exit_value }),
  };
  const parsed = vmSchema.safeParse({
    id: row.id,
    config: {
      name: row.name, group: row.group_name, tags: storedJson(row.tags), memoryBytes: row.memory_bytes, cpus: row.cpus, topology: storedTopology(row.topology), cpuModel: row.cpu_model, jit: row.jit, clock: row.clock, iommu: row.iommu,
      cachingMode: row.caching_mode === 1, usb: row.usb, kvm: row.kvm,
      firmware: row.firmware, display: row.display, gdb: row.gdb_port === null ? null : { port: row.gdb_port, wait: row.gdb_wait === 1 }, boot, ...hardware,
      balloon: row.balloon === 1, vsock: row.vsock, shares: storedJson(row.shares),
      autostart: row.autostart === 1, schedule: row.schedule === null ? null : storedJson(row.schedule),
      serial: ports.map(({ attach, label, device, line }) => ({ attach, label, ...(device === 'uart' ? {} : { device }), ...(line === null ? {} : { line: storedJson(line) }) })), notes: row.notes,
    },
    state: row.state, exit, position: row.position, createdAt: row.created_at, startedAt: row.started_at, processId: null, problem: null,
  });
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new ContractError(
    'library-unusable', `The VM "${row.name}" is damaged in the database: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}.`,
    'Put a backup (library.db.backup-N) in its place.',
  );
}
