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

/** The same of what is refused later. */
export async function refused(action: Promise<unknown>): Promise<ContractError> {
  const error: unknown = await action.then(() => null, (thrown: unknown) => thrown);
  if (error instanceof ContractError) return error;
  throw error ?? new Error('nothing was refused');
}
