/** The 8042 keyboard controller with its two PS/2 ports: command byte, output port, translation, pulse reset. (IBM PS/2 technical reference) */

import { Keyboard } from '../devices/ps2/keyboard.ts';
import { Mouse } from '../devices/ps2/mouse.ts';
import { StateReader } from './state.ts';
import { translateByte } from '../devices/ps2/scancodes.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';
import type { MachineEvents } from './machineEvents.ts';

const status = { outputFull: 0x01, system: 0x04, command: 0x08, unlocked: 0x10, auxiliary: 0x20 } as const;
const commandByte = {
  keyboardInterrupt: 0x01, auxiliaryInterrupt: 0x02, keyboardDisabled: 0x10, auxiliaryDisabled: 0x20, translate: 0x40,
} as const;
const releaseMark = 0xf0;
const released = 0x80;

/** Where a byte in the output buffer is from. */
const sources = ['controller', 'controller-auxiliary', 'keyboard', 'mouse'] as const;
type Source = (typeof sources)[number];

export interface KeyboardWires {
  readonly keyboard: LevelInterrupt;
  readonly mouse: LevelInterrupt;
}

export class KeyboardController implements Device {
  readonly name = 'i8042';
  readonly version = 2;
  readonly ranges: readonly DeviceRange[] = [
    { space: 'port', base: 0x60, length: 1, offset: 0, width: 1 },
    { space: 'port', base: 0x64, length: 1, offset: 1, width: 1 },
  ];
  private readonly wires: KeyboardWires;
  private readonly events: MachineEvents;
  private readonly keyboard: Keyboard | null;
  private readonly mouse: Mouse | null;
  private control = 0;
  private outputPort = 3;
  /** The byte that port 60H shows; null: none. */
  private output: { readonly value: number; readonly source: Source } | null = null;
  /** Answers of the controller itself. */
  private answers: number[] = [];
  /** The command that the next write to port 60H completes; 0: that write is for the keyboard. */
  private pending = 0;
  private commandLast = false;
  /** Translation has seen the mark of a release. */
  private release = false;

  /** @param devices whether a keyboard and a mouse answer; without them, what is sent to them is lost */
  constructor(wires: KeyboardWires, events: MachineEvents, devices: boolean) {
    this.wires = wires;
    this.events = events;
    this.keyboard = devices ? new Keyboard() : null;
    this.mouse = devices ? new Mouse() : null;
    this.reset();
  }

  /** A key goes down or up; a key is its code of set 1, with E0H above it for those of the extended keyboard. */
  key(key: number, down: boolean): void {
    this.keyboard?.key(key, down);
    this.update();
  }

  move(move: Parameters<Mouse['move']>[0]): void {
    this.mouse?.move(move);
    this.update();
  }

  reset(): void {
    this.control = commandByte.keyboardDisabled | commandByte.auxiliaryDisabled | commandByte.translate;
    this.outputPort = 3;
    this.output = null;
    this.answers = [];
    this.pending = 0;
    this.commandLast = false;
    this.release = false;
    this.keyboard?.reset();
    this.mouse?.reset();
    this.drive();
  }

  read(offset: number, _size: AccessSize): number {
    if (offset === 1) {
      const full = this.output === null ? 0 : status.outputFull | (isAuxiliary(this.output.source) ? status.auxiliary : 0);
      return status.unlocked | status.system | full | (this.commandLast ? status.command : 0);
    }
    const value = this.output?.value ?? 0;
    this.output = null;
    // The lines fall before the next byte raises one: an 8259A in edge mode must see it.
    this.drive();
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
    const { control, outputPort, pending, commandLast, release } = this;
    return {
      version: this.version, control, outputPort, output: this.output?.value ?? 0, source: this.output?.source ?? 'none', answers: [...this.answers], pending,
      commandLast, release, ...(this.keyboard && this.mouse ? { keyboard: this.keyboard.save(), mouse: this.mouse.save() } : {}),
    };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const value = reader.uint('output', 8);
    const source = reader.word('source', [...sources, 'none']);
    const next = {
      control: reader.uint('control', 8), outputPort: reader.uint('outputPort', 8), answers: reader.uints('answers', 8, answerLimit, false),
      pending: reader.uint('pending', 8), commandLast: reader.boolean('commandLast'), release: reader.boolean('release'),
      output: source === 'none' ? null : { value, source },
    };
    const restoreKeyboard = this.keyboard?.check(reader.record('keyboard'));
    const restoreMouse = this.mouse?.check(reader.record('mouse'));
    Object.assign(this, next);
    restoreKeyboard?.();
    restoreMouse?.();
    this.drive();
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
        // Passed, or: the clock line is stuck, there is no mouse port.
        this.put(this.mouse ? 0x00 : 0x01);
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
      case 0xd3:
        this.output ??= { value, source: 'controller-auxiliary' };
        break;
      case 0xd4:
        this.control &= ~commandByte.auxiliaryDisabled;
        this.mouse?.receive(value);
        break;
      case 0:
        this.control &= ~commandByte.keyboardDisabled;
        this.keyboard?.receive(value);
        break;
      default:
    }
  }

  private put(value: number): void {
    if (this.answers.length < answerLimit) this.answers.push(value);
  }

  /** Brings the next byte into an empty output buffer: the controller's own first, then the keyboard's, then the mouse's. */
  private update(): void {
    if (this.output === null) this.output = this.next();
    this.drive();
  }

  private next(): { readonly value: number; readonly source: Source } | null {
    const own = this.answers.shift();
    if (own !== undefined) return { value: own, source: 'controller' };
    const key = (this.control & commandByte.keyboardDisabled) === 0 ? this.nextKey() : undefined;
    if (key !== undefined) return { value: key, source: 'keyboard' };
    const moved = (this.control & commandByte.auxiliaryDisabled) === 0 ? this.mouse?.take() : undefined;
    return moved === undefined ? null : { value: moved, source: 'mouse' };
  }

  /** The keyboard's next byte; translated, the mark of a release goes into the code that follows it. */
  private nextKey(): number | undefined {
    for (;;) {
      const value = this.keyboard?.take();
      if (value === undefined || (this.control & commandByte.translate) === 0) return value;
      if (value === releaseMark) {
        this.release = true;
        continue;
      }
      const translated = translateByte(value) | (this.release ? released : 0);
      this.release = false;
      return translated;
    }
  }

  private drive(): void {
    const { output, control, wires } = this;
    const auxiliary = output !== null && isAuxiliary(output.source);
    wires.keyboard.set(output !== null && !auxiliary && (control & commandByte.keyboardInterrupt) !== 0);
    wires.mouse.set(auxiliary && (control & commandByte.auxiliaryInterrupt) !== 0);
  }
}

const answerLimit = 16;

function isAuxiliary(source: Source): boolean {
  return source === 'mouse' || source === 'controller-auxiliary';
}
