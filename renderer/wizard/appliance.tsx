/** The part of the create wizard that makes a machine of what was exported: by another program, or by this one. */
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import { PathField } from '../configuration/path-field.tsx';
import { useAnswer } from '../configuration/use-answer.ts';
import type { FieldProblem } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';

/** By its name: what is in it is looked at when it is imported. */
export function isSnapshot(path: string): boolean {
  return path.endsWith('.vpsnap');
}

export interface Described {
  readonly name?: string;
  readonly description?: string;
  readonly problem?: FieldProblem;
}

const nothing: Described = {};

/** What the engine finds in the file. @param path empty: nothing is asked */
export function useAppliance(path: string): Described {
  return useAnswer<Described>(path, nothing, () => (path === '' || isSnapshot(path) ? null : engine.call('appliance.describe', { path }).then(
    (found) => found,
    (thrown: unknown) => ({ problem: asContractError(thrown) }),
  )));
}

interface ApplianceFieldProps {
  readonly path: string;
  readonly described: Described;
  readonly disabled: boolean;
  readonly onPath: (path: string) => void;
}

export function ApplianceField({ path, described, disabled, onPath }: ApplianceFieldProps): ReactNode {
  return (
    <PathField label="File to import" value={path} placeholder="/home/me/server.ova" disabled={disabled} problem={described.problem} onPath={onPath}
      hint={described.description ?? 'An OVA or OVF file; a VMDK or VDI image, which gets a machine around it; or a snapshot (.vpsnap). Disks are copied.'} />
  );
}
