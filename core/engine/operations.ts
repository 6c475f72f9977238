/** The engine's answer to each operation and stream of the contract. */
import { isAbsolute } from 'node:path';
import { isAppliance, refuseAsAppliance } from '../appliance/write.ts';
import { createDisk, diskText } from '../block/commands.ts';
import { discText, readDisc } from '../block/disc.ts';
import { ContractError, parseWith } from '../contract/errors.ts';
import { checkMemory } from '../contract/memory.ts';
import { vmConfig, vmDefaults, withChanges } from '../contract/vm.ts';
import { checkBoot } from '../machine/check.ts';
import { checkCpuModel } from '../machine/cpu-models.ts';
import type { OperationHandlers, StreamHandlers } from './dispatch.ts';
import type { Engine } from './engine.ts';
import { hostInfo, listFolder } from './host.ts';
import { DisplayView } from './display.ts';
import { cloneVm, exportVm } from './passing.ts';

export function createOperations(engine: Engine): OperationHandlers {
  const { supervisor, library, server, snapshots, exitRecordings, appliances, transfers } = engine;
  const { devices } = supervisor;
  /** Tells who shows devices when something about them has changed. */
  const changing = async <T>(change: Promise<T>): Promise<T> => {
    const answer = await change;
    supervisor.tell({ kind: 'devices-changed' });
    return answer;
  };
  return {
    'vm.list': () => supervisor.list(),
    'vm.get': ({ vm }) => supervisor.get(vm),
    'vm.create': async ({ config }) => {
      checkCpuModel(config.cpuModel ?? '');
      return supervisor.create(withChanges(parseWith(vmConfig, { ...vmDefaults, name: config.name }), config));
    },
    'appliance.describe': ({ path }) => {
      refuseRelative(path);
      return appliances.describe(path);
    },
    'appliance.import': ({ path, name }) => {
      engine.refuseWhenStopping();
      refuseRelative(path);
      return transfers.run(path, 'The import', ({ progress }) => appliances.import(path, name, progress));
    },
    'transfer.cancel': async ({ path }) => {
      transfers.cancel(path);
      return {};
    },
    'vm.edit': async ({ vm, changes }) => {
      await snapshots.release((await supervisor.get(vm)).id);
      checkCpuModel(changes.cpuModel ?? '');
      return supervisor.edit(vm, changes);
    },
    'vm.remove': async ({ vm }) => {
      await snapshots.release((await supervisor.get(vm)).id);
      await supervisor.remove(vm);
      return {};
    },
    'vm.start': async ({ vm, withoutMissing }) => {
      engine.refuseWhenStopping();
      const { id, state } = await supervisor.get(vm);
      await snapshots.release(id);
      return state === 'suspended' ? snapshots.resume(id) : supervisor.start(id, undefined, withoutMissing === true);
    },
    'vm.stop': async ({ vm, force }) => (force && (await supervisor.get(vm)).state === 'suspended' ? snapshots.discard(vm) : supervisor.stop(vm, force)),
    'vm.reset': ({ vm }) => supervisor.reset(vm),
    'vm.pause': ({ vm }) => supervisor.pause(vm),
    'vm.resume': async ({ vm }) => {
      engine.refuseWhenStopping();
      return (await supervisor.get(vm)).state === 'suspended' ? snapshots.resume(vm) : supervisor.resume(vm);
    },
    'vm.suspend': ({ vm }) => snapshots.suspend(vm),
    'vm.describe': async ({ vm }) => ({ text: await supervisor.describe(vm) }),
    'vm.inspect': async ({ vm, query }) => ({ sections: await supervisor.inspect(vm, query) }),
    'exits.record': ({ vm, path, limitBytes }) => exitRecordings.begin(vm, path, limitBytes),
    'exits.recording': async ({ vm }) => ({ recording: await exitRecordings.find(vm) }),
    'exits.end': async ({ vm }) => ({ recording: await exitRecordings.end(vm) }),
    'display.capture': ({ vm }) => supervisor.capture(vm),
    'display.input': async ({ vm, input }) => {
      await supervisor.displayInput(vm, input);
      return {};
    },
    'vm.link': ({ vm, network, up }) => supervisor.cards.setLink(vm, network, up),
    'vm.plug': ({ vm, card }) => supervisor.cards.plug(vm, card),
    'vm.grow': ({ vm, disk, bytes }) => snapshots.growDisk(vm, disk, bytes),
    'vm.medium': ({ vm, disk, path, force }) => supervisor.cards.changeMedium(vm, disk, path, force),
    'vm.balloon': ({ vm, bytes }) => supervisor.cards.balloon(vm, bytes),
    'vm.unplug': ({ vm, slot, force }) => supervisor.cards.unplug(vm, slot, force),
    'vm.clone': ({ vm, name, full }) => {
      engine.refuseWhenStopping();
      return cloneVm(snapshots, vm, name, full === true);
    },
    'vm.export': async ({ vm, path }) => {
      refuseExport(path);
      if (isAppliance(path)) {
        const { config, state } = await supervisor.get(vm);
        refuseAsAppliance(config, state);
      }
      return { bytes: await transfers.run(path, 'The export', (transfer) => exportVm(snapshots, vm, path, transfer)) };
    },
    'vm.move': ({ vm, position }) => supervisor.move(vm, position),
    'snapshot.take': ({ vm, name, notes }) => {
      engine.refuseWhenStopping();
      return snapshots.take(vm, name, notes ?? '');
    },
    'snapshot.cancel': async ({ vm }) => {
      await snapshots.cancel(vm);
      return {};
    },
    'snapshot.list': ({ vm }) => snapshots.list(vm),
    'snapshot.restore': ({ vm, snapshot, paused }) => {
      engine.refuseWhenStopping();
      return snapshots.restore(vm, snapshot, paused);
    },
    'snapshot.edit': ({ vm, snapshot, name, notes }) => snapshots.edit(vm, snapshot, { name, notes }),
    'snapshot.picture': async ({ vm, snapshot }) => ({ png: await snapshots.pictureOf(vm, snapshot) }),
    'snapshot.remove': async ({ vm, snapshot }) => {
      await snapshots.remove(vm, snapshot);
      return {};
    },
    'snapshot.clone': ({ vm, snapshot, name, full }) => snapshots.clone(vm, snapshot, name, full === true),
    'snapshot.diff': ({ vm, from, to, symbols }) => snapshots.compare(vm, from, to, symbols),
    'snapshot.export': async ({ vm, snapshot, path }) => {
      refuseExport(path);
      return { bytes: await transfers.run(path, 'The export', ({ progress }) => snapshots.exportTo(vm, snapshot, path, progress)) };
    },
    'snapshot.import': ({ path, name }) => {
      engine.refuseWhenStopping();
      refuseRelative(path);
      return transfers.run(path, 'The import', ({ progress }) => snapshots.importFrom(path, name, progress));
    },
    'library.check': ({ repair }) => snapshots.examine(repair),
    'console.write': async ({ vm, port, data }) => {
      const { id, config, state, processId } = await supervisor.get(vm);
      if (processId === null) throw new ContractError('wrong-state', `The VM "${config.name}" is ${state}: nobody listens on its console.`, 'Start it first.');
      return { taken: consoleOf(engine, id, port).write(data) };
    },
    'console.break': async ({ vm, port }) => {
      await supervisor.sendBreak(vm, port);
      return {};
    },
    'console.history': async ({ vm, port }) => consoleOf(engine, (await supervisor.get(vm)).id, port).scrollback.read(),
    'console.clear': async ({ vm, port }) => {
      consoleOf(engine, (await supervisor.get(vm)).id, port).scrollback.clear();
      return {};
    },
    'disk.create': async ({ path, format, bytes }) => {
      refuseRelative(path);
      await createDisk(path, { format, size: bytes });
      return {};
    },
    'disk.describe': async ({ path, kind }) => {
      refuseRelative(path);
      return { description: kind === 'cdrom' ? discText(await readDisc(path)) : await diskText(path) };
    },
    'boot.check': async ({ boot, memoryBytes }) => ({ description: await checkBoot({ ...vmDefaults, boot, memoryBytes: checkMemory(memoryBytes) }) }),
    'events.list': async ({ vm, limit }) => library.events(vm === undefined ? null : (await supervisor.get(vm)).id, limit),
    'device.list': () => devices.list(),
    'device.get': ({ device }) => devices.get(device),
    'device.add': ({ kind, path, name }) => changing(devices.add(kind, path, name)),
    'device.forget': async ({ device }) => {
      await changing(devices.forget(device));
      return {};
    },
    'device.assign': ({ device, vm }) => changing(devices.assign(device, vm)),
    'device.release': ({ device, force }) => changing(devices.release(device, force)),
    'settings.get': () => library.settings(),
    'settings.set': async ({ changes }) => {
      const settings = await library.changeSettings(changes);
      supervisor.tell({ kind: 'settings-changed', settings });
      if (changes.keepCode === false) await supervisor.forgetCode();
      return settings;
    },
    'host.info': () => Promise.resolve(hostInfo()),
    'host.folder': ({ path }) => Promise.resolve(listFolder(path)),
    'server.start': ({ port }) => server.start(port),
    'server.status': () => Promise.resolve(server.status()),
    'server.stop': () => server.stop(),
    'engine.status': () => engine.status(),
    'engine.stop': async ({ force, suspend }) => {
      await engine.requestStop(force, suspend === true);
      return {};
    },
  };
}

/** Events that a subscriber may leave unacknowledged before it is cut off: it does not read. */
const UNREAD_MAXIMUM = 10_000;
/** Samples it may leave unacknowledged before further ones are left out. */
const UNREAD_SAMPLES = 3;

/** Reports of VM exits that it may leave unacknowledged; the exits of further ones count as lost. */
const UNREAD_EXITS = 8;

export function createStreams(engine: Engine): StreamHandlers {
  const { supervisor, library } = engine;
  return {
    library: async (_input, sink) => {
      let unread = 0;
      const send: typeof sink.send = (event) => {
        unread += 1;
        if (unread <= UNREAD_MAXIMUM) return sink.send(event);
        stop();
        sink.end(new ContractError('engine-unreachable', 'The subscriber does not read its events.', 'Subscribe again.'));
      };
      const [vms, settings] = await Promise.all([supervisor.list(), library.settings()]);
      send({ kind: 'all', vms, settings });
      const stop = supervisor.onLibrary(send);
      return { acknowledge: (count) => void (unread -= count), close: stop };
    },
    console: async ({ vm, port }, sink) => {
      const { id } = await supervisor.get(vm);
      const viewer = consoleOf(engine, id, port).attach((event) => sink.send(event));
      const stop = supervisor.onLibrary((event) => {
        if (event.kind !== 'vm-removed' || event.id !== id) return;
        stop();
        viewer.close();
        sink.end(new ContractError('not-found', 'The VM was removed.', ''));
      });
      return {
        acknowledge: (count) => viewer.acknowledge(count),
        close: () => {
          stop();
          viewer.close();
        },
      };
    },
    metrics: async ({ vm }, sink) => {
      const { id } = await supervisor.get(vm);
      let unread = 0;
      const stop = supervisor.onMetrics(id, (sample) => {
        if (unread >= UNREAD_SAMPLES) return;
        unread += 1;
        sink.send(sample);
      });
      return { acknowledge: (count) => void (unread -= count), close: stop };
    },
    display: async ({ vm }, sink) => {
      const { id } = await supervisor.get(vm);
      return new DisplayView((viewer, forget) => supervisor.picture(id, viewer, forget), (event) => sink.send(event));
    },
    exits: async ({ vm, wanted }, sink) => {
      const { id } = await supervisor.get(vm);
      let unread = 0;
      let lost = 0;
      const stop = supervisor.watchExits(id, wanted, (event) => {
        if (unread >= UNREAD_EXITS) return void (lost += event.lost + event.recent.length);
        unread += 1;
        sink.send({ ...event, records: wanted === 'all' ? event.records : new Uint8Array(0), lost: lost + event.lost });
        lost = 0;
      });
      return { acknowledge: (count) => void (unread -= count), close: stop };
    },
  };
}

function consoleOf(engine: Engine, id: string, port: number): ReturnType<Engine['supervisor']['consoles']>[number] {
  const console = engine.supervisor.consoles(id)[port];
  if (!console) throw new ContractError('bad-field', `There is no serial port ${port}.`, 'Ports are 0 to 3.', 'port');
  return console;
}

function refuseRelative(path: string): void {
  if (!isAbsolute(path)) throw new ContractError('bad-field', `"${path}" names no folder.`, 'Write the whole path, from the root on.', 'path');
}

/** A file by whose name it would be taken for something else. */
function refuseExport(path: string): void {
  refuseRelative(path);
  if (/\.(ovf|vmdk|vdi)$/i.test(path)) throw new ContractError('bad-field', `"${path}" cannot be written: an export is one file.`, 'Name it .ova for other programs, or .vpsnap for Vanderpool.', 'path');
}
