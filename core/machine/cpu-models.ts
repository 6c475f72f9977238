/** The processor models that a person may choose from. */
import { DEFAULT_MODEL, MODELS } from '../cpu/models.ts';
import { ContractError } from '../contract/errors.ts';
import type { HostInfo } from '../contract/operations.ts';

export function cpuModels(): HostInfo['cpuModels'] {
  return MODELS.map(({ name, description }) => ({ name, description, isDefault: name === DEFAULT_MODEL }));
}

/** Empty means the default model. @throws ContractError `bad-field` that lists the models there are. */
export function checkCpuModel(name: string): void {
  if (name === '' || MODELS.some((model) => model.name === name)) return;
  throw new ContractError('bad-field', `There is no processor model "${name}".`, `Choose one of ${MODELS.map((model) => model.name).join(', ')}.`, 'cpuModel');
}
