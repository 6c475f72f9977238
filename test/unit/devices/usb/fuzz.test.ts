/** Hostile drivers of the USB host controller (test/fuzz/usb). */
import { expect, it } from 'vitest';
import { fuzzUsb } from '../../../fuzz/usb/run.ts';

it.each([1, 2, 3])('neither throws nor holds its guest up, and can be saved at any moment (seed %i)', seed => {
  const { events } = fuzzUsb(seed, 4000);
  const kinds = [...events.keys()].map(key => Number(key.split('/')[0]));
  // Transfers, commands and port changes have happened.
  for (const kind of [32, 33, 34]) expect(kinds).toContain(kind);
});
