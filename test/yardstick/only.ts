/** Which rows `--only` picks. */

/**
 * Rows whose names a pattern matches, in any case; all of them without patterns.
 * @throws Error naming a pattern that matches nothing, and the names that there are
 */
export function pick<T extends { readonly name: string }>(rows: readonly T[], only: readonly string[] | undefined, matches: (pattern: string) => RegExp): readonly T[] {
  if (only === undefined) return rows;
  const patterns = only.map((text) => ({ text, pattern: matches(text) }));
  const idle = patterns.find(({ pattern }) => !rows.some(({ name }) => pattern.test(name)));
  if (idle) throw new Error(`--only: '${idle.text}' matches none of ${rows.map(({ name }) => name).join(', ')}`);
  return rows.filter(({ name }) => patterns.some(({ pattern }) => pattern.test(name)));
}

/** The whole name. */
export const whole = (text: string): RegExp => new RegExp(`^(?:${text})$`, 'i');

/** A part of the name. */
export const part = (text: string): RegExp => new RegExp(text, 'i');
