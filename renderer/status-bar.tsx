import { Cpu, Gauge, Search, TriangleAlert } from 'lucide-react';
import type { ReactNode } from 'react';
import { shortcutOf } from './commands/commands.ts';
import { StateDot } from './controls/state-dot.tsx';
import { Keys } from './controls/tooltip.tsx';
import { formatCount } from './state/format.ts';
import { changeVmLayout, openDialog, useLayout } from './state/layout.ts';
import { isAlive, useLibrary } from './state/library.ts';
import { stateLine } from './vm/actions.ts';

/** One line about the selected machine, the library and the engine. */
export function StatusBar(): ReactNode {
  const selected = useLayout((state) => state.selected);
  const vms = useLibrary((state) => state.vms);
  const connection = useLibrary((state) => state.connection.kind);
  const host = useLibrary((state) => state.host);
  const vm = vms.find((candidate) => candidate.id === selected);
  const sample = useLibrary((state) => (vm ? state.metrics[vm.id]?.at(-1) : undefined));
  const failed = useLibrary((state) => (vm ? state.errors[vm.id] !== undefined : false));
  const running = vms.filter(isAlive).length;
  return (
    <footer className="status" aria-label="Status" style={{ gridRow: 3 }}>
      {vm && <span><StateDot state={vm.state} />{stateLine(vm)}</span>}
      {vm && isAlive(vm) && sample && (
        <>
          <button type="button" className="numeric" onClick={() => changeVmLayout(vm.id, { tab: 'overview' })}><Cpu size={12} aria-hidden />{sample.cpuPercent.toFixed(0)} %</button>
          <span className="numeric"><Gauge size={12} aria-hidden />{formatCount(sample.instructionsPerSecond)} instructions/s</span>
          <span className="numeric">{formatCount(sample.exitsPerSecond)} exits/s</span>
        </>
      )}
      {failed && <span className="fail"><TriangleAlert size={12} aria-hidden style={{ color: 'inherit' }} />The last request failed</span>}
      <span className="spacer" style={{ padding: 0 }} />
      <button type="button" onClick={() => openDialog({ kind: 'palette' })}><Search size={12} aria-hidden />Commands<Keys shortcut={shortcutOf('palette') ?? ''} /></button>
      <span>{running} of {vms.length} running</span>
      <span>{connection === 'connected' ? (host?.hostname ?? 'Engine') : connection === 'lost' ? 'Engine lost' : 'Connecting'}</span>
    </footer>
  );
}
