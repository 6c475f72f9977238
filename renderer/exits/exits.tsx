import { Pause, Play, ScanEye, X } from 'lucide-react';
import { useMemo, useState } from 'react';
import type { ReactNode } from 'react';
import type { ExitRecord, Vm } from '../../core/contract/index.ts';
import { IconButton } from '../controls/button.tsx';
import { Empty } from '../controls/empty.tsx';
import { Segments } from '../controls/segments.tsx';
import { Select } from '../controls/select.tsx';
import { shownTheme } from '../settings/theme.ts';
import { formatCount } from '../state/format.ts';
import { isAlive, useLibrary } from '../state/library.ts';
import { exitName } from '../vm/exit-names.ts';
import { busiest, everything, formatNs, histogram, passes, summed, timeline, timeOf } from './model.ts';
import type { ExitFilter, ExitsState, HistogramBar } from './model.ts';
import { OneExit } from './one-exit.tsx';
import { Reasons } from './reasons.tsx';
import { RecordButton, RecordingLine, useRecorder } from './recording.tsx';
import { Timeline } from './timeline.tsx';
import { useExits } from './use-exits.ts';

const LINES = 6;
const TIMELINE_HEIGHT = 148;
const RECENT_SHOWN = 120;
const LEVELS = [{ value: 'all', label: 'All' }, { value: '1', label: 'L1' }, { value: '2', label: 'L2' }] as const;
const SPANS = [{ value: '5', label: '5 s' }, { value: '30', label: '30 s' }, { value: '120', label: '2 min' }] as const;

/** Where the guest leaves its processor: a timeline, the reasons, and the newest exits one by one. */
export function Exits({ vm }: { readonly vm: Vm }): ReactNode {
  if (!isAlive(vm)) {
    return (
      <Empty icon={ScanEye} title="No exits to watch"
        text="Start the machine, and every time that its guest leaves the processor shows here. Watching costs nothing while this view is closed." />
    );
  }
  return <Watching key={vm.id} vm={vm} />;
}

function Watching({ vm }: { readonly vm: Vm }): ReactNode {
  const [held, setHeld] = useState(false);
  const [filter, setFilter] = useState<ExitFilter>(everything);
  const [span, setSpan] = useState<(typeof SPANS)[number]['value']>('5');
  const [opened, setOpened] = useState<ExitRecord | null>(null);
  const theme = useLibrary((state) => shownTheme(state.settings.theme, matchMedia('(prefers-color-scheme: dark)').matches));
  const state = useExits(vm.id, held);
  const names = useMemo(() => busiest(state, LINES, filter), [state, filter]);
  const data = useMemo(() => timeline(state, names, filter), [state, names, filter]);
  const rows = useMemo(() => summed(state, Number(span), filter), [state, span, filter]);
  const recorder = useRecorder(vm.id);
  const shown = useMemo(() => state.recent.filter((exit) => passes(filter, exit)), [state, filter]);
  const vcpus = [...new Set(Object.values(state.totals).map(({ vcpu }) => vcpu))].sort((left, right) => left - right);
  return (
    <div className="exits">
      <div className="dock-bar">
        <Segments label="Level" value={filter.level === null ? 'all' : String(filter.level)} segments={LEVELS}
          onPick={(level) => setFilter({ ...filter, level: level === 'all' ? null : Number(level) })} />
        <Select compact label="vCPU" value={filter.vcpu === null ? 'all' : String(filter.vcpu)}
          options={[{ value: 'all', label: 'All vCPUs' }, ...vcpus.map((vcpu) => ({ value: String(vcpu), label: `vCPU ${vcpu}` }))]}
          onPick={(vcpu) => setFilter({ ...filter, vcpu: vcpu === 'all' ? null : Number(vcpu) })} />
        <span className="spacer" />
        <Segments label="Time" value={span} segments={SPANS} onPick={setSpan} />
        <IconButton icon={held ? Play : Pause} label={held ? 'Go on' : 'Hold the picture'} aria-pressed={held} onClick={() => setHeld(!held)} />
        <RecordButton vm={vm} recorder={recorder} />
      </div>
      <RecordingLine recording={recorder.recording} />
      {opened
        ? (
          <OneExit exit={opened} onOpen={setOpened} onBack={() => setOpened(null)}
            older={shown.find(({ sequence }) => sequence < opened.sequence) ?? null} newer={shown.findLast(({ sequence }) => sequence > opened.sequence) ?? null} />
        )
        : (
          <div className="exits-scroll">
            <Timeline data={data} names={names} chosen={filter.reason} theme={theme} height={TIMELINE_HEIGHT} />
            <Reasons rows={rows} names={names} chosen={filter.reason} onChoose={(reason) => setFilter({ ...filter, reason: filter.reason === reason ? null : reason })} />
            {filter.reason !== null && <Times bars={histogram(state, filter.reason, filter)} reason={filter.reason} />}
            <Recent state={state} shown={shown.slice(0, RECENT_SHOWN)} filter={filter} onOpen={setOpened} onAll={() => setFilter({ ...filter, reason: null })} />
          </div>
        )}
    </div>
  );
}

/** How long the exits for one reason take: a bar for each power of two. */
function Times({ bars, reason }: { readonly bars: readonly HistogramBar[]; readonly reason: string }): ReactNode {
  if (bars.length === 0) return null;
  const most = Math.max(...bars.map(({ count }) => count));
  const total = bars.reduce((sum, { count }) => sum + count, 0);
  return (
    <section aria-label={`How long ${exitName(reason)} takes`}>
      <header className="dock-heading"><h3>Time of {exitName(reason)}</h3><span className="note">{formatCount(total)} since this view was opened</span></header>
      <div className="histogram" role="img" aria-label={bars.map(({ from, count }) => `${formatNs(from)} to ${formatNs(from * 2)}: ${count}`).join('; ')}>
        {bars.map(({ from, count }) => (
          <div key={from} className="histogram-bar" title={`${formatNs(from)} to ${formatNs(from * 2)}: ${count}`}>
            <span style={{ height: count === 0 ? 0 : `${Math.max(2, (count / most) * 100)}%` }} />
            <em>{formatNs(from)}</em>
          </div>
        ))}
      </div>
    </section>
  );
}

interface RecentProps {
  readonly state: ExitsState;
  readonly shown: readonly ExitRecord[];
  readonly filter: ExitFilter;
  readonly onOpen: (exit: ExitRecord) => void;
  /** Takes the filter by reason away. */
  readonly onAll: () => void;
}

function Recent({ state, shown, filter, onOpen, onAll }: RecentProps): ReactNode {
  return (
    <section aria-labelledby="recent-exits">
      <header className="dock-heading">
        <h3 id="recent-exits">Newest exits</h3>
        {filter.reason !== null
          ? <button type="button" className="chip" onClick={onAll} aria-label={`Show all reasons again, not only ${exitName(filter.reason)}`}>{exitName(filter.reason)}<X size={12} aria-hidden /></button>
          : <span className="note">{state.lost > 0 ? 'A sample: more happen than fit here' : ''}</span>}
      </header>
      <table className="table dense mono-cells recent" aria-label="Newest exits">
        <tbody>
          {shown.map((exit) => (
            <tr key={exit.sequence} className="pickable" onClick={() => onOpen(exit)}>
              <td className="soft numeric">{timeOf(exit.at)}</td>
              <td>
                <button type="button" className="reason" aria-label={`Open exit ${exit.sequence}: ${exitName(exit.name)} ${exit.summary}`}
                  onClick={(event) => { event.stopPropagation(); onOpen(exit); }}>
                  {exit.level === 2 && <span className="level">L2</span>}<span className="text" title={exitName(exit.name)}>{exitName(exit.name)}</span>
                </button>
              </td>
              <td className="mono summary" title={exit.summary}>{exit.summary}</td>
              <td className="right numeric">{exit.ns === null ? '' : formatNs(exit.ns)}</td>
              <td className="mono soft right" title={`RIP ${exit.rip}`}>{shortRip(exit.rip)}</td>
            </tr>
          ))}
          {shown.length === 0 && <tr><td className="nothing">{state.recent.length === 0 ? 'No exit yet.' : 'None among the newest exits.'}</td></tr>}
        </tbody>
      </table>
    </section>
  );
}

/** The lower half is what tells addresses of one program apart. */
function shortRip(rip: string): string {
  const digits = rip.slice(2);
  return digits.length > 8 ? `…${digits.slice(-8)}` : digits;
}
