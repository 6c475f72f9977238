/** The last lines of a console as plain text: the thumbnail of a snapshot. */

const LINES = 25;
const COLUMNS = 80;
/** As much of a console's end as may hold so many lines with their control sequences. */
const TAIL_BYTES = 16 * 1024;
/** Control sequences of a terminal: CSI, OSC, and the two-character ones. @ecma 48 5.4 */
const CONTROLS = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]/g;

export function lastScreen(data: Uint8Array | undefined): string {
  if (!data) return '';
  const text = new TextDecoder().decode(data.subarray(Math.max(0, data.length - TAIL_BYTES))).replaceAll(CONTROLS, '');
  const lines = text.replaceAll(/\r+\n/g, '\n').split('\n').map((line) => line.slice(line.lastIndexOf('\r') + 1).replaceAll(/[\0-\x1f\x7f]/g, ''));
  while (lines.length > 0 && lines.at(-1)?.trim() === '') lines.pop();
  return lines.slice(-LINES).map((line) => line.slice(0, COLUMNS)).join('\n');
}
