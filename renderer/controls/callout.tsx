import { CircleAlert, Info, TriangleAlert } from 'lucide-react';
import type { ReactNode } from 'react';

const looks = { error: CircleAlert, warning: TriangleAlert, info: Info } as const;

interface CalloutProps {
  readonly kind: keyof typeof looks;
  readonly title: string;
  readonly hint?: string | undefined;
  readonly actions?: ReactNode;
  readonly children?: ReactNode;
}

/** A message at the place that it is about. Errors are announced at once. */
export function Callout({ kind, title, hint, actions, children }: CalloutProps): ReactNode {
  const Icon = looks[kind];
  return (
    <div className={`callout ${kind}`} role={kind === 'error' ? 'alert' : 'status'}>
      <Icon size={15} aria-hidden />
      <div className="body">
        <div className="title">{title}</div>
        {hint && <div className="hint">{hint}</div>}
        {children}
      </div>
      {actions !== undefined && <div className="actions">{actions}</div>}
    </div>
  );
}
