/** The engine: one a library. Owns its database and its VM processes, and serves the contract to any number of clients. */
import { existsSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';
import { join, resolve } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import type { EngineStatus } from '../contract/operations.ts';
import type { Transport } from '../contract/wire.ts';
import { ContractServer } from '../server/server.ts';
import { makeLibraryFolder } from '../store/folder.ts';
import { Library } from '../store/library.ts';
import { LOCK_FILE, lockLibrary } from '../store/lock.ts';
import type { LibraryLock } from '../store/lock.ts';
import { Appliances } from './appliances.ts';
import { serveClient } from './dispatch.ts';
import type { OperationHandlers, StreamHandlers } from './dispatch.ts';
import { ExitRecordings } from './exitRecordings.ts';
import { createOperations, createStreams } from './operations.ts';
import { listen, socketPath } from './socket.ts';
import { Snapshots } from './snapshots.ts';
import { SpareProcess } from './spareProcess.ts';
import { Supervisor } from './supervisor.ts';
import { Transfers } from './transfers.ts';
import type { VmProcessLauncher } from './vm-process.ts';

export interface EngineOptions {
  readonly folder: string;
  readonly launch: VmProcessLauncher;
  readonly machineModule: string;
  /** Called when a client has asked for the end, or nobody needs the engine any more, after everything was stopped. */
  readonly stopped: () => void;
  /** An engine without VMs, clients and server ends by itself after this time; absent: never. */
  readonly idleMs?: number;
  /** False: no VM process is kept ready for the next machine. */
  readonly spare?: boolean;
}

/** How often the engine looks whether it is still needed. */
const HOUSEKEEPING_MS = 10_000;
/** Whoever has just suspended a VM may want it back. */
const SPARE_MS = 60_000;

export class Engine {
  readonly supervisor: Supervisor;
  readonly library: Library;
  readonly snapshots: Snapshots;
  readonly exitRecordings: ExitRecordings;
  readonly appliances: Appliances;
  readonly transfers: Transfers;
  readonly server: ContractServer;
  readonly spare: SpareProcess | null;
  readonly #options: EngineOptions;
  readonly #lock: LibraryLock;
  readonly #handlers: OperationHandlers;
  readonly #streams: StreamHandlers;
  readonly #startedAt = Date.now();
  readonly #clients = new Set<Transport>();
  #socket: Server | null = null;
  #stopping = false;
  #housekeeping: NodeJS.Timeout | undefined;
  #neededAt = performance.now();
  #background: Promise<void> = Promise.resolve();
  #waiting = false;

  /** Takes the library's lock and opens its database. @throws ContractError `library-locked`, `library-newer`, `library-unusable`. */
  constructor(options: EngineOptions) {
    const folder = resolve(options.folder);
    this.#options = { ...options, folder };
    makeLibraryFolder(folder);
    this.#lock = lockLibrary(folder);
    try {
      this.library = new Library(folder);
    } catch (error) {
      this.#lock.release();
      throw error;
    }
    const { launch, machineModule, spare = process.env['VANDERPOOL_SPARE'] !== 'off' } = options;
    this.spare = spare ? new SpareProcess({ launch, machineModule, folder }) : null;
    this.supervisor = new Supervisor(this.library, this.spare?.take ?? launch, machineModule);
    this.snapshots = new Snapshots(this.library, this.supervisor);
    this.appliances = new Appliances(this.library, this.supervisor);
    this.transfers = new Transfers((event) => this.supervisor.tell(event));
    this.exitRecordings = new ExitRecordings(this.supervisor);
    this.server = new ContractServer((transport) => this.serve(transport), join(folder, 'server.port'));
    this.#handlers = createOperations(this);
    this.#streams = createStreams(this);
  }

  /** Clears up after an engine that died, then opens the local socket. */
  async open(): Promise<void> {
    await this.library.recordLostVms(Date.now());
    await this.snapshots.open();
    this.appliances.open();
    this.#socket = await listen(socketPath(this.#options.folder), (transport) => this.serve(transport));
    const { idleMs } = this.#options;
    this.#housekeeping = setInterval(() => this.#keepHouse(), Math.min(HOUSEKEEPING_MS, idleMs ?? HOUSEKEEPING_MS));
    this.#housekeeping.unref();
    this.#inBackground(() => this.#autostart());
  }

  serve(transport: Transport): void {
    this.#clients.add(transport);
    transport.onClose(() => void this.#clients.delete(transport));
    serveClient(transport, this.#handlers, this.#streams);
  }

  async status(): Promise<EngineStatus> {
    const vms = await this.supervisor.list();
    return {
      version: process.env.VANDERPOOL_VERSION ?? 'development', processId: process.pid, library: this.#options.folder, startedAt: this.#startedAt,
      running: this.supervisor.running, vms: vms.length, server: this.server.status(),
    };
  }

  /** VMs that want to run with the engine do; one that cannot is told of, and keeps no other from it. */
  async #autostart(): Promise<void> {
    for (const { id, state } of (await this.supervisor.list()).filter(({ config }) => config.autostart)) {
      if (this.#stopping) return;
      try {
        await (state === 'suspended' ? this.snapshots.resume(id) : this.supervisor.start(id));
      } catch (error) {
        this.supervisor.tellError(id, error);
      }
    }
  }

  refuseWhenStopping(): void {
    if (this.#stopping) throw new ContractError('engine-stopping', 'The engine is stopping.', 'Wait a moment and try again.');
  }

  /** Stops after the answer has left. @throws ContractError `wrong-state` while VMs run that are neither to be suspended nor to be stopped by force. */
  async requestStop(force: boolean, suspend: boolean): Promise<void> {
    if (suspend) await this.#suspendAll(force);
    const { running } = this.supervisor;
    if (running > 0 && !force) {
      const message = `${running} VM${running === 1 ? ' runs' : 's run'} in this library.`;
      throw new ContractError('wrong-state', message, 'Suspend them with --suspend, stop them first, or pull their plugs with --force.');
    }
    this.#stopping = true;
    await this.supervisor.stopAll();
    setTimeout(() => void this.close().then(this.#options.stopped), 50);
  }

  /** The system goes down: every VM that can be suspended is. Its state is not lost, and neither is the rest. */
  async leave(): Promise<void> {
    this.#stopping = true;
    await this.#suspendAll(true);
    await this.close();
  }

  /** @param lenient VMs that cannot be suspended are left as they are. @throws ContractError of the first that cannot, otherwise */
  async #suspendAll(lenient: boolean): Promise<void> {
    const alive = (await this.supervisor.list()).filter(({ state }) => state === 'running' || state === 'paused' || state === 'stopping');
    const results = await Promise.allSettled(alive.map(({ id }) => this.snapshots.suspend(id)));
    const refusal = results.find((result) => result.status === 'rejected');
    if (refusal && !lenient) throw refusal.reason;
  }

  /** Ends the engine when its library was removed from under it, or when it was idle for long. */
  #keepHouse(): void {
    const { folder, idleMs, stopped } = this.#options;
    const idle = this.supervisor.running === 0 && this.#clients.size === 0 && !this.server.status().running;
    if (!idle) this.#neededAt = performance.now();
    const gone = !existsSync(join(folder, LOCK_FILE));
    const unneeded = idleMs !== undefined && performance.now() - this.#neededAt > idleMs;
    if (this.#stopping) return;
    if (gone || unneeded) return void this.close().finally(stopped);
    if (!idle || performance.now() - this.#neededAt > SPARE_MS) this.spare?.keep(!idle);
    this.#inBackground(() => this.snapshots.takeScheduled(Date.now()).then(() => this.snapshots.mergeDisks()));
  }

  /** Work of the engine's own, one piece after the other; closing waits for it. Each tells of its errors: what is left is a library that went away. */
  #inBackground(work: () => Promise<void>): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#background = this.#background.then(() => {
      this.#waiting = false;
      return this.#stopping ? undefined : work();
    }).catch(() => undefined);
  }

  /** Ends every VM, closes everything and gives the library free. */
  async close(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#housekeeping);
    this.spare?.close();
    await this.supervisor.stopAll();
    this.exitRecordings.close();
    this.snapshots.leave();
    await this.transfers.close();
    await this.#background;
    await this.snapshots.close();
    await this.server.stop();
    const { folder } = this.#options;
    if (this.#socket) {
      this.#socket.close();
      if (process.platform !== 'win32' && existsSync(folder)) rmSync(socketPath(folder), { force: true });
    }
    for (const client of this.#clients) client.close();
    await this.library.close();
    this.#lock.release();
  }
}
