/** When each line of a console came, written before it as it comes. What came while nobody asked has no time. */
const LINE_FEED = 0x0a;
const RETURN = 0x0d;

export class LineTimes {
  #atStart = true;

  /** The bytes with a time at the beginning of each line. @param at milliseconds since 1970 */
  add(data: Uint8Array, at: number): Uint8Array {
    const pieces: Uint8Array[] = [];
    const stamp = new TextEncoder().encode(`\x1b[90m${timeOf(at)}\x1b[39m `);
    let done = 0;
    for (const [index, byte] of data.entries()) {
      if (this.#atStart && byte !== LINE_FEED && byte !== RETURN) {
        pieces.push(data.subarray(done, index), stamp);
        done = index;
        this.#atStart = false;
      } else if (byte === LINE_FEED) this.#atStart = true;
    }
    return done === 0 && pieces.length === 0 ? data : joined([...pieces, data.subarray(done)]);
  }
}

/** `14:03:59.042`, where the person is. */
function timeOf(at: number): string {
  const time = new Date(at);
  const two = (number: number): string => String(number).padStart(2, '0');
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
