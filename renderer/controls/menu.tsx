import type { LucideIcon } from 'lucide-react';
import { ContextMenu, DropdownMenu } from 'radix-ui';
import type { ReactNode } from 'react';
import { Keys } from './tooltip.tsx';

export interface MenuAction {
  readonly kind: 'action';
  readonly label: string;
  readonly icon?: LucideIcon;
  readonly shortcut?: string | undefined;
  readonly danger?: boolean;
  readonly disabled?: boolean;
  readonly run: () => void;
}

export type MenuRow = MenuAction | { readonly kind: 'rule' } | { readonly kind: 'heading'; readonly label: string };

interface MenuProps {
  readonly rows: readonly MenuRow[];
  readonly children: ReactNode;
  readonly onOpenChange?: (open: boolean) => void;
}

type Parts = typeof ContextMenu | typeof DropdownMenu;

function Rows({ parts, rows }: { readonly parts: Parts; readonly rows: readonly MenuRow[] }): ReactNode {
  return rows.map((row, index) => {
    if (row.kind === 'rule') return <parts.Separator className="menu-rule" key={index} />;
    if (row.kind === 'heading') return <parts.Label className="menu-heading" key={index}>{row.label}</parts.Label>;
    const Icon = row.icon;
    return (
      <parts.Item key={index} className={`menu-item ${row.danger ? 'danger' : ''}`} disabled={row.disabled ?? false} onSelect={row.run}>
        {Icon && <Icon size={14} aria-hidden />}
        <span className="label">{row.label}</span>
        {row.shortcut !== undefined && <Keys shortcut={row.shortcut} />}
      </parts.Item>
    );
  });
}

/** The menu behind a right click, or the menu key, on its child. */
export function RightClickMenu({ rows, children, onOpenChange }: MenuProps): ReactNode {
  return (
    <ContextMenu.Root {...(onOpenChange ? { onOpenChange } : {})}>
      <ContextMenu.Trigger asChild>{children}</ContextMenu.Trigger>
      <ContextMenu.Portal>
        <ContextMenu.Content className="menu" collisionPadding={8}><Rows parts={ContextMenu} rows={rows} /></ContextMenu.Content>
      </ContextMenu.Portal>
    </ContextMenu.Root>
  );
}

/** The menu that a button opens. */
export function ButtonMenu({ rows, children }: MenuProps): ReactNode {
  return (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger asChild>{children}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align="end" sideOffset={4} collisionPadding={8}><Rows parts={DropdownMenu} rows={rows} /></DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
