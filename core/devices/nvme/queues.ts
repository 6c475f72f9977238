/** Submission and completion queues in guest memory. @nvme 4.1 */

import type { GuestMemoryAccess } from '../segments.ts';
import type { StateReader } from '../../platform/state.ts';

export const ENTRIES_MAXIMUM = 1024;
const COMMAND_BYTES = 64;
const COMPLETION_BYTES = 16;

export interface SubmissionQueue {
  readonly id: number;
  readonly address: number;
  readonly entries: number;
  readonly completion: number;
  head: number;
  tail: number;
  /** Commands that were taken and not completed: 16 words each. A restored controller begins them anew. */
  readonly running: Map<number, Uint32Array>;
}

export interface CompletionQueue {
  readonly id: number;
  readonly address: number;
  readonly entries: number;
  /** The vector, or null without interrupts. */
  readonly vector: number | null;
  head: number;
  tail: number;
  phase: number;
}

/** What passes through here for each command is made once: memory of its own costs a buffer more than the command itself. */
const staged = new Uint32Array(COMMAND_BYTES / 4);
const stagedBytes = new Uint8Array(staged.buffer);
const completion = new DataView(new ArrayBuffer(COMPLETION_BYTES));
const completionBytes = new Uint8Array(completion.buffer);

/** Takes the next command of a queue: 16 words, or null when there is none. False: the queue is no memory. */
export function takeCommand(memory: GuestMemoryAccess, queue: SubmissionQueue): Uint32Array | null | false {
  if (queue.head === queue.tail) return null;
  if (!memory.read(queue.address + queue.head * COMMAND_BYTES, stagedBytes)) return false;
  queue.head = (queue.head + 1) % queue.entries;
  return staged.slice();
}

export function isFull({ head, tail, entries }: CompletionQueue): boolean {
  return (tail + 1) % entries === head;
}

/** Posts a completion. The queue is not full. */
export function postCompletion(memory: GuestMemoryAccess, queue: CompletionQueue, from: SubmissionQueue, identifier: number, status: number, result: number): boolean {
  completion.setUint32(0, result, true);
  completion.setUint16(8, from.head, true);
  completion.setUint16(10, from.id, true);
  completion.setUint16(12, identifier, true);
  completion.setUint16(14, (status << 1) | queue.phase, true);
  const written = memory.write(queue.address + queue.tail * COMPLETION_BYTES, completionBytes);
  queue.tail = (queue.tail + 1) % queue.entries;
  if (queue.tail === 0) queue.phase ^= 1;
  return written;
}

export function saveSubmission({ running, ...queue }: SubmissionQueue): Readonly<Record<string, unknown>> {
  return { ...queue, running: [...running.values()].map(command => ({ words: [...command] })) };
}

export function readSubmission(reader: StateReader): SubmissionQueue {
  const entries = reader.integer('entries', 2, ENTRIES_MAXIMUM);
  const running = reader.recordsUpTo('running', ENTRIES_MAXIMUM).map(row => Uint32Array.from(row.uints('words', 32, 16)));
  return {
    id: reader.uint('id', 16), address: reader.uint('address', 53), entries, completion: reader.uint('completion', 16), head: reader.integer('head', 0, entries - 1),
    tail: reader.integer('tail', 0, entries - 1), running: new Map(running.map(command => [(command[0] ?? 0) >>> 16, command])),
  };
}

export function readCompletion(reader: StateReader): CompletionQueue {
  const entries = reader.integer('entries', 2, ENTRIES_MAXIMUM);
  const vector = reader.integer('vector', -1, 2047);
  return {
    id: reader.uint('id', 16), address: reader.uint('address', 53), entries, vector: vector < 0 ? null : vector, head: reader.integer('head', 0, entries - 1),
    tail: reader.integer('tail', 0, entries - 1), phase: reader.uint('phase', 1),
  };
}

export function saveCompletion(queue: CompletionQueue): Readonly<Record<string, unknown>> {
  return { ...queue, vector: queue.vector ?? -1 };
}
