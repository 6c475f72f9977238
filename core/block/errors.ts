/** Refusals of images, as a person sees them. */
import { ContractError } from '../contract/errors.ts';

/** @param what completes the sentence "The disk image PATH ..." */
export function badImage(path: string, what: string, hint = 'Check it with `vanderpool disk check`, or choose another image.'): ContractError {
  return new ContractError('bad-image', `The disk image "${path}" ${what}.`, hint);
}
