/** Recordings of VM exits that the engine itself writes, one a VM, for whoever has no file system at hand: the interface. */
import { isAbsolute, resolve } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import type { ExitRecording } from '../contract/exits.ts';
import { decodeExits } from '../vmm/exitRecords.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { openExitFile } from './exitFile.ts';
import type { ExitFile } from './exitFile.ts';
import type { Supervisor } from './supervisor.ts';

interface Recording {
  readonly path: string;
  readonly limitBytes: number;
  readonly file: ExitFile;
  running: boolean;
  /** Why the file could not be written to its end. */
  problem: string | null;
  readonly end: () => void;
}

export class ExitRecordings {
  readonly #supervisor: Supervisor;
  readonly #recordings = new Map<string, Recording>();

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
  }

  /** @throws ContractError `wrong-state` when the VM does not run or is recorded already, `bad-field` when the file cannot be made */
  async begin(reference: string, path: string, limitBytes: number): Promise<ExitRecording> {
    const { id, config, state, processId } = await this.#supervisor.get(reference);
    if (processId === null) throw new ContractError('wrong-state', `The VM "${config.name}" is ${state}: it has no exits.`, 'Start it first.');
    if (this.#recordings.get(id)?.running) throw new ContractError('wrong-state', `The exits of "${config.name}" are being recorded already.`, 'End that recording first.');
    if (!isAbsolute(path)) throw new ContractError('bad-field', `"${path}" names no folder.`, 'Write the whole path, from the root on.', 'path');
    const file = open(resolve(path), limitBytes);
    const ends: (() => void)[] = [];
    const recording: Recording = {
      path: resolve(path), limitBytes, file, running: true, problem: null,
      end: () => {
        if (!recording.running) return;
        recording.running = false;
        for (const end of ends) end();
        file.close();
      },
    };
    this.#recordings.set(id, recording);
    ends.push(this.#supervisor.watchExits(id, 'all', (event) => {
      if (!recording.running) return;
      try {
        if (!file.add(decodeExits(event.records, event.epochMs), event.lost)) recording.end();
      } catch (error) {
        recording.problem = unwritableBecause(error);
        recording.end();
      }
    }));
    ends.push(this.#supervisor.onLibrary((event) => {
      if (event.kind === 'vm-removed' && event.id === id) this.#recordings.delete(id);
      if ((event.kind === 'vm-removed' && event.id === id) || (event.kind === 'vm-changed' && event.vm.id === id && event.vm.processId === null)) recording.end();
    }));
    return describe(recording);
  }

  /** The VM's recording, or the last that it had; null: none since the engine started. */
  async find(reference: string): Promise<ExitRecording | null> {
    const recording = this.#recordings.get((await this.#supervisor.get(reference)).id);
    return recording ? describe(recording) : null;
  }

  async end(reference: string): Promise<ExitRecording | null> {
    this.#recordings.get((await this.#supervisor.get(reference)).id)?.end();
    return this.find(reference);
  }

  /** Ends all. */
  close(): void {
    for (const recording of this.#recordings.values()) recording.end();
  }
}

function open(path: string, limitBytes: number): ExitFile {
  try {
    return openExitFile(path, limitBytes);
  } catch (error) {
    throw new ContractError('bad-field', `"${path}" cannot be written: ${unwritableBecause(error)}.`, 'Name a file that does not exist yet, in a folder you may write to.', 'path');
  }
}

function describe({ path, limitBytes, running, problem, file: { recorded, missing, bytes, full } }: Recording): ExitRecording {
  return { path, limitBytes, running, problem, recorded, missing, bytes, full };
}
