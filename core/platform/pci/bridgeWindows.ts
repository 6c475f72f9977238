/** What a PCI-to-PCI bridge lets through to the bus behind it: bus numbers, ports and memory. @pci-bridge 3.2 */

import { pciCommand, pciRegister } from './function.ts';
import type { AccessSize, Registers } from '../device.ts';
import type { ConfigRegister, ConfigSpace } from './configSpace.ts';

/** Offsets in a header of type 1. */
export const bridgeRegister = {
  primaryBus: 0x18, secondaryBus: 0x19, subordinateBus: 0x1a, ioBase: 0x1c, ioLimit: 0x1d, secondaryStatus: 0x1e, memoryBase: 0x20, memoryLimit: 0x22,
  prefetchBase: 0x24, prefetchLimit: 0x26, prefetchBaseHigh: 0x28, prefetchLimitHigh: 0x2c,
} as const;

/** Ports have 16 bits, prefetchable memory 64. */
export const bridgeRegisters: readonly ConfigRegister[] = [
  { offset: bridgeRegister.primaryBus, size: 4, writable: 0x00ffffff },
  { offset: bridgeRegister.ioBase, size: 2, writable: 0xf0f0 },
  { offset: bridgeRegister.secondaryStatus, size: 2, writeOneToClear: 0xf900 },
  { offset: bridgeRegister.memoryBase, size: 4, writable: 0xfff0fff0 },
  { offset: bridgeRegister.prefetchBase, size: 4, value: 0x00010001, writable: 0xfff0fff0 },
  { offset: bridgeRegister.prefetchBaseHigh, size: 4, writable: 0xffffffff }, { offset: bridgeRegister.prefetchLimitHigh, size: 4, writable: 0xffffffff },
];

type Map = (space: 'port' | 'memory', base: number, length: number, width: AccessSize, registers: Registers) => () => void;

/** A range that something behind the bridge decodes. */
interface Claim {
  readonly space: 'port' | 'memory';
  readonly base: number;
  readonly last: number;
  readonly open: () => () => void;
  /** Null: the bridge does not let it through. */
  close: (() => void) | null;
}

export class BridgeWindows {
  private readonly config: ConfigSpace;
  private readonly upstream: Map;
  private readonly claims = new Set<Claim>();
  private key = '';

  /** @param config of the bridge, @param map lets registers answer on the bus in front of it */
  constructor(config: ConfigSpace, map: Map) {
    this.config = config;
    this.upstream = map;
  }

  get secondary(): number {
    return this.config.read(bridgeRegister.secondaryBus, 1);
  }

  /** Whether a bus is behind the bridge. Bus 0 is not: that is what the registers say before anybody has numbered buses. */
  leadsTo(bus: number): boolean {
    return this.secondary > 0 && bus >= this.secondary && bus <= this.config.read(bridgeRegister.subordinateBus, 1);
  }

  map(space: 'port' | 'memory', base: number, length: number, width: AccessSize, registers: Registers): () => void {
    const claim: Claim = { space, base, last: base + length - 1, open: () => this.upstream(space, base, length, width, registers), close: null };
    this.claims.add(claim);
    this.settle(claim);
    return () => {
      this.claims.delete(claim);
      claim.close?.();
      claim.close = null;
    };
  }

  /** After a change of the bridge's registers. */
  follow(): void {
    const key = JSON.stringify([this.windows('port'), this.windows('memory')]);
    if (key === this.key) return;
    this.key = key;
    for (const claim of this.claims) this.settle(claim);
  }

  private settle(claim: Claim): void {
    const open = this.windows(claim.space).some(({ base, last }) => claim.base >= base && claim.last <= last);
    if (open) claim.close ??= claim.open();
    else {
      claim.close?.();
      claim.close = null;
    }
  }

  /** Open windows of a space; `last` is included. */
  private windows(space: 'port' | 'memory'): readonly { readonly base: number; readonly last: number }[] {
    const { config } = this;
    const enable = space === 'port' ? pciCommand.io : pciCommand.memory;
    if ((config.read(pciRegister.command, 2) & enable) === 0) return [];
    const megabyte = (register: number): number => (config.read(register, 2) & 0xfff0) * 2 ** 16;
    const high = (register: number): number => config.read(register, 4) * 2 ** 32;
    const all = space === 'port'
      ? [{ base: (config.read(bridgeRegister.ioBase, 1) & 0xf0) << 8, last: ((config.read(bridgeRegister.ioLimit, 1) & 0xf0) << 8) | 0xfff }]
      : [
          { base: megabyte(bridgeRegister.memoryBase), last: megabyte(bridgeRegister.memoryLimit) + 0xfffff },
          {
            base: high(bridgeRegister.prefetchBaseHigh) + megabyte(bridgeRegister.prefetchBase),
            last: high(bridgeRegister.prefetchLimitHigh) + megabyte(bridgeRegister.prefetchLimit) + 0xfffff,
          },
        ];
    return all.filter(({ base, last }) => base <= last);
  }
}
