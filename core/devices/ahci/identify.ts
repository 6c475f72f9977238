/** What drives say of themselves: IDENTIFY DEVICE and IDENTIFY PACKET DEVICE. @acs-3 7.12 */

const SECTORS_28_BIT = 0x0fffffff;

/** Text in the order of ATA: two characters swapped in each word, padded with spaces. */
function putText(words: Uint16Array, at: number, count: number, text: string): void {
  const padded = text.padEnd(count * 2).slice(0, count * 2);
  for (let index = 0; index < count; index++) words[at + index] = (padded.charCodeAt(index * 2) << 8) | padded.charCodeAt(index * 2 + 1);
}

function putCommon(words: Uint16Array, serial: string, model: string): void {
  putText(words, 10, 10, serial);
  putText(words, 23, 4, '1.0');
  putText(words, 27, 20, model);
  // DMA and LBA; timings of PIO 4 and multiword DMA 2; words 64 to 70 and 88 are valid.
  words[49] = 0x0300;
  words[53] = 0x0006;
  words[63] = 0x0007;
  words[64] = 0x0003;
  words.fill(120, 65, 69);
  // ATA/ATAPI-4 to 8.
  words[80] = 0x01f0;
  words[88] = 0x203f;
}

/** 512 bytes. @param queueDepth commands that may be queued at once */
export function identifyDisk(sectors: number, serial: string, queueDepth: number): Uint8Array {
  const words = new Uint16Array(256);
  putCommon(words, serial, 'Vanderpool disk');
  words[0] = 0x0040;
  const cylinders = Math.min(16383, Math.floor(sectors / (16 * 63)));
  [words[1], words[3], words[6]] = [cylinders, 16, 63];
  words[47] = 0x8010;
  words[50] = 0x4000;
  words[59] = 0x0110;
  const low = Math.min(sectors, SECTORS_28_BIT);
  [words[60], words[61]] = [low & 0xffff, low >>> 16];
  words[69] = 0x4020;
  words[75] = queueDepth - 1;
  // Serial ATA: 1.5, 3 and 6 Gb/s, queued commands.
  words[76] = 0x010e;
  // Write cache, look-ahead; FLUSH CACHE (EXT), 48-bit addresses.
  words[82] = 0x0060;
  words[83] = 0x7400;
  words[84] = 0x4000;
  words[85] = 0x0060;
  words[86] = 0x3400;
  words[87] = 0x4000;
  for (let index = 0; index < 4; index++) words[100 + index] = Math.floor(sectors / 65536 ** index) & 0xffff;
  words[105] = 8;
  // Physical sectors of 4 KiB.
  words[106] = 0x6003;
  // TRIM; trimmed sectors may read as anything.
  words[169] = 1;
  words[217] = 1;
  return new Uint8Array(words.buffer);
}

export function identifyDrive(serial: string): Uint8Array {
  const words = new Uint16Array(256);
  putCommon(words, serial, 'Vanderpool CD-ROM');
  // A removable CD-ROM that takes packets of 12 bytes.
  words[0] = 0x8580;
  words[76] = 0x000e;
  words[82] = 0x0210;
  words[85] = 0x0210;
  return new Uint8Array(words.buffer);
}
