/** Where compiled code is kept between the runs of a machine (translationFile.ts): beside what other programs keep that they could make anew. */
import { createHash } from 'node:crypto';
import { constants, rmSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * @param identity what tells the machine from others
 * @returns nothing where nothing is to be kept: VANDERPOOL_TRANSLATIONS is `off`
 */
export function translationPath(identity: unknown): { readonly translations?: string } {
  const named = process.env['VANDERPOOL_TRANSLATIONS'];
  if (named === 'off') return {};
  const name = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32);
  return { translations: join(named ?? join(cacheFolder(), 'translations'), name) };
}

/** A machine is no more: what was compiled of its guest's code goes, too. */
export function forgetTranslations(identity: unknown): void {
  const { translations } = translationPath(identity);
  if (translations !== undefined) rmSync(translations, { force: true });
}

/** A machine runs the same guest as another one: it begins with what was compiled for that. Without it, it starts all the same. */
export async function copyTranslations(from: unknown, to: unknown): Promise<void> {
  const source = translationPath(from).translations;
  const target = translationPath(to).translations;
  if (source === undefined || target === undefined) return;
  // Of one that cannot be copied to its end, nothing stays.
  await copyFile(source, target, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL).catch(() => undefined);
}

function cacheFolder(): string {
  if (process.platform === 'win32') return join(process.env['LOCALAPPDATA'] ?? homedir(), 'Vanderpool/Cache');
  if (process.platform === 'darwin') return join(homedir(), 'Library/Caches/Vanderpool');
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'vanderpool');
}
