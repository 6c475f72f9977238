/**
 * The messages between the main process and the engine in its utility process. The engine speaks the contract on its local socket, as
 * everywhere; this channel is only for what Electron allows the main process alone: to start further processes.
 */
import * as z from 'zod';
import { errorShape } from '../core/contract/index.ts';

const id = z.int().min(1);

/** From the engine to the main process. */
export const engineNews = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('failed'), error: errorShape }),
  z.strictObject({ type: z.literal('launch'), id, logFile: z.string() }),
  z.strictObject({ type: z.literal('to-vm'), id, message: z.unknown() }),
  z.strictObject({ type: z.literal('kill'), id }),
]);
export type EngineNews = z.infer<typeof engineNews>;

/** From the main process to the engine. */
export const engineOrder = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('started'), id, processId: z.int() }),
  z.strictObject({ type: z.literal('from-vm'), id, message: z.unknown() }),
  z.strictObject({ type: z.literal('exit'), id, how: z.string() }),
]);
export type EngineOrder = z.infer<typeof engineOrder>;
