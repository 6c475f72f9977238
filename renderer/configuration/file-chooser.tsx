import { ArrowUp, Eye, EyeOff, File, Folder, House } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import type { KeyboardEvent, ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { ContractError, FolderEntry, OperationOutput } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { TextInput } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';
import { formatBytes } from '../state/format.ts';

interface FileChooserProps {
  readonly title: string;
  /** The path in the field: its folder is shown first. */
  readonly start: string;
  /** Folders are chosen, and files not shown. */
  readonly folders?: boolean;
  readonly onChoose: (path: string) => void;
  readonly onClose: () => void;
}

type Listing = OperationOutput<'host.folder'>;

/** The folder of a path, or null when it has none. */
export function folderOf(path: string): string | null {
  const at = Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\'));
  return at > 0 ? path.slice(0, at) : at === 0 ? '/' : null;
}

/** Chooses a file or a folder among those of the engine's host, which may not be the browser's. */
export function FileChooser({ title, start, folders = false, onChoose, onClose }: FileChooserProps): ReactNode {
  const [listing, setListing] = useState<Listing | null>(null);
  const [typed, setTyped] = useState('');
  const [active, setActive] = useState(0);
  const [hidden, setHidden] = useState(false);
  const [error, setError] = useState<ContractError | null>(null);
  const list = useRef<HTMLDivElement>(null);

  const show = (path: string | null): Promise<void> => engine.call('host.folder', { path }).then((found) => {
    setListing(found);
    setTyped(found.path);
    setActive(0);
    setError(null);
  });
  useEffect(() => {
    show(folders && start !== '' ? start : folderOf(start)).catch(() => show(folderOf(start))).catch(() => show(null)).catch((thrown: unknown) => setError(asContractError(thrown)));
  }, []);
  const go = (path: string | null): void => void show(path).catch((thrown: unknown) => setError(asContractError(thrown)));
  /** What was typed is a folder to show, or a file to choose. */
  const enter = async (): Promise<void> => {
    try {
      await show(typed);
    } catch (thrown) {
      const beside = await engine.call('host.folder', { path: folderOf(typed) }).catch(() => null);
      if (beside?.entries.some(({ path, kind }) => path === typed && kind === 'file')) onChoose(typed);
      else setError(asContractError(thrown));
    }
  };
  const pick = (entry: FolderEntry | undefined): void => {
    if (!entry) return;
    if (entry.kind === 'file') return onChoose(entry.path);
    go(entry.path);
    list.current?.focus();
  };
  const all = listing?.entries.filter(({ kind }) => !folders || kind === 'folder') ?? [];
  const entries = all.filter(({ name }) => hidden || !name.startsWith('.'));
  const key = (event: KeyboardEvent): void => {
    const moves: Readonly<Record<string, number>> = { ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: entries.length - 1 };
    const to = moves[event.key];
    if (to !== undefined) {
      const next = Math.min(entries.length - 1, Math.max(0, to));
      setActive(next);
      list.current?.children[next]?.scrollIntoView({ block: 'nearest' });
    } else if (event.key === 'Backspace' && listing && listing.parent !== null) go(listing.parent);
    else if (event.key === 'Enter') pick(entries[active]);
    else return;
    event.preventDefault();
  };
  const chosen = entries[active];
  return (
    <Dialog title={title} description={`${folders ? 'Folders' : 'Files'} of the machine that runs the engine.`} wide bodyClass="chooser" onClose={onClose} onSubmit={() => void enter()}
      footer={<>
        <Button look="plain" size="large" onClick={onClose}>Cancel</Button>
        {folders
          ? <Button look="primary" size="large" disabled={!listing} onClick={() => { if (listing) onChoose(listing.path); }}>Choose this folder</Button>
          : <Button look="primary" size="large" disabled={!chosen} onClick={() => pick(chosen)}>{chosen?.kind === 'folder' ? 'Open folder' : 'Choose'}</Button>}
      </>}>
      <div className="chooser-bar">
        <IconButton icon={ArrowUp} label="Parent folder" disabled={!listing || listing.parent === null} onClick={() => go(listing?.parent ?? null)} />
        <IconButton icon={House} label="Home folder" onClick={() => go(null)} />
        <IconButton icon={hidden ? Eye : EyeOff} label="Hidden files" aria-pressed={hidden} onClick={() => { setHidden(!hidden); setActive(0); }} />
        <TextInput aria-label="Folder" className="mono" value={typed} onText={setTyped} />
      </div>
      {error && <div style={{ padding: '0 16px 10px' }}><Callout kind="error" title={error.message} hint={error.hint} /></div>}
      <div className="chooser-list" role="listbox" aria-label={folders ? 'Folders' : 'Files'} tabIndex={0} data-first-focus ref={list} onKeyDown={key}
        aria-activedescendant={chosen ? `chooser-${active}` : undefined}>
        {entries.map((entry, index) => (
          <div key={entry.path} id={`chooser-${index}`} className={`chooser-row ${entry.kind}`} role="option" aria-selected={index === active}
            onClick={() => setActive(index)} onDoubleClick={() => pick(entry)}>
            {entry.kind === 'folder' ? <Folder size={14} aria-hidden /> : <File size={14} aria-hidden />}
            <span className="name">{entry.name}</span>
            {entry.kind === 'file' && <span className="size numeric">{formatBytes(entry.size)}</span>}
          </div>
        ))}
        {listing && entries.length === 0 && <div className="palette-empty">{emptyText(folders, all.length)}</div>}
      </div>
    </Dialog>
  );
}

function emptyText(folders: boolean, hidden: number): string {
  if (folders) return hidden === 0 ? 'There is no folder in this one' : 'Every folder in this one is hidden';
  return hidden === 0 ? 'This folder is empty' : 'Everything in this folder is hidden';
}
