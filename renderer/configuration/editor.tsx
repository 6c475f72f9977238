import { useEffect, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { ErrorShape, Vm } from '../../core/contract/index.ts';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Field } from '../controls/field.tsx';
import { Segments } from '../controls/segments.tsx';
import { Select } from '../controls/select.tsx';
import { Switch } from '../controls/switch.tsx';
import { engine } from '../engine/engine.ts';
import { isAlive } from '../state/library.ts';
import { changesBetween, draftOf, fieldProblem, readDraft } from './draft.ts';
import type { Draft, Problems } from './draft.ts';
import { DisplayField, FirmwareFields, ImageFields, MemoryField, ModuleFields, NameField, ProcessorFields } from './fields.tsx';
import { SerialFields } from './serial-fields.tsx';
import { HostFields, ShareFields } from './host-fields.tsx';
import { ScheduleFields } from './schedule-fields.tsx';
import { keepDraft, useDrafts } from './drafts.ts';
import { GroupField } from './group-field.tsx';
import { DiskFields } from './hardware-fields.tsx';
import { NetworkFields } from './network-fields.tsx';
import { TagsField } from './tags-field.tsx';
import { useRecognised } from './use-recognised.ts';

const whileItRuns = { title: 'The machine runs.', hint: 'Name, group, tags, notes, start, snapshots and network cables can change now; stop it to change its hardware.' };
const whileSuspended = { title: 'The machine is suspended.', hint: 'Name, group, tags, notes, start and snapshots can change now; its hardware, when it has gone on and was stopped.' };

/** Edits a VM's configuration. While it runs only what is the person's can change, and the page says so. */
export function ConfigurationEditor({ vm }: { readonly vm: Vm }): ReactNode {
  const saved = JSON.stringify(vm.config);
  const [draft, setDraft] = useState<Draft>(() => draftBefore(vm.id, saved) ?? draftOf(vm.config));
  const [refused, setRefused] = useState<Problems>({});
  const [error, setError] = useState<ErrorShape | null>(null);
  const [busy, setBusy] = useState(false);
  const recognised = useRecognised(draft);
  const base = useRef(saved);
  useEffect(() => {
    if (base.current === saved) return;
    base.current = saved;
    setDraft(draftOf(vm.config));
  }, [saved]);

  const read = readDraft(draft);
  const changes = read.config ? changesBetween(vm.config, read.config) : null;
  const dirty = changes === null || Object.keys(changes).length > 0;
  useEffect(() => keepDraft(vm.id, dirty ? { draft, base: saved } : null), [draft, dirty, saved]);
  const runs = isAlive(vm);
  const locked = runs || vm.state === 'suspended';
  const problems: Problems = { ...recognised.problems, ...refused, ...(dirty ? read.problems : {}) };
  const change = (part: Partial<Draft>): void => {
    setDraft((old) => ({ ...old, ...part }));
    setRefused({});
    setError(null);
  };
  const save = async (): Promise<void> => {
    if (!changes || busy) return;
    setBusy(true);
    try {
      await engine.call('vm.edit', { vm: vm.id, changes });
    } catch (thrown) {
      const contractError = asContractError(thrown);
      const atField = fieldProblem(contractError);
      if (atField) setRefused(atField);
      else setError(contractError.toShape());
    } finally {
      setBusy(false);
    }
  };
  /** Cables come and go while the machine runs. */
  const link = async (network: number, up: boolean): Promise<void> => {
    try {
      await engine.call('vm.link', { vm: vm.id, network, up });
    } catch (thrown) {
      setError(asContractError(thrown).toShape());
    }
  };
  const fields = { draft, problems, onChange: change, disabled: locked };
  return (
    <form className="tab-panel" aria-label="Configuration" noValidate onSubmit={(event) => { event.preventDefault(); void save(); }}>
      <div className="page">
        <div className="page-inner" style={{ gap: 0 }}>
          {locked && <div style={{ marginBottom: 16 }}><Callout kind="info" {...(runs ? whileItRuns : whileSuspended)} /></div>}
          {error && <div style={{ marginBottom: 16 }}><Callout kind="error" title={error.message} hint={error.hint} /></div>}
          <Section title="General" about="How you find the machine again.">
            <NameField {...fields} />
            <GroupField value={draft.group} problem={problems['group']} onPick={(group) => change({ group })} />
            <TagsField value={draft.tags} problem={problems['tags']} onText={(tags) => change({ tags })} />
            <label className="switch-row"><Switch label="Start with the engine" on={draft.autostart} onTurn={(autostart) => change({ autostart })} />Starts, or goes on, with the engine</label>
            <Field label="Notes" optional problem={problems['notes']}>
              {(ties) => <textarea {...ties} className="input" rows={3} value={draft.notes} onChange={(event) => change({ notes: event.target.value })} />}
            </Field>
          </Section>
          <Section title="Snapshots" about="What is kept of the machine without being asked for.">
            <ScheduleFields {...fields} />
          </Section>
          <Section title="Boot" about="What runs when the machine starts.">
            <Segments label="Boot from" value={draft.boot.kind} onPick={(kind) => { if (!locked) change({ boot: { ...draft.boot, kind } }); }}
              segments={[{ value: 'monitor', label: 'Built-in monitor' }, { value: 'image', label: 'Kernel' }, { value: 'firmware', label: 'Firmware' }]} />
            {draft.boot.kind === 'firmware' && <FirmwareFields {...fields} />}
            {draft.boot.kind === 'image' && (
              <>
                <ImageFields {...fields} recognised={recognised.description} />
                <ModuleFields {...fields} />
              </>
            )}
          </Section>
          <Section title="Processor and memory" about="What the guest sees, whatever the host is.">
            <MemoryField {...fields} />
            <ProcessorFields {...fields} />
            <Field label="VT-d" hint="The guest gets a remapping unit of its own, for DMA and interrupts. Hypervisors need it to assign devices.">
              {(ties) => (
                <Select ties={ties} value={draft.iommu} disabled={locked} onPick={(iommu) => change({ iommu: iommu as Draft['iommu'] })}
                  options={[{ value: 'off', label: 'Off' }, { value: 'on', label: 'On' }]} />
              )}
            </Field>
            <Field label="USB" hint="A host controller with a tablet, whose pointer follows the person's, and a keyboard; host devices that are attached while the guest runs go there.">
              {(ties) => (
                <Select ties={ties} value={draft.usb} disabled={locked} onPick={(usb) => change({ usb: usb as Draft['usb'] })}
                  options={[{ value: 'off', label: 'Off' }, { value: 'on', label: 'On' }]} />
              )}
            </Field>
            <Field label="KVM interface" hint="The guest takes the machine for one of KVM's: it may use its clock, and end interrupts without an exit.">
              {(ties) => (
                <Select ties={ties} value={draft.kvm} disabled={locked} onPick={(kvm) => change({ kvm: kvm as Draft['kvm'] })}
                  options={[{ value: 'off', label: 'Off' }, { value: 'on', label: 'On' }]} />
              )}
            </Field>
          </Section>
          <Section title="Display" about="A screen with keyboard and mouse, in a tab of its own.">
            <DisplayField {...fields} />
          </Section>
          <Section title="Disks" about="Images on this host: raw, qcow2, ISO. No two machines write to one. Firmware looks for a system in this order.">
            <DiskFields {...fields} />
          </Section>
          <Section title="Network" about="Interfaces, and ports of this host that lead into the guest.">
            <NetworkFields {...fields} {...(runs ? { onLink: link } : {})} />
          </Section>
          <Section title="Shared folders" about="Folders of this host that the guest mounts by 9P, and nothing outside them.">
            <ShareFields {...fields} />
          </Section>
          <Section title="Host and guest" about="Devices for guests that have their drivers.">
            <HostFields {...fields} />
          </Section>
          <Section title="Serial ports" about="Each port that is connected with something has a tab as well.">
            <SerialFields {...fields} />
          </Section>
          <Section title="Execution" about="How the processor is emulated, and where its time comes from.">
            <Field label="Compiler" hint="Off interprets every instruction; always compiles each region on first sight, for tests.">
              {(ties) => (
                <Select ties={ties} value={draft.jit} disabled={locked} onPick={(jit) => change({ jit: jit as Draft['jit'] })}
                  options={[{ value: 'on', label: 'On' }, { value: 'off', label: 'Off' }, { value: 'always', label: 'Always' }]} />
              )}
            </Field>
            <Field label="Clock">
              {(ties) => (
                <Select ties={ties} value={draft.clock} disabled={locked} onPick={(clock) => change({ clock: clock as Draft['clock'] })}
                  options={[
                    { value: 'wall', label: 'Host time', detail: 'Guest clocks follow the host.' },
                    { value: 'instructions', label: 'Instruction count', detail: 'The same start and input give the same run, bit for bit.' },
                  ]} />
              )}
            </Field>
          </Section>
          <Section title="Debugger" about="GDB sees the machine from outside; the guest does not notice.">
            <Field label="Port for GDB" optional problem={problems['gdb.port'] ?? problems['gdb']} hint="On 127.0.0.1. At GDB's prompt: target remote :1234">
              {(ties) => (
                <input {...ties} className="input numeric" inputMode="numeric" placeholder="None" value={draft.gdbPort} disabled={locked}
                  onChange={(event) => change({ gdbPort: event.target.value })} />
              )}
            </Field>
            {draft.gdbPort.trim() !== '' && (
              <label className="switch-row"><Switch label="Wait for GDB" on={draft.gdbWait} disabled={locked} onTurn={(gdbWait) => change({ gdbWait })} />The guest waits for GDB before its first instruction</label>
            )}
          </Section>
        </div>
      </div>
      {dirty && (
        <footer className="form-foot">
          <span className="note">{read.config ? 'Changes are not saved yet.' : 'Correct the marked fields to save.'}</span>
          <Button onClick={() => { setDraft(draftOf(vm.config)); setRefused({}); setError(null); }}>Discard</Button>
          <Button look="primary" type="submit" busy={busy} disabled={!read.config}>Save changes</Button>
        </footer>
      )}
    </form>
  );
}

/** What was typed for a VM before and is still a change of what it has. */
function draftBefore(vm: string, saved: string): Draft | undefined {
  const before = useDrafts.getState()[vm];
  return before?.base === saved ? before.draft : undefined;
}

function Section({ title, about, children }: { readonly title: string; readonly about: string; readonly children: ReactNode }): ReactNode {
  return (
    <section className="form-section" aria-label={title}>
      <div><h2>{title}</h2><p className="about">{about}</p></div>
      <div className="form-fields">{children}</div>
    </section>
  );
}
