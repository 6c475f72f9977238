import { LoaderCircle } from 'lucide-react';
import type { LucideIcon } from 'lucide-react';
import type { ComponentProps, ReactNode } from 'react';
import { ariaShortcut } from './keys.ts';
import { Tip } from './tooltip.tsx';

export type ButtonLook = 'plain' | 'quiet' | 'primary' | 'danger';

interface ButtonProps extends ComponentProps<'button'> {
  readonly look?: ButtonLook;
  readonly icon?: LucideIcon;
  readonly size?: 'normal' | 'large';
  /** Shows a spinner and refuses further presses. */
  readonly busy?: boolean;
}

/** A button with a text label. */
export function Button({ look = 'quiet', icon: Icon, size = 'normal', busy = false, className = '', children, ...rest }: ButtonProps): ReactNode {
  const classes = `button ${look} ${size === 'large' ? 'large' : ''} ${className}`;
  return (
    <button type="button" {...rest} className={classes} disabled={rest.disabled || busy} aria-busy={busy || undefined}>
      {busy ? <LoaderCircle size={14} className="spinner" aria-hidden /> : Icon && <Icon size={14} aria-hidden />}
      {children}
    </button>
  );
}

interface IconButtonProps extends ComponentProps<'button'> {
  readonly icon: LucideIcon;
  /** What the button does: its accessible name and its tooltip. */
  readonly label: string;
  readonly shortcut?: string | undefined;
  readonly look?: ButtonLook;
  readonly small?: boolean;
  readonly side?: 'top' | 'bottom' | 'left' | 'right';
}

/** A button that shows only an icon; its name is in the tooltip and for screen readers. */
export function IconButton({ icon: Icon, label, shortcut, look = 'plain', small = false, side = 'bottom', className = '', ...rest }: IconButtonProps): ReactNode {
  return (
    <Tip text={label} shortcut={shortcut} side={side}>
      <button type="button" aria-label={label} aria-keyshortcuts={shortcut === undefined ? undefined : ariaShortcut(shortcut)} {...rest}
        className={`button icon ${look} ${small ? 'small' : ''} ${className}`}>
        <Icon size={small ? 13 : 15} aria-hidden />
      </button>
    </Tip>
  );
}
