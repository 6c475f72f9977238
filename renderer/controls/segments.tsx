import type { LucideIcon } from 'lucide-react';
import { ToggleGroup } from 'radix-ui';
import type { ReactNode } from 'react';

export interface Segment<T extends string> {
  readonly value: T;
  readonly label: string;
  readonly icon?: LucideIcon;
}

interface SegmentsProps<T extends string> {
  readonly label: string;
  readonly value: T;
  readonly segments: readonly Segment<T>[];
  readonly onPick: (value: T) => void;
}

/** A few alternatives side by side, one of them chosen. */
export function Segments<T extends string>({ label, value, segments, onPick }: SegmentsProps<T>): ReactNode {
  const pick = (text: string): void => {
    const segment = segments.find((candidate) => candidate.value === text);
    if (segment) onPick(segment.value);
  };
  return (
    <ToggleGroup.Root type="single" className="segments" aria-label={label} value={value} onValueChange={pick}>
      {segments.map(({ value: own, label: text, icon: Icon }) => (
        <ToggleGroup.Item className="segment" value={own} key={own}>{Icon && <Icon size={13} aria-hidden />}{text}</ToggleGroup.Item>
      ))}
    </ToggleGroup.Root>
  );
}
