import { Monitor, Search } from 'lucide-react';
import type { LucideIcon } from 'lucide-react';
import { Dialog } from 'radix-ui';
import { useId, useMemo, useRef, useState } from 'react';
import type { KeyboardEvent, ReactNode } from 'react';
import { useFocusReturn } from '../controls/focus.ts';
import { Keys } from '../controls/tooltip.tsx';
import { openDialog, select, useLayout } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';
import { stateLine } from '../vm/actions.ts';
import { commands } from './commands.ts';
import { filterBy } from './filter.ts';

interface PaletteRow {
  readonly id: string;
  readonly label: string;
  readonly group: string;
  readonly icon: LucideIcon;
  readonly context?: string | undefined;
  readonly shortcut?: string | undefined;
  readonly run: () => void;
}

const hidden: ReadonlySet<string> = new Set(['palette', 'palette-anywhere']);

function usePaletteRows(): readonly PaletteRow[] {
  const vms = useLibrary((state) => state.vms);
  const selected = useLayout((state) => state.selected);
  return useMemo(() => {
    const current = vms.find((vm) => vm.id === selected)?.config.name;
    const onVm: ReadonlySet<string> = new Set(['Machine', 'View', 'Console']);
    const actions = commands.filter((command) => !hidden.has(command.id) && command.possible()).map((command): PaletteRow => ({
      id: command.id, label: command.title, group: command.group, icon: command.icon, shortcut: command.shortcut, run: command.run,
      context: onVm.has(command.group) ? current : undefined,
    }));
    const machines = vms.map((vm): PaletteRow => ({
      id: vm.id, label: vm.config.name, group: 'Go to', icon: Monitor, context: stateLine(vm), run: () => select(vm.id),
    }));
    return [...actions, ...machines];
  }, [vms, selected]);
}

/** Every command and every VM behind one field. */
export function Palette(): ReactNode {
  const rows = usePaletteRows();
  const [query, setQuery] = useState('');
  const [active, setActive] = useState(0);
  const listId = useId();
  const giveFocusBack = useFocusReturn();
  const list = useRef<HTMLDivElement>(null);
  const shown = filterBy(rows, query, (row) => row.label);
  const close = (): void => openDialog(null);
  const run = (row: PaletteRow | undefined): void => {
    if (!row) return;
    close();
    // After the dialog has given the focus back, so that what the command focuses keeps it.
    setTimeout(row.run, 20);
  };
  const move = (to: number): void => {
    const next = shown.length === 0 ? 0 : (to + shown.length) % shown.length;
    setActive(next);
    list.current?.querySelector(`[data-index="${next}"]`)?.scrollIntoView({ block: 'nearest' });
  };
  const key = (event: KeyboardEvent): void => {
    const moves: Readonly<Record<string, number>> = { ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: shown.length - 1 };
    const to = moves[event.key];
    if (to !== undefined && (event.key.startsWith('Arrow') || event.ctrlKey)) {
      event.preventDefault();
      move(to);
    } else if (event.key === 'Enter' && !event.nativeEvent.isComposing) {
      event.preventDefault();
      run(shown[active]);
    }
  };
  return (
    <Dialog.Root open onOpenChange={(open) => { if (!open) close(); }}>
      <Dialog.Portal>
        <Dialog.Overlay className="scrim" />
        <Dialog.Content className="dialog palette" aria-describedby={undefined} onCloseAutoFocus={giveFocusBack}>
          <Dialog.Title className="visually-hidden">Command palette</Dialog.Title>
          <div className="palette-input">
            <Search size={16} aria-hidden />
            <input role="combobox" aria-expanded aria-controls={listId} aria-label="Command" aria-activedescendant={shown[active] ? `${listId}-${active}` : undefined}
              placeholder="Type a command or the name of a machine" spellCheck={false} autoComplete="off" value={query} onKeyDown={key}
              onChange={(event) => { setQuery(event.target.value); setActive(0); }} />
          </div>
          <div className="palette-list" id={listId} role="listbox" aria-label="Commands" ref={list}>
            {shown.length === 0 && <div className="palette-empty">Nothing is called “{query}”</div>}
            {shown.map((row, index) => (
              <div key={row.id}>
                {query.trim() === '' && row.group !== shown[index - 1]?.group && <div className="palette-group" role="presentation">{row.group}</div>}
                <div className="palette-item" role="option" id={`${listId}-${index}`} data-index={index} aria-selected={index === active}
                  onPointerMove={() => setActive(index)} onClick={() => run(row)}>
                  <row.icon size={15} aria-hidden />
                  <span className="label">{row.label}{row.context !== undefined && <span className="context"> · {row.context}</span>}</span>
                  {row.shortcut !== undefined && <Keys shortcut={row.shortcut} />}
                </div>
              </div>
            ))}
          </div>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
