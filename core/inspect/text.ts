/** Tables as text of a fixed pitch. */
import type { InspectSection } from '../contract/inspect.ts';

/** Title, columns as wide as their widest cells, note. */
export function sectionText({ title, columns, rows, note }: InspectSection): string {
  if (rows.length === 0) return `${title}\n${note === '' ? 'None.' : note}`;
  const widths = columns.map((column, i) => rows.reduce((width, row) => Math.max(width, row[i]?.length ?? 0), column.length));
  const line = (cells: readonly string[]): string => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd();
  return [title, line(columns.map((column) => column.toUpperCase())), ...rows.map(line), ...(note === '' ? [] : [note])].join('\n');
}
