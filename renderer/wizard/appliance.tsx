/** The part of the create wizard that makes a machine of what was exported: by another program, or by this one. */
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import { PathField } from '../configuration/path-field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';

const SETTLE_MS = 350;

/** By its name: what is in it is looked at when it is imported. */
export function isSnapshot(path: string): boolean {
  return path.endsWith('.vpsnap');
}

export interface Described {
  readonly name?: string;
  readonly description?: string;
  readonly problem?: FieldProblem;
}

/** What the engine finds in the file, once typing pauses. @param path empty: nothing is asked */
export function useAppliance(path: string): Described {
  const [described, setDescribed] = useState<Described>({});
  useEffect(() => {
    setDescribed({});
    if (path === '' || isSnapshot(path)) return;
    let current = true;
    const timer = setTimeout(() => {
      engine.call('appliance.describe', { path }).then(
        (found) => { if (current) setDescribed(found); },
        (thrown: unknown) => { if (current) setDescribed({ problem: asContractError(thrown) }); },
      );
    }, SETTLE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [path]);
  return described;
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
