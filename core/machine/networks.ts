/** A VM's network interfaces: served by the I/O thread, used by the devices of the core thread. */
import { createHash } from 'node:crypto';
import type { NetworkConfig } from '../contract/hardware.ts';
import { readNetworkRom } from './files.ts';
import { createFrameBuffer } from '../net/frameLink.ts';
import { NetworkPort } from '../net/networkPort.ts';

/** What the core thread is told of an interface. */
export interface MachineNetwork extends Pick<NetworkConfig, 'model'> {
  /** The hot-plug slot that it is in; absent: it is on the board. */
  readonly slot?: number;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** The memory that both threads share for it (core/net/frameLink.ts). */
  readonly link: SharedArrayBuffer;
  /** Firmware starts a system from it, before the disks or behind them, by this option ROM; absent: it does not. */
  readonly boot?: { readonly order: 'first' | 'last'; readonly rom: Uint8Array };
}

/** One of the interfaces, as long as its network is open. */
interface OpenNetwork {
  readonly description: MachineNetwork;
  readonly network: NetworkPort;
}

/**
 * @param seed the address is made of, when nobody chose one @param firmware the machine starts with some
 * @throws ContractError when a port to forward cannot be had, or what it is to boot with or from
 */
async function openNetwork(config: NetworkConfig, seed: string, field: string, firmware: boolean): Promise<OpenNetwork> {
  const { model, mac, slot, netBoot } = config;
  const boot = firmware && netBoot !== 'off' ? { boot: { order: netBoot, rom: readNetworkRom(model, `${field}.netBoot`) } } : {};
  const description = { model, ...boot, mac: macOf(mac, seed), link: createFrameBuffer(), ...(slot === undefined ? {} : { slot }) };
  return { description, network: await NetworkPort.open(description.link, config, description.mac, field) };
}

export class MachineNetworks {
  readonly descriptions: readonly MachineNetwork[];
  readonly #name: string;
  readonly #open: OpenNetwork[];
  #wake: () => void = () => undefined;

  private constructor(name: string, networks: readonly OpenNetwork[]) {
    this.descriptions = networks.map(({ description }) => description);
    this.#name = name;
    this.#open = [...networks];
  }

  /** @param name of the VM: addresses that nobody chose are made of it. @param firmware the VM starts with some @throws ContractError naming what cannot be had */
  static async open(name: string, configs: readonly NetworkConfig[], firmware: boolean): Promise<MachineNetworks> {
    const networks: OpenNetwork[] = [];
    let onBoard = 0;
    try {
      for (const [index, config] of configs.entries()) {
        networks.push(await openNetwork(config, config.slot === undefined ? `${name} ${onBoard++}` : slotSeed(name, config.slot), `networks.${index}`, firmware));
      }
      return new MachineNetworks(name, networks);
    } catch (error) {
      await Promise.allSettled(networks.map(({ network }) => network.close()));
      throw error;
    }
  }

  serve(wake: () => void): void {
    this.#wake = wake;
    for (const { network } of this.#open) network.serve(wake);
  }

  /** Opens and serves one more interface, for a hot-plug slot. @throws ContractError when a port to forward cannot be had */
  async plug(config: NetworkConfig, slot: number): Promise<MachineNetwork> {
    const opened = await openNetwork({ ...config, slot }, slotSeed(this.#name, slot), 'card.network', false);
    opened.network.serve(this.#wake);
    this.#open.push(opened);
    return opened.description;
  }

  /** Closes the network of a hot-plug slot, when there is one. */
  async unplug(slot: number): Promise<void> {
    const index = this.#open.findIndex(({ description }) => description.slot === slot);
    if (index >= 0) await Promise.allSettled(this.#open.splice(index, 1).map(({ network }) => network.close()));
  }

  /** Plugs the cable of an interface in or pulls it. @param index in the configuration: hot-plugged ones are behind the others */
  setLink(index: number, up: boolean): void {
    this.#open[index]?.network.setLink(up);
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#open.splice(0).map(({ network }) => network.close()));
  }
}

function slotSeed(name: string, slot: number): string {
  return `${name} slot ${slot}`;
}

/** The address given, or one in the range for virtual machines, the same at each start. */
function macOf(text: string, seed: string): Uint8Array {
  if (text !== '') return Uint8Array.from(text.split(':'), (pair) => Number.parseInt(pair, 16));
  return Uint8Array.of(0x52, 0x54, 0x00, ...createHash('sha256').update(seed).digest().subarray(0, 3));
}
