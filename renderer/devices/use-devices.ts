import { useEffect, useState } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { ContractError, Device } from '../../core/contract/index.ts';
import type { InspectQuery, InspectSection } from '../../core/contract/inspect.ts';
import { engine } from '../engine/engine.ts';
import { useLibrary } from '../state/library.ts';

export interface DeviceList {
  /** Null until they are known. */
  readonly devices: readonly Device[] | null;
  readonly error: ContractError | null;
}

/** What the host offers and who owns it, kept up to date: owners at once, what is plugged in and out within a few seconds. */
export function useDevices(): DeviceList {
  const changes = useLibrary((state) => state.deviceChanges);
  const running = useLibrary((state) => state.vms.map((vm) => `${vm.id}${vm.state}`).join());
  const connected = useLibrary((state) => state.connection.kind === 'connected');
  const [list, setList] = useState<DeviceList>({ devices: null, error: null });
  useEffect(() => {
    if (!connected) return undefined;
    let current = true;
    const load = (): void => void engine.call('device.list', {}).then(
      (devices) => { if (current) setList({ devices, error: null }); },
      (thrown: unknown) => { if (current) setList({ devices: null, error: asContractError(thrown) }); },
    );
    load();
    const timer = setInterval(load, LOOK_AGAIN_MS);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [changes, running, connected]);
  return list;
}

const LOOK_AGAIN_MS = 5000;
const SAMPLE_MS = 1000;

/** Tables of a running machine, asked for once a second while they are shown; null while there are none. */
export function useInspection(vmId: string, query: InspectQuery, active: boolean): readonly InspectSection[] | null {
  const [sections, setSections] = useState<readonly InspectSection[] | null>(null);
  const key = JSON.stringify(query);
  useEffect(() => {
    setSections(null);
    if (!active) return undefined;
    let current = true;
    const load = (): void => void engine.call('vm.inspect', { vm: vmId, query: JSON.parse(key) as InspectQuery }).then(
      (answer) => { if (current) setSections(answer.sections); },
      () => { if (current) setSections(null); },
    );
    load();
    const timer = setInterval(load, SAMPLE_MS);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [vmId, key, active]);
  return sections;
}
