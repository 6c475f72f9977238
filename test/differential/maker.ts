/** Who made the processor of this host, where the makers differ. */
import { existsSync, readFileSync } from 'node:fs';

export type Maker = 'Intel' | 'AMD';

/** Hygon's processors are AMD's designs; all others are held to Intel's manual as it stands. */
const NAMES_OF_AMD = ['AuthenticAMD', 'HygonGenuine'];

function vendor(): string {
  if (!existsSync('/proc/cpuinfo')) return '';
  return /^vendor_id\s*:\s*(\w+)/mu.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
}

export const hostMaker: Maker = NAMES_OF_AMD.includes(vendor()) ? 'AMD' : 'Intel';
