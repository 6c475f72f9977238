import { X } from 'lucide-react';
import { Dialog as Primitive } from 'radix-ui';
import type { FormEvent, ReactNode } from 'react';
import { IconButton } from './button.tsx';
import { useFocusReturn } from './focus.ts';

interface DialogProps {
  readonly title: string;
  readonly description?: string;
  readonly wide?: boolean;
  readonly onClose: () => void;
  /** Makes the dialog a form: Enter in a field submits it. */
  readonly onSubmit?: () => void;
  readonly footer?: ReactNode;
  readonly bodyClass?: string;
  readonly alert?: boolean;
  readonly children?: ReactNode;
}

/**
 * What gets the focus first: the first thing to fill in or to choose, else the button that confirms, or that cancels where something would be lost for
 * good; never the one that closes.
 */
const firstFocus = [
  '[data-first-focus]', ':is(.dialog-body, .chooser) :is(input, textarea, button, [tabindex="0"]):not(:disabled)', '.dialog-foot:has(.danger) button:first-child', '.dialog-foot button:last-child',
];

function focusFirst(event: Event): void {
  const dialog = event.currentTarget;
  if (!(dialog instanceof HTMLElement)) return;
  event.preventDefault();
  const first = firstFocus.map((selector) => dialog.querySelector<HTMLElement>(selector)).find((found) => found !== null);
  (first ?? dialog).focus();
}

/** A modal dialog: named for screen readers, closed by Escape, focus kept inside and given back afterwards. */
export function Dialog({ title, description, wide = false, onClose, onSubmit, footer, bodyClass = 'dialog-body', alert = false, children }: DialogProps): ReactNode {
  const giveFocusBack = useFocusReturn();
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    event.stopPropagation();
    onSubmit?.();
  };
  const inside = (
    <>
      <header className="dialog-head">
        <div className="titles">
          <Primitive.Title asChild><h2>{title}</h2></Primitive.Title>
          {description !== undefined && <Primitive.Description asChild><p>{description}</p></Primitive.Description>}
        </div>
        {!alert && <IconButton icon={X} label="Close" shortcut="Escape" onClick={onClose} />}
      </header>
      {children !== undefined && <div className={bodyClass}>{children}</div>}
      {footer !== undefined && <footer className="dialog-foot">{footer}</footer>}
    </>
  );
  const withoutDescription = description === undefined ? { 'aria-describedby': undefined } : {};
  return (
    <Primitive.Root open onOpenChange={(open) => { if (!open) onClose(); }}>
      <Primitive.Portal>
        <Primitive.Overlay className="scrim" />
        <Primitive.Content className={`dialog ${wide ? 'wide' : ''}`} role={alert ? 'alertdialog' : 'dialog'} {...withoutDescription} onOpenAutoFocus={focusFirst} onCloseAutoFocus={giveFocusBack}
          onPointerDownOutside={(event) => event.preventDefault()} onInteractOutside={(event) => event.preventDefault()} asChild={onSubmit !== undefined}>
          {onSubmit ? <form onSubmit={submit} noValidate>{inside}</form> : inside}
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}
