/** The host's network behind address translation, with the forwarded ports. */
import type { NetworkConfig } from '../contract/hardware.ts';
import type { Frame } from './frameLink.ts';
import { PortForwards } from './forwards.ts';
import type { FrameSink } from './guestSide.ts';
import { Nat } from './nat.ts';
import { netBootOf } from './netBoot.ts';
import type { NetBoot } from './netBoot.ts';
import type { Network } from './network.ts';

export class UserNetwork implements Network {
  readonly #nat: Nat;
  readonly #forwards: PortForwards;

  private constructor(sink: FrameSink, hostLoopback: boolean, boot: NetBoot | null) {
    this.#nat = new Nat(sink, hostLoopback, boot);
    this.#forwards = new PortForwards(this.#nat);
  }

  /** @throws ContractError `bad-field` naming the forward whose port cannot be had, or the boot file that is not there. @param field path of the interface in the configuration */
  static async open(sink: FrameSink, { hostLoopback, forwards, bootFile }: NetworkConfig, field: string): Promise<UserNetwork> {
    const network = new UserNetwork(sink, hostLoopback, netBootOf(bootFile, `${field}.bootFile`));
    try {
      for (const [index, forward] of forwards.entries()) await network.#forwards.open(forward, `${field}.forwards.${index}`);
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  receive({ bytes }: Frame): void {
    this.#nat.receive(bytes);
  }

  settle(): void {
    this.#nat.settle();
  }

  drained(): void {
    this.#nat.drained();
  }

  close(): Promise<void> {
    this.#forwards.close();
    this.#nat.close();
    return Promise.resolve();
  }
}
