/** Answers to what a person asks about a machine; called on the core thread between two slices. */
import { keyNumber } from '../contract/keys.ts';
import { ContractError } from '../contract/errors.ts';
import { RECENT_EXITS } from '../contract/limits.ts';
import type { Processor } from '../cpu/processor.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { decodeExits } from '../vmm/exitRecords.ts';
import { RECORD_BYTES } from '../vmm/exitTrace.ts';
import type { GdbTarget } from '../gdb/target.ts';
import { inspect } from '../inspect/inspect.ts';
import type { Pc } from './pc.ts';
import type { Answers, QuestionKind, Questions, RestorePoint, TracedExits } from './types.ts';

/** The parts of a machine that answers come from. */
export interface MachineParts {
  readonly cpu: Processor;
  readonly pc: Pc;
  readonly vmm: Vmm;
  readonly gdb: GdbTarget;
  readonly restore: (point: RestorePoint, from: Uint8Array | null) => void;
}

type Handlers = { readonly [K in QuestionKind]: (parts: MachineParts, question: Questions[K]) => Answers[K] };

const handlers: Handlers = {
  'trace-exits': ({ vmm }, { on }) => {
    vmm.traceExits(on);
    return null;
  },
  'debug-hold': ({ gdb }) => {
    gdb.hold();
    return null;
  },
  'debug-release': ({ gdb }) => {
    gdb.release();
    return null;
  },
  gdb: ({ gdb }, { packet }) => gdb.answer(packet),
  inspect: ({ cpu, pc }, { query }) => inspect(cpu, pc, query),
  frame: ({ pc }) => pc.display?.frame() ?? null,
  'display-input': ({ pc }, { keys = [], pointer, place, size }) => {
    if (keys.length > 0) pc.power.wake();
    for (const { code, down } of keys) pressKey(pc, code, down);
    if (place) (pc.inputs?.tablet.ready === true ? pc.inputs : pc.usb)?.tablet.setPointer(place.x, place.y, place.buttons, -place.dz);
    // The hand's down is the mouse's minus.
    if (pointer) pc.keyboard.move({ ...pointer, dy: -pointer.dy });
    if (size) pc.gpu?.resize(size.width, size.height);
    return null;
  },
  break: ({ pc }, { port }) => {
    pc.uarts[port]?.receiveBreak();
    return null;
  },
  'modem-lines': ({ pc }, { port, lines }) => {
    pc.setModemLines(port, lines);
    return null;
  },
  plug: ({ pc }, { slot, card }) => {
    pc.plug(slot, card);
    return null;
  },
  unplug: ({ pc }, { slot, force }) => {
    pc.unplug(slot, force);
    return null;
  },
  medium: ({ pc }, { serial, medium, force }) => {
    pc.drives.setMedium(serial, medium, force);
    return null;
  },
  'disk-size': ({ pc }, { serial, medium }) => {
    pc.drives.setSize(serial, medium);
    return null;
  },
  balloon: ({ pc }, { bytes }) => {
    const { balloon } = pc;
    if (balloon === null) throw new ContractError('wrong-state', 'The machine has no memory balloon.', 'Give it one in its configuration (--balloon on) before it starts.');
    if (bytes !== null) balloon.setTarget(bytes);
    return { targetBytes: balloon.targetBytes, inflatedBytes: balloon.inflatedBytes };
  },
  restore: ({ restore }, { point, from }) => {
    restore(point, from);
    return null;
  },
  exits: ({ vmm }, { since, limit }) => tracedExits(vmm, since, limit),
};

/** @throws ContractError when the question cannot be answered */
export function answerQuestion<K extends QuestionKind>(parts: MachineParts, kind: K, question: Questions[K]): Answers[K] {
  return handlers[kind](parts, question);
}

/** To the keyboard that the guest has a driver for, those of its own choice first. */
function pressKey(pc: Pc, place: string, down: boolean): void {
  const { inputs, usb } = pc;
  if (inputs?.keyboard.ready === true) return inputs.keyboard.setKey(place, down);
  if (usb?.keyboard.configured === true) return usb.keyboard.setKey(place, down);
  const key = keyNumber(place);
  if (key !== undefined) pc.keyboard.key(key, down);
}

function tracedExits({ trace }: Vmm, since: number, limit: number): TracedExits | null {
  if (!trace) return null;
  const { records, next, lost } = trace.take(since, limit);
  const epochMs = performance.timeOrigin;
  const recent = decodeExits(records.subarray(-RECENT_EXITS * RECORD_BYTES), epochMs, sequence => trace.vmcs(sequence));
  return { elapsedMs: performance.now() - trace.startedAt, rows: trace.rows(), recent, records, epochMs, next, lost };
}
