/** Numbers as people read them. */

const steps: readonly (readonly [number, string])[] = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

/** `12 345 678` becomes `{ value: '12.3', unit: 'M' }`. */
export function withUnit(count: number): { readonly value: string; readonly unit: string } {
  for (const [size, unit] of steps) {
    if (count >= size) return { value: (count / size).toFixed(count >= 100 * size ? 0 : 1), unit };
  }
  return { value: String(Math.round(count)), unit: '' };
}

export function formatCount(count: number): string {
  const { value, unit } = withUnit(count);
  return unit === '' ? value : `${value} ${unit}`;
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function bytesWithUnit(bytes: number): { readonly value: string; readonly unit: string } {
  let size = bytes;
  let index = 0;
  while (size >= 1024 && index < byteUnits.length - 1) {
    size /= 1024;
    index++;
  }
  return { value: index === 0 || size >= 100 || Number.isInteger(size) ? String(Math.round(size)) : size.toFixed(1), unit: byteUnits[index] ?? 'B' };
}

export function formatBytes(bytes: number): string {
  const { value, unit } = bytesWithUnit(bytes);
  return `${value} ${unit}`;
}

/** `3 h 05 min`, `4 min 09 s`, `12 s`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (number: number): string => String(number).padStart(2, '0');
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${two(minutes % 60)} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function formatTime(at: number): string {
  return new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' }).format(at);
}

/** The last part of a path, on any platform. */
export function fileName(path: string): string {
  return path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;
}
