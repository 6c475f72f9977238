/** Names for VMs that nobody named. */
import { NAME_LENGTH } from '../contract/limits.ts';
import type { Library } from './library.ts';

/** The name that is wanted, or with a number behind it where that is taken. */
export async function freeVmName(library: Library, wanted: string): Promise<string> {
  const names = new Set((await library.list()).map(({ config }) => config.name.toLowerCase()));
  for (let number = 2, name = wanted; ; number += 1) {
    if (!names.has(name.toLowerCase())) return name;
    const ending = ` (${number})`;
    name = wanted.slice(0, NAME_LENGTH - ending.length) + ending;
  }
}
