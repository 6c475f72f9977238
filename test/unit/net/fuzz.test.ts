import { expect, it } from 'vitest';
import { fuzzNet } from '../../fuzz/net/run.ts';

it('hostile frames and drivers neither crash nor hold up anything, and stay within the bounds', async () => {
  const { steps, answers } = await fuzzNet(1, 4000);
  expect(steps).toBe(4000);
  // Connections were made, refused and reset, datagrams and neighbours answered: the frames reach what they are to reach.
  expect([...answers.keys()]).toEqual(expect.arrayContaining(['TCP 12', 'TCP 14', 'TCP 4', 'TCP 10', 'type 86dd', 'type 800']));
}, 60_000);
