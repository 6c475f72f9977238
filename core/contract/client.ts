/** The client's side of the contract: typed calls and subscriptions over any transport. */
import type * as z from 'zod';
import { asContractError, ContractError, parseWith } from './errors.ts';
import { operations } from './operations.ts';
import type { OperationInput, OperationName, OperationOutput } from './operations.ts';
import { streams } from './streams.ts';
import type { StreamEvent, StreamInput, StreamName } from './streams.ts';
import { parseEngineMessage } from './wire.ts';
import type { ClientMessage, EngineMessage, Transport } from './wire.ts';

export interface Subscription {
  /** Ends the stream; no event is delivered after the call. */
  close(): void;
}

export interface SubscriptionHandlers<E> {
  /** Called for one event at a time: the next follows when the returned promise is done. So a slow viewer slows the source. */
  event(event: E): void | Promise<void>;
  /** The stream ended by itself: the VM was removed, the engine went away. */
  end?(error: ContractError | null): void;
}

export interface Client {
  call<N extends OperationName>(operation: N, input: OperationInput<N>): Promise<OperationOutput<N>>;
  subscribe<N extends StreamName>(stream: N, input: StreamInput<N>, handlers: SubscriptionHandlers<StreamEvent<N>>): Subscription;
  onClose(listener: () => void): void;
  close(): void;
}

interface Pending {
  readonly output: z.ZodType;
  resolve(output: unknown): void;
  reject(error: ContractError): void;
}

interface Open {
  readonly event: z.ZodType;
  deliver(event: unknown): void;
  end(error: ContractError | null): void;
}

/** Speaks the contract over a transport. Inputs are checked before they leave, outputs and events when they arrive. */
export function createClient(transport: Transport): Client {
  const pending = new Map<number, Pending>();
  const open = new Map<number, Open>();
  const closeListeners: (() => void)[] = [];
  let nextId = 1;
  let closed = false;

  const send = (message: ClientMessage): void => transport.send(message);
  transport.onMessage((raw) => {
    let message: EngineMessage;
    try {
      message = parseEngineMessage(raw);
    } catch {
      return; // Not of this contract: nothing waits for it.
    }
    receive(message, pending, open);
  });
  transport.onClose(() => {
    if (closed) return;
    closed = true;
    const error = lost();
    for (const waiting of pending.values()) waiting.reject(error);
    for (const stream of open.values()) stream.end(error);
    pending.clear();
    open.clear();
    for (const listener of closeListeners) listener();
  });

  return {
    async call(operation, input) {
      const { input: inputSchema, output } = operations[operation];
      const checked: unknown = parseWith(inputSchema, input);
      if (closed) throw lost();
      const id = nextId++;
      const answer = new Promise<unknown>((resolve, reject) => pending.set(id, { output, resolve, reject }));
      send({ type: 'request', id, operation, input: checked });
      // The schema of this very operation has checked the answer.
      return (await answer) as OperationOutput<typeof operation>;
    },
    subscribe(stream, input, handlers) {
      const { input: inputSchema, event } = streams[stream];
      const checked: unknown = parseWith(inputSchema, input);
      const id = nextId++;
      const finish = (error: ContractError | null): void => {
        if (open.delete(id)) handlers.end?.(error);
      };
      if (closed) {
        queueMicrotask(() => handlers.end?.(lost()));
        return { close: () => undefined };
      }
      const isOpen = (): boolean => open.has(id);
      const queue = createQueue(
        (value) => (isOpen() ? handlers.event(value as StreamEvent<typeof stream>) : undefined),
        () => (isOpen() ? send({ type: 'acknowledge', id, count: 1 }) : undefined),
      );
      open.set(id, { event, deliver: queue, end: finish });
      send({ type: 'subscribe', id, stream, input: checked });
      return {
        close: () => {
          if (open.delete(id)) send({ type: 'unsubscribe', id });
        },
      };
    },
    onClose: (listener) => void closeListeners.push(listener),
    close: () => transport.close(),
  };
}

function receive(message: EngineMessage, pending: Map<number, Pending>, open: Map<number, Open>): void {
  if (message.type === 'event') {
    const stream = open.get(message.id);
    const parsed = stream?.event.safeParse(message.event);
    if (parsed?.success) stream?.deliver(parsed.data);
    return;
  }
  if (message.type === 'end') {
    open.get(message.id)?.end(message.error ? ContractError.fromShape(message.error) : null);
    return;
  }
  const waiting = pending.get(message.id);
  pending.delete(message.id);
  if (!waiting) return;
  if (message.type === 'refusal') {
    waiting.reject(ContractError.fromShape(message.error));
    return;
  }
  try {
    waiting.resolve(parseWith(waiting.output, message.output));
  } catch (error) {
    waiting.reject(asContractError(error));
  }
}

/** Runs a handler for one value at a time, in order, and reports each that is done. */
function createQueue(handle: (value: unknown) => void | Promise<void>, done: () => void): (value: unknown) => void {
  let tail: Promise<void> = Promise.resolve();
  return (value) => {
    tail = tail.then(() => handle(value)).then(done, done);
  };
}

function lost(): ContractError {
  return new ContractError('engine-unreachable', 'The connection to the engine is gone.', 'Start it again, or reload the page; VMs that ran are kept in the library.');
}
