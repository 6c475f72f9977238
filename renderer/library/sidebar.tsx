import { Keyboard, Plus, Search, Settings, SunMoon } from 'lucide-react';
import { useRef } from 'react';
import type { KeyboardEvent, ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { shortcutOf } from '../commands/commands.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { TextInput } from '../controls/field.tsx';
import { Keys } from '../controls/tooltip.tsx';
import { engine } from '../engine/engine.ts';
import { openDialog, select, useLayout } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';
import { searchVms } from './filter.ts';
import { VmRow } from './vm-row.tsx';

export const SIDEBAR_LIMITS = { minimum: 200, maximum: 420 } as const;

/** The library: every VM with its state, searchable, ordered as the person likes. */
export function Sidebar(): ReactNode {
  const width = useLayout((state) => state.sidebarWidth);
  const search = useLayout((state) => state.search);
  const vms = useLibrary((state) => state.vms);
  const loaded = useLibrary((state) => state.loaded);
  const shown = searchVms(vms, search);
  return (
    <nav className="sidebar" style={{ width }} aria-label="Library">
      <header className="sidebar-head">
        <div className="brand"><img src="./icon.svg" alt="" />Vanderpool</div>
        <IconButton icon={Plus} label="New virtual machine" shortcut={shortcutOf('create')} onClick={() => openDialog({ kind: 'create' })} />
      </header>
      <div className="sidebar-search">
        <div className="input-affix">
          <Search size={13} aria-hidden />
          <TextInput id="library-search" type="search" aria-label="Search the library" placeholder="Search" value={search}
            onText={(text) => useLayout.setState({ search: text })} onKeyDown={(event) => leaveSearch(event, shown)} />
          {search === '' && <Keys shortcut="/" />}
        </div>
      </div>
      <VmList vms={shown} draggable={search === ''} />
      {loaded && shown.length === 0 && <Nothing searched={search !== ''} />}
      <footer className="sidebar-foot">
        <IconButton icon={Settings} label="Settings" shortcut={shortcutOf('settings')} side="top" onClick={() => openDialog({ kind: 'settings' })} />
        <IconButton icon={Keyboard} label="Keyboard shortcuts" shortcut={shortcutOf('shortcuts')} side="top" onClick={() => openDialog({ kind: 'shortcuts' })} />
        <span className="spacer" />
        <IconButton icon={SunMoon} label="Switch between dark and light" side="top" onClick={switchTheme} />
      </footer>
    </nav>
  );
}

function leaveSearch(event: KeyboardEvent, shown: readonly Vm[]): void {
  const first = shown[0];
  if (event.key === 'Escape') useLayout.setState({ search: '' });
  else if ((event.key === 'Enter' || event.key === 'ArrowDown') && first) {
    event.preventDefault();
    select(first.id);
    document.getElementById(`vm-${first.id}`)?.focus();
  }
}

function switchTheme(): void {
  const theme = document.documentElement.dataset['theme'] === 'light' ? 'dark' : 'light';
  engine.call('settings.set', { changes: { theme } }).catch(notifyError);
}

function VmList({ vms, draggable }: { readonly vms: readonly Vm[]; readonly draggable: boolean }): ReactNode {
  const selected = useLayout((state) => state.selected);
  const dragged = useRef<string | null>(null);
  const move = (event: KeyboardEvent): void => {
    const at = vms.findIndex((vm) => vm.id === selected);
    const places: Readonly<Record<string, number>> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: vms.length - 1 };
    const next = vms[places[event.key] ?? -1];
    if (!next || event.altKey) return;
    event.preventDefault();
    select(next.id);
    document.getElementById(`vm-${next.id}`)?.focus();
  };
  const drop = (target: Vm): void => {
    const id = dragged.current;
    dragged.current = null;
    if (id === null || id === target.id) return;
    engine.call('vm.move', { vm: id, position: vms.indexOf(target) }).catch(notifyError);
  };
  if (vms.length === 0) return null;
  return (
    <div className="vm-list" role="listbox" aria-label="Virtual machines" onKeyDown={move}>
      {vms.map((vm, index) => (
        <VmRow key={vm.id} vm={vm} selected={vm.id === selected} tabbable={vm.id === selected || (index === 0 && !vms.some(({ id }) => id === selected))}
          draggable={draggable} onDrag={() => void (dragged.current = vm.id)} onDrop={() => drop(vm)} />
      ))}
    </div>
  );
}

function Nothing({ searched }: { readonly searched: boolean }): ReactNode {
  return (
    <div className="sidebar-note" style={{ flex: 1 }}>
      {searched ? 'No machine matches. Names, notes and boot files are searched.' : 'The library is empty.'}
      <div>
        {searched
          ? <Button onClick={() => useLayout.setState({ search: '' })}>Clear the search</Button>
          : <Button icon={Plus} onClick={() => openDialog({ kind: 'create' })}>New machine</Button>}
      </div>
    </div>
  );
}
