import { ChevronDown, ChevronUp, X } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import type { KeyboardEvent, ReactNode } from 'react';
import { IconButton } from '../controls/button.tsx';
import { TextInput } from '../controls/field.tsx';
import { useFind } from './find-state.ts';
import type { ConsoleSession } from './session.ts';

/** Searches a console's lines, scrollback included. */
export function FindBar({ session }: { readonly session: ConsoleSession }): ReactNode {
  const [text, setText] = useState('');
  const [found, setFound] = useState({ index: -1, count: 0 });
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    field.current?.focus();
    const listener = session.search.onDidChangeResults(({ resultIndex, resultCount }) => setFound({ index: resultIndex, count: resultCount }));
    return () => {
      listener.dispose();
      session.endFind();
    };
  }, [session]);
  const close = (): void => {
    useFind.setState({ open: null });
    session.terminal.focus();
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') close();
    else if (event.key === 'Enter') session.find(text, event.shiftKey ? 'previous' : 'next', false);
    else return;
    event.preventDefault();
  };
  const type = (next: string): void => {
    setText(next);
    if (next === '') session.endFind();
    else session.find(next, 'next', true);
  };
  const count = text === '' ? '' : found.count === 0 ? 'No match' : found.index < 0 ? `${found.count}` : `${found.index + 1} of ${found.count}`;
  return (
    <div className="find" role="search" aria-label="Find in console">
      <TextInput ref={field} aria-label="Find" placeholder="Find" value={text} onText={type} onKeyDown={key} />
      <span className="count" role="status">{count}</span>
      <IconButton small icon={ChevronUp} label="Previous match" shortcut="Shift+Enter" onClick={() => session.find(text, 'previous', false)} />
      <IconButton small icon={ChevronDown} label="Next match" shortcut="Enter" onClick={() => session.find(text, 'next', false)} />
      <IconButton small icon={X} label="Close find" shortcut="Escape" onClick={close} />
    </div>
  );
}
