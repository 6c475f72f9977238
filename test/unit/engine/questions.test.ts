import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ContractError } from '../../../core/contract/errors.ts';
import { Questions } from '../../../core/engine/questions.ts';
import type { ToVmProcess } from '../../../core/machine/messages.ts';

describe('questions to a VM process', () => {
  let sent: ToVmProcess[];
  let questions: Questions<string>;
  const ask = (): Promise<string> => questions.ask((id) => ({ type: 'thumbnail', id }));

  beforeEach(() => {
    vi.useFakeTimers();
    sent = [];
    questions = new Questions((message) => void sent.push(message));
  });
  afterEach(() => void vi.useRealTimers());

  it('are answered by their numbers, in any order', async () => {
    const both = [ask(), ask()];
    questions.answer(1, 'second');
    questions.answer(0, 'first');
    expect(await Promise.all(both)).toEqual(['first', 'second']);
    expect(sent).toEqual([{ type: 'thumbnail', id: 0 }, { type: 'thumbnail', id: 1 }]);
  });

  it('hear why they are refused', async () => {
    const refused = ask();
    questions.refuse(0, new ContractError('wrong-state', 'The slot is taken.', 'Choose another.').toShape());
    await expect(refused).rejects.toMatchObject({ code: 'wrong-state', message: 'The slot is taken.' });
  });

  it('end with a process that ends, or does not answer', async () => {
    const [ended, silent] = [ask(), ask()];
    questions.answer(0, 'in time');
    await expect(ended).resolves.toBe('in time');
    const late = expect(silent).rejects.toMatchObject({ code: 'wrong-state', message: 'The VM does not answer.' });
    await vi.advanceTimersByTimeAsync(60_000);
    await late;
    const gone = expect(ask()).rejects.toMatchObject({ message: 'The VM does not answer.' });
    questions.end();
    await gone;
    // What comes too late, or was never asked for, changes nothing.
    questions.answer(1, 'late');
    questions.answer(7, 'unasked');
  });
});
