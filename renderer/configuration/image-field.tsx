/** The file of a disk or a disc, with what the engine finds in it under the field. */
import type { ComponentProps, ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { DiskConfig } from '../../core/contract/index.ts';
import type { FieldProblem } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';
import { PathField } from './path-field.tsx';
import { useAnswer } from './use-answer.ts';

interface Found {
  readonly description?: string;
  readonly problem?: FieldProblem;
}

const nothing: Found = {};

/** A wrong file is named before the machine starts. */
function useFound(path: string, kind: DiskConfig['kind']): Found {
  return useAnswer<Found>(JSON.stringify([path, kind]), nothing, () => (path === '' ? null : engine.call('disk.describe', { path, kind }).then(
    ({ description }) => ({ description }),
    (thrown: unknown) => {
      const error = asContractError(thrown);
      return error.code === 'engine-unreachable' ? nothing : { problem: error };
    },
  )));
}

export function ImageField({ kind, value, hint, problem, ...rest }: ComponentProps<typeof PathField> & Pick<DiskConfig, 'kind'>): ReactNode {
  const found = useFound(value.trim(), kind);
  return <PathField {...rest} value={value} hint={found.description ?? hint} problem={problem ?? found.problem} />;
}
