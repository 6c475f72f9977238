/** The processor models that a person may choose from. */

export interface CpuModelInfo {
  readonly name: string;
  readonly description: string;
  readonly isDefault: boolean;
}

/** Until the processor's own rows are there, one name stands for the default. */
export function cpuModels(): readonly CpuModelInfo[] {
  return [{ name: '', description: 'Default model (x86-64-v2 class)', isDefault: true }];
}
