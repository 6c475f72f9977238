import { Camera, Keyboard, Maximize, MonitorOff, Play, Scaling } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Empty } from '../controls/empty.tsx';
import { ButtonMenu } from '../controls/menu.tsx';
import type { MenuRow } from '../controls/menu.tsx';
import { engine } from '../engine/engine.ts';
import { useLayout } from '../state/layout.ts';
import { isAlive } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';
import { Thumbnail } from '../snapshots/thumbnail.tsx';
import { startVm } from '../vm/actions.ts';
import { DisplayView } from './view.ts';
import { useFittingScreen } from './fitting.ts';

/** Screens up to this width are magnified rather than shrunk: their pixels stay sharp. */
const SMALL_WIDTH = 800;

/** Combinations that the host would take for itself. */
const combinations: readonly (readonly [label: string, codes: readonly string[]])[] = [
  ['Ctrl+Alt+Delete', ['ControlLeft', 'AltLeft', 'Delete']],
  ['Ctrl+Alt+Backspace', ['ControlLeft', 'AltLeft', 'Backspace']],
  ['Alt+Tab', ['AltLeft', 'Tab']],
  ['Alt+F4', ['AltLeft', 'F4']],
  ['Alt+SysRq', ['AltLeft', 'PrintScreen']],
  ['Super', ['MetaLeft']],
  ['Escape', ['Escape']],
  ...Array.from({ length: 7 }, (_, index) => [`Ctrl+Alt+F${index + 1}`, ['ControlLeft', 'AltLeft', `F${index + 1}`]] as const),
];

/** The machine's screen, with its keyboard and pointer. */
export function DisplayPane({ vm }: { readonly vm: Vm }): ReactNode {
  const canvas = useRef<HTMLCanvasElement>(null);
  const view = useRef<DisplayView | null>(null);
  const [size, setSize] = useState<{ readonly width: number; readonly height: number } | null>(null);
  const [grabbed, setGrabbed] = useState(false);
  const body = useRef<HTMLDivElement>(null);
  const fit = useLayout((state) => state.fitScreen);
  const { usb, display } = vm.config;
  const tablet = usb === 'on' || display === 'virtio';
  useEffect(() => {
    if (!canvas.current) return undefined;
    const made = new DisplayView(vm.id, canvas.current, tablet, { size: setSize, grabbed: setGrabbed });
    view.current = made;
    return () => {
      view.current = null;
      made.close();
    };
  }, [vm.id, tablet]);
  useFittingScreen(vm.id, body, display === 'virtio' && fit && size !== null);
  const rows = combinations.map(([label, codes]): MenuRow => ({ kind: 'action', label, run: () => view.current?.type(codes) }));
  const alive = isAlive(vm);
  return (
    <section className="pane display-pane" aria-label="Display">
      <header className="pane-bar">
        <div className="title">
          Display
          <span className="note" role="status">{hint(grabbed, size)}</span>
        </div>
        <span className="spacer" />
        {display === 'virtio' && (
          <IconButton icon={Scaling} label="Fit the guest's screen to this pane" aria-pressed={fit}
            onClick={() => useLayout.setState({ fitScreen: !fit })} />
        )}
        <IconButton icon={Camera} label="Save screenshot" onClick={() => void saveScreenshot(vm)} />
        <IconButton icon={Maximize} label="Full screen" onClick={() => void canvas.current?.requestFullscreen().catch(() => undefined)} />
        <ButtonMenu rows={rows}>
          <button type="button" className="button icon plain" aria-label="Type a key combination"><Keyboard size={15} aria-hidden /></button>
        </ButtonMenu>
      </header>
      <div ref={body} className="pane-body display-body">
        <canvas ref={canvas} className={`display ${grabbed ? 'grabbed' : ''} ${size && size.width <= SMALL_WIDTH ? 'crisp' : ''}`} tabIndex={0} hidden={size === null}
          aria-label={`Screen of ${vm.config.name}. Enter gives it the keyboard, Control and Alt together give it back.`} />
        {size === null && (
          <Empty icon={MonitorOff} picture={vm.state === 'suspended' ? <Thumbnail vmId={vm.id} snapshotId={null} /> : undefined}
            title={alive ? 'No picture yet' : 'The screen is off'}
            text={alive ? 'The machine has shown nothing on its display so far.' : vm.state === 'suspended' ? 'The machine is suspended.' : 'Start the machine to see what it shows.'}
            action={!alive && <Button look="primary" size="large" icon={Play} onClick={() => void startVm(vm)}>{vm.state === 'suspended' ? 'Resume' : 'Start'}</Button>} />
        )}
      </div>
    </section>
  );
}

function hint(grabbed: boolean, size: { readonly width: number; readonly height: number } | null): string {
  if (grabbed) return 'Keyboard and pointer are with the guest. Ctrl and Alt together give them back.';
  return size === null ? '' : `${size.width} × ${size.height}. Click, or press Enter on it, to type.`;
}

async function saveScreenshot(vm: Vm): Promise<void> {
  try {
    const { png } = await engine.call('display.capture', { vm: vm.id });
    const address = URL.createObjectURL(new Blob([new Uint8Array(png)], { type: 'image/png' }));
    const link = document.createElement('a');
    link.href = address;
    link.download = `${vm.config.name.replace(/[^\p{L}\p{N}._-]+/gu, '-') || 'screen'}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (thrown) {
    notifyError(thrown);
  }
}
