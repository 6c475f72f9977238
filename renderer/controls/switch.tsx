import { Switch as Primitive } from 'radix-ui';
import type { ReactNode } from 'react';

interface SwitchProps {
  readonly label: string;
  readonly on: boolean;
  readonly onTurn: (on: boolean) => void;
  readonly disabled?: boolean;
}

export function Switch({ label, on, onTurn, disabled = false }: SwitchProps): ReactNode {
  return (
    <Primitive.Root className="switch" aria-label={label} checked={on} onCheckedChange={onTurn} disabled={disabled}>
      <Primitive.Thumb className="switch-thumb" />
    </Primitive.Root>
  );
}
