/** Ties the engine's streams to the stores; called once, when the window opens. */
import { engine } from '../engine/engine.ts';
import { applyLibraryEvent, applySample, isAlive, useLibrary } from './library.ts';
import { nextSelection, useLayout } from './layout.ts';
import { notify, notifyError } from './notices.ts';

export function followEngine(): void {
  const watching = new Map<string, () => void>();
  engine.watch((connection) => {
    useLibrary.setState({ connection });
    if (connection.kind === 'connected') {
      engine.call('host.info', {}).then((host) => useLibrary.setState({ host }), notifyError);
    }
  });
  engine.follow('library', {}, {
    event: (event) => {
      const before = useLibrary.getState();
      const after = applyLibraryEvent(before, event);
      useLibrary.setState(after);
      keepSelection(before.vms.map((vm) => vm.id), after.vms.map((vm) => vm.id));
      watchMetrics(watching);
      if (event.kind === 'error' && event.vmId === null) notify('error', event.error.message, event.error.hint);
    },
    end: (error) => { if (error) notifyError(error); },
  });
}

function keepSelection(before: readonly string[], now: readonly string[]): void {
  const { selected } = useLayout.getState();
  const next = nextSelection(selected, before, now);
  if (next !== selected) useLayout.setState({ selected: next });
}

/** Follows the metrics of each VM that is alive, and of no other. */
function watchMetrics(watching: Map<string, () => void>): void {
  const alive = new Set(useLibrary.getState().vms.filter(isAlive).map((vm) => vm.id));
  for (const [id, stop] of watching) {
    if (alive.has(id)) continue;
    stop();
    watching.delete(id);
  }
  for (const id of alive) {
    if (watching.has(id)) continue;
    const stop = engine.follow('metrics', { vm: id }, {
      event: (sample) => useLibrary.setState((state) => applySample(state, id, sample)),
      end: () => void watching.delete(id),
    });
    watching.set(id, stop);
  }
}
