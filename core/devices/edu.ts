/**
 * A demonstrator of what devices do: registers, DMA through a buffer of its own, interrupts by line or message. Registers and identity are
 * those of QEMU's `edu`, which drivers in courses and test programs know.
 */

import { Msi } from '../platform/pci/messages.ts';
import { PciFunction } from '../platform/pci/function.ts';
import { StateReader } from '../platform/state.ts';
import { extract, insert } from '../platform/device.ts';
import type { AccessSize, DeviceState, Registers } from '../platform/device.ts';
import type { Timer, VirtualClock } from '../platform/clock.ts';

const barBytes = 1 << 20;
const identification = 0x010000ed;
/** Where the buffer lies in the device's own addresses, and how large it is. */
const buffer = { base: 0x40000, bytes: 4096 } as const;
/** How long a transfer and a factorial take. */
const workNs = 2000;

const register = { id: 0x00, alive: 0x04, factorial: 0x08, status: 0x20, interruptStatus: 0x24, raise: 0x60, acknowledge: 0x64, dma: 0x80 } as const;
const status = { computing: 0x01, interrupt: 0x80 } as const;
/** Words of the transfer registers: source, destination, count, command, 64 bits each. */
const transfer = { source: 0, destination: 2, count: 4, command: 6, words: 8 } as const;
const command = { start: 1, toMemory: 2, interrupt: 4 } as const;
/** Bits of the interrupt status that the device itself sets. */
const cause = { factorial: 0x001, transfer: 0x100 } as const;

export class Edu extends PciFunction {
  override readonly version = 1;
  readonly registers: Registers;
  private readonly clock: VirtualClock;
  private readonly timer: Timer;
  private readonly bytes = new Uint8Array(buffer.bytes);
  private readonly transfer = new Uint32Array(transfer.words);
  private alive = 0;
  private factorial = 0;
  private status = 0;
  private interrupts = 0;
  /** Transfers that reached memory, and those that were refused: for people. */
  readonly transfers = { done: 0, refused: 0 };

  constructor(name: string, clock: VirtualClock) {
    const registers: Registers = { name, read: (offset, size) => this.read(offset, size), write: (offset, size, value) => this.write(offset, size, value) };
    super(name, { vendor: 0x1234, device: 0x11e8, classCode: 0x00ff00, revision: 0x10, interruptPin: 1 }, {
      bars: [{ space: 'memory', size: barBytes, registers }], msi: new Msi(1),
    });
    this.registers = registers;
    this.clock = clock;
    this.timer = clock.timer(name, () => this.finish());
  }

  override reset(): void {
    super.reset();
    this.timer.cancel();
    this.bytes.fill(0);
    this.transfer.fill(0);
    this.alive = this.factorial = this.status = this.interrupts = 0;
    this.setInterrupt(false);
  }

  override saveState(): DeviceState {
    const { alive, factorial, status: bits, interrupts } = this;
    return {
      ...super.saveState(), alive, factorial, status: bits, interrupts, transfer: [...this.transfer], bytes: Buffer.from(this.bytes).toString('base64'), deadline: this.timer.deadlineNs,
    };
  }

  protected override checkState(reader: StateReader): () => void {
    const restore = super.checkState(reader);
    const [alive, factorial, bits, interrupts] = [reader.uint('alive', 32), reader.uint('factorial', 32), reader.uint('status', 8), reader.uint('interrupts', 32)];
    const words = reader.uints('transfer', 32, transfer.words);
    const bytes = reader.bytes('bytes', buffer.bytes);
    const deadline = reader.timeOrNull('deadline');
    return () => {
      restore();
      Object.assign(this, { alive, factorial, status: bits, interrupts });
      this.transfer.set(words);
      this.bytes.set(bytes);
      this.timer.set(deadline);
      this.setInterrupt(this.interrupts !== 0);
    };
  }

  private read(offset: number, size: AccessSize): number {
    if ((offset & 3) + size > 4) return 0;
    return extract(this.word(offset & ~3), offset & 3, size);
  }

  private word(offset: number): number {
    switch (offset) {
      case register.id: return identification;
      case register.alive: return ~this.alive >>> 0;
      case register.factorial: return this.factorial;
      case register.status: return this.status;
      case register.interruptStatus: return this.interrupts;
      default: return this.transfer[(offset - register.dma) >> 2] ?? 0;
    }
  }

  private write(offset: number, size: AccessSize, value: number): void {
    if ((offset & 3) + size > 4) return;
    const at = offset & ~3;
    if (at >= register.dma) this.writeTransfer((at - register.dma) >> 2, offset & 3, size, value);
    else if (size === 4) this.writeWord(at, value);
  }

  private writeWord(offset: number, value: number): void {
    if (offset === register.alive) this.alive = value;
    else if (offset === register.factorial && (this.status & status.computing) === 0) {
      this.factorial = value;
      this.status |= status.computing;
      this.work();
    } else if (offset === register.status) this.status = (this.status & ~status.interrupt) | (value & status.interrupt);
    else if (offset === register.raise) this.raise(value);
    else if (offset === register.acknowledge) {
      this.interrupts = (this.interrupts & ~value) >>> 0;
      if (this.interrupts === 0) this.setInterrupt(false);
    }
  }

  /** While a transfer runs its registers are left alone. */
  private writeTransfer(word: number, byte: number, size: AccessSize, value: number): void {
    if (word >= transfer.words || this.busy) return;
    this.transfer[word] = insert(this.transfer[word] ?? 0, byte, size, value);
    if (word === transfer.command && this.busy) this.work();
  }

  private get busy(): boolean {
    return ((this.transfer[transfer.command] ?? 0) & command.start) !== 0;
  }

  private work(): void {
    this.timer.arm(this.clock.nowNs() + workNs);
  }

  private raise(bits: number): void {
    this.interrupts = (this.interrupts | bits) >>> 0;
    if (this.interrupts === 0) return;
    this.setInterrupt(true);
    if (this.usesMessages) this.signal(0);
  }

  private finish(): void {
    if ((this.status & status.computing) !== 0) {
      this.factorial = factorialOf(this.factorial);
      this.status &= ~status.computing;
      if ((this.status & status.interrupt) !== 0) this.raise(cause.factorial);
    }
    if (!this.busy) return;
    const wanted = this.transfer[transfer.command] ?? 0;
    this.transfers[this.move(wanted) ? 'done' : 'refused']++;
    this.transfer[transfer.command] = (wanted & ~command.start) >>> 0;
    if ((wanted & command.interrupt) !== 0) this.raise(cause.transfer);
  }

  /** One transfer between guest memory and the buffer. False when either end is out of reach: nothing has moved then. */
  private move(wanted: number): boolean {
    const wide = (word: number): number => (this.transfer[word + 1] ?? 0) * 2 ** 32 + (this.transfer[word] ?? 0);
    const toMemory = (wanted & command.toMemory) !== 0;
    const own = wide(toMemory ? transfer.source : transfer.destination) - buffer.base;
    const address = wide(toMemory ? transfer.destination : transfer.source);
    const count = wide(transfer.count);
    if (own < 0 || count > buffer.bytes || own + count > buffer.bytes) return false;
    const run = this.bytes.subarray(own, own + count);
    if (toMemory) return this.dma.write(address, run);
    const read = new Uint8Array(count);
    if (!this.dma.read(address, read)) return false;
    run.set(read);
    return true;
  }
}

/** Modulo 2^32; 0 from 34 on. */
function factorialOf(number: number): number {
  if (number > 34) return 0;
  let product = 1;
  for (let factor = 2; factor <= number; factor++) product = Math.imul(product, factor);
  return product >>> 0;
}
