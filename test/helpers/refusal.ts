/** What an action is refused with; fails the test when it is not refused, or in another way. */
import { ContractError } from '../../core/contract/index.ts';

export function refusal(action: () => unknown): ContractError {
  try {
    action();
  } catch (error) {
    if (error instanceof ContractError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}
