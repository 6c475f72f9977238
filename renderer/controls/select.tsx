import { Check, ChevronDown } from 'lucide-react';
import { Select as Primitive } from 'radix-ui';
import type { ReactNode } from 'react';
import type { FieldTies } from './field.tsx';

export interface Option {
  readonly value: string;
  readonly label: string;
  readonly detail?: string;
}

interface SelectProps {
  readonly value: string;
  readonly options: readonly Option[];
  readonly onPick: (value: string) => void;
  readonly label?: string;
  readonly ties?: FieldTies;
  readonly compact?: boolean;
  readonly disabled?: boolean;
}

/** A choice of one from a list; the list may explain each option in a second line. */
export function Select({ value, options, onPick, label, ties, compact = false, disabled = false }: SelectProps): ReactNode {
  const shown = options.find((option) => option.value === value)?.label ?? value;
  return (
    <Primitive.Root value={value} onValueChange={onPick} disabled={disabled}>
      <Primitive.Trigger className={`select-trigger ${compact ? 'compact' : ''}`} aria-label={label} {...ties}>
        {/* An empty value is a choice like any other here; the primitive takes it for none. */}
        <Primitive.Value placeholder={shown}>{shown}</Primitive.Value>
        <ChevronDown size={14} aria-hidden />
      </Primitive.Trigger>
      <Primitive.Portal>
        <Primitive.Content className="menu select-menu" position="popper" sideOffset={4} collisionPadding={8}>
          <Primitive.Viewport>
            {options.map((option) => (
              <Primitive.Item className="menu-item select-item" value={option.value} key={option.value}>
                <span className="mark"><Primitive.ItemIndicator><Check size={14} aria-hidden /></Primitive.ItemIndicator></span>
                <span className="label">
                  <Primitive.ItemText>{option.label}</Primitive.ItemText>
                  {option.detail !== undefined && <span className="detail">{option.detail}</span>}
                </span>
              </Primitive.Item>
            ))}
          </Primitive.Viewport>
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}
