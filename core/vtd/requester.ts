/** Requester IDs as people write them: `00:1f.2`. */

export function formatRequester(requester: number): string {
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  return `${hex(requester >>> 8)}:${hex((requester >>> 3) & 31)}.${requester & 7}`;
}

/** Bus, device and function, with or without a segment of zeros; null when the text is none. */
export function parseRequester(text: string): number | null {
  const match = /^(?:0{1,4}:)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])$/i.exec(text.trim());
  if (match === null) return null;
  const [, bus = '0', device = '0', fn = '0'] = match;
  return (parseInt(bus, 16) << 8) | (parseInt(device, 16) << 3) | Number(fn);
}
