import { useState } from 'react';

let returning = false;

/** Whether the focus that just came to an element was given back to it: nothing new is said about it then. */
export function isFocusReturned(): boolean {
  return returning;
}

/**
 * For dialogs that a command opens rather than a button: gives the focus back to what had it, unless something that the dialog
 * brought about, such as a console, has taken it meanwhile.
 */
export function useFocusReturn(): (event: Event) => void {
  const [opener] = useState(() => document.activeElement);
  return (event) => {
    event.preventDefault();
    const free = document.activeElement === null || document.activeElement === document.body;
    if (!free || !(opener instanceof HTMLElement) || !opener.isConnected) return;
    returning = true;
    opener.focus();
    returning = false;
  };
}
