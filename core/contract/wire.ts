/** Messages that carry the contract, and their text form for transports that take no objects. */
import * as z from 'zod';
import { ContractError, parseWith } from './errors.ts';
import { errorShape } from './errorShape.ts';

const id = z.int().min(0);

/** From a client to the engine. */
export const clientMessage = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('request'), id, operation: z.string(), input: z.unknown() }),
  z.strictObject({ type: z.literal('subscribe'), id, stream: z.string(), input: z.unknown() }),
  z.strictObject({ type: z.literal('unsubscribe'), id }),
  /** The subscriber has done with `count` more events; the engine keeps only so many on their way. */
  z.strictObject({ type: z.literal('acknowledge'), id, count: z.int().min(1) }),
]);
export type ClientMessage = z.infer<typeof clientMessage>;

/** From the engine to a client. */
export const engineMessage = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('answer'), id, output: z.unknown() }),
  z.strictObject({ type: z.literal('refusal'), id, error: errorShape }),
  z.strictObject({ type: z.literal('event'), id, event: z.unknown() }),
  /** The stream is over; `error` says why when it is not the subscriber's own wish. */
  z.strictObject({ type: z.literal('end'), id, error: errorShape.nullable() }),
]);
export type EngineMessage = z.infer<typeof engineMessage>;

/** A two-way carrier of messages: a WebSocket, a local socket, an Electron port. `send` after the close is silent. */
export interface Transport {
  send(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
  onClose(listener: () => void): void;
  close(): void;
}

/** JSON in which a byte array is `{"$bytes": base64}`. */
export function encodeText(message: unknown): string {
  return JSON.stringify(message, function (this: Readonly<Record<string, unknown>>, key, value: unknown) {
    // Node's Buffer has a JSON form of its own, which would come first: look at what stood there before.
    const original = this[key];
    return original instanceof Uint8Array ? { $bytes: toBase64(original) } : value;
  });
}

/** @throws ContractError `bad-request` when the text is no JSON. */
export function decodeText(text: string): unknown {
  try {
    return JSON.parse(text, (_key, value: unknown) => (isBytes(value) ? fromBase64(value.$bytes) : value));
  } catch {
    throw new ContractError('bad-request', 'A message was not valid JSON.', 'Check that both sides run the same version of Vanderpool.');
  }
}

export function parseClientMessage(message: unknown): ClientMessage {
  return parseWith(clientMessage, message);
}

export function parseEngineMessage(message: unknown): EngineMessage {
  return parseWith(engineMessage, message);
}

function isBytes(value: unknown): value is { readonly $bytes: string } {
  return typeof value === 'object' && value !== null && '$bytes' in value && typeof value.$bytes === 'string' && Object.keys(value).length === 1;
}

function toBase64(bytes: Uint8Array): string {
  let text = '';
  // In pieces: a call takes a bounded number of arguments.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
