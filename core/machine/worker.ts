/** The core thread: makes the machine and runs it in slices; sleeps while the guest is halted or paused. */
import { setFlagsFromString } from 'node:v8';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { asContractError } from '../contract/errors.ts';
import type { LineSettings } from '../devices/uart16550.ts';
import type { ErrorShape } from '../contract/errors.ts';
import { imageError } from './boot-check.ts';
import { fromSources } from './entries.ts';
import { readBootFiles } from './files.ts';
import type { MachineSettings } from './files.ts';
import { Command, Link } from './link.ts';
import type { Machine, MachineConfig, MachineExit, MachineHost, MachineStatistics, QuestionKind, Questions } from './types.ts';
import { NO_INLINING } from './processSettings.ts';
import { SegmentError } from '../snapshot/segment.ts';
import { damagedSnapshot } from './saved.ts';
import { PreserveRing } from '../snapshot/preserve.ts';
import type { SnapshotPoint } from '../snapshot/guestMemory.ts';

/** What the thread begins with: it loads its programs. */
export interface WorkerData {
  /** URL of the module that exports `createMachine`. */
  readonly machineModule: string;
  /** There is time to rehearse: nobody waits for the machine yet. */
  readonly rehearse: boolean;
  /** Where its one `WorkerStart` will come from. */
  readonly start: MessagePort;
}

/** What the thread is to run. */
export interface WorkerStart {
  readonly link: SharedArrayBuffer;
  readonly config: MachineConfig;
  /** Ports whose output somebody reads; what the others send is dropped. */
  readonly attached: readonly boolean[];
  /** A debugger is to come before the first instruction. */
  readonly held: boolean;
  /** Where pages go that a snapshot needs (core/snapshot/preserve.ts). */
  readonly preserved: SharedArrayBuffer;
  /** What a restored machine boots from when it is reset; null where that is known already. */
  readonly settings: MachineSettings | null;
}

/** What the thread tells the I/O thread. */
export type WorkerMessage =
  | { readonly type: 'started' }
  | { readonly type: 'failed'; readonly error: ErrorShape }
  /** There is output in a ring. */
  | { readonly type: 'bell' }
  | { readonly type: 'paused'; readonly paused: boolean }
  | { readonly type: 'statistics'; readonly statistics: MachineStatistics }
  | { readonly type: 'description'; readonly text: string }
  /** A debugger has stopped the guest. */
  | { readonly type: 'held' }
  /** The guest has let the card of a hot-plug slot go. */
  | { readonly type: 'released'; readonly slot: number }
  /** The guest has set the line of an assigned serial port. */
  | { readonly type: 'line'; readonly port: number; readonly settings: LineSettings }
  | { readonly type: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly error: ErrorShape }
  /** The moment of a snapshot; `milliseconds`: how long the guest stood still for it; `sent`: what its serial ports had sent, by the rings' counts. */
  | { readonly type: 'snapshot'; readonly point: SnapshotPoint; readonly milliseconds: number; readonly sent: readonly number[] }
  | { readonly type: 'stopped'; readonly exit: MachineExit; readonly statistics: MachineStatistics };

/** What the I/O thread posts; `Command.question` says that something waits. */
export interface WorkerQuestion {
  readonly id: number;
  readonly kind: QuestionKind;
  readonly question: Questions[QuestionKind];
}

interface MachineModule {
  readonly createMachine: (config: MachineConfig, host: MachineHost) => Promise<Machine>;
  /** Does once for nothing what making a machine takes: its code is compiled then. */
  readonly rehearse?: () => Promise<void>;
}

/** A running guest lets the thread's own tasks (compilation, messages) run this often. */
const YIELD_MS = 20;
/** Shorter sleeps cost more than they save. */
const SLEEP_MINIMUM_MS = 0.02;
/** How long a guest waits for room in an output ring before the stop command is looked at. */
const ROOM_WAIT_MS = 50;
/** A halted guest whose UART is full is looked at again after this time. */
const STUCK_INPUT_MS = 20;
/** A debugger's stop that is shorter, such as a single step, is not told of as a pause. */
const HELD_MS = 200;
/** Share of a running guest's time that goes to fetching what it has not asked for yet of its snapshot; all of a sleeping one's, while nobody wakes it. */
const FILL_MS = 0.5;
const FILL_ASLEEP_MS = 5;
/**
 * A sleeping guest's machine spends some milliseconds on its next run this often, a hundredth of a core, where nothing is due for as long; and when it looks again
 * once there was nothing to do.
 */
const PREPARE_MS = 250;
const PREPARE_FREE_NS = 3e6;
const PREPARE_AGAIN_MS = 60_000;
const ONCE = Command.reset | Command.powerButton | Command.statistics | Command.describe | Command.question | Command.snapshot | Command.switchLayers;

const port = parentPort;
if (port) {
  const { machineModule, rehearse, start } = workerData as WorkerData;
  const post = (message: WorkerMessage): void => port.postMessage(message);
  const loading = load(machineModule, rehearse);
  loading.catch(() => undefined); // Whoever wants a machine hears of it.
  start.once('message', (wanted: WorkerStart) => {
    runCore(loading, wanted, post).catch((thrown: unknown) => post({ type: 'failed', error: describeFailure(thrown) }));
  });
}

async function load(machineModule: string, rehearse: boolean): Promise<MachineModule> {
  const module = (await import(machineModule)) as MachineModule;
  // Not before: Node keeps compiled modules for the flags under which they were compiled, and the other thread loads some of the same.
  if (!fromSources) setFlagsFromString(NO_INLINING);
  if (rehearse) await module.rehearse?.();
  return module;
}

async function runCore(loading: Promise<MachineModule>, start: WorkerStart, post: (message: WorkerMessage) => void): Promise<void> {
  const link = new Link(start.link);
  const host = createHost(start, link, post);
  const { createMachine } = await loading;
  const machine = await createMachine(start.config, host);
  if (start.held) machine.answer('debug-hold', {});
  post({ type: 'started' });
  const exit = await runSlices(machine, link, host, post);
  host.ring();
  machine.ended?.(exit === null);
  post({ type: 'stopped', exit: exit ?? { reason: 'power-off' }, statistics: machine.statistics() });
}

/** Runs the machine to its end; null: it was told to stop. */
async function runSlices(machine: Machine, link: Link, host: RingingHost, post: (message: WorkerMessage) => void): Promise<MachineExit | null> {
  let yieldedAt = performance.now();
  let prepareAt = yieldedAt + PREPARE_MS;
  for (;;) {
    const count = link.wakeCount();
    const commands = link.takeCommands(ONCE);
    if (commands & Command.stop) return null;
    obey(commands, machine, host, post);
    if (commands & Command.pause || machine.held) {
      host.ring();
      machine.setPaused(true);
      waitWhilePaused(link, machine, host, post);
      machine.setPaused(false);
      continue;
    }
    const input = deliverInput(machine, link);
    const result = machine.runSlice();
    host.ring();
    if (result.kind === 'stopped') {
      if (result.exit.reason !== 'reset') return result.exit;
      machine.reset();
    }
    if (performance.now() - yieldedAt > YIELD_MS) {
      await new Promise((resolve) => setImmediate(resolve));
      yieldedAt = performance.now();
    }
    const free = result.kind === 'halted' ? Math.min(FILL_ASLEEP_MS, (result.wakeInNs ?? Number.POSITIVE_INFINITY) / 1e6) : 0;
    if (!fill(machine, link, count, free)) continue;
    if (result.kind !== 'halted' || input === 'more') continue;
    const sleepNs = result.wakeInNs ?? Infinity;
    if (performance.now() >= prepareAt && sleepNs >= PREPARE_FREE_NS) prepareAt = performance.now() + (machine.prepareNextRun?.() === true ? PREPARE_MS : PREPARE_AGAIN_MS);
    const prepareNs = (prepareAt - performance.now()) * 1e6;
    sleepWhileHalted(link, count, prepareNs > 0 ? Math.min(sleepNs, prepareNs) : sleepNs, input);
  }
}

/** Fetches pages for about so long, or until the thread is woken; at least once. True when all are there. */
function fill(machine: Machine, link: Link, count: number, milliseconds: number): boolean {
  for (const end = performance.now() + milliseconds; ;) {
    if (machine.fillPages(FILL_MS)) return true;
    if (link.wakeCount() !== count || performance.now() >= end) return false;
  }
}

function sleepWhileHalted(link: Link, count: number, wakeInNs: number, input: 'none' | 'stuck'): void {
  const milliseconds = Math.min(wakeInNs / 1e6, input === 'stuck' ? STUCK_INPUT_MS : Number.POSITIVE_INFINITY);
  if (milliseconds > SLEEP_MINIMUM_MS) link.sleep(count, milliseconds);
}

function obey(commands: number, machine: Machine, host: RingingHost, post: (message: WorkerMessage) => void): void {
  // What the guest has sent belongs to the console at the moment of the snapshot.
  if (commands & Command.snapshot) {
    host.ring();
    const begun = performance.now();
    const point = machine.snapshot((commands & Command.switchLayers) !== 0);
    post({ type: 'snapshot', point, milliseconds: performance.now() - begun, sent: host.sent() });
  }
  if (commands & Command.reset) machine.reset();
  if (commands & Command.powerButton) machine.powerButton();
  if (commands & Command.statistics) post({ type: 'statistics', statistics: machine.statistics() });
  if (commands & Command.describe) post({ type: 'description', text: machine.describe() });
  if (commands & Command.question) answerQuestions(machine, post);
}

function answerQuestions(machine: Machine, post: (message: WorkerMessage) => void): void {
  for (let waiting = port && receiveMessageOnPort(port); waiting; waiting = port && receiveMessageOnPort(port)) {
    const { id, kind, question } = waiting.message as WorkerQuestion;
    try {
      post({ type: 'answer', id, answer: machine.answer(kind, question) });
    } catch (thrown) {
      post({ type: 'refusal', id, error: asContractError(thrown).toShape() });
    }
  }
}

/** Answers questions while paused or held by a debugger; a reset takes effect at once, and so does a stop. */
function waitWhilePaused(link: Link, machine: Machine, host: RingingHost, post: (message: WorkerMessage) => void): void {
  const patientUntil = performance.now() + HELD_MS;
  let told = false;
  let held = false;
  for (;;) {
    const count = link.wakeCount();
    const commands = link.takeCommands(ONCE & ~Command.powerButton);
    obey(commands & ~Command.powerButton, machine, host, post);
    const paused = (commands & Command.pause) !== 0;
    if (commands & Command.stop || !(paused || machine.held)) break;
    if (machine.held && !held) post({ type: 'held' });
    held = machine.held;
    const patience = patientUntil - performance.now();
    if (!told && (paused || patience <= 0)) {
      told = true;
      post({ type: 'paused', paused: true });
    }
    if (machine.fillPages(FILL_MS)) link.sleep(count, told ? null : patience);
  }
  if (told) post({ type: 'paused', paused: false });
}

/**
 * Offers waiting input to the UARTs; what they do not take stays in its ring. `more`: they took some and the guest may take more once it
 * has read that; `stuck`: there is some and nothing was taken.
 */
function deliverInput(machine: Machine, link: Link): 'none' | 'more' | 'stuck' {
  let state: 'none' | 'more' | 'stuck' = 'none';
  for (const [number, ring] of link.input.entries()) {
    if (ring.length === 0) continue;
    const taken = machine.serialInput(number, ring.peek());
    ring.drop(taken);
    if (taken > 0) state = 'more';
    else if (state === 'none') state = 'stuck';
  }
  return state;
}

interface RingingHost extends MachineHost {
  /** Tells the I/O thread of output since the last call, once a slice and not once a byte. */
  ring(): void;
  /** Bytes ever sent, by port. */
  sent(): number[];
}

function createHost({ attached, preserved, settings }: WorkerStart, link: Link, post: (message: WorkerMessage) => void): RingingHost {
  let pending = false;
  const ring = (): void => {
    if (pending) post({ type: 'bell' });
    pending = false;
  };
  return {
    ring,
    released: (slot) => post({ type: 'released', slot }),
    lineSettings: (port, settings) => post({ type: 'line', port, settings }),
    sent: () => link.output.map((output) => output.written),
    preserved: new PreserveRing(preserved),
    ...(settings ? { readBoot: () => readBootFiles(settings) } : {}),
    serialOutput(number, bytes) {
      const output = attached[number] ? link.output[number] : undefined;
      if (!output) return;
      let rest = bytes.subarray(output.write(bytes));
      pending = true;
      // The reader is behind: the guest waits inside its UART, which is what a slow line does.
      while (rest.length > 0 && !(link.takeCommands(0) & Command.stop)) {
        ring();
        output.waitForRoom(ROOM_WAIT_MS);
        rest = rest.subarray(output.write(rest));
        pending = true;
      }
    },
  };
}

/** A refused image is the person's to mend; everything else that is thrown is ours. */
function describeFailure(thrown: unknown): ErrorShape {
  // By name: the class of the machine's module is another copy of it when a test brings a machine of its own.
  if (thrown instanceof Error && (thrown.name === 'BootError' || thrown.constructor.name === 'BootError')) return imageError(thrown).toShape();
  // Pages are fetched from a snapshot while the guest runs.
  if (thrown instanceof SegmentError) return damagedSnapshot(thrown.message).toShape();
  const error = asContractError(thrown);
  if (error.code === 'internal' && thrown instanceof Error && thrown.stack) console.error(thrown.stack);
  return error.toShape();
}
