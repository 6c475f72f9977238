import { ChevronRight, Keyboard, Plus, Search, Settings, SunMoon } from 'lucide-react';
import { useRef } from 'react';
import type { KeyboardEvent, ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { shortcutOf } from '../commands/commands.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { TextInput } from '../controls/field.tsx';
import { Keys } from '../controls/tooltip.tsx';
import { engine } from '../engine/engine.ts';
import { openDialog, select, toggleGroup, useLayout } from '../state/layout.ts';
import { isAlive, useLibrary } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';
import { searchVms } from './filter.ts';
import { arrange, inSight } from './groups.ts';
import type { Group } from './groups.ts';
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
      <VmList vms={shown} searched={search !== ''} />
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

interface VmListProps {
  readonly vms: readonly Vm[];
  /** All groups are open, and nothing can be dragged: what is shown is not the whole. */
  readonly searched: boolean;
}

function VmList({ vms, searched }: VmListProps): ReactNode {
  const selected = useLayout((state) => state.selected);
  const kept = useLayout((state) => state.folded);
  const folded = searched ? [] : kept;
  const dragged = useRef<string | null>(null);
  const groups = arrange(vms);
  const rows = inSight(groups, folded);
  const move = (event: KeyboardEvent): void => {
    const group = event.target instanceof HTMLElement ? event.target.closest<HTMLElement>('.vm-group') : null;
    if (group && !searched && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) return foldFrom(group, event.key === 'ArrowLeft', kept);
    const at = rows.findIndex((vm) => vm.id === selected);
    const places: Readonly<Record<string, number>> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 };
    const next = rows[places[event.key] ?? -1];
    if (!next || event.altKey) return;
    event.preventDefault();
    select(next.id);
    document.getElementById(`vm-${next.id}`)?.focus();
  };
  /** To the place and the group of another machine, or to the end of a group. */
  const drop = (group: string, target?: Vm): void => {
    const vm = vms.find(({ id }) => id === dragged.current);
    dragged.current = null;
    if (!vm || vm === target) return;
    if (target) engine.call('vm.move', { vm: vm.id, position: vms.indexOf(target) }).catch(notifyError);
    if (vm.config.group !== group) engine.call('vm.edit', { vm: vm.id, changes: { group } }).catch(notifyError);
  };
  if (vms.length === 0) return null;
  const tabbable = rows.find(({ id }) => id === selected) ?? rows[0];
  const list = (group: Group): ReactNode => group.vms.map((vm) => (
    <VmRow key={vm.id} vm={vm} selected={vm.id === selected} tabbable={vm === tabbable} draggable={!searched}
      onDrag={() => void (dragged.current = vm.id)} onDrop={() => drop(group.name, vm)} />
  ));
  return (
    <div className="vm-list" role="listbox" aria-label="Virtual machines" onKeyDown={move}>
      {groups.map((group) => (group.name === '' ? list(group) : (
        <div key={group.name} role="group" aria-label={group.name} className="vm-group">
          <GroupHead group={group} open={!folded.includes(group.name)} fixed={searched} onDrop={() => drop(group.name)} />
          {!folded.includes(group.name) && list(group)}
        </div>
      )))}
    </div>
  );
}

/** The focus is the head's then, which the other arrow brings back from. */
function foldFrom(group: HTMLElement, fold: boolean, folded: readonly string[]): void {
  const name = group.getAttribute('aria-label') ?? '';
  if (folded.includes(name) !== fold) toggleGroup(name);
  group.querySelector<HTMLElement>('.group-head')?.focus();
}

interface GroupHeadProps {
  readonly group: Group;
  readonly open: boolean;
  readonly fixed: boolean;
  readonly onDrop: () => void;
}

/** The name of a group, which opens and folds it; a machine that is dropped on it joins it. */
function GroupHead({ group: { name, vms }, open, fixed, onDrop }: GroupHeadProps): ReactNode {
  const running = vms.filter(isAlive).length;
  const count = running > 0 ? `${running} of ${vms.length}` : String(vms.length);
  return (
    <button type="button" className="group-head" aria-expanded={open} aria-label={`Group ${name}, ${running} of ${vms.length} running`} disabled={fixed}
      onClick={() => toggleGroup(name)} onDragOver={(event) => event.preventDefault()} onDrop={onDrop}>
      <ChevronRight size={13} aria-hidden />
      <span className="name">{name}</span>
      <span className="count numeric">{count}</span>
    </button>
  );
}

function Nothing({ searched }: { readonly searched: boolean }): ReactNode {
  return (
    <div className="sidebar-note" style={{ flex: 1 }}>
      {searched ? 'No machine matches. Names, groups, tags, notes and boot files are searched; tag:NAME finds a tag.' : 'The library is empty.'}
      <div>
        {searched
          ? <Button onClick={() => useLayout.setState({ search: '' })}>Clear the search</Button>
          : <Button icon={Plus} onClick={() => openDialog({ kind: 'create' })}>New machine</Button>}
      </div>
    </div>
  );
}
