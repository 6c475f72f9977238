import { Tooltip } from 'radix-ui';
import type { ReactNode } from 'react';
import { isFocusReturned } from './focus.ts';
import { keyCaps } from './keys.ts';

/** The caps of a shortcut; screen readers hear it from `aria-keyshortcuts` instead. */
export function Keys({ shortcut }: { readonly shortcut: string }): ReactNode {
  return (
    <span className="keys" aria-hidden>
      {keyCaps(shortcut).map((cap) => <kbd className="key" key={cap}>{cap}</kbd>)}
    </span>
  );
}

interface TipProps {
  readonly text: string;
  readonly shortcut?: string | undefined;
  readonly side?: 'top' | 'bottom' | 'left' | 'right';
  readonly children: ReactNode;
}

/** A tooltip over its one child, with the shortcut that does the same. */
export function Tip({ text, shortcut, side = 'bottom', children }: TipProps): ReactNode {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild onFocus={(event) => { if (isFocusReturned()) event.preventDefault(); }}>{children}</Tooltip.Trigger>
      <Tooltip.Portal>
        <Tooltip.Content className="tooltip" side={side} sideOffset={6} collisionPadding={8}>
          {text}
          {shortcut !== undefined && <Keys shortcut={shortcut} />}
        </Tooltip.Content>
      </Tooltip.Portal>
    </Tooltip.Root>
  );
}

export const TipProvider = Tooltip.Provider;
