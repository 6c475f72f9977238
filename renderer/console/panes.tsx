import { useRef } from 'react';
import type { ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { shortcutOf } from '../commands/commands.ts';
import { Splitter } from '../controls/splitter.tsx';
import { changeVmLayout, defaultVmLayout, useLayout } from '../state/layout.ts';
import { ConsolePane } from './pane.tsx';

/** The console of a tab and, when split, a second one beside or below it. */
export function ConsolePanes({ vm, port }: { readonly vm: Vm; readonly port: number }): ReactNode {
  const { split } = useLayout((state) => state.vms[vm.id] ?? defaultVmLayout);
  const room = useRef<HTMLDivElement>(null);
  const main = <ConsolePane vm={vm} port={port} slot="main" shortcuts={shortcutOf} takesFocus />;
  if (!split) return <div className="consoles">{main}</div>;
  const size = (): number => (split.direction === 'row' ? room.current?.clientWidth : room.current?.clientHeight) ?? 100;
  return (
    <div className={`consoles ${split.direction}`} ref={room}>
      <div style={{ flex: `0 0 ${split.share}%`, display: 'flex', minWidth: 0, minHeight: 0 }}>{main}</div>
      <Splitter label="Divide the consoles" orientation={split.direction === 'row' ? 'vertical' : 'horizontal'} value={split.share} minimum={20} maximum={80} step={5}
        unit={() => size() / 100} onMove={(share) => changeVmLayout(vm.id, { split: { ...split, share } })} />
      <div style={{ flex: '1 1 0', display: 'flex', minWidth: 0, minHeight: 0 }}>
        <ConsolePane vm={vm} port={split.port} slot="split" shortcuts={shortcutOf} takesFocus={false} />
      </div>
    </div>
  );
}
