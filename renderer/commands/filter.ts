/** Finds rows by a few typed letters: whole words first, then word starts, then letters in order. */

/** Higher is better; null is no match. */
export function score(query: string, text: string): number | null {
  const wanted = query.trim().toLowerCase();
  const hay = text.toLowerCase();
  if (wanted === '') return 0;
  const at = hay.indexOf(wanted);
  if (at === 0) return 100 - hay.length * 0.1;
  if (at > 0) return (/[\s-]/.test(hay[at - 1] ?? '') ? 80 : 60) - at * 0.1;
  let from = 0;
  let gaps = 0;
  for (const letter of wanted) {
    if (letter === ' ') continue;
    const next = hay.indexOf(letter, from);
    if (next < 0) return null;
    gaps += next - from;
    from = next + 1;
  }
  return 30 - gaps;
}

export function filterBy<T>(rows: readonly T[], query: string, text: (row: T) => string): readonly T[] {
  if (query.trim() === '') return rows;
  return rows
    .flatMap((row, index) => {
      const points = score(query, text(row));
      return points === null ? [] : [{ row, points, index }];
    })
    .sort((left, right) => right.points - left.points || left.index - right.index)
    .map(({ row }) => row);
}
