/** The engine's side of the contract for one client: checks what arrives, runs it, answers, and feeds its subscriptions. */
import { asContractError, ContractError, parseWith } from '../contract/errors.ts';
import { operations } from '../contract/operations.ts';
import type { OperationName, OperationOutput, Operations } from '../contract/operations.ts';
import { streams } from '../contract/streams.ts';
import type { StreamEvent, StreamName, Streams } from '../contract/streams.ts';
import { parseClientMessage } from '../contract/wire.ts';
import type { ClientMessage, EngineMessage, Transport } from '../contract/wire.ts';
import type * as z from 'zod';

export type OperationHandlers = {
  readonly [N in OperationName]: (input: z.output<Operations[N]['input']>) => Promise<OperationOutput<N>>;
};

/** A subscriber, as its stream sees it. */
export interface Sink<E> {
  send(event: E): void;
  /** Ends the stream from this side. */
  end(error: ContractError | null): void;
}

export interface Source {
  acknowledge(count: number): void;
  close(): void;
}

export type StreamHandlers = {
  readonly [N in StreamName]: (input: z.output<Streams[N]['input']>, sink: Sink<StreamEvent<N>>) => Promise<Source>;
};

const SUBSCRIPTIONS_MAXIMUM = 64;

/** Serves a client until its transport closes. */
export function serveClient(transport: Transport, handlers: OperationHandlers, sources: StreamHandlers): void {
  const open = new Map<number, Source>();
  let closed = false;
  const send = (message: EngineMessage): void => {
    if (!closed) transport.send(message);
  };

  transport.onClose(() => {
    closed = true;
    for (const source of open.values()) source.close();
    open.clear();
  });
  transport.onMessage((raw) => {
    let message: ClientMessage;
    try {
      message = parseClientMessage(raw);
    } catch {
      return transport.close(); // It does not speak the contract.
    }
    switch (message.type) {
      case 'request': return void answer(message.id, message.operation, message.input, handlers, send);
      case 'subscribe': return void subscribe(message.id, message.stream, message.input);
      case 'unsubscribe':
        open.get(message.id)?.close();
        return void open.delete(message.id);
      case 'acknowledge': return open.get(message.id)?.acknowledge(message.count);
    }
  });

  async function subscribe(id: number, name: string, input: unknown): Promise<void> {
    try {
      if (!Object.hasOwn(streams, name)) throw unknownName('stream', name);
      if (open.has(id) || open.size >= SUBSCRIPTIONS_MAXIMUM) throw new ContractError('bad-request', 'Too many subscriptions, or one id twice.', 'Close some.');
      const stream = name as StreamName;
      // Until the source is there: an unsubscribe meanwhile must not be lost.
      let early = false;
      open.set(id, { acknowledge: () => undefined, close: () => void (early = true) });
      const sink: Sink<unknown> = {
        send: (event) => send({ type: 'event', id, event }),
        end: (error) => {
          open.delete(id);
          send({ type: 'end', id, error: error?.toShape() ?? null });
        },
      };
      const source = await (sources[stream] as (input: unknown, sink: Sink<unknown>) => Promise<Source>)(parseWith(streams[stream].input, input), sink);
      if (early || closed) source.close();
      else open.set(id, source);
    } catch (error) {
      open.delete(id);
      send({ type: 'end', id, error: asContractError(error).toShape() });
    }
  }
}

async function answer(id: number, name: string, input: unknown, handlers: OperationHandlers, send: (message: EngineMessage) => void): Promise<void> {
  try {
    if (!Object.hasOwn(operations, name)) throw unknownName('operation', name);
    const operation = name as OperationName;
    const checked: unknown = parseWith(operations[operation].input, input);
    // The table pairs each name with the handler of its own input.
    const output = await (handlers[operation] as (input: unknown) => Promise<unknown>)(checked);
    send({ type: 'answer', id, output });
  } catch (thrown) {
    const error = asContractError(thrown);
    if (error.code === 'internal') console.error(new Date().toISOString(), name, thrown);
    send({ type: 'refusal', id, error: error.toShape() });
  }
}

function unknownName(what: string, name: string): ContractError {
  return new ContractError('unknown-operation', `There is no ${what} "${name.slice(0, 64)}".`, 'The two sides may be of different versions: stop the engine and start it again.');
}
