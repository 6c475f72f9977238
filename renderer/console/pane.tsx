import { Clipboard, Clock, Copy, Ellipsis, Eraser, Play, Plug, Save, Scaling, Search, SquareSplitHorizontal, SquareSplitVertical, Unplug, X, Zap } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Empty } from '../controls/empty.tsx';
import { ButtonMenu, RightClickMenu } from '../controls/menu.tsx';
import type { MenuRow } from '../controls/menu.tsx';
import { Select } from '../controls/select.tsx';
import { StateDot } from '../controls/state-dot.tsx';
import { shell } from '../engine/shell.ts';
import { changeVmLayout, layoutOf, toggleLineTimes, useLayout } from '../state/layout.ts';
import { isAlive } from '../state/library.ts';
import { notify, notifyError } from '../state/notices.ts';
import { resumeVm, startVm, stateLine } from '../vm/actions.ts';
import { FindBar } from './find-bar.tsx';
import { useFind } from './find-state.ts';
import { saveLog } from './save-log.ts';
import { copyText } from './session.ts';
import type { ConsoleSession } from './session.ts';
import { attach, detach, sessionFor, sessionKey, useDetached } from './sessions.ts';
import type { Slot } from './sessions.ts';
import { sendBreak } from './send-break.ts';
import { consolePorts, toggleSplit } from './split.ts';

interface PaneProps {
  readonly vm: Vm;
  readonly port: number;
  readonly slot: Slot;
  readonly shortcuts: (id: string) => string | undefined;
  /** Whether the pane takes the keyboard when it appears. */
  readonly takesFocus: boolean;
}

/** One console: its bar, its terminal, and what to do when nothing is behind it. */
export function ConsolePane(props: PaneProps): ReactNode {
  const { vm, port, slot } = props;
  const key = sessionKey(vm.id, port, slot);
  const detached = useDetached((state) => state.keys.has(key));
  return (
    <section className="pane" style={{ flex: '1 1 0' }} aria-label={`Console COM${port + 1}${slot === 'split' ? ', second pane' : ''}`}>
      {detached ? <DetachedPane {...props} /> : <AttachedPane key={key} {...props} />}
    </section>
  );
}

function AttachedPane({ vm, port, slot, shortcuts, takesFocus }: PaneProps): ReactNode {
  const session = sessionFor(vm.id, port, slot);
  const body = useRef<HTMLDivElement>(null);
  const finding = useFind((state) => state.open === sessionKey(vm.id, port, slot));
  const [selected, setSelected] = useState(false);
  useEffect(() => {
    if (!body.current) return undefined;
    const hide = session.show(body.current);
    const listener = session.terminal.onSelectionChange(() => setSelected(session.terminal.hasSelection()));
    if (takesFocus) session.terminal.focus();
    return () => {
      listener.dispose();
      hide();
    };
  }, [session]);
  const timed = useLayout((state) => state.lineTimes);
  const rows = consoleMenu({ vm, port, slot, session, selected, timed, shortcuts });
  return (
    <>
      <PaneBar vm={vm} port={port} slot={slot}>
        <IconButton icon={Search} label="Find in console" shortcut={shortcuts('find')}
          onClick={() => useFind.setState({ open: sessionKey(vm.id, port, slot) })} />
        {slot === 'main' && (
          <IconButton icon={SquareSplitHorizontal} label="Split console right" shortcut={shortcuts('split-right')}
            onClick={() => toggleSplit(vm, 'row')} />
        )}
        <ButtonMenu rows={rows}>
          <button type="button" className="button icon plain" aria-label="Console actions"><Ellipsis size={15} aria-hidden /></button>
        </ButtonMenu>
        <IconButton icon={Unplug} label="Detach console" shortcut={slot === 'main' ? shortcuts('detach') : undefined}
          onClick={() => detach(vm.id, port, slot)} />
        {slot === 'split' && <IconButton icon={X} label="Close second console" onClick={() => changeVmLayout(vm.id, { split: null })} />}
      </PaneBar>
      <RightClickMenu rows={rows}>
        <div className="pane-body" ref={body}>
          {finding && <FindBar session={session} />}
          {vm.state !== 'running' && <StatePill vm={vm} />}
        </div>
      </RightClickMenu>
    </>
  );
}

interface PaneBarProps {
  readonly vm: Vm;
  readonly port: number;
  readonly slot: Slot;
  readonly children: ReactNode;
}

function PaneBar({ vm, port, slot, children }: PaneBarProps): ReactNode {
  const label = vm.config.serial[port]?.label ?? '';
  const ports = consolePorts(vm);
  const pick = (value: string): void => {
    const { split } = layoutOf(vm.id);
    if (split) changeVmLayout(vm.id, { split: { ...split, port: Number(value) } });
  };
  const options = ports.map((one) => ({ value: String(one), label: `COM${one + 1}` }));
  return (
    <header className="pane-bar">
      <div className="title">
        {slot === 'split' && ports.length > 1
          ? <Select compact label="Port of the second console" value={String(port)} onPick={pick} options={options} />
          : <>COM{port + 1}</>}
        {label !== '' && label !== `COM${port + 1}` && <span className="note">{label}</span>}
      </div>
      <span className="spacer" />
      {children}
    </header>
  );
}

/** Says over the console why nothing moves, with the way on. */
function StatePill({ vm }: { readonly vm: Vm }): ReactNode {
  return (
    <div className="pane-over">
      <div className="pill" role="status">
        <StateDot state={vm.state} />
        {isAlive(vm) ? stateLine(vm) : ended(vm)}
        {!isAlive(vm) && vm.state !== 'suspended' && <Button look="primary" icon={Play} onClick={() => void startVm(vm)}>Start</Button>}
        {(vm.state === 'paused' || vm.state === 'suspended') && <Button look="primary" icon={Play} onClick={() => void resumeVm(vm)}>Resume</Button>}
        {vm.state !== 'paused' && isAlive(vm) && <span style={{ width: 6 }} />}
      </div>
    </div>
  );
}

/** A machine that has not run showed nothing. */
function ended(vm: Vm): string {
  if (vm.exit === null) return 'Not started yet';
  return vm.exit.reason === 'failed-to-start' ? stateLine(vm) : `${stateLine(vm)}. This is what the console showed.`;
}

function DetachedPane({ vm, port, slot }: PaneProps): ReactNode {
  return (
    <>
      <PaneBar vm={vm} port={port} slot={slot}>
        {slot === 'split' && <IconButton icon={X} label="Close second console" onClick={() => changeVmLayout(vm.id, { split: null })} />}
      </PaneBar>
      <Empty icon={Unplug} title={`COM${port + 1} is detached`}
        text="The machine goes on without a viewer, and the engine keeps what the port shows. Attach again to read it from where you left."
        action={<Button look="primary" size="large" icon={Plug} autoFocus onClick={() => attach(vm.id, port, slot)}>Attach console</Button>} />
    </>
  );
}

interface MenuOptions {
  readonly vm: Vm;
  readonly port: number;
  readonly slot: Slot;
  readonly session: ConsoleSession;
  readonly selected: boolean;
  /** Whether the times of lines are shown. */
  readonly timed: boolean;
  readonly shortcuts: (id: string) => string | undefined;
}

function consoleMenu({ vm, port, slot, session, selected, timed, shortcuts }: MenuOptions): readonly MenuRow[] {
  const { terminal } = session;
  return [
    { kind: 'action', label: 'Copy', icon: Copy, shortcut: shortcuts('copy'), disabled: !selected, run: () => void copyText(terminal.getSelection()) },
    { kind: 'action', label: 'Paste', icon: Clipboard, shortcut: 'Mod+Shift+V', disabled: vm.state !== 'running', run: () => void pasteInto(session) },
    { kind: 'action', label: 'Select all', run: () => terminal.selectAll() },
    { kind: 'rule' },
    { kind: 'action', label: 'Split right', icon: SquareSplitHorizontal, shortcut: shortcuts('split-right'), run: () => toggleSplit(vm, 'row') },
    { kind: 'action', label: 'Split down', icon: SquareSplitVertical, shortcut: shortcuts('split-down'), run: () => toggleSplit(vm, 'column') },
    { kind: 'rule' },
    // A serial line carries no window size: a shell in the guest has to be told.
    { kind: 'action', label: `Type “stty rows ${terminal.rows} cols ${terminal.cols}”`, icon: Scaling, disabled: vm.state !== 'running',
      run: () => session.paste(`stty rows ${terminal.rows} cols ${terminal.cols}\r`) },
    { kind: 'action', label: 'Send a break', icon: Zap, disabled: vm.state !== 'running' || vm.config.serial[port]?.device === 'virtio', run: () => { sendBreak(vm, port); terminal.focus(); } },
    { kind: 'action', label: timed ? 'Hide the times of lines' : 'Show the times of lines', icon: Clock, run: toggleLineTimes },
    { kind: 'action', label: 'Save log…', icon: Save, shortcut: shortcuts('save-log'), run: () => saveLog(vm, port, slot) },
    { kind: 'action', label: 'Clear', icon: Eraser, shortcut: shortcuts('clear'), run: () => void session.clear().catch(notifyError) },
    { kind: 'rule' },
    { kind: 'action', label: 'Detach', icon: Unplug, shortcut: shortcuts('detach'), run: () => detach(vm.id, port, slot) },
  ];
}

async function pasteInto(session: ConsoleSession): Promise<void> {
  try {
    session.paste(shell ? await shell.readClipboard() : await navigator.clipboard.readText());
    session.terminal.focus();
  } catch {
    notify('info', 'The browser keeps the clipboard to itself.', 'Press Ctrl+Shift+V in the console instead.');
  }
}
