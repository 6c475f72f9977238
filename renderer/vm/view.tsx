import { Activity as ActivityIcon, Cable, Camera, Ellipsis, LayoutDashboard, Microscope, Monitor, Pause, Play, Power, RotateCcw, ScanEye, SlidersHorizontal, SquareTerminal } from 'lucide-react';
import type { LucideIcon } from 'lucide-react';
import { Tabs } from 'radix-ui';
import type { MouseEvent, ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { shortcutOf } from '../commands/commands.ts';
import { useDrafts } from '../configuration/drafts.ts';
import { ConfigurationEditor } from '../configuration/editor.tsx';
import { ConsolePanes } from '../console/panes.tsx';
import { Button, IconButton } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { ButtonMenu } from '../controls/menu.tsx';
import { StateDot, stateNames } from '../controls/state-dot.tsx';
import { Tip } from '../controls/tooltip.tsx';
import { DisplayPane } from '../display/pane.tsx';
import { Dock } from '../dock/dock.tsx';
import { Devices } from '../devices/devices.tsx';
import { tagQuery } from '../library/filter.ts';
import { Snapshots } from '../snapshots/snapshots.tsx';
import { changeVmLayout, defaultVmLayout, openDialog, portTab, tabPort, toggleDock, useLayout } from '../state/layout.ts';
import type { TabName } from '../state/layout.ts';
import { setError, useLibrary } from '../state/library.ts';
import { forceStopVm, possibleActions, requestStop, startVm, togglePause } from './actions.ts';
import { Activity } from './activity.tsx';
import { vmMenu } from './menu.ts';
import { Overview } from './overview.tsx';

interface TabRow {
  readonly name: TabName;
  readonly label: string;
  readonly icon: LucideIcon;
  readonly shortcut: string | undefined;
}

function tabsOf(vm: Vm): readonly TabRow[] {
  const consoles = vm.config.serial.flatMap((serial, port): TabRow[] => (serial.attach === 'console'
    ? [{ name: portTab(port), label: serial.label || `COM${port + 1}`, icon: SquareTerminal, shortcut: shortcutOf(`com${port + 1}`) }]
    : []));
  return [
    { name: 'overview', label: 'Overview', icon: LayoutDashboard, shortcut: shortcutOf('overview') },
    ...(vm.config.display === 'none' ? [] : [{ name: 'display', label: 'Display', icon: Monitor, shortcut: shortcutOf('display') } as const]),
    ...consoles,
    { name: 'snapshots', label: 'Snapshots', icon: Camera, shortcut: shortcutOf('snapshots') },
    { name: 'devices', label: 'Devices', icon: Cable, shortcut: shortcutOf('devices') },
    { name: 'configuration', label: 'Configuration', icon: SlidersHorizontal, shortcut: shortcutOf('configuration') },
    { name: 'activity', label: 'Activity', icon: ActivityIcon, shortcut: shortcutOf('activity') },
  ];
}

/** The machine in the centre: its head with what can be done, and its tabs. */
export function VmView({ vm }: { readonly vm: Vm }): ReactNode {
  const layout = useLayout((state) => state.vms[vm.id] ?? defaultVmLayout);
  const error = useLibrary((state) => state.errors[vm.id]);
  const unsaved = useDrafts((drafts) => drafts[vm.id] !== undefined);
  const dock = useLayout((state) => state.dock);
  const tabs = tabsOf(vm);
  const tab = tabs.some(({ name }) => name === layout.tab) ? layout.tab : 'overview';
  const open = (name: string): void => {
    const row = tabs.find((candidate) => candidate.name === name);
    if (row) changeVmLayout(vm.id, { tab: row.name });
  };
  return (
    <main className="main" aria-label={vm.config.name}>
      <Head vm={vm} />
      <div className="vm-body">
        <Tabs.Root className="tabs-root" value={tab} onValueChange={open} activationMode="manual">
          <Tabs.List className="tabs" aria-label="Views of the machine">
            {tabs.map(({ name, label, icon: Icon, shortcut }) => (
              <Tip key={name} text={label} shortcut={shortcut}>
                <Tabs.Trigger className="tab" value={name} data-state={name === tab ? 'active' : 'inactive'} onMouseDown={focusQuietly}>
                  <Icon size={14} aria-hidden />{label}{name === 'configuration' && unsaved && <span className="unread" role="img" aria-label="not saved" />}
                </Tabs.Trigger>
              </Tip>
            ))}
          </Tabs.List>
          {error && (
            <div className="vm-error" style={{ paddingBottom: 12 }}>
              <Callout kind="error" title={error.message} hint={error.hint} actions={<>
                {error.field !== undefined && tab !== 'configuration' && <Button onClick={() => open('configuration')}>Edit configuration</Button>}
                <Button onClick={() => setError(vm.id, null)}>Dismiss</Button>
              </>} />
            </div>
          )}
          {tabs.map(({ name }) => (
            <Tabs.Content className="tab-panel" value={name} key={name} tabIndex={-1}>{name === tab && <TabBody vm={vm} tab={name} />}</Tabs.Content>
          ))}
        </Tabs.Root>
        {dock && <Dock vm={vm} open={dock} />}
      </div>
    </main>
  );
}

/** The primitive focuses a pressed tab by script, which after typing would show the keyboard's ring. */
function focusQuietly({ button, currentTarget }: MouseEvent<HTMLElement>): void {
  if (button === 0) currentTarget.focus({ focusVisible: false });
}

function TabBody({ vm, tab }: { readonly vm: Vm; readonly tab: TabName }): ReactNode {
  const port = tabPort(tab);
  if (port !== null) return <ConsolePanes key={`${vm.id}/${port}`} vm={vm} port={port} />;
  if (tab === 'display') return <DisplayPane key={vm.id} vm={vm} />;
  if (tab === 'configuration') return <ConfigurationEditor key={vm.id} vm={vm} />;
  if (tab === 'snapshots') return <Snapshots key={vm.id} vm={vm} />;
  if (tab === 'devices') return <Devices key={vm.id} vm={vm} />;
  if (tab === 'activity') return <Activity vm={vm} />;
  return <Overview vm={vm} />;
}

function DockButtons(): ReactNode {
  const dock = useLayout((state) => state.dock);
  return (
    <>
      <IconButton icon={ScanEye} label="VM exits" shortcut={shortcutOf('exits')} aria-pressed={dock === 'exits'} onClick={() => toggleDock('exits')} />
      <IconButton icon={Microscope} label="Inspector" shortcut={shortcutOf('inspector')} aria-pressed={dock === 'inspector'} onClick={() => toggleDock('inspector')} />
    </>
  );
}

/** Each finds the machines that have it. */
function Tags({ tags }: { readonly tags: readonly string[] }): ReactNode {
  return (
    <div className="tags" role="group" aria-label="Tags">
      {tags.map((tag) => (
        <button type="button" key={tag} className="tag" title={`Find the machines with the tag ${tag}`} onClick={() => useLayout.setState({ search: tagQuery(tag), sidebarHidden: false })}>{tag}</button>
      ))}
    </div>
  );
}

function Head({ vm }: { readonly vm: Vm }): ReactNode {
  const can = possibleActions(vm);
  return (
    <header className="vm-head">
      <h1 title={vm.config.name}>{vm.config.name}</h1>
      <span className="state-badge" role="status" aria-label={`State: ${stateNames[vm.state]}`}><StateDot state={vm.state} />{stateNames[vm.state]}</span>
      {vm.config.tags.length > 0 && <Tags tags={vm.config.tags} />}
      <span className="spacer" />
      <div className="button-group" role="toolbar" aria-label="Machine">
        {can.has('start') && (
          <Tip text="Start" shortcut={shortcutOf('start')}>
            <Button look="primary" icon={Play} onClick={() => void startVm(vm)}>Start</Button>
          </Tip>
        )}
        {vm.state === 'starting' && <Button busy>Starting</Button>}
        {can.has('resume') && (
          <Tip text="Resume" shortcut={shortcutOf('resume')}>
            <Button look="primary" icon={Play} onClick={() => togglePause(vm)}>Resume</Button>
          </Tip>
        )}
        {vm.state === 'running' && (
          <IconButton icon={Camera} label="Take snapshot" shortcut={shortcutOf('take-snapshot')} onClick={() => openDialog({ kind: 'take-snapshot', vm: vm.id })} />
        )}
        {can.has('pause') && <IconButton icon={Pause} label="Pause" shortcut={shortcutOf('pause')} onClick={() => togglePause(vm)} />}
        {can.has('reset') && (
          <IconButton icon={RotateCcw} label="Reset" shortcut={shortcutOf('reset')} onClick={() => openDialog({ kind: 'reset', vm: vm.id })} />
        )}
        {can.has('stop') && <Tip text="Stop" shortcut={shortcutOf('stop')}><Button icon={Power} onClick={() => requestStop(vm)}>Stop</Button></Tip>}
        {vm.state === 'stopping' && <Button look="danger" icon={Power} onClick={() => void forceStopVm(vm)}>Force stop</Button>}
        <span className="rule" />
        <DockButtons />
        <ButtonMenu rows={vmMenu(vm)}>
          <button type="button" className="button icon plain" aria-label="More actions"><Ellipsis size={15} aria-hidden /></button>
        </ButtonMenu>
      </div>
    </header>
  );
}
