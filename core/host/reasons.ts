/** Why the host refused a file, in words: its own name the codes, which help nobody. */

const common: Readonly<Record<string, string>> = {
  EACCES: 'permission is denied', EPERM: 'permission is denied', ENOTDIR: 'a part of its path is no folder', ELOOP: 'its links go in a circle', EISDIR: 'it is a folder',
  EROFS: 'the file system is read-only', ENOSPC: 'the disk is full', EDQUOT: 'your quota of the disk is used up', EEXIST: 'it exists already', ENAMETOOLONG: 'its name is too long',
  EADDRINUSE: 'another program uses it', ENXIO: 'it is no plain file',
};

/** Why something could not be read. */
export function unreadableBecause(error: unknown): string {
  return words(error, 'there is no such file');
}

/** Why something could not be written or made: what is missing then is its folder. */
export function unwritableBecause(error: unknown): string {
  return words(error, 'there is no such folder');
}

function words(error: unknown, missing: string): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ENOENT') return missing;
  return common[code] ?? (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
}
