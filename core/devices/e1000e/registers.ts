/** Registers of the 82574L as rows: where they are, what they hold after a reset, which bits software writes. @82574 10 */

import { extract, insert } from '../../platform/device.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { StateReader } from '../../platform/state.ts';

/** Bytes of the register BAR. */
export const REGISTER_BYTES = 0x20000;
/** All modelled registers lie below. */
const FILE_BYTES = 0x6000;

export const register = {
  ctrl: 0x0000, status: 0x0008, eecd: 0x0010, eerd: 0x0014, ctrlExt: 0x0018, mdic: 0x0020, vet: 0x0038,
  icr: 0x00c0, itr: 0x00c4, ics: 0x00c8, ims: 0x00d0, imc: 0x00d8, eiac: 0x00dc, iam: 0x00e0, ivar: 0x00e4,
  rctl: 0x0100, tctl: 0x0400, psrctl: 0x2170, rxcsum: 0x5000, rfctl: 0x5008, mta: 0x5200, ra: 0x5400, vfta: 0x5600, swsm: 0x5b50,
} as const;

/** Offsets within the registers of one descriptor queue. */
export const queueRegister = { baseLow: 0x00, baseHigh: 0x04, length: 0x08, head: 0x10, tail: 0x18 } as const;
/** Two queues each way, as the part has; with one interrupt cause each. */
export const receiveQueues = [0x2800] as const;
export const transmitQueues = [0x3800, 0x3900] as const;

export const ctrl = { masterDisable: 1 << 2, setLinkUp: 1 << 6, reset: 1 << 26, phyReset: 1 << 31 } as const;
export const status = { fullDuplex: 1, linkUp: 2, speed1000: 0x80, masterEnabled: 1 << 19 } as const;
export const ctrlExt = { autoMaskMessages: 1 << 24, autoMask: 1 << 27 } as const;
export const rctl = {
  enable: 1 << 1, allUnicast: 1 << 3, allMulticast: 1 << 4, descriptorType: 3 << 10, multicastShift: 12, broadcast: 1 << 15, sizeShift: 16, sizeTimes16: 1 << 25,
  stripChecksum: 1 << 26, flexibleShift: 27,
} as const;
export const tctl = { enable: 1 << 1 } as const;
export const rfctl = { extended: 1 << 15 } as const;
export const rxcsum = { ip: 1 << 8, transport: 1 << 9 } as const;
export const addressValid = 0x80000000;

/** Counters, which a read clears. @82574 10.2.7 */
export const statistic = {
  missed: 0x4010, receivedGood: 0x4074, receivedBroadcast: 0x4078, receivedMulticast: 0x407c, transmittedGood: 0x4080, goodOctetsReceived: 0x4088,
  goodOctetsTransmitted: 0x4090, totalOctetsReceived: 0x40c0, totalOctetsTransmitted: 0x40c8, totalReceived: 0x40d0, totalTransmitted: 0x40d4,
  transmittedMulticast: 0x40f0, transmittedBroadcast: 0x40f4,
} as const;
/** The counters that a good frame moves on, by its direction. */
const frameStatistics = {
  received: {
    good: statistic.receivedGood, total: statistic.totalReceived, octets: [statistic.goodOctetsReceived, statistic.totalOctetsReceived],
    broadcast: statistic.receivedBroadcast, multicast: statistic.receivedMulticast,
  },
  transmitted: {
    good: statistic.transmittedGood, total: statistic.totalTransmitted, octets: [statistic.goodOctetsTransmitted, statistic.totalOctetsTransmitted],
    broadcast: statistic.transmittedBroadcast, multicast: statistic.transmittedMulticast,
  },
} as const;
export const STATISTICS = 0x4000;
export const STATISTICS_BYTES = 0x128;

interface Row {
  readonly name: string;
  readonly offset: number;
  /** Registers in a row. */
  readonly count?: number;
  readonly reset?: number;
  readonly writable: number;
}

const all = 0xffffffff;

function queueRows(name: string, base: number): Row[] {
  return [
    { name: `${name}BAL`, offset: base, writable: 0xfffffff0 }, { name: `${name}BAH`, offset: base + 0x04, writable: all }, { name: `${name}LEN`, offset: base + 0x08, writable: 0xfff80 },
    { name: `${name}H`, offset: base + 0x10, writable: 0xffff }, { name: `${name}T`, offset: base + 0x18, writable: 0xffff }, { name: `${name}delays`, offset: base + 0x20, count: 4, writable: all },
    { name: `${name}ARC`, offset: base + 0x40, writable: all },
  ];
}

/** What has no row reads as zero. Registers with effects of their own are here for their bits. */
const rows: readonly Row[] = [
  { name: 'CTRL', offset: register.ctrl, reset: 0x00100241, writable: 0x7bffffff },
  // Present, read in, of 64 words; bit banging is for those who have no EERD.
  { name: 'EECD', offset: register.eecd, reset: 0x00000300, writable: 0x0000004f },
  { name: 'CTRL_EXT', offset: register.ctrlExt, reset: 0x00000000, writable: 0x7fffffff },
  { name: 'FCA', offset: 0x0028, count: 3, writable: all }, { name: 'VET', offset: register.vet, reset: 0x8100, writable: 0xffff },
  { name: 'ITR', offset: register.itr, writable: 0xffff }, { name: 'EIAC', offset: register.eiac, writable: 0x01f00000 }, { name: 'IAM', offset: register.iam, writable: all },
  { name: 'IVAR', offset: register.ivar, writable: 0x800fffff }, { name: 'EITR', offset: 0x00e8, count: 5, writable: 0xffff },
  { name: 'RCTL', offset: register.rctl, writable: 0xffffffff }, { name: 'FCTTV', offset: 0x0170, writable: 0xffff },
  { name: 'TCTL', offset: register.tctl, reset: 0x8, writable: all }, { name: 'TCTL_EXT', offset: 0x0404, reset: 0x40, writable: all }, { name: 'TIPG', offset: 0x0410, reset: 0x00602008, writable: all },
  { name: 'AIT', offset: 0x0458, writable: 0xffff }, { name: 'LEDCTL', offset: 0x0e00, reset: 0x07068302, writable: all },
  { name: 'EXTCNF_CTRL', offset: 0x0f00, writable: 0xff }, { name: 'PBA', offset: 0x1000, reset: 0x00140014, writable: 0xffff },
  { name: 'FCRT', offset: 0x2160, count: 3, writable: all }, { name: 'PSRCTL', offset: register.psrctl, reset: 0x00040402, writable: all },
  ...receiveQueues.flatMap((base) => queueRows('RD', base)), { name: 'RD1', offset: 0x2900, count: 17, writable: all },
  ...transmitQueues.flatMap((base, index) => queueRows(index === 0 ? 'TD' : 'TD1', base)),
  { name: 'statistics', offset: STATISTICS, count: STATISTICS_BYTES / 4, writable: 0 },
  { name: 'RXCSUM', offset: register.rxcsum, reset: rxcsum.ip | rxcsum.transport, writable: 0xffff }, { name: 'RFCTL', offset: register.rfctl, writable: all },
  { name: 'MTA', offset: register.mta, count: 128, writable: all }, { name: 'RA', offset: register.ra, count: 32, writable: all }, { name: 'VFTA', offset: register.vfta, count: 128, writable: all },
  { name: 'WU', offset: 0x5800, count: 5, writable: all }, { name: 'MRQC', offset: 0x5818, writable: all }, { name: 'MANC', offset: 0x5820, writable: all },
  { name: 'GCR', offset: 0x5b00, writable: all }, { name: 'SWSM', offset: register.swsm, writable: 0x3 }, { name: 'FWSM', offset: 0x5b54, writable: 0 }, { name: 'SWSM2', offset: 0x5b58, writable: 0x2 },
  { name: 'RETA', offset: 0x5c00, count: 32, writable: all }, { name: 'RSSRK', offset: 0x5c80, count: 10, writable: all },
];

const writable = new Uint32Array(FILE_BYTES / 4);
for (const { offset, count = 1, writable: bits } of rows) writable.fill(bits, offset / 4, offset / 4 + count);

/** The registers that are plain memory, and the memory of the others. */
export class RegisterFile {
  readonly #words = new Uint32Array(FILE_BYTES / 4);

  constructor() {
    this.reset();
  }

  reset(): void {
    this.#words.fill(0);
    for (const { offset, count = 1, reset = 0 } of rows) this.#words.fill(reset, offset / 4, offset / 4 + count);
  }

  get(offset: number): number {
    return this.#words[offset >> 2] ?? 0;
  }

  set(offset: number, value: number): void {
    this.#words[offset >> 2] = value;
  }

  has(offset: number, bits: number): boolean {
    return (this.get(offset) & bits) !== 0;
  }

  /** Adds to a counter; a pair of registers holds 64 bits. Counters stick at their end. */
  count(offset: number, amount: number, wide = false): void {
    const sum = this.get(offset) + amount;
    if (sum < 2 ** 32) return this.set(offset, sum);
    if (!wide) return this.set(offset, all);
    this.set(offset, sum % 2 ** 32);
    this.set(offset + 4, this.get(offset + 4) + 1);
  }

  countFrame(direction: keyof typeof frameStatistics, frame: Uint8Array): void {
    const { good, total, octets, broadcast, multicast } = frameStatistics[direction];
    this.count(good, 1);
    this.count(total, 1);
    for (const counter of octets) this.count(counter, frame.length, true);
    if (((frame[0] ?? 0) & 1) !== 0) this.count(frame[0] === 0xff ? broadcast : multicast, 1);
  }

  read(offset: number, size: AccessSize): number {
    return extract(this.get(offset & ~3), offset & 3, size);
  }

  /** A write by software: only the bits that it may change. */
  write(offset: number, size: AccessSize, value: number): void {
    const at = offset & ~3;
    const mask = writable[at >> 2] ?? 0;
    const before = this.get(at);
    this.set(at, ((before & ~mask) | (insert(before, offset & 3, size, value) & mask)) >>> 0);
  }

  save(): Readonly<Record<string, unknown>> {
    return Object.fromEntries(rows.map(({ name, offset, count = 1 }) => [name, count === 1 ? this.get(offset) : Buffer.from(this.#bytes(offset, count)).toString('base64')]));
  }

  /** Checks a saved file. Returns what puts it in place. */
  check(reader: StateReader): () => void {
    const saved = rows.map(({ name, offset, count = 1 }) => {
      if (count > 1) return { offset, bytes: reader.bytes(name, count * 4) };
      return { offset, bytes: new Uint8Array(Uint32Array.of(reader.uint(name, 32)).buffer) };
    });
    return () => {
      for (const { offset, bytes } of saved) this.#bytes(offset, bytes.length / 4).set(bytes);
    };
  }

  #bytes(offset: number, count: number): Uint8Array {
    return new Uint8Array(this.#words.buffer, offset, count * 4);
  }
}
