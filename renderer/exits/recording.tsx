import { Circle, Square } from 'lucide-react';
import { useCallback, useEffect, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { ExitRecording, Vm } from '../../core/contract/index.ts';
import { PathField } from '../configuration/path-field.tsx';
import { Button, IconButton } from '../controls/button.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Field } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { Select } from '../controls/select.tsx';
import { engine } from '../engine/engine.ts';
import { fileName, formatBytes, formatCount } from '../state/format.ts';
import { useLibrary } from '../state/library.ts';
import { notify, notifyError } from '../state/notices.ts';

const REFRESH_MS = 1000;
const MIB = 1 << 20;
const LIMITS = [16, 64, 256, 1024, 4096].map((size) => ({ value: String(size), label: formatBytes(size * MIB) }));
const DEFAULT_LIMIT = '256';

export interface Recorder {
  readonly recording: ExitRecording | null;
  readonly begin: (path: string, limitBytes: number) => Promise<void>;
  readonly end: () => void;
}

/** The VM's recording, which goes on when nobody looks. */
export function useRecorder(vm: string): Recorder {
  const [recording, setRecording] = useState<ExitRecording | null>(null);
  const before = useRef<ExitRecording | null>(null);
  const take = useCallback((now: ExitRecording | null): void => {
    if (before.current?.running && now && !now.running) tellEnd(now);
    before.current = now;
    setRecording(now);
  }, []);
  const ask = useCallback(() => { engine.call('exits.recording', { vm }).then((answer) => take(answer.recording), () => undefined); }, [vm, take]);
  const running = recording?.running === true;
  useEffect(() => {
    ask();
    if (!running) return undefined;
    const timer = setInterval(ask, REFRESH_MS);
    return () => clearInterval(timer);
  }, [ask, running]);
  return {
    recording,
    begin: async (path, limitBytes) => take(await engine.call('exits.record', { vm, path, limitBytes })),
    end: () => { engine.call('exits.end', { vm }).then((answer) => take(answer.recording), notifyError); },
  };
}

function tellEnd({ path, recorded, missing, full, problem, limitBytes }: ExitRecording): void {
  const what = `Recorded ${recorded.toLocaleString('en')} exits in ${fileName(path)}.`;
  if (problem !== null) return notify('error', `The recording ended early: ${problem}.`, what);
  const why = full ? `It ended at its limit of ${formatBytes(limitBytes)}. ` : '';
  notify('info', what, `${why}${missing > 0 ? `${missing.toLocaleString('en')} came too fast and are not in it.` : path}`);
}

/** Begins a recording, or ends it. */
export function RecordButton({ vm, recorder: { recording, begin, end } }: { readonly vm: Vm; readonly recorder: Recorder }): ReactNode {
  const [asking, setAsking] = useState(false);
  if (recording?.running) return <IconButton className="recording" icon={Square} label="End the recording" onClick={end} />;
  return (
    <>
      <IconButton icon={Circle} label="Record to a file" onClick={() => setAsking(true)} />
      {asking && <RecordDialog vm={vm} begin={begin} close={() => setAsking(false)} />}
    </>
  );
}

/** How far a recording is, while it runs. */
export function RecordingLine({ recording }: { readonly recording: ExitRecording | null }): ReactNode {
  if (!recording?.running) return null;
  const { path, recorded, missing, bytes, limitBytes } = recording;
  return (
    <p className="recording-line" role="status">
      <span className="lamp" aria-hidden />
      <span className="name" title={path}>{fileName(path)}</span>
      <span className="numeric">{formatCount(recorded)} exits</span>
      {missing > 0 && <span className="numeric" title="They came faster than they can be written">{formatCount(missing)} missed</span>}
      <span className="numeric">{formatBytes(bytes)} of {formatBytes(limitBytes)}</span>
    </p>
  );
}

function RecordDialog({ vm, begin, close }: { readonly vm: Vm; readonly begin: Recorder['begin']; readonly close: () => void }): ReactNode {
  const home = useLibrary((state) => state.host?.homeFolder ?? '');
  const [path, setPath] = useState(`${home}/${vm.config.name.replaceAll(/[^\p{L}\p{N}._-]+/gu, '-')}-exits-${stamp(new Date())}.db`);
  const [limit, setLimit] = useState(DEFAULT_LIMIT);
  const [problem, setProblem] = useState<FieldProblem | undefined>();
  const submit = (): void => {
    begin(path, Number(limit) * MIB).then(close, (thrown: unknown) => setProblem(asContractError(thrown)));
  };
  return (
    <Dialog title={`Record the exits of ${vm.config.name}`} description="Every exit with its fields and registers, until you end it, the machine stops or the file has its size." onClose={close} onSubmit={submit}
      footer={<>
        <Button look="plain" size="large" onClick={close}>Cancel</Button>
        <Button look="primary" size="large" type="submit">Record</Button>
      </>}>
      <PathField label="File" value={path} problem={problem} hint="A SQLite database when the name ends in .db, else a line of JSON for each exit." onPath={(value) => { setPath(value); setProblem(undefined); }} />
      <Field label="At most">{(ties) => <Select ties={ties} value={limit} options={LIMITS} onPick={setLimit} />}</Field>
    </Dialog>
  );
}

/** `20261121-143000`. */
function stamp(date: Date): string {
  const two = (number: number): string => String(number).padStart(2, '0');
  return `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}
