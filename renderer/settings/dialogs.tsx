import { Moon, Sun, SunMoon } from 'lucide-react';
import type { ReactNode } from 'react';
import type { Settings, SettingsChanges } from '../../core/contract/index.ts';
import { commands } from '../commands/commands.ts';
import { Dialog } from '../controls/dialog.tsx';
import { Segments } from '../controls/segments.tsx';
import { Select } from '../controls/select.tsx';
import { Switch } from '../controls/switch.tsx';
import { Keys } from '../controls/tooltip.tsx';
import { engine } from '../engine/engine.ts';
import { openDialog, useLayout } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';

const fontSizes = [10, 11, 12, 13, 14, 15, 16, 18, 20, 24];
const scrollbacks = [1000, 5000, 10_000, 50_000, 200_000];

const quittings: readonly { readonly value: Settings['quitting']; readonly label: string }[] = [
  { value: 'ask', label: 'Ask' }, { value: 'background', label: 'Keep them running' }, { value: 'suspend', label: 'Suspend them' },
];

/** Settings of the library; each takes effect at once. */
export function SettingsDialog(): ReactNode {
  const settings = useLibrary((state) => state.settings);
  const keepsCode = useLibrary((state) => state.host?.keepsCode === true);
  const screenReader = useLayout((state) => state.screenReader);
  const set = (changes: SettingsChanges): void => void engine.call('settings.set', { changes }).catch(notifyError);
  const numbers = (all: readonly number[], current: number): { readonly value: string; readonly label: string }[] =>
    [...new Set([...all, current])].sort((left, right) => left - right).map((number) => ({ value: String(number), label: number.toLocaleString() }));
  return (
    <Dialog title="Settings" description="Each setting takes effect at once." onClose={() => openDialog(null)}>
      <Row title="Theme" about="Dark, light, or as the system says.">
        <Segments label="Theme" value={settings.theme} onPick={(theme) => set({ theme })}
          segments={[{ value: 'system', label: 'System', icon: SunMoon }, { value: 'dark', label: 'Dark', icon: Moon }, { value: 'light', label: 'Light', icon: Sun }]} />
      </Row>
      <Row title="Console text size" about="In pixels.">
        <Select compact label="Console text size" value={String(settings.consoleFontSize)} options={numbers(fontSizes, settings.consoleFontSize)}
          onPick={(size) => set({ consoleFontSize: Number(size) })} />
      </Row>
      <Row title="Console scrollback" about="Lines that a console keeps.">
        <Select compact label="Console scrollback" value={String(settings.consoleScrollbackLines)} options={numbers(scrollbacks, settings.consoleScrollbackLines)}
          onPick={(lines) => set({ consoleScrollbackLines: Number(lines) })} />
      </Row>
      <Row title="Ask before stopping" about="Force stop, reset and delete always ask.">
        <Switch label="Ask before stopping" on={settings.confirmStop} onTurn={(confirmStop) => set({ confirmStop })} />
      </Row>
      <Row title="Quitting" about="What becomes of running machines when the desktop application quits.">
        <Select compact label="Quitting" value={settings.quitting} onPick={(quitting) => set({ quitting: quitting as Settings['quitting'] })} options={quittings} />
      </Row>
      {keepsCode && (
        <Row title="Keep compiled code" about="A machine’s next start is faster. Up to 512 MB in the cache folder; off removes it.">
          <Switch label="Keep compiled code" on={settings.keepCode} onTurn={(keepCode) => set({ keepCode })} />
        </Row>
      )}
      <Row title="Consoles for screen readers" about="Lets a screen reader read console output; costs some speed.">
        <Switch label="Consoles for screen readers" on={screenReader} onTurn={(on) => useLayout.setState({ screenReader: on })} />
      </Row>
    </Dialog>
  );
}

function Row({ title, about, children }: { readonly title: string; readonly about: string; readonly children: ReactNode }): ReactNode {
  return (
    <div style={{ display: 'flex', alignItems: 'center', gap: 16 }}>
      <div style={{ flex: 1 }}><div style={{ fontWeight: 500 }}>{title}</div><div className="field-hint">{about}</div></div>
      {children}
    </div>
  );
}

/** Every shortcut, from the same rows that make them work. */
export function ShortcutsDialog(): ReactNode {
  const rows = commands.flatMap((command) => (command.shortcut === undefined ? [] : [{ ...command, shortcut: command.shortcut }]));
  const groups = [...new Set(rows.map((row) => row.group))];
  return (
    <Dialog title="Keyboard shortcuts" description="While a console has the focus, those of View and Console, Alt+T and Alt+arrows stay the window’s; every other key goes to the guest." wide onClose={() => openDialog(null)}>
      <div className="shortcut-groups">
        {groups.map((group) => (
          <section key={group} aria-label={group}>
            <h3>{group}</h3>
            {rows.filter((row) => row.group === group).map((row) => (
              <div key={row.id} className="shortcut-row">
                <span>{row.title.replace('…', '')}</span><Keys shortcut={row.shortcut} />
              </div>
            ))}
          </section>
        ))}
      </div>
    </Dialog>
  );
}
