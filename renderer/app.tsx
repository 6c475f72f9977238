import { MonitorPlay, Plus, RefreshCw, Unplug, X } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { Palette } from './commands/palette.tsx';
import { shortcutOf } from './commands/commands.ts';
import { Button, IconButton } from './controls/button.tsx';
import { Callout } from './controls/callout.tsx';
import { Empty } from './controls/empty.tsx';
import { Splitter } from './controls/splitter.tsx';
import { Keys, TipProvider } from './controls/tooltip.tsx';
import { engine } from './engine/engine.ts';
import { Sidebar, SIDEBAR_LIMITS } from './library/sidebar.tsx';
import { SettingsDialog, ShortcutsDialog } from './settings/dialogs.tsx';
import { useTheme } from './settings/theme.ts';
import { openDialog, useLayout } from './state/layout.ts';
import { useLibrary } from './state/library.ts';
import { dismiss, useNotices } from './state/notices.ts';
import { StatusBar } from './status-bar.tsx';
import { CloneDialog, ExportDialog, TakeSnapshotDialog } from './snapshots/dialogs.tsx';
import { AskDialog, GroupDialog, RenameDialog } from './vm/dialogs.tsx';
import { VmView } from './vm/view.tsx';
import { CreateWizard } from './wizard/create-wizard.tsx';

const TIP_DELAY_MS = 450;

/** The whole window. */
export function App(): ReactNode {
  useTheme();
  const width = useLayout((state) => state.sidebarWidth);
  const hidden = useLayout((state) => state.sidebarHidden);
  return (
    <TipProvider delayDuration={TIP_DELAY_MS} skipDelayDuration={200}>
      <div className="app">
        <ConnectionBanner />
        <div className="work" style={{ gridRow: 2 }}>
          {!hidden && (
            <>
              <Sidebar />
              <Splitter label="Width of the library" orientation="vertical" value={width} {...SIDEBAR_LIMITS} step={16} unit={() => 1}
                onMove={(sidebarWidth) => useLayout.setState({ sidebarWidth })} />
            </>
          )}
          <Centre />
        </div>
        <StatusBar />
      </div>
      <Dialogs />
      <Notices />
    </TipProvider>
  );
}

function Centre(): ReactNode {
  const selected = useLayout((state) => state.selected);
  const vm = useLibrary((state) => state.vms.find((candidate) => candidate.id === selected));
  const loaded = useLibrary((state) => state.loaded);
  const empty = useLibrary((state) => state.vms.length === 0);
  if (vm) return <VmView key={vm.id} vm={vm} />;
  if (!loaded) return <main className="main" aria-label="Machine" aria-busy />;
  return (
    <main className="main" aria-label="Machine">
      <Empty icon={MonitorPlay} title={empty ? 'Create your first machine' : 'Choose a machine'}
        text={empty
          ? 'A machine is a whole emulated PC. Start with the built-in monitor, which needs no file, or boot a Linux kernel of your own.'
          : 'Pick one from the library on the left, or make a new one.'}
        action={<Button look="primary" size="large" icon={Plus} onClick={() => openDialog({ kind: 'create' })}>New virtual machine</Button>}>
        <dl className="shortcuts">
          {(['create', 'palette', 'search', 'shortcuts'] as const).map((id) => <Shortcut key={id} id={id} />)}
        </dl>
      </Empty>
    </main>
  );
}

const shortcutNames = { create: 'New machine', palette: 'Command palette', search: 'Search the library', shortcuts: 'All shortcuts' } as const;

function Shortcut({ id }: { readonly id: keyof typeof shortcutNames }): ReactNode {
  return <><dt>{shortcutNames[id]}</dt><dd><Keys shortcut={shortcutOf(id) ?? ''} /></dd></>;
}

/** How long the first connection may take before the window says that it waits. */
const PATIENCE_MS = 1500;

function ConnectionBanner(): ReactNode {
  const connection = useLibrary((state) => state.connection);
  const [waited, setWaited] = useState(false);
  useEffect(() => {
    setWaited(false);
    const timer = setTimeout(() => setWaited(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [connection.kind]);
  if (connection.kind === 'connected' || (connection.kind === 'connecting' && !waited)) return <div style={{ display: 'none' }} />;
  const lost = connection.kind === 'lost';
  return (
    <div className={`banner ${lost ? 'lost' : ''}`} role="alert">
      <Unplug size={14} aria-hidden />
      <strong>{lost ? connection.error.message : 'Connecting to the engine…'}</strong>
      <span className="hint">{lost ? connection.error.hint : ''}</span>
      <span className="spacer" />
      {lost && connection.retryAt !== null && <Button look="plain" icon={RefreshCw} onClick={() => engine.retry()}>Connect now</Button>}
    </div>
  );
}

function Dialogs(): ReactNode {
  const dialog = useLayout((state) => state.dialog);
  const vms = useLibrary((state) => state.vms);
  if (!dialog) return null;
  switch (dialog.kind) {
    case 'create': return <CreateWizard />;
    case 'settings': return <SettingsDialog />;
    case 'shortcuts': return <ShortcutsDialog />;
    case 'palette': return <Palette />;
  }
  const vm = vms.find((candidate) => candidate.id === dialog.vm);
  if (!vm) return null;
  if (dialog.kind === 'take-snapshot') return <TakeSnapshotDialog vm={vm} />;
  if (dialog.kind === 'clone') return <CloneDialog vm={vm} />;
  if (dialog.kind === 'export') return <ExportDialog vm={vm} />;
  if (dialog.kind === 'group') return <GroupDialog vm={vm} />;
  return dialog.kind === 'rename' ? <RenameDialog vm={vm} /> : <AskDialog kind={dialog.kind} vm={vm} />;
}

function Notices(): ReactNode {
  const notices = useNotices((state) => state.notices);
  return (
    <div className="notices" aria-live="polite">
      {notices.map((notice) => (
        <Callout key={notice.id} kind={notice.kind} title={notice.title} hint={notice.hint}
          actions={<IconButton small icon={X} label="Dismiss" onClick={() => dismiss(notice.id)} />} />
      ))}
    </div>
  );
}
