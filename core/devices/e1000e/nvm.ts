/** The configuration memory: 64 words that hold the interface's address, read through EERD. @82574 6.1, 10.2.2.4 */

const WORDS = 64;
const CHECKSUM_AT = 63;
const CHECKSUM = 0xbaba;
const eerd = { start: 1, done: 2, addressShift: 2, dataShift: 16 } as const;

/** Words that are neither the address nor zero: no alternative address, LEDs, device and vendor. */
const fixed: readonly (readonly [at: number, value: number])[] = [[0x04, 0xffff], [0x05, 0x2150], [0x0a, 0x026b], [0x0b, 0x0000], [0x0d, 0x10d3], [0x0e, 0x8086], [0x0f, 0xb000], [0x37, 0xffff]];

/** @param mac six bytes */
export function makeNvm(mac: Uint8Array): Uint16Array {
  const words = new Uint16Array(WORDS);
  for (const [at, value] of fixed) words[at] = value;
  for (let index = 0; index < 3; index++) words[index] = (mac[index * 2] ?? 0) | ((mac[index * 2 + 1] ?? 0) << 8);
  words[CHECKSUM_AT] = CHECKSUM - words.reduce((sum, word) => sum + word, 0);
  return words;
}

/** What EERD shows after a write to it: a read is done at once. */
export function readNvm(words: Uint16Array, command: number): number {
  if ((command & eerd.start) === 0) return command & 0xfffc;
  const address = (command >>> eerd.addressShift) & 0x3fff;
  return (((words[address] ?? 0xffff) << eerd.dataShift) | (command & 0xfffc) | eerd.done) >>> 0;
}
