/** A short `npm run soak`: what a counting guest prints goes on without a gap, whichever live snapshot it goes back to. */
import { describe, expect, it } from 'vitest';
import { soak } from '../soak/soak.ts';

describe.each([false, true])('a guest under load, nested: %s', (nested) => {
  it('goes on from each of its live snapshots with the right value, a clean file system and sane clocks', async () => {
    expect(await soak({ seed: 5, snapshots: 8, restores: 6, suspensions: 1, nested, tell: () => undefined })).toMatch(/^8 snapshots .* 6 restores/);
  }, 600_000);
});
