/** One interface's end on the I/O thread: moves frames between its ring and what its cable leads to, and records them. */
import type { NetworkConfig } from '../contract/hardware.ts';
import { Capture } from './capture.ts';
import { FRAME_BYTES_MAXIMUM, FrameLink } from './frameLink.ts';
import type { FrameSink } from './guestSide.ts';
import type { Network } from './network.ts';
import { SwitchPort } from './switchPort.ts';
import { UserNetwork } from './userNetwork.ts';

/** Frames between two turns of the event loop: sockets have work, too. */
const FRAMES_AT_ONCE = 128;

const nowhere: Network = { receive: () => undefined, settle: () => undefined, drained: () => undefined, close: () => Promise.resolve() };

export class NetworkPort {
  readonly #link: FrameLink;
  readonly #capture: Capture | null;
  #network = nowhere;
  #wake: () => void = () => {};
  #stopped = false;
  #waitingForRoom = false;

  private constructor(buffer: SharedArrayBuffer, { capture, attach, linkUp }: NetworkConfig) {
    this.#link = new FrameLink(buffer);
    this.#link.linkUp = attach !== 'none' && linkUp;
    this.#capture = capture === null ? null : new Capture(capture);
  }

  /** @param field path of the interface in the configuration @throws ContractError naming what cannot be had */
  static async open(buffer: SharedArrayBuffer, config: NetworkConfig, mac: Uint8Array, field: string): Promise<NetworkPort> {
    const port = new NetworkPort(buffer, config);
    try {
      if (config.attach === 'user') port.#network = await UserNetwork.open(port.#sink(), config, field);
      else if (config.attach === 'switch') port.#network = await SwitchPort.open(port.#sink(), config.switchName, config.switchDhcp ? mac : null);
      return port;
    } catch (error) {
      await port.close();
      throw error;
    }
  }

  serve(wake: () => void): void {
    this.#wake = wake;
    void this.#move();
  }

  /** Plugs the cable in or pulls it. */
  setLink(up: boolean): void {
    this.#link.linkUp = up;
    this.#wake();
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#link.toNetwork.wake();
    await this.#network.close();
    await this.#capture?.close();
  }

  async #move(): Promise<void> {
    const { toNetwork } = this.#link;
    while (!this.#stopped) {
      await toNetwork.arrival();
      let count = 0;
      let crowded = false;
      for (let frame = toNetwork.peek(); frame && !this.#stopped && count < FRAMES_AT_ONCE; frame = toNetwork.peek()) {
        this.#capture?.record(frame.bytes.slice());
        this.#network.receive(frame);
        crowded ||= toNetwork.crowded;
        toNetwork.drop();
        count += 1;
      }
      this.#network.settle();
      // Only then the device may wait for room; a guest that waits for an answer is not to be woken for nothing.
      if (crowded) this.#wake();
      if (count === FRAMES_AT_ONCE) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** What the network sends. With the cable out it goes nowhere. */
  #sink(): FrameSink {
    const { toDevice } = this.#link;
    const link = this.#link;
    let nowhere = new Uint8Array(0);
    let frame: Uint8Array | null = null;
    return {
      reserve: (length) => {
        if (!link.linkUp) {
          if (nowhere.length < length) nowhere = new Uint8Array(FRAME_BYTES_MAXIMUM);
          frame = null;
          return nowhere.subarray(0, length);
        }
        frame = toDevice.reserve(length);
        if (frame === null && !this.#waitingForRoom) void this.#resumeWhenRoom();
        return frame;
      },
      commit: (offload) => {
        if (frame === null) return;
        this.#capture?.record(frame.slice());
        toDevice.commit(offload);
        this.#wake();
      },
      get abilities() {
        return link.abilities;
      },
    };
  }

  async #resumeWhenRoom(): Promise<void> {
    this.#waitingForRoom = true;
    await this.#link.toDevice.departure();
    this.#waitingForRoom = false;
    if (!this.#stopped) this.#network.drained();
  }
}
