/** Questions of one kind to a VM's process: each is answered, refused, or stays without an answer for too long. */
import { ContractError } from '../contract/errors.ts';
import type { ErrorShape } from '../contract/errors.ts';
import type { ToVmProcess } from '../machine/messages.ts';

const PATIENCE_MS = 6000;

/** One instance a kind: an answer of another kind, from a process that was taken over, finds no question. */
export class Questions<T> {
  readonly #send: (message: ToVmProcess) => void;
  readonly #waiting = new Map<number, PromiseWithResolvers<T>>();
  #next = 0;

  constructor(send: (message: ToVmProcess) => void) {
    this.#send = send;
  }

  /** @throws ContractError the refusal, or that there is no answer */
  async ask(make: (id: number) => ToVmProcess): Promise<T> {
    const id = this.#next;
    this.#next += 1;
    const waiting = Promise.withResolvers<T>();
    this.#waiting.set(id, waiting);
    const timer = setTimeout(() => waiting.reject(silent()), PATIENCE_MS);
    this.#send(make(id));
    try {
      return await waiting.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  answer(id: number, answer: T): void {
    this.#waiting.get(id)?.resolve(answer);
  }

  refuse(id: number, error: ErrorShape): void {
    this.#waiting.get(id)?.reject(ContractError.fromShape(error));
  }

  /** The process is gone. */
  end(): void {
    for (const { reject } of this.#waiting.values()) reject(silent());
  }
}

function silent(): ContractError {
  return new ContractError('wrong-state', 'The VM does not answer.', 'Try again, or stop it by force.');
}
