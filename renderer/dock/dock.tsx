import { Microscope, ScanEye, X } from 'lucide-react';
import type { ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { IconButton } from '../controls/button.tsx';
import { Segments } from '../controls/segments.tsx';
import { Splitter } from '../controls/splitter.tsx';
import { Exits } from '../exits/exits.tsx';
import { Inspector } from '../inspector/inspector.tsx';
import { useLayout } from '../state/layout.ts';
import type { DockName } from '../state/layout.ts';

const LIMITS = { minimum: 380, maximum: 900 } as const;
const VIEWS = [{ value: 'exits', label: 'Exits', icon: ScanEye }, { value: 'inspector', label: 'Inspector', icon: Microscope }] as const;

/** Beside the console and every other tab: what the guest does, and what it is made of at this moment. */
export function Dock({ vm, open }: { readonly vm: Vm; readonly open: DockName }): ReactNode {
  const width = useLayout((state) => state.dockWidth);
  return (
    <>
      <Splitter label="Width of the side view" orientation="vertical" value={width} {...LIMITS} step={16} unit={() => -1} onMove={(dockWidth) => useLayout.setState({ dockWidth })} />
      <aside className="dock" style={{ width }} aria-label="Side view">
        <header className="dock-head">
          <Segments label="Side view" value={open} segments={VIEWS} onPick={(dock) => useLayout.setState({ dock })} />
          <span className="spacer" />
          <IconButton icon={X} label="Close the side view" onClick={() => useLayout.setState({ dock: null })} />
        </header>
        {open === 'exits' ? <Exits vm={vm} /> : <Inspector vm={vm} />}
      </aside>
    </>
  );
}
