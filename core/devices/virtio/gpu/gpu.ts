/** A display as a virtio device, two-dimensional: resources, one scanout, a pointer. @virtio 5.7 */

import { COMMAND_BYTES, DISPLAY_INFO_BYTES, EDID_RESPONSE_BYTES, GpuCommand, GpuError, HEADER_BYTES, MEMORY_ENTRY_BYTES, gpuCommand, gpuResponse, within } from './commands.ts';
import { ENTRIES_MAXIMUM, Resources } from './resources.ts';
import { POINTER_EDGE, Pointer } from './pointer.ts';
import { configurationBytes, readBytes } from '../device.ts';
import { convertPixels } from './pixels.ts';
import { edid } from './edid.ts';
import { gather, scatter, totalLength } from '../../segments.ts';
import type { AccessSize } from '../../../platform/device.ts';
import type { Chain } from '../queue.ts';
import type { Frame } from '../../vga/render.ts';
import type { Rectangle } from './commands.ts';
import type { StateReader } from '../../../platform/state.ts';
import type { Timer, VirtualClock } from '../../../platform/clock.ts';
import type { VirtioKind, VirtioRun } from '../device.ts';

const edidFeature = 1n << 1n;
const displayChanged = 1;
const configuration = { events: 0, clear: 4, scanouts: 8, bytes: 16 } as const;
/** What a display can show at most: pictures travel to viewers in this size. */
export const screenMaximum = { width: 2560, height: 1600 } as const;
export const screenMinimum = { width: 320, height: 200 } as const;
const screenDefault = { width: 1280, height: 800 } as const;
/** Bytes that are moved before the guest runs on for a while; each command counts for some more. */
const BUDGET = 32 << 20;
const COMMAND_COST = 4096;
const PAUSE_NS = 100_000;

interface Scanout extends Rectangle {
  readonly resource: number;
}

/** What a command is executed with besides its fields. */
interface Request {
  readonly chain: Chain;
  readonly run: VirtioRun;
}

/** Carries a command out. The result is its response; none: there is nothing to say but that it is done. @throws GpuError */
type Handler = (command: GpuCommand, request: Request) => DataView | void;

export class VirtioGpu implements VirtioKind {
  readonly name = 'virtio-gpu';
  readonly deviceType = 16;
  readonly classCode = 0x038000;
  readonly features = edidFeature;
  /** Commands, and those of the pointer. */
  readonly queueSizes = [256, 64];
  readonly configurationLength = configuration.bytes;
  readonly #clock: VirtualClock;
  readonly #later: Timer;
  #resources = new Resources();
  #pointer = new Pointer();
  #run: VirtioRun | null = null;
  #scanout: Scanout | null = null;
  #events = 0;
  /** What the guest is asked to use: the host's wish, which a reset of the device leaves. */
  #size: { readonly width: number; readonly height: number } = screenDefault;
  #budget = 0;

  /** @param clock by which the guest runs on when there is very much to do */
  constructor(clock: VirtualClock) {
    this.#clock = clock;
    this.#later = clock.timer('virtio-gpu', () => this.#goOn());
  }

  /** What is on the screen; null: no picture was put there. */
  frame(): Frame | null {
    const scanout = this.#scanout;
    const resource = scanout === null ? null : this.#resources.find(scanout.resource);
    if (scanout === null || resource === null) return null;
    const { x, y, width, height } = scanout;
    const frame = { width, height, pixels: new Uint32Array(width * height) };
    for (let row = 0; row < height; row++) convertPixels(resource.format, resource.pixels, (y + row) * resource.width + x, frame.pixels, row * width, width);
    this.#pointer.draw(frame);
    return frame;
  }

  /** Asks the guest for a screen of about this size: lines are whole multiples of eight pixels. */
  resize(width: number, height: number): void {
    const fit = (value: number, edge: 'width' | 'height', multiple: number): number => {
      const whole = Math.max(screenMinimum[edge], Math.min(screenMaximum[edge], value));
      return whole - (whole % multiple);
    };
    const size = { width: fit(width, 'width', 8), height: fit(height, 'height', 2) };
    if (size.width === this.#size.width && size.height === this.#size.height) return;
    this.#size = size;
    this.#events |= displayChanged;
    this.#run?.configurationChanged();
  }

  readConfiguration(offset: number, size: AccessSize): number {
    return readBytes(configurationBytes(configuration.bytes, [[configuration.events, 4, this.#events], [configuration.scanouts, 4, 1]]), offset, size);
  }

  writeConfiguration(offset: number, size: AccessSize, value: number): void {
    if (offset === configuration.clear && size === 4) this.#events &= ~value;
  }

  start(run: VirtioRun): void {
    this.#run = run;
    for (const [number, queue] of run.queues.entries()) for (const chain of queue.retake()) this.#execute(run, number, chain);
    this.#work(run);
  }

  notify(): void {
    if (this.#run && this.#later.deadlineNs === null) this.#work(this.#run);
  }

  stop(): void {
    this.#run = null;
    this.#later.cancel();
    this.#scanout = null;
    this.#resources = new Resources();
    this.#pointer = new Pointer();
  }

  saveState(): Readonly<Record<string, unknown>> {
    return {
      events: this.#events, size: { ...this.#size }, scanout: this.#scanout === null ? null : { ...this.#scanout },
      resources: this.#resources.save(), pointer: this.#pointer.save(),
    };
  }

  readState(reader: StateReader): () => void {
    const events = reader.uint('events', 1);
    const wanted = reader.record('size');
    const size = { width: wanted.integer('width', screenMinimum.width, screenMaximum.width), height: wanted.integer('height', screenMinimum.height, screenMaximum.height) };
    const resources = Resources.read(reader, 'resources');
    const scanout = reader.nested('scanout') === null ? null : readScanout(reader.record('scanout'));
    const resource = scanout === null ? null : resources.find(scanout.resource);
    if (scanout !== null && (resource === null || !isScreen(scanout, resource))) reader.refuse('scanout', 'a part of a resource');
    const pointer = Pointer.read(reader.record('pointer'));
    return () => {
      this.#events = events;
      this.#size = size;
      this.#scanout = scanout;
      this.#resources = resources;
      this.#pointer = pointer;
    };
  }

  #goOn(): void {
    const run = this.#run;
    if (run === null) return;
    try {
      this.#work(run);
    } catch (error) {
      run.fail(error);
    }
  }

  /** Executes what is in the queues, as far as the budget goes. @throws QueueError */
  #work(run: VirtioRun): void {
    this.#budget = BUDGET;
    for (const [number, queue] of run.queues.entries()) {
      while (this.#budget > 0) {
        const chain = queue.take();
        if (chain === null) break;
        this.#execute(run, number, chain);
      }
      queue.signal();
    }
    if (this.#budget <= 0) this.#later.arm(this.#clock.nowNs() + PAUSE_NS);
  }

  #execute(run: VirtioRun, queue: number, chain: Chain): void {
    this.#budget -= COMMAND_COST;
    const bytes = new Uint8Array(COMMAND_BYTES);
    const length = Math.min(COMMAND_BYTES, totalLength(chain.readable));
    const reached = length >= HEADER_BYTES && gather(run.memory, chain.readable, 0, bytes.subarray(0, length));
    const command = new GpuCommand(bytes);
    const response = reached ? this.#respond(queue, command, { chain, run }) : command.response(gpuResponse.unspecified);
    const room = Math.min(response.byteLength, totalLength(chain.writable));
    scatter(run.memory, chain.writable, 0, new Uint8Array(response.buffer, 0, room));
    run.queues[queue]?.give(chain.head, room);
  }

  #respond(queue: number, command: GpuCommand, request: Request): DataView {
    const handler = this.#handlers[queue]?.[command.type];
    if (handler === undefined) return command.response(gpuResponse.unspecified);
    try {
      return handler(command, request) ?? command.response(gpuResponse.ok);
    } catch (error) {
      if (error instanceof GpuError) return command.response(error.response);
      throw error;
    }
  }

  /** By queue and type. */
  readonly #handlers: readonly Readonly<Record<number, Handler>>[] = [
    {
      [gpuCommand.getDisplayInfo]: command => this.#describeDisplay(command),
      [gpuCommand.getEdid]: command => this.#describeMonitor(command),
      [gpuCommand.createResource]: command => this.#resources.create(command.word(24), command.word(32), command.word(36), command.word(28)),
      [gpuCommand.unrefResource]: command => this.#remove(command.word(24)),
      [gpuCommand.attachBacking]: (command, request) => this.#attach(command, request),
      [gpuCommand.detachBacking]: command => this.#resources.detach(this.#resources.get(command.word(24))),
      [gpuCommand.transferToHost]: (command, { run }) => {
        this.#budget -= this.#resources.transfer(run.memory, command.word(48), command.rectangle(24), command.long(40));
      },
      [gpuCommand.setScanout]: command => this.#setScanout(command),
      // Viewers look at resources themselves: there is nothing between that could be flushed.
      [gpuCommand.flush]: command => {
        if (!within(command.rectangle(24), this.#resources.get(command.word(40)))) throw new GpuError(gpuResponse.invalidParameter);
      },
    },
    {
      [gpuCommand.updateCursor]: command => this.#updateCursor(command),
      [gpuCommand.moveCursor]: command => this.#pointer.move(command.word(28), command.word(32)),
    },
  ];

  /** @virtio 5.7.6.8: VIRTIO_GPU_CMD_GET_DISPLAY_INFO */
  #describeDisplay(command: GpuCommand): DataView {
    const response = command.response(gpuResponse.displayInfo, DISPLAY_INFO_BYTES);
    response.setUint32(HEADER_BYTES + 8, this.#size.width, true);
    response.setUint32(HEADER_BYTES + 12, this.#size.height, true);
    response.setUint32(HEADER_BYTES + 16, 1, true);
    return response;
  }

  #describeMonitor(command: GpuCommand): DataView {
    if (command.word(24) !== 0) throw new GpuError(gpuResponse.invalidScanout);
    const response = command.response(gpuResponse.edid, EDID_RESPONSE_BYTES);
    const block = edid(this.#size.width, this.#size.height);
    response.setUint32(HEADER_BYTES, block.length, true);
    new Uint8Array(response.buffer).set(block, HEADER_BYTES + 8);
    return response;
  }

  #remove(id: number): void {
    this.#resources.remove(id);
    if (this.#scanout?.resource === id) this.#scanout = null;
  }

  #attach(command: GpuCommand, { chain, run }: Request): void {
    const count = command.word(28);
    if (count > ENTRIES_MAXIMUM) throw new GpuError(gpuResponse.outOfMemory);
    const bytes = new Uint8Array(count * MEMORY_ENTRY_BYTES);
    if (!gather(run.memory, chain.readable, 32, bytes)) throw new GpuError(gpuResponse.invalidParameter);
    this.#budget -= bytes.length;
    const entries = new GpuCommand(bytes);
    this.#resources.attach(command.word(24), Array.from({ length: count }, (_, index) => {
      const at = index * MEMORY_ENTRY_BYTES;
      return { address: entries.long(at), length: entries.word(at + 8) };
    }));
  }

  #setScanout(command: GpuCommand): void {
    const [part, id] = [command.rectangle(24), command.word(44)];
    if (command.word(40) !== 0) throw new GpuError(gpuResponse.invalidScanout);
    if (id === 0) {
      this.#scanout = null;
      return;
    }
    if (!isScreen(part, this.#resources.get(id))) throw new GpuError(gpuResponse.invalidParameter);
    this.#scanout = { ...part, resource: id };
  }

  #updateCursor(command: GpuCommand): void {
    const id = command.word(40);
    const resource = id === 0 ? null : this.#resources.get(id);
    if (resource !== null && (resource.width !== POINTER_EDGE || resource.height !== POINTER_EDGE)) throw new GpuError(gpuResponse.invalidParameter);
    this.#pointer.show(resource?.pixels ?? null);
    this.#pointer.move(command.word(28), command.word(32));
  }
}

function isScreen(part: Rectangle, resource: { readonly width: number; readonly height: number }): boolean {
  return within(part, resource) && part.width <= screenMaximum.width && part.height <= screenMaximum.height;
}

function readScanout(reader: StateReader): Scanout {
  return { x: reader.uint('x', 32), y: reader.uint('y', 32), width: reader.uint('width', 32), height: reader.uint('height', 32), resource: reader.uint('resource', 32) };
}
