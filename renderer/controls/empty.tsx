import type { LucideIcon } from 'lucide-react';
import type { ReactNode } from 'react';

interface EmptyProps {
  readonly icon: LucideIcon;
  /** Shown in the icon's place. */
  readonly picture?: ReactNode;
  readonly title: string;
  /** What there would be here, and how it gets there. */
  readonly text: string;
  readonly action?: ReactNode;
  readonly children?: ReactNode;
}

/** A view with nothing to show. */
export function Empty({ icon: Icon, picture, title, text, action, children }: EmptyProps): ReactNode {
  return (
    <div className="empty">
      <div className="empty-inner">
        {picture ?? <div className="glyph"><Icon size={26} aria-hidden /></div>}
        <h2>{title}</h2>
        <p>{text}</p>
        {action && <div className="actions">{action}</div>}
        {children}
      </div>
    </div>
  );
}
