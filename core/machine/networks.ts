/** A VM's network interfaces: served by the I/O thread, used by the devices of the core thread. */
import { createHash } from 'node:crypto';
import type { NetworkConfig } from '../contract/hardware.ts';
import { createFrameBuffer } from '../net/frameLink.ts';
import { UserNetwork } from '../net/network.ts';

/** What the core thread is told of an interface. */
export interface MachineNetwork extends Pick<NetworkConfig, 'model'> {
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** The memory that both threads share for it (core/net/frameLink.ts). */
  readonly link: SharedArrayBuffer;
}

export class MachineNetworks {
  readonly descriptions: readonly MachineNetwork[];
  readonly #networks: readonly UserNetwork[];

  private constructor(descriptions: readonly MachineNetwork[], networks: readonly UserNetwork[]) {
    this.descriptions = descriptions;
    this.#networks = networks;
  }

  /** @param name of the VM: addresses that nobody chose are made of it. @throws ContractError when a port to forward cannot be had */
  static async open(name: string, configs: readonly NetworkConfig[]): Promise<MachineNetworks> {
    const descriptions = configs.map(({ model, mac }, index): MachineNetwork => ({ model, mac: macOf(mac, `${name} ${index}`), link: createFrameBuffer() }));
    const networks: UserNetwork[] = [];
    try {
      for (const [index, config] of configs.entries()) networks.push(await UserNetwork.open(descriptions[index]?.link ?? createFrameBuffer(), config, `networks.${index}`));
      return new MachineNetworks(descriptions, networks);
    } catch (error) {
      await Promise.allSettled(networks.map((network) => network.close()));
      throw error;
    }
  }

  serve(wake: () => void): void {
    for (const network of this.#networks) network.serve(wake);
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#networks.map((network) => network.close()));
  }
}

/** The address given, or one in the range for virtual machines, the same at each start. */
function macOf(text: string, seed: string): Uint8Array {
  if (text !== '') return Uint8Array.from(text.split(':'), (pair) => Number.parseInt(pair, 16));
  return Uint8Array.of(0x52, 0x54, 0x00, ...createHash('sha256').update(seed).digest().subarray(0, 3));
}
