/** `vanderpool run`: one machine in this very process, with no engine and no library; COM1 on standard input and output. */
import { writeFileSync } from 'node:fs';
import { parseWith } from '../contract/errors.ts';
import type { ContractError } from '../contract/errors.ts';
import { surviveFileSizeLimit } from '../block/room.ts';
import { unrepeatableNetwork } from '../contract/hardware.ts';
import { inBootOrder, virtioConsoles } from './hardware-options.ts';
import { defaultSerial, vmConfig, vmDefaults, withChanges } from '../contract/vm.ts';
import type { VmConfig } from '../contract/vm.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { machineModuleUrl } from '../machine/entries.ts';
import type { GdbServer } from '../gdb/server.ts';
import { nameImage } from '../machine/boot-check.ts';
import { checkCpuModel } from '../machine/cpu-models.ts';
import { CoreThread } from '../machine/coreThread.ts';
import { listenForGdb } from '../machine/debugger.ts';
import { readMachineConfig } from '../machine/files.ts';
import { encodePng } from '../machine/pictures.ts';
import { Runner } from '../machine/runner.ts';
import { translationPath } from '../machine/translationPath.ts';
import { MachineServices } from '../machine/services.ts';
import type { MachineConfig, MachineExit, MachineStatistics } from '../machine/types.ts';
import { changesFrom } from './machine-options.ts';
import type { MachineOptions } from './machine-options.ts';
import { badArgument, reportError, Status } from './status.ts';
import { Terminal } from './terminal.ts';

export interface RunOptions extends MachineOptions {
  readonly timeout?: string;
  readonly stats?: string;
  readonly screenshot?: string;
  readonly testDevices?: boolean;
  readonly json?: boolean;
}

interface Ending {
  readonly reason: MachineExit['reason'] | 'timeout' | 'quit';
  readonly status: number;
  /** For standard error; empty when there is nothing to say. */
  readonly message: string;
  readonly statistics: MachineStatistics | null;
}

const OUTPUT_PIECE = 64 * 1024;

/** Runs to the guest's end, the timeout or Ctrl-A x. @throws ContractError for bad options and files, before anything starts. */
export async function run(options: RunOptions): Promise<number> {
  const timeoutSeconds = parseTimeout(options.timeout);
  const serial = virtioConsoles(options.virtioConsole ?? [], defaultSerial);
  const settings = withChanges(parseWith(vmConfig, { name: 'run', ...vmDefaults, serial }), inBootOrder(changesFrom(options), options.bootOrder, []));
  checkCpuModel(settings.cpuModel);
  const images = readMachineConfig(settings);
  if (options.stats !== undefined) writeFile('--stats', options.stats, '');
  if (options.screenshot !== undefined) writeFile('--screenshot', options.screenshot, '');
  // Machines on a switch need addresses that differ; elsewhere the same one at each run is welcome.
  const name = settings.networks.some(({ attach }) => attach === 'switch') ? `${settings.name} ${process.pid}` : settings.name;
  const services = await MachineServices.open({ ...settings, name });
  if (settings.clock === 'instructions' && settings.networks.length > 0) process.stderr.write(`${unrepeatableNetwork}\n`);
  const translations = translationPath([bootFiles(settings), process.cwd()]);
  const config = { ...images, ...services.descriptions, ...translations, testDevices: options.testDevices === true, closed: true };
  const started = performance.now();
  surviveFileSizeLimit();
  const ending = await runMachine(config, services, { timeoutSeconds, gdb: settings.gdb, screenshot: options.screenshot });
  if (!('status' in ending)) return reportError(nameImage(ending, settings.boot), options.json === true);
  if (ending.message !== '') process.stderr.write(`${ending.message}\n`);
  if (options.stats !== undefined) writeFile('--stats', options.stats, `${JSON.stringify(summary(ending, (performance.now() - started) / 1000), null, 2)}\n`);
  if (options.json === true) process.stderr.write(`${JSON.stringify(summary(ending, (performance.now() - started) / 1000))}\n`);
  return ending.status;
}

/** Files that what runs comes from: what tells machines apart that have no name. */
function bootFiles({ boot, firmware, disks }: Pick<VmConfig, 'boot' | 'firmware' | 'disks'>): readonly (string | null)[] {
  const images = boot.kind === 'image' ? [boot.kernel, boot.initrd] : [boot.kind];
  return [...images, firmware, ...disks.map(({ path }) => path)];
}

interface RunLimits {
  readonly timeoutSeconds: number | null;
  readonly gdb: VmConfig['gdb'];
  /** File for what the display shows at the end. */
  readonly screenshot: string | undefined;
}

function runMachine(
  config: MachineConfig, { list: services, disks: { room } }: MachineServices, { timeoutSeconds, gdb, screenshot }: RunLimits,
): Promise<Ending | ContractError> {
  return new Promise((resolve) => {
    let blocked = false;
    let ended = false;
    let timer: NodeJS.Timeout | undefined;
    let debugging: GdbServer | null = null;
    const pump = (): void => {
      while (!blocked && runner.outputLength(0) > 0) {
        if (process.stdout.write(runner.readOutput(0, OUTPUT_PIECE))) continue;
        blocked = true;
        process.stdout.once('drain', () => {
          blocked = false;
          pump();
        });
      }
    };
    const finish = (ending: Ending | ContractError): void => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      debugging?.close();
      terminal.stop();
      // What the guest said last is shown even when the reader is slow.
      process.stdout.write(runner.readOutput(0, OUTPUT_PIECE), () => {
        void runner.terminate().then(() => resolve(ending));
      });
    };
    const cut = (reason: 'timeout' | 'quit', status: number, message: string): void => {
      void Promise.all([runner.statistics(), screenshot === undefined ? null : capture(runner, screenshot)])
        .then(([statistics]) => finish({ reason, status, message, statistics }));
    };
    const runner = new Runner({
      config, services, attached: [true, false, false, false], thread: new CoreThread(machineModuleUrl()), held: gdb?.wait === true,
      events: {
        started: () => {
          if (gdb) void listenForGdb(gdb.port, runner).then((server) => (debugging = server), finish);
        },
        held: () => debugging?.held(),
        failed: finish,
        output: pump,
        paused: () => undefined,
        stopped: (exit, statistics) => finish({ ...endingOf(exit), reason: exit.reason, statistics }),
      },
    });
    room.listen({
      full: (message) => {
        process.stderr.write(`vanderpool: a disk of the host is full, the guest waits until there is room: ${message}\n`);
        runner.pause();
      },
      room: () => runner.resume(),
    });
    const terminal = new Terminal({ send: (bytes) => runner.writeInput(0, bytes), quit: () => cut('quit', Status.ok, ''), sendBreak: () => void runner.ask('break', { port: 0 }).catch(() => undefined) });
    if (timeoutSeconds !== null) {
      timer = setTimeout(() => cut('timeout', Status.timeout, `vanderpool: the guest did not end within ${timeoutSeconds} s.`), timeoutSeconds * 1000);
    }
    process.stdout.on('error', () => process.exit(Status.refused)); // The reader of the output went away.
    for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]] as const) {
      process.once(signal, () => cut('quit', 128 + number, ''));
    }
  });
}

/** A machine without display, or one that does not answer any more, leaves no picture. */
async function capture(runner: Runner, path: string): Promise<void> {
  const frame = await runner.ask('frame', {}).catch(() => null);
  if (frame) writeFileSync(path, encodePng(frame, { x: 0, y: 0, width: frame.width, height: frame.height }));
}

function endingOf(exit: MachineExit): { status: number; message: string } {
  switch (exit.reason) {
    case 'power-off': case 'reset': return { status: Status.ok, message: '' };
    case 'debug-exit': return { status: ((exit.value << 1) | 1) & 0xff, message: '' };
    case 'triple-fault': return { status: Status.tripleFault, message: `vanderpool: the guest ended in a triple fault. Its last state:\n${exit.state}` };
    case 'internal-error': return { status: Status.refused, message: `vanderpool: the machine failed: ${exit.message}\n  This is a defect of Vanderpool.` };
  }
}

function summary(ending: Ending, wallSeconds: number): object {
  const usage = process.resourceUsage();
  const seconds = { user: usage.userCPUTime / 1e6, system: usage.systemCPUTime / 1e6 };
  return {
    ending: { reason: ending.reason, status: ending.status },
    wallSeconds,
    cpuSeconds: seconds.user + seconds.system,
    userSeconds: seconds.user,
    systemSeconds: seconds.system,
    instructions: ending.statistics?.instructions ?? null,
    exits: ending.statistics?.exits ?? {},
    /** Of the whole process: guest memory that was touched, and the machine itself. */
    peakMemoryBytes: usage.maxRSS * 1024,
    guestMemoryBytes: ending.statistics?.memoryBytes ?? null,
    engine: ending.statistics?.engine ?? {},
  };
}

/** Opens a file before the guest starts, too: hours of work are not lost to a wrong path. */
function writeFile(option: string, path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw badArgument(`${option}: "${path}" cannot be written: ${unwritableBecause(error)}.`, 'Choose a file in a folder you may write to.');
  }
}

function parseTimeout(text: string | undefined): number | null {
  if (text === undefined) return null;
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  // The longest time a timer can count is 2^31 - 1 ms.
  if (!(seconds > 0 && seconds <= 2_000_000)) throw badArgument(`--timeout: "${text}" is not a number of seconds.`, 'Write a number above 0, such as 60.');
  return seconds;
}
