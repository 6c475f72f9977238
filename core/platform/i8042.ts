/** The 8042 keyboard controller, as far as a machine without keyboard has one: self-test, command byte, output port, pulse reset. */

import { StateReader } from './state.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';
import type { MachineEvents } from './machineEvents.ts';

const status = { outputFull: 0x01, system: 0x04, command: 0x08, unlocked: 0x10, auxiliary: 0x20 } as const;
const commandByte = { keyboardInterrupt: 0x01, keyboardDisabled: 0x10, auxiliaryDisabled: 0x20, translate: 0x40 } as const;

export class KeyboardController implements Device {
  readonly name = 'i8042';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [
    { space: 'port', base: 0x60, length: 1, offset: 0, width: 1 },
    { space: 'port', base: 0x64, length: 1, offset: 1, width: 1 },
  ];
  private readonly irq: LevelInterrupt;
  private readonly events: MachineEvents;
  private readonly keyboard: boolean;
  private control = 0;
  private outputPort = 3;
  /** Bytes for port 60H; the first is the one that shows. */
  private output: number[] = [];
  /** The command that the next write to port 60H completes; 0: that write is for the keyboard. */
  private pending = 0;
  private commandLast = false;

  /** @param keyboard whether a keyboard answers; without one, what is sent to it is lost */
  constructor(irq: LevelInterrupt, events: MachineEvents, keyboard: boolean) {
    this.irq = irq;
    this.events = events;
    this.keyboard = keyboard;
    this.reset();
  }

  reset(): void {
    this.control = commandByte.keyboardDisabled | commandByte.auxiliaryDisabled | commandByte.translate;
    this.outputPort = 3;
    this.output = [];
    this.pending = 0;
    this.commandLast = false;
    this.update();
  }

  read(offset: number, _size: AccessSize): number {
    if (offset === 1) {
      return status.unlocked | status.system | (this.output.length > 0 ? status.outputFull : 0) | (this.commandLast ? status.command : 0);
    }
    const value = this.output.shift() ?? 0;
    this.update();
    return value;
  }

  write(offset: number, _size: AccessSize, value: number): void {
    this.commandLast = offset === 1;
    if (offset === 1) this.command(value);
    else this.data(value);
    this.update();
  }

  saveState(): DeviceState {
    const { control, outputPort, pending, commandLast } = this;
    return { version: this.version, control, outputPort, output: [...this.output], pending, commandLast };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const next = {
      control: reader.uint('control', 8), outputPort: reader.uint('outputPort', 8), output: reader.uints('output', 8, 16, false),
      pending: reader.uint('pending', 8), commandLast: reader.boolean('commandLast'),
    };
    Object.assign(this, next);
    this.update();
  }

  private command(value: number): void {
    this.pending = 0;
    switch (value) {
      case 0x20:
        this.put(this.control);
        break;
      case 0x60:
      case 0xd1:
      case 0xd2:
      case 0xd3:
      case 0xd4:
        this.pending = value;
        break;
      case 0xa7:
        this.control |= commandByte.auxiliaryDisabled;
        break;
      case 0xa8:
        this.control &= ~commandByte.auxiliaryDisabled;
        break;
      case 0xa9:
        // The auxiliary port's clock line is stuck: there is no mouse port.
        this.put(0x01);
        break;
      case 0xaa:
        this.put(0x55);
        break;
      case 0xab:
        this.put(this.keyboard ? 0x00 : 0x01);
        break;
      case 0xad:
        this.control |= commandByte.keyboardDisabled;
        break;
      case 0xae:
        this.control &= ~commandByte.keyboardDisabled;
        break;
      case 0xc0:
        this.put(0x80);
        break;
      case 0xd0:
        this.put(this.outputPort);
        break;
      default:
        // F0H to FFH pulse output lines low; line 0 is the processor's reset.
        if (value >= 0xf0 && (value & 1) === 0) this.events.reset();
    }
  }

  private data(value: number): void {
    const { pending } = this;
    this.pending = 0;
    switch (pending) {
      case 0x60:
        this.control = value;
        break;
      case 0xd1:
        this.outputPort = value;
        if ((value & 1) === 0) this.events.reset();
        break;
      case 0xd2:
        this.put(value);
        break;
      case 0:
        if (this.keyboard) this.keyboardCommand(value);
        break;
      default:
    }
  }

  /** The keyboard acknowledges everything; after a reset it passes its test, and it knows its identity. */
  private keyboardCommand(value: number): void {
    this.control &= ~commandByte.keyboardDisabled;
    this.put(0xfa);
    if (value === 0xff) this.put(0xaa);
    if (value === 0xf2) [0xab, 0x83].forEach(byte => this.put(byte));
  }

  private put(value: number): void {
    if (this.output.length < 16) this.output.push(value);
  }

  private update(): void {
    this.irq.set(this.output.length > 0 && (this.control & commandByte.keyboardInterrupt) !== 0);
  }
}
