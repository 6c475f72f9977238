/** How answers are shown: as tables for people, as JSON for programs. */

/** Prints JSON, or what `text` makes of it. */
export function show<T>(value: T, json: boolean, text: (value: T) => string): void {
  const out = json ? JSON.stringify(value, (_key, inner: unknown) => (inner instanceof Uint8Array ? Buffer.from(inner).toString('base64') : inner), 2) : text(value);
  if (out !== '') process.stdout.write(`${out}\n`);
}

/** Columns as wide as their widest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string => cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd();
  return [head, ...rows].map(line).join('\n');
}

/** `name: value` lines with their values in one column; rows without a value are left out. */
export function list(rows: readonly (readonly [string, string])[]): string {
  const shown = rows.filter(([, value]) => value !== '');
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${value.replaceAll('\n', `\n${' '.repeat(width + 2)}`)}`).join('\n');
}

export function time(at: number | null): string {
  return at === null ? '' : new Date(at).toLocaleString('sv-SE');
}

/** How far long work is, in place of what the line said before. */
export function showPercent(done: number, total: number): void {
  process.stderr.write(`\r${Math.floor((100 * done) / total)} %`);
}
