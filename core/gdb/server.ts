/**
 * Waits for GDB on the loopback interface and passes its packets to the machine, one at a time. One debugger at a time; another is turned away.
 * When the debugger goes, however it goes, the guest goes on.
 */
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { ContractError } from '../contract/errors.ts';
import { frame, FrameReader } from './frames.ts';
import type { GdbInput } from './frames.ts';

/** The machine behind the packets. */
export interface GdbMachine {
  hold(): Promise<unknown>;
  release(): Promise<unknown>;
  /** The reply; null when it is to be asked for, with `?`, once the guest has stopped. */
  packet(data: Uint8Array): Promise<Uint8Array | null>;
}

const LOOPBACK = '127.0.0.1';
/** Packets of one connection that may wait. */
const WAITING_LIMIT = 64;
const text = (data: Uint8Array): string => Buffer.from(data).toString('latin1');
const ASK_STOP = Buffer.from('?');

export class GdbServer {
  readonly #machine: GdbMachine;
  readonly #server: Server;
  #session: Session | null = null;

  private constructor(machine: GdbMachine) {
    this.#machine = machine;
    this.#server = createServer((socket) => this.#welcome(socket));
  }

  /** @throws ContractError `bad-field` when the port cannot be had */
  static async listen(port: number, machine: GdbMachine): Promise<GdbServer> {
    const server = new GdbServer(machine);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', (error: NodeJS.ErrnoException) => reject(portError(port, error)));
      server.#server.listen(port, LOOPBACK, resolve);
    });
    return server;
  }

  /** The guest has stopped: whoever waits for that is told. */
  held(): void {
    this.#session?.held();
  }

  close(): void {
    this.#server.close();
    this.#session?.end();
  }

  #welcome(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    if (this.#session) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    this.#session = new Session(socket, this.#machine, () => {
      this.#session = null;
    });
  }
}

function portError(port: number, error: NodeJS.ErrnoException): ContractError {
  const why = error.code === 'EADDRINUSE' ? 'another program has it' : error.code === 'EACCES' ? 'ports below 1024 are for the administrator' : error.message;
  return new ContractError('bad-field', `GDB's port ${port} on ${LOOPBACK} cannot be opened: ${why}.`, 'Choose another port.', 'gdb');
}

/** One debugger. */
class Session {
  readonly #socket: Socket;
  readonly #machine: GdbMachine;
  readonly #ended: () => void;
  readonly #reader = new FrameReader();
  readonly #waiting: Uint8Array[] = [];
  #busy = false;
  #acknowledges = true;
  #last: Uint8Array = new Uint8Array(0);
  /** GDB waits for the guest to stop. */
  #running = false;
  #over = false;

  constructor(socket: Socket, machine: GdbMachine, ended: () => void) {
    this.#socket = socket;
    this.#machine = machine;
    this.#ended = ended;
    socket.on('data', (bytes) => {
      for (const input of this.#reader.read(typeof bytes === 'string' ? Buffer.from(bytes) : bytes)) this.#take(input);
    });
    socket.on('close', () => this.#finish());
    // GDB expects a machine that stands still.
    machine.hold().catch(() => this.end());
  }

  held(): void {
    if (!this.#running) return;
    this.#running = false;
    this.#waiting.unshift(ASK_STOP);
    void this.#work();
  }

  end(): void {
    this.#socket.destroy();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#ended();
    // A machine that has ended cannot be released, and need not.
    this.#machine.release().catch(() => undefined);
  }

  #take(input: GdbInput): void {
    switch (input.kind) {
      case 'acknowledged': return;
      case 'resend': return void this.#socket.write(this.#last);
      case 'interrupt': return void this.#machine.hold().catch(() => this.end());
      case 'damaged':
        if (this.#acknowledges) this.#socket.write('-');
        return;
      case 'broken': return this.end();
      case 'packet':
        if (this.#acknowledges) this.#socket.write('+');
        if (text(input.data) === 'QStartNoAckMode') this.#acknowledges = false;
        if (this.#waiting.length >= WAITING_LIMIT) return this.end();
        this.#waiting.push(input.data);
        void this.#work();
    }
  }

  async #work(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let packet = this.#waiting.shift(); packet; packet = this.#waiting.shift()) {
        // Before the machine is asked: it may stop before its answer has come.
        const resumes = /^(vCont;|[csCS])/.test(text(packet));
        if (resumes) this.#running = true;
        const reply = await this.#machine.packet(packet);
        if (reply !== null) {
          if (resumes) this.#running = false;
          this.#send(reply);
        }
        if (/^(D|k|vKill)/.test(text(packet))) this.#socket.end();
      }
    } catch {
      // The machine has ended or does not answer: there is nothing left to debug.
      this.end();
    } finally {
      this.#busy = false;
    }
  }

  #send(data: Uint8Array): void {
    this.#last = frame(data);
    this.#socket.write(this.#last);
  }
}
