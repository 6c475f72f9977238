/** What every device model must hold to. Each device instantiates this suite. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StateError } from '../../core/platform/state.ts';
import { ManualTime } from '../doubles/manualTime.ts';
import { VirtualClock } from '../../core/platform/clock.ts';
import { sizeMask } from '../../core/platform/device.ts';
import type { AccessSize, Component, Device } from '../../core/platform/device.ts';

/** Makes a device on a clock that the suite moves. */
export type DeviceMaker = (clock: VirtualClock) => Device;

const sizes: readonly AccessSize[] = [1, 2, 4];

interface Access {
  readonly range: number;
  readonly place: number;
  readonly size: AccessSize;
  readonly value: number;
  readonly write: boolean;
  readonly passNs: number;
}

const access: fc.Arbitrary<Access> = fc.record({
  range: fc.nat(7),
  place: fc.nat(0xffff),
  size: fc.constantFrom(...sizes),
  value: fc.oneof(fc.nat(0xff), fc.integer({ min: 0, max: 0xffffffff })),
  write: fc.boolean(),
  passNs: fc.oneof(fc.constant(0), fc.nat(2000), fc.nat(3_000_000_000)),
});

/** Performs an access as a bus would: whole where the range is wide enough. Returns what a read gave. */
function perform(device: Device, { range, place, size, value, write }: Access): number | null {
  const row = device.ranges[range % device.ranges.length];
  if (row === undefined) return null;
  const width = Math.min(size, row.width) as AccessSize;
  if (row.length < width) return null;
  const offset = row.offset + (place % (row.length - width + 1));
  if (!write) return device.read(offset, width);
  device.write(offset, width, (value & sizeMask(width)) >>> 0);
  return null;
}

function copy(state: unknown): unknown {
  return JSON.parse(JSON.stringify(state)) as unknown;
}

/** Every path of a state to a value that is not itself a list or record. */
function leaves(value: unknown, path: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]));
}

function replaced(state: unknown, path: readonly string[], by: unknown): unknown {
  const root = copy(state) as Record<string, unknown>;
  let node = root;
  for (const key of path.slice(0, -1)) node = node[key] as Record<string, unknown>;
  node[path.at(-1) ?? ''] = by;
  return root;
}

function removed(state: unknown, key: string): unknown {
  const root = copy(state) as Record<string, unknown>;
  delete root[key];
  return root;
}

/** The part of the suite that concerns state: for components that no bus reaches, too. */
export function componentConformance(title: string, make: (clock: VirtualClock) => Component, disturb: (component: Component) => void): void {
  describe(`${title}: state`, () => {
    const setUp = () => {
      const time = new ManualTime();
      const component = make(new VirtualClock(time));
      disturb(component);
      return { time, component };
    };

    it('can be written as JSON, loaded, and is then the same', () => {
      const { component } = setUp();
      const saved = component.saveState();
      const other = make(new VirtualClock(new ManualTime()));
      other.loadState(copy(saved));
      expect(other.saveState()).toEqual(saved);
    });

    it('is a copy', () => {
      const { component } = setUp();
      const saved = component.saveState();
      const before = copy(saved);
      component.reset();
      expect(saved).toEqual(before);
    });

    it('resetting twice is resetting once', () => {
      const { component } = setUp();
      component.reset();
      const once = component.saveState();
      component.reset();
      expect(component.saveState()).toEqual(once);
    });

    it('is refused when it is no object, or of another version', () => {
      const { component } = setUp();
      const before = component.saveState();
      for (const hostile of [null, undefined, 7, 'state', [], {}, { ...before, version: before.version + 1 }, { ...before, version: '1' }]) {
        expect(() => component.loadState(hostile)).toThrow(StateError);
      }
      expect(component.saveState()).toEqual(before);
    });

    it('is refused when a field is missing', () => {
      const { component } = setUp();
      const before = component.saveState();
      for (const key of Object.keys(before)) expect(() => component.loadState(removed(before, key)), key).toThrow(StateError);
      expect(component.saveState()).toEqual(before);
    });

    it('is refused, with nothing changed, when a field holds what cannot be', () => {
      const { component } = setUp();
      const before = component.saveState();
      for (const path of leaves(before)) {
        for (const hostile of [Number.NaN, Number.POSITIVE_INFINITY, -(2 ** 62), 0.5, 2 ** 62, 'x', {}, undefined]) {
          const attempt = replaced(before, path, hostile);
          expect(() => component.loadState(attempt), `${path.join('.')} = ${String(hostile)}`).toThrow(StateError);
        }
      }
      expect(component.saveState()).toEqual(before);
    });

    it('names the component and the field when it is refused', () => {
      const { component } = setUp();
      const before = component.saveState();
      const path = leaves(before).find(([first]) => first !== 'version');
      if (path === undefined) return;
      expect(() => component.loadState(replaced(before, path, 'x'))).toThrow(new RegExp(`${component.name}.*${path[0] ?? ''}`));
    });
  });
}

/** The whole suite. */
export function deviceConformance(title: string, make: DeviceMaker): void {
  const firstWrites = (device: Component): void => {
    for (const [index, range] of (device as Device).ranges.entries()) {
      for (let place = 0; place < Math.min(range.length, 64); place++) {
        perform(device as Device, { range: index, place, size: 1, value: (place * 37 + 0x15) & 0xff, write: true, passNs: 0 });
      }
    }
  };

  componentConformance(title, make, firstWrites);

  describe(`${title}: registers`, () => {
    it('every access of every size gives a number that fits, and never throws', () => {
      fc.assert(
        fc.property(fc.array(access, { maxLength: 60 }), accesses => {
          const time = new ManualTime();
          const clock = new VirtualClock(time);
          const device = make(clock);
          for (const step of accesses) {
            const value = perform(device, step);
            if (value !== null) {
              const limit = sizeMask(Math.min(step.size, device.ranges[step.range % device.ranges.length]?.width ?? 4) as AccessSize);
              expect(Number.isInteger(value) && value >= 0 && value <= limit, `read gave ${value}`).toBe(true);
            }
            time.pass(step.passNs);
            clock.runDue();
          }
        }),
        { numRuns: 150 },
      );
    });

    it('whatever state a guest leaves can be saved and restored', () => {
      fc.assert(
        fc.property(fc.array(access, { maxLength: 40 }), accesses => {
          const time = new ManualTime();
          const clock = new VirtualClock(time);
          const device = make(clock);
          for (const step of accesses) {
            perform(device, step);
            time.pass(step.passNs);
            clock.runDue();
          }
          const saved = device.saveState();
          const otherTime = new ManualTime();
          const otherClock = new VirtualClock(otherTime);
          const other = make(otherClock);
          otherTime.pass(time.nowNs());
          other.loadState(copy(saved));
          expect(other.saveState()).toEqual(saved);
        }),
        { numRuns: 150 },
      );
    });

    it('a reset after any accesses gives the state of a reset before them', () => {
      fc.assert(
        fc.property(fc.array(access, { maxLength: 40 }), accesses => {
          const clock = new VirtualClock(new ManualTime());
          const device = make(clock);
          device.reset();
          const fresh = device.saveState();
          for (const step of accesses) perform(device, step);
          device.reset();
          const after = device.saveState();
          // Battery-backed memory outlives a reset by design; everything else does not.
          expect({ ...after, memory: null, epochMs: null }).toEqual({ ...fresh, memory: null, epochMs: null });
        }),
        { numRuns: 80 },
      );
    });

    it('ranges are well formed', () => {
      for (const { base, length, width, space } of make(new VirtualClock(new ManualTime())).ranges) {
        expect(length).toBeGreaterThan(0);
        expect(sizes).toContain(width);
        if (space === 'port') expect(base + length).toBeLessThanOrEqual(0x10000);
      }
    });
  });
}
