/** Assignable resources that the library knows, and which VM each is assigned to. */
import { ContractError } from '../contract/errors.ts';
import type { DeviceKind } from '../contract/device.ts';
import type { HostResource } from '../passthrough/resources.ts';
import type { OpenedDatabase } from './database.ts';
import type { DeviceRow } from './tables.ts';

export interface KnownDevice extends HostResource {
  /** Its place on the bus of assignable functions, for good. */
  readonly slot: number;
  readonly vmId: string | null;
}

/** Places on the bus of assignable functions: devices 0 to 31, functions 0 to 7. */
const slots = 256;

export class DeviceStore {
  readonly #database: OpenedDatabase;

  constructor(database: OpenedDatabase) {
    this.#database = database;
  }

  async list(): Promise<KnownDevice[]> {
    const rows = await this.#database.tables.selectFrom('devices').selectAll().orderBy('slot').execute();
    return rows.map(fromRow);
  }

  /** Notes resources: new ones get a place, known ones their present path and names. Call within a transaction. */
  note(resources: readonly HostResource[]): void {
    const { sqlite } = this.#database;
    const find = sqlite.prepare('SELECT slot FROM devices WHERE id = ?').pluck();
    const update = sqlite.prepare('UPDATE devices SET name = ?, path = ? WHERE id = ?');
    const insert = sqlite.prepare('INSERT INTO devices (id, kind, name, vendor, product, serial, path, slot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
    for (const { id, kind, name, vendor, product, serial, path } of resources) {
      if (find.get(id) === undefined) insert.run(id, kind, name, vendor, product, serial, path, this.#freeSlot());
      else update.run(name, path, id);
    }
  }

  /** @param vmId null releases it. Call within a transaction. */
  assign(id: string, vmId: string | null): void {
    this.#database.sqlite.prepare('UPDATE devices SET vm_id = ?, assigned_at = ? WHERE id = ?').run(vmId, vmId === null ? null : Date.now(), id);
  }

  forget(id: string): void {
    this.#database.sqlite.prepare('DELETE FROM devices WHERE id = ?').run(id);
  }

  #freeSlot(): number {
    const taken = new Set(this.#database.sqlite.prepare('SELECT slot FROM devices').pluck().all());
    for (let slot = 0; slot < slots; slot++) if (!taken.has(slot)) return slot;
    throw new ContractError('wrong-state', `The library knows ${slots} devices, which is all it can.`, 'Forget some: vanderpool device forget DEVICE.');
  }
}

function fromRow({ id, kind, name, vendor, product, serial, path, slot, vm_id }: DeviceRow): KnownDevice {
  return { id, kind: kind as DeviceKind, name, vendor, product, serial, path, slot, vmId: vm_id };
}
