/** The file of a disk or a disc, with what the engine finds in it under the field. */
import { useEffect, useState } from 'react';
import type { ComponentProps, ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { DiskConfig } from '../../core/contract/index.ts';
import type { FieldProblem } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';
import { PathField } from './path-field.tsx';

const SETTLE_MS = 350;

interface Found {
  readonly description?: string;
  readonly problem?: FieldProblem;
}

/** Asked once typing pauses, so that a wrong file is named before the machine starts. */
function useFound(path: string, kind: DiskConfig['kind']): Found {
  const [found, setFound] = useState<Found>({});
  useEffect(() => {
    setFound({});
    if (path === '') return;
    let current = true;
    const timer = setTimeout(() => {
      engine.call('disk.describe', { path, kind }).then(
        ({ description }) => { if (current) setFound({ description }); },
        (thrown: unknown) => {
          const error = asContractError(thrown);
          if (current && error.code !== 'engine-unreachable') setFound({ problem: error });
        },
      );
    }, SETTLE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [path, kind]);
  return found;
}

export function ImageField({ kind, value, hint, problem, ...rest }: ComponentProps<typeof PathField> & Pick<DiskConfig, 'kind'>): ReactNode {
  const found = useFound(value.trim(), kind);
  return <PathField {...rest} value={value} hint={found.description ?? hint} problem={problem ?? found.problem} />;
}
