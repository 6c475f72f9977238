/** One serial port's console: keeps what it shows, hands it to every viewer, and holds the guest back when a viewer cannot follow. */
import { CONSOLE_WINDOW } from '../contract/limits.ts';
import type { ConsoleEvent } from '../contract/streams.ts';
import type { VmState } from '../contract/vm.ts';
import { INPUT_PENDING } from '../machine/messages.ts';
import type { Scrollback } from './scrollback.ts';

/** A viewer that is stuck this long no longer holds the guest back: it misses output and gets a replay when it is there again. */
const STALL_MS = 3000;

/** The running guest's end of the console. */
export interface ConsoleSource {
  grant(bytes: number): void;
  input(data: Uint8Array<ArrayBuffer>): void;
}

interface Viewer {
  send(event: ConsoleEvent): void;
  /** Sizes of the events on their way, oldest first. */
  readonly sizes: number[];
  inFlight: number;
  /** Since when it has been full without acknowledging anything; null while it follows. */
  fullSince: number | null;
  /** It misses output and waits for a replay. */
  behind: boolean;
}

export interface ViewerHandle {
  acknowledge(count: number): void;
  close(): void;
}

export class Console {
  readonly scrollback: Scrollback;
  readonly #viewers = new Set<Viewer>();
  #source: ConsoleSource | null = null;
  #state: VmState = 'stopped';
  /** Output received and not yet granted again. */
  #owed = 0;
  #inputPending = 0;
  #stall: NodeJS.Timeout | undefined;

  constructor(scrollback: Scrollback) {
    this.scrollback = scrollback;
  }

  /** A guest starts or ends behind this console. */
  connect(source: ConsoleSource | null): void {
    this.#source = source;
    this.#owed = 0;
    this.#inputPending = 0;
  }

  setState(state: VmState): void {
    if (state === this.#state) return;
    this.#state = state;
    for (const viewer of this.#viewers) if (!viewer.behind) this.#send(viewer, { kind: 'state', state }, 0);
  }

  output(data: Uint8Array<ArrayBuffer>): void {
    this.scrollback.append(data);
    this.#owed += data.length;
    for (const viewer of this.#viewers) if (!viewer.behind) this.#send(viewer, { kind: 'data', data }, data.length);
    this.#settle();
  }

  /** The machine went back to another moment: everybody sees what the port showed then. */
  restore(data: Uint8Array): void {
    this.scrollback.replace(data);
    for (const viewer of this.#viewers) if (!viewer.behind) this.#replay(viewer);
  }

  /** Types into the guest; returns how many bytes were taken. Nothing is taken while no guest runs. */
  write(data: Uint8Array): number {
    if (!this.#source) return 0;
    const taken = data.slice(0, INPUT_PENDING - this.#inputPending);
    if (taken.length === 0) return 0;
    this.#inputPending += taken.length;
    this.#source.input(taken);
    return taken.length;
  }

  /** The guest's process has passed on so many bytes of input. */
  inputTaken(bytes: number): void {
    this.#inputPending = Math.max(0, this.#inputPending - bytes);
  }

  attach(send: (event: ConsoleEvent) => void): ViewerHandle {
    const viewer: Viewer = { send, sizes: [], inFlight: 0, fullSince: null, behind: false };
    this.#viewers.add(viewer);
    this.#replay(viewer);
    return {
      acknowledge: (count) => {
        for (const size of viewer.sizes.splice(0, count)) viewer.inFlight -= size;
        viewer.fullSince = null; // Slow is not stuck.
        if (viewer.behind && viewer.sizes.length === 0) this.#replay(viewer);
        this.#settle();
      },
      close: () => {
        this.#viewers.delete(viewer);
        this.#settle();
      },
    };
  }

  close(): void {
    clearTimeout(this.#stall);
    this.scrollback.close();
  }

  #replay(viewer: Viewer): void {
    viewer.behind = false;
    viewer.fullSince = null;
    const { data, truncated } = this.scrollback.read();
    // Replay does not count: it is bounded by itself, and a long history must not hold back a guest.
    this.#send(viewer, { kind: 'replay', data, truncated, state: this.#state }, 0);
  }

  #send(viewer: Viewer, event: ConsoleEvent, size: number): void {
    viewer.sizes.push(size);
    viewer.inFlight += size;
    viewer.send(event);
  }

  /** Grants the guest more output unless a viewer is full; gives up on a viewer that stays so. */
  #settle(): void {
    clearTimeout(this.#stall);
    const now = performance.now();
    let full = false;
    for (const viewer of this.#viewers) {
      if (viewer.behind || viewer.inFlight < CONSOLE_WINDOW) {
        viewer.fullSince = null;
        continue;
      }
      viewer.fullSince ??= now;
      if (now - viewer.fullSince >= STALL_MS) viewer.behind = true;
      else full = true;
    }
    if (full) {
      this.#stall = setTimeout(() => this.#settle(), STALL_MS / 4);
      return;
    }
    if (this.#owed > 0) this.#source?.grant(this.#owed);
    this.#owed = 0;
  }
}
