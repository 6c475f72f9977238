import { useState } from 'react';

/**
 * For dialogs that a command opens rather than a button: gives the focus back to what had it, unless something that the dialog
 * brought about, such as a console, has taken it meanwhile.
 */
export function useFocusReturn(): (event: Event) => void {
  const [opener] = useState(() => document.activeElement);
  return (event) => {
    event.preventDefault();
    const free = document.activeElement === null || document.activeElement === document.body;
    if (free && opener instanceof HTMLElement && opener.isConnected) opener.focus();
  };
}
