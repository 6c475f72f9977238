/** Lists of equals in a form. */

/** Keeps the rest of a list while one element changes. */
export function changed<T>(list: readonly T[], index: number, part: Partial<T>): T[] {
  return list.map((old, at) => (at === index ? { ...old, ...part } : old));
}

export function without<T>(list: readonly T[], index: number): T[] {
  return list.filter((_one, at) => at !== index);
}

/** Changes places with the one before. */
export function earlier<T>(list: readonly T[], index: number): T[] {
  return [...list.slice(0, index - 1), ...list.slice(index, index + 1), ...list.slice(index - 1, index), ...list.slice(index + 1)];
}
