/** The unit against a second evaluator that reads the tables for every request (test/fuzz/vtd). */
import { expect, it } from 'vitest';
import { fuzzVtd } from '../../fuzz/vtd/run.ts';

it.each([101, 102, 103])('answers 15,000 random steps as the model does, seed %i', seed => {
  const { answers, hits } = fuzzVtd(seed, 15_000);
  // The tables lead to pages and to most of the reasons for a fault, and the caches are used.
  expect(answers.get('page')).toBeGreaterThan(500);
  expect(answers.get('interrupt')).toBeGreaterThan(200);
  expect(answers.size).toBeGreaterThan(40);
  expect(hits).toBeGreaterThan(100);
});
