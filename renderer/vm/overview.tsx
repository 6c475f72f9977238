import { Clock, Cpu, Disc, HardDrive, Hash, MemoryStick, Monitor, Network, NotebookPen, SquareTerminal } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import type { DiskConfig, MetricsEvent, NetworkConfig, Vm, VmConfig } from '../../core/contract/index.ts';
import { buses } from '../configuration/hardware-fields.tsx';
import { attachments, models } from '../configuration/network-fields.tsx';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Sparkline } from '../controls/sparkline.tsx';
import { bytesWithUnit, fileName, formatBytes, formatCount, formatDuration, formatTime, withUnit } from '../state/format.ts';
import { changeVmLayout, portTab } from '../state/layout.ts';
import { isAlive, useLibrary } from '../state/library.ts';
import { endedBadly, startVm, stateLine, voiceOf } from './actions.ts';
import { exitName } from './exit-names.ts';
import { DisksAndMemory } from './media.tsx';
import { HotPlugSlots } from './slots.tsx';

const noSamples: readonly MetricsEvent[] = [];
const SAMPLES = 60;

/** The machine at a glance: what it does now, what it is made of, and why it leaves its guest. */
export function Overview({ vm }: { readonly vm: Vm }): ReactNode {
  const samples = useLibrary((state) => state.metrics[vm.id]) ?? noSamples;
  // Said above all tabs already.
  const said = useLibrary((state) => state.errors[vm.id] !== undefined) && vm.exit?.reason === 'failed-to-start';
  return (
    <div className="page">
      <div className="page-inner">
        {!isAlive(vm) && !said && <LastEnd vm={vm} />}
        {isAlive(vm) && <Meters samples={samples} />}
        <section className="card" aria-labelledby="hardware-title">
          <header className="card-head">
            <h2 id="hardware-title">Machine</h2>
            <Button look="plain" onClick={() => changeVmLayout(vm.id, { tab: 'configuration' })}>Edit</Button>
          </header>
          <div className="card-body"><Facts vm={vm} /></div>
        </section>
        {vm.state !== 'suspended' && <DisksAndMemory vm={vm} />}
        {isAlive(vm) && <HotPlugSlots vm={vm} />}
        {isAlive(vm) && <Exits samples={samples} />}
      </div>
    </div>
  );
}

function LastEnd({ vm }: { readonly vm: Vm }): ReactNode {
  const { exit } = vm;
  const voice = voiceOf(vm.config);
  const opens = voice === null ? 'look at its activity' : voice === 'display' ? 'its display opens' : 'its first console opens';
  const start = <Button look="primary" onClick={() => void startVm(vm)}>{vm.state === 'suspended' ? 'Resume' : 'Start'}</Button>;
  if (vm.state === 'suspended') return <Callout kind="info" title="Suspended." hint="Its memory and its devices are kept; it goes on where it was." actions={start} />;
  if (!exit) return <Callout kind="info" title="This machine has not run yet." hint={`Start it and ${opens}.`} actions={start} />;
  return (
    <Callout kind={endedBadly(vm) ? 'warning' : 'info'} title={`${stateLine(vm)}.`} hint={formatTime(exit.at)} actions={start}>
      {exit.detail !== '' && <pre className="selectable">{exit.detail}</pre>}
    </Callout>
  );
}

function Meters({ samples }: { readonly samples: readonly MetricsEvent[] }): ReactNode {
  const last = samples.at(-1);
  const speed = withUnit(last?.instructionsPerSecond ?? 0);
  const exits = withUnit(last?.exitsPerSecond ?? 0);
  const memory = bytesWithUnit(last?.residentBytes ?? 0);
  const past = (pick: (sample: MetricsEvent) => number): readonly number[] => samples.map(pick);
  return (
    <div className="cards">
      <Meter caption="Processor" value={(last?.cpuPercent ?? 0).toFixed(0)} unit="% of a core" past={past((sample) => sample.cpuPercent)} top={100} />
      <Meter caption="Instructions" value={speed.value} unit={`${speed.unit}/s`} past={past((sample) => sample.instructionsPerSecond)} top={1} />
      <Meter caption="VM exits" value={exits.value} unit={`${exits.unit}/s`} past={past((sample) => sample.exitsPerSecond)} top={1} />
      <Meter caption="Host memory" value={memory.value} unit={memory.unit} past={past((sample) => sample.residentBytes)} top={1} />
    </div>
  );
}

interface MeterProps {
  readonly caption: string;
  readonly value: string;
  readonly unit: string;
  readonly past: readonly number[];
  readonly top: number;
}

function Meter({ caption, value, unit, past, top }: MeterProps): ReactNode {
  return (
    <div className="card meter">
      <div className="caption">{caption}</div>
      <div><span className="value">{value}</span><span className="unit">{unit}</span></div>
      <Sparkline values={past} top={top} width={180} height={32} capacity={SAMPLES} label={`${caption} over the last minute`} />
    </div>
  );
}

function Facts({ vm }: { readonly vm: Vm }): ReactNode {
  const host = useLibrary((state) => state.host);
  const { config } = vm;
  const model = config.cpuModel || (host?.cpuModels.find((candidate) => candidate.isDefault)?.name ?? 'default');
  return (
    <dl className="facts">
      <dt><Named icon={Cpu} text="Processor" /></dt><dd>{config.cpus} × {model}</dd>
      <dt><Named icon={MemoryStick} text="Memory" /></dt><dd className="numeric">{formatBytes(config.memoryBytes)}</dd>
      <dt><Named icon={HardDrive} text="Boots" /></dt><dd><Boot config={config} /></dd>
      {config.disks.length > 0 && <><dt><Named icon={Disc} text="Disks" /></dt><dd><Lines lines={config.disks.map(diskLine)} /></dd></>}
      {config.networks.length > 0 && <><dt><Named icon={Network} text="Network" /></dt><dd><Lines lines={config.networks.map(networkLine)} /></dd></>}
      {config.display !== 'none' && <><dt><Named icon={Monitor} text="Display" /></dt><dd>{config.display === 'vga' ? 'VGA' : 'Virtio'}</dd></>}
      <dt className="beside-buttons"><Named icon={SquareTerminal} text="Consoles" /></dt><dd><Consoles vm={vm} /></dd>
      {vm.startedAt !== null && isAlive(vm) && <><dt><Named icon={Clock} text="Running for" /></dt><dd><Since at={vm.startedAt} /></dd></>}
      {vm.processId !== null && <><dt><Named icon={Hash} text="Process" /></dt><dd className="mono">{vm.processId}</dd></>}
      {config.notes !== '' && <><dt><Named icon={NotebookPen} text="Notes" /></dt><dd style={{ whiteSpace: 'pre-wrap' }}>{config.notes}</dd></>}
    </dl>
  );
}

function Named({ icon: Icon, text }: { readonly icon: typeof Cpu; readonly text: string }): ReactNode {
  return <span style={{ display: 'inline-flex', alignItems: 'center', gap: 8 }}><Icon size={14} aria-hidden />{text}</span>;
}

interface Line {
  readonly text: string;
  readonly note: string;
}

function Lines({ lines }: { readonly lines: readonly Line[] }): ReactNode {
  return lines.map(({ text, note }, index) => <div key={index}>{text} <span className="note">{note}</span></div>);
}

function diskLine({ kind, path, bus, readOnly }: DiskConfig): Line {
  const on = buses.find(({ value }) => value === bus)?.label ?? bus;
  return kind === 'cdrom' ? { text: path === '' ? 'Empty drive' : fileName(path), note: 'CD-ROM' } : { text: fileName(path), note: readOnly ? `${on}, read-only` : on };
}

function networkLine({ attach, switchName, linkUp, model, forwards }: NetworkConfig): Line {
  const to = attach === 'switch' ? `Switch ${switchName}` : attachments.find(({ value }) => value === attach)?.label ?? attach;
  const ports = forwards.map(({ protocol, hostAddress, hostPort, guestPort }) => `${protocol} ${hostAddress}:${hostPort} to ${guestPort}`);
  return { text: to, note: [models.find(({ value }) => value === model)?.label ?? model, ...(linkUp ? [] : ['unplugged']), ...ports].join(', ') };
}

function Boot({ config: { boot, firmware } }: { readonly config: VmConfig }): ReactNode {
  if (firmware !== '') return firmware === 'bios' ? 'BIOS' : firmware === 'uefi' ? 'UEFI' : <span className="mono" title={firmware}>{fileName(firmware)}</span>;
  if (boot.kind === 'monitor') return 'Built-in monitor';
  return (
    <>
      <div className="mono" title={boot.kernel}>{fileName(boot.kernel)}</div>
      {boot.initrd !== null && <div className="mono" title={boot.initrd}>{fileName(boot.initrd)}</div>}
      {boot.append !== '' && <div className="mono" style={{ color: 'var(--text-soft)' }}>{boot.append}</div>}
      {boot.modules.map((module, index) => <div className="mono" key={index}>{fileName(module.path)} {module.commandLine}</div>)}
    </>
  );
}

function Consoles({ vm }: { readonly vm: Vm }): ReactNode {
  const ports = vm.config.serial.flatMap((serial, port) => (serial.attach === 'console' ? [port] : []));
  if (ports.length === 0) return 'none';
  return (
    <div style={{ display: 'flex', gap: 6, flexWrap: 'wrap' }}>
      {ports.map((port) => <Button key={port} onClick={() => changeVmLayout(vm.id, { tab: portTab(port) })}>COM{port + 1}</Button>)}
    </div>
  );
}

function Since({ at }: { readonly at: number }): ReactNode {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return <span className="numeric">{formatDuration(now - at)}</span>;
}

function Exits({ samples }: { readonly samples: readonly MetricsEvent[] }): ReactNode {
  const exits = Object.entries(samples.at(-1)?.exits ?? {}).filter(([, count]) => count > 0).sort(([, left], [, right]) => right - left);
  const total = exits.reduce((sum, [, count]) => sum + count, 0);
  return (
    <section className="card" aria-labelledby="exits-title">
      <header className="card-head"><h2 id="exits-title">VM exits since the start</h2></header>
      {exits.length === 0
        ? <div className="card-body" style={{ color: 'var(--text-faint)' }}>The guest has not left to the hypervisor yet.</div>
        : (
          <table className="table">
            <thead><tr><th>Reason</th><th className="right">Count</th><th className="right">Share</th><th style={{ width: '34%' }}><span className="visually-hidden">Share as a bar</span></th></tr></thead>
            <tbody>
              {exits.map(([reason, count]) => (
                <tr key={reason}>
                  <td>{exitName(reason)}</td>
                  <td className="right">{formatCount(count)}</td>
                  <td className="right">{((count / total) * 100).toFixed(1)} %</td>
                  <td><div className="share"><span style={{ width: `${(count / total) * 100}%` }} /></div></td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
    </section>
  );
}
