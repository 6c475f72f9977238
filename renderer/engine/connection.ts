/** Keeps one client of the contract alive: connects, reconnects, and renews subscriptions on each new connection. */
import { asContractError, ContractError, createClient } from '../../core/contract/index.ts';
import type {
  Client, OperationInput, OperationName, OperationOutput, StreamEvent, StreamInput, StreamName, Transport,
} from '../../core/contract/index.ts';

export type ConnectionState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'connected' }
  /** No engine answers; the next attempt is at `retryAt` (milliseconds since 1970), or never when null. */
  | { readonly kind: 'lost'; readonly error: ContractError; readonly retryAt: number | null };

export interface Connection {
  call<N extends OperationName>(operation: N, input: OperationInput<N>): Promise<OperationOutput<N>>;
  /** Subscribes now and again after each reconnection, until the returned function is called. */
  follow<N extends StreamName>(stream: N, input: StreamInput<N>, handlers: FollowHandlers<StreamEvent<N>>): () => void;
  /** Tells the state now and at each change. */
  watch(listener: (state: ConnectionState) => void): () => void;
  /** Tries at once instead of waiting for the next attempt. */
  retry(): void;
  close(): void;
}

export interface FollowHandlers<E> {
  event(event: E): void | Promise<void>;
  /** The engine ended the stream, for a reason other than a lost connection. */
  end?(error: ContractError | null): void;
}

/** Waits between attempts, in milliseconds; the last one repeats. */
export const retryDelays: readonly number[] = [250, 500, 1000, 2000, 4000];

/** A wrong token stays wrong, and a newer library newer: asking again would only repeat the refusal. */
const LASTING: ReadonlySet<string> = new Set(['forbidden', 'library-newer']);

interface Following {
  start(client: Client): void;
  stop(): void;
}

export function createConnection(open: () => Promise<Transport>, now: () => number = Date.now): Connection {
  const following = new Set<Following>();
  const watchers = new Set<(state: ConnectionState) => void>();
  let state: ConnectionState = { kind: 'connecting' };
  let client: Client | null = null;
  let attempts = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  const become = (next: ConnectionState): void => {
    state = next;
    for (const watcher of watchers) watcher(next);
  };
  const lose = (error: ContractError): void => {
    client = null;
    if (closed) return;
    if (LASTING.has(error.code)) return become({ kind: 'lost', error, retryAt: null });
    const delay = retryDelays[Math.min(attempts++, retryDelays.length - 1)] ?? 1000;
    timer = setTimeout(() => void connect(), delay);
    become({ kind: 'lost', error, retryAt: now() + delay });
  };
  const connect = async (): Promise<void> => {
    clearTimeout(timer);
    try {
      const fresh = createClient(await open());
      if (closed) return fresh.close();
      client = fresh;
      attempts = 0;
      fresh.onClose(() => {
        if (client === fresh) lose(gone());
      });
      become({ kind: 'connected' });
      for (const one of following) one.start(fresh);
    } catch (error) {
      lose(asContractError(error));
    }
  };

  void connect();
  return {
    async call(operation, input) {
      if (!client) throw gone();
      return client.call(operation, input);
    },
    follow(stream, input, handlers) {
      let current: { close(): void } | null = null;
      const one: Following = {
        start(fresh) {
          current = fresh.subscribe(stream, input, {
            event: (event) => handlers.event(event),
            end: (error) => {
              current = null;
              if (error?.code !== 'engine-unreachable') handlers.end?.(error);
            },
          });
        },
        stop: () => current?.close(),
      };
      following.add(one);
      if (client) one.start(client);
      return () => {
        following.delete(one);
        one.stop();
      };
    },
    watch(listener) {
      watchers.add(listener);
      listener(state);
      return () => void watchers.delete(listener);
    },
    retry: () => {
      if (!client) void connect();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      client?.close();
    },
  };
}

function gone(): ContractError {
  return new ContractError('engine-unreachable', 'The engine does not answer.', 'The window connects again by itself as soon as it is back.');
}
