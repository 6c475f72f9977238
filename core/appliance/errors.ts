/** Refusals of appliances, as a person sees them. */
import { ContractError } from '../contract/errors.ts';

/** @param what completes the sentence "The appliance PATH ..." */
export function badAppliance(path: string, what: string, hint = 'Export it again, with the program that made it.'): ContractError {
  return new ContractError('bad-image', `The appliance "${path}" ${what}.`, hint, 'path');
}
