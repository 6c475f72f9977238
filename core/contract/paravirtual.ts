/** Devices that only guests with their drivers use: a memory balloon, sockets to the host, folders of the host. */
import * as z from 'zod';
import { filePath } from './hardware.ts';

export const SHARES_MAXIMUM = 8;

export const shareConfig = z.strictObject({
  /** Folder of the host. The guest reaches what is below it and nothing else. */
  folder: filePath,
  /** What the guest mounts it by. */
  tag: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$/, 'a tag has up to 31 letters, digits and . _ -'),
  /** Whether the guest may change it. */
  writable: z.boolean(),
});
export type ShareConfig = z.infer<typeof shareConfig>;

export const shares = z.array(shareConfig).max(SHARES_MAXIMUM, `at most ${SHARES_MAXIMUM} folders can be shared`)
  .refine((all) => new Set(all.map(({ tag }) => tag)).size === all.length, 'each shared folder needs a tag of its own');

/** The Unix socket that stands for the guest's sockets (docs/paravirtual.md); null: the guest has none. */
export const vsockPath = filePath.nullable();

/** What a balloon is asked for and what it has given, in bytes. */
export const balloonState = z.strictObject({ targetBytes: z.int().min(0), inflatedBytes: z.int().min(0) });
export type BalloonState = z.infer<typeof balloonState>;

/** A tag for a folder that nobody gave one: its name, as far as a tag may have its characters. */
export function tagFor(folder: string): string {
  const name = folder.split(/[/\\]/).findLast((part) => part !== '') ?? '';
  return name.replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '').slice(0, 31) || 'share';
}
