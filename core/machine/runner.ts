/** The I/O thread's side of a machine: starts the core thread, moves serial bytes, passes commands, reports the end. */
import type { Worker } from 'node:worker_threads';
import { ContractError } from '../contract/errors.ts';
import type { CoreThread } from './coreThread.ts';
import type { LineSettings } from '../devices/uart16550.ts';
import type { MachineSettings } from './files.ts';
import { createPreserveBuffer } from '../snapshot/preserve.ts';
import { Command, createLinkBuffer, Link } from './link.ts';
import type { Answers, MachineConfig, MachineExit, MachineStatistics, QuestionKind, Questions } from './types.ts';
import type { WorkerMessage, WorkerQuestion } from './worker.ts';

export interface RunnerEvents {
  started(): void;
  /** The machine could not be made, or its thread broke. */
  failed(error: ContractError): void;
  /** There may be output to read by `readOutput`. */
  output(): void;
  paused(paused: boolean): void;
  /** A debugger has stopped the guest. */
  held?(): void;
  /** The guest has let the card of a hot-plug slot go. */
  released?(slot: number): void;
  /** The guest has set the line of an assigned serial port. */
  line?(port: number, settings: LineSettings): void;
  stopped(exit: MachineExit, statistics: MachineStatistics): void;
}

/** Something of this thread that the core thread's devices use: it answers from the machine's start to its end. */
export interface MachineService {
  /** @param wake to be called when there is something new for the core, which may sleep */
  serve(wake: () => void): void;
  /** Finishes what is under way. */
  close(): Promise<void>;
}

export interface RunnerOptions {
  /** Its images are moved to the core thread: the caller's views of them are empty afterwards. */
  readonly config: MachineConfig;
  readonly attached: readonly boolean[];
  /** The thread that it is to run in. */
  readonly thread: CoreThread;
  /** A restored machine's settings: it reads its boot files when it is reset. */
  readonly settings?: MachineSettings;
  /** The machine waits for `resume` before its first instruction. */
  readonly paused?: boolean;
  /** Closed when the machine has ended. */
  readonly services: readonly MachineService[];
  /** The guest waits for a debugger before its first instruction. */
  readonly held?: boolean;
  readonly events: RunnerEvents;
}

export type SnapshotAnswer = Pick<Extract<WorkerMessage, { type: 'snapshot' }>, 'point' | 'milliseconds' | 'sent'>;

/** How long a thread that is to end has for what it keeps for the next run. */
const PATIENCE_MS = 1000;

/** One machine in one worker thread. */
export class Runner {
  readonly #link: Link;
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;
  readonly #events: RunnerEvents;
  readonly #statisticsWaiters: ((statistics: MachineStatistics | null) => void)[] = [];
  readonly #descriptionWaiters: ((text: string | null) => void)[] = [];
  readonly #questions = new Map<number, { resolve(answer: unknown): void; reject(error: ContractError): void }>();
  readonly #services: readonly MachineService[];
  #nextQuestion = 1;
  readonly #snapshotWaiters: ((answer: SnapshotAnswer | null) => void)[] = [];
  /** Where the core puts pages that a snapshot needs (core/snapshot/preserve.ts). */
  readonly preserved = createPreserveBuffer();
  #ended = false;
  #closing: Promise<void> | null = null;

  constructor(options: RunnerOptions) {
    const link = createLinkBuffer();
    this.#link = new Link(link);
    this.#events = options.events;
    this.#services = options.services;
    for (const service of this.#services) service.serve(() => this.#link.wake());
    const { config, attached, thread, settings, paused, held = false } = options;
    if (paused) this.#link.raise(Command.pause);
    this.#worker = thread.worker;
    this.#exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#worker.on('message', (message: WorkerMessage) => this.#receive(message));
    this.#worker.on('error', (error) => this.#fail(`The core thread broke: ${error instanceof Error ? error.message : String(error)}`));
    this.#worker.on('exit', () => this.#fail('The core thread ended by itself.'));
    thread.start({ link, config, attached, held, preserved: this.preserved, settings: settings ?? null }, imagesOf(config));
  }

  /** Takes up to `limit` bytes of a port's output. */
  readOutput(port: number, limit: number): Uint8Array<ArrayBuffer> {
    return this.#link.output[port]?.read(limit) ?? new Uint8Array(0);
  }

  /** What a port had sent when its count was `sent`: the bytes of it that were not read yet, or how many later ones were read already. */
  outputAt(port: number, sent: number): { readonly unread: Uint8Array<ArrayBuffer>; readonly surplus: number } {
    const ring = this.#link.output[port];
    const behind = ring ? (sent - ring.consumed) | 0 : 0;
    return { unread: ring && behind > 0 ? ring.peek(behind) : new Uint8Array(0), surplus: Math.max(0, -behind) };
  }

  outputLength(port: number): number {
    return this.#link.output[port]?.length ?? 0;
  }

  /** Offers input to a port; returns how many bytes found room. */
  writeInput(port: number, bytes: Uint8Array): number {
    const taken = this.#link.input[port]?.write(bytes) ?? 0;
    if (taken > 0) this.#link.wake();
    return taken;
  }

  pause(): void {
    this.#link.raise(Command.pause);
  }

  resume(): void {
    this.#link.lower(Command.pause);
  }

  reset(): void {
    this.#link.raise(Command.reset);
  }

  powerButton(): void {
    this.#link.raise(Command.powerButton);
  }

  /** Counters of the running machine; null when it does not answer within the time. */
  statistics(timeoutMs = 500): Promise<MachineStatistics | null> {
    return this.#ask(Command.statistics, this.#statisticsWaiters, timeoutMs);
  }

  /** Registers as text; null when the machine does not answer within the time. */
  describe(timeoutMs = 2000): Promise<string | null> {
    return this.#ask(Command.describe, this.#descriptionWaiters, timeoutMs);
  }

  /**
   * Asks the machine between two of its slices.
   * @throws ContractError when it has ended, does not answer within the time, or refuses
   */
  async ask<K extends QuestionKind>(kind: K, question: Questions[K], timeoutMs = 5000): Promise<Answers[K]> {
    if (this.#ended) throw notAnswering('has ended');
    const id = this.#nextQuestion++;
    const answer = new Promise<unknown>((resolve, reject) => this.#questions.set(id, { resolve, reject }));
    this.#worker.postMessage({ id, kind, question } satisfies WorkerQuestion);
    this.#link.raise(Command.question);
    const timer = setTimeout(() => this.#questions.get(id)?.reject(notAnswering('does not answer')), timeoutMs);
    try {
      // The core thread is of this very program: its answer belongs to the question.
      return (await answer) as Answers[K];
    } finally {
      clearTimeout(timer);
      this.#questions.delete(id);
    }
  }

  /**
   * The state of everything at one moment; null when the machine does not answer within the time. The caller then copies the pages.
   * @param disks the disks go over to their new layers at that moment
   */
  snapshot(disks: boolean, timeoutMs = 10_000): Promise<SnapshotAnswer | null> {
    return this.#ask(Command.snapshot | (disks ? Command.switchLayers : 0), this.#snapshotWaiters, timeoutMs);
  }

  /** Ends the thread: by itself if it does so soon. No event follows. */
  async terminate(): Promise<void> {
    this.#end();
    this.#link.raise(Command.stop);
    const patience = setTimeout(() => void this.#worker.terminate(), PATIENCE_MS);
    await this.#exited;
    clearTimeout(patience);
    await this.#closeServices();
  }

  #ask<T>(command: number, waiters: ((answer: T | null) => void)[], timeoutMs: number): Promise<T | null> {
    if (this.#ended) return Promise.resolve(null);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), timeoutMs);
      waiters.push((answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.#link.raise(command);
    });
  }

  #receive(message: WorkerMessage): void {
    if (this.#ended) return;
    switch (message.type) {
      case 'started': return this.#events.started();
      case 'bell': return this.#events.output();
      case 'paused': return this.#events.paused(message.paused);
      case 'statistics': return answerAll(this.#statisticsWaiters, message.statistics);
      case 'description': return answerAll(this.#descriptionWaiters, message.text);
      case 'line': return this.#events.line?.(message.port, message.settings);
      case 'released': return this.#events.released?.(message.slot);
      case 'held': return this.#events.held?.();
      case 'answer': return this.#questions.get(message.id)?.resolve(message.answer);
      case 'refusal': return this.#questions.get(message.id)?.reject(ContractError.fromShape(message.error));
      case 'snapshot': return answerAll(this.#snapshotWaiters, message);
      case 'failed':
        this.#end();
        return this.#afterServices(() => this.#events.failed(ContractError.fromShape(message.error)));
      case 'stopped':
        this.#end();
        return this.#afterServices(() => this.#events.stopped(message.exit, message.statistics));
    }
  }

  #fail(message: string): void {
    if (this.#ended) return;
    this.#end();
    this.#afterServices(() => this.#events.failed(new ContractError('internal', message, 'This is a defect of Vanderpool; please report what the guest did.')));
  }

  /** The end is reported when everything is on the disk and unlocked: the next start may follow at once. */
  #afterServices(report: () => void): void {
    void this.#closeServices().then(report);
  }

  #closeServices(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#services.map((service) => service.close())).then(() => undefined);
    return this.#closing;
  }

  #end(): void {
    this.#ended = true;
    answerAll(this.#statisticsWaiters, null);
    answerAll(this.#descriptionWaiters, null);
    for (const { reject } of this.#questions.values()) reject(notAnswering('has ended'));
    answerAll(this.#snapshotWaiters, null);
  }
}

function notAnswering(what: string): ContractError {
  return new ContractError('wrong-state', `The machine ${what}.`, 'Look at its state, and try again.');
}

/** The images' memory moves to the core thread instead of being copied; a piece of Node's shared pool cannot. */
function imagesOf({ boot }: MachineConfig): ArrayBuffer[] {
  if (boot.kind !== 'image') return [];
  const images = [boot.kernel, ...(boot.initrd ? [boot.initrd] : []), ...boot.modules.map(({ data }) => data)];
  const buffers = images.flatMap(({ buffer, byteLength }) => (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : []));
  return [...new Set(buffers)];
}

function answerAll<T>(waiters: ((answer: T) => void)[], answer: T): void {
  for (const waiter of waiters.splice(0)) waiter(answer);
}
