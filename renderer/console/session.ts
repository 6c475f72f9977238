/** One viewer of one serial port: a terminal that outlives the panes it is shown in. */
import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { Unicode11Addon } from '@xterm/addon-unicode11';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { WebglAddon } from '@xterm/addon-webgl';
import { Terminal } from '@xterm/xterm';
import { CONSOLE_WRITE_BYTES } from '../../core/contract/index.ts';
import type { ConsoleEvent } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';
import { useLayout } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';
import { createInputQueue } from './input-queue.ts';
import { LineTimes } from './line-times.ts';
import { consoleThemes, searchColours } from './themes.ts';

/** A port has two UART FIFOs of 16 bytes; offering again sooner only makes messages. */
const INPUT_RETRY_MS = 8;

export interface ConsoleSession {
  readonly terminal: Terminal;
  readonly search: SearchAddon;
  /** Puts the terminal into a container and keeps it fitted until the returned function is called. */
  show(container: HTMLElement): () => void;
  find(text: string, direction: 'next' | 'previous', incremental: boolean): void;
  endFind(): void;
  paste(text: string): void;
  /** Forgets what was shown, here and in the engine. */
  clear(): Promise<void>;
  /** All lines as plain text. */
  text(): string;
  dispose(): void;
}

export interface SessionOptions {
  readonly vm: string;
  readonly port: number;
  /** Whether a key press belongs to the window, not to the guest. */
  readonly isWindowKey: (event: KeyboardEvent) => boolean;
}

export function createSession({ vm, port, isWindowKey }: SessionOptions): ConsoleSession {
  const { settings } = useLibrary.getState();
  const terminal = new Terminal({
    allowProposedApi: true,
    cursorBlink: true,
    fontFamily: '"JetBrains Mono Variable", ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSize: settings.consoleFontSize,
    lineHeight: 1.2,
    minimumContrastRatio: 4.5,
    overviewRuler: { width: 10 },
    rightClickSelectsWord: true,
    scrollback: settings.consoleScrollbackLines,
    screenReaderMode: useLayout.getState().screenReader,
    theme: consoleThemes[currentTheme()],
  });
  const fit = new FitAddon();
  const search = new SearchAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(search);
  terminal.loadAddon(new Unicode11Addon());
  terminal.unicode.activeVersion = '11';
  terminal.loadAddon(new WebLinksAddon((_event, address) => void window.open(address, '_blank', 'noopener,noreferrer')));

  const host = document.createElement('div');
  host.className = 'terminal-host';
  const encoder = new TextEncoder();
  const input = createInputQueue({
    offer: async (bytes) => (await engine.call('console.write', { vm, port, data: bytes })).taken,
    refused: notifyError,
    pieceBytes: CONSOLE_WRITE_BYTES,
    retryMs: INPUT_RETRY_MS,
  });
  // A replay holds the questions that the guest once asked the terminal; answering them again would type into the guest.
  let replaying = 0;
  terminal.onData((text) => { if (replaying === 0) input.push(encoder.encode(text)); });
  terminal.onBinary((text) => { if (replaying === 0) input.push(Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff)); });
  terminal.attachCustomKeyEventHandler((event) => !isWindowKey(event) && !copiesSelection(terminal, event));

  const write = (data: Uint8Array): Promise<void> => new Promise((done) => terminal.write(data, done));
  const times = new LineTimes();
  /** A program that has the whole screen to itself writes no lines. */
  const timed = (data: Uint8Array): Uint8Array => (useLayout.getState().lineTimes && terminal.buffer.active.type === 'normal' ? times.add(data, Date.now()) : data);
  const receive = async (event: ConsoleEvent): Promise<void> => {
    if (event.kind === 'data') return write(timed(event.data));
    if (event.kind !== 'replay') return;
    replaying++;
    terminal.reset();
    if (event.truncated) await write(encoder.encode('\x1b[2m(older output is no longer kept)\x1b[0m\r\n'));
    await write(event.data);
    replaying--;
  };
  // The client delivers the next event once this one's promise is done: so a slow terminal slows the guest's UART.
  const stopFollowing = engine.follow('console', { vm, port }, { event: receive });
  const stopSettings = useLibrary.subscribe(({ settings: now }) => {
    terminal.options.fontSize = now.consoleFontSize;
    terminal.options.scrollback = now.consoleScrollbackLines;
  });
  const stopLayout = useLayout.subscribe(({ screenReader }) => void (terminal.options.screenReaderMode = screenReader));
  const themeObserver = new MutationObserver(() => void (terminal.options.theme = consoleThemes[currentTheme()]));
  themeObserver.observe(document.documentElement, { attributeFilter: ['data-theme'] });

  const fitNow = (): void => { if (host.clientWidth > 40 && host.clientHeight > 20) fit.fit(); };
  return {
    terminal,
    search,
    show(container) {
      container.append(host);
      if (!terminal.element) terminal.open(host);
      const webgl = tryWebgl(terminal);
      const observer = new ResizeObserver(fitNow);
      observer.observe(host);
      fitNow();
      return () => {
        observer.disconnect();
        webgl?.dispose();
        host.remove();
      };
    },
    find(text, direction, incremental) {
      const options = { decorations: searchColours, incremental };
      if (direction === 'next') search.findNext(text, options);
      else search.findPrevious(text, { decorations: searchColours });
    },
    endFind() {
      search.clearDecorations();
      terminal.clearSelection();
    },
    paste: (text) => terminal.paste(text),
    async clear() {
      terminal.clear();
      await engine.call('console.clear', { vm, port });
    },
    text: () => bufferText(terminal),
    dispose() {
      stopFollowing();
      stopSettings();
      stopLayout();
      themeObserver.disconnect();
      input.clear();
      terminal.dispose();
      host.remove();
    },
  };
}

/** Where WebGL is missing, or drawn by the processor, or its context is lost, the terminal draws with the DOM by itself. */
function tryWebgl(terminal: Terminal): WebglAddon | null {
  hasGraphics ??= probeGraphics();
  if (!hasGraphics) return null;
  try {
    const webgl = new WebglAddon();
    webgl.onContextLoss(() => webgl.dispose());
    terminal.loadAddon(webgl);
    return webgl;
  } catch {
    return null;
  }
}

let hasGraphics: boolean | undefined;

/** Whether there is a graphics processor: on cloud machines a browser imitates one, which costs more than the DOM. */
function probeGraphics(): boolean {
  const context = document.createElement('canvas').getContext('webgl2', { failIfMajorPerformanceCaveat: true });
  if (!context) return false;
  const names = context.getExtension('WEBGL_debug_renderer_info');
  const renderer = names ? String(context.getParameter(names.UNMASKED_RENDERER_WEBGL)) : '';
  context.getExtension('WEBGL_lose_context')?.loseContext();
  return !/swiftshader|llvmpipe|software/i.test(renderer);
}

/** Control+C copies when text is selected, as in every editor; otherwise it is the guest's. */
function copiesSelection(terminal: Terminal, event: KeyboardEvent): boolean {
  const plain = event.ctrlKey && !event.shiftKey && !event.altKey && !event.metaKey;
  if (event.type !== 'keydown' || !plain || event.key !== 'c' || !terminal.hasSelection()) return false;
  void copyText(terminal.getSelection());
  terminal.clearSelection();
  event.preventDefault();
  return true;
}

export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch (thrown) {
    notifyError(thrown);
  }
}

function currentTheme(): 'dark' | 'light' {
  return document.documentElement.dataset['theme'] === 'light' ? 'light' : 'dark';
}

function bufferText(terminal: Terminal): string {
  const buffer = terminal.buffer.normal;
  const lines: string[] = [];
  for (let row = 0; row < buffer.length; row++) {
    const line = buffer.getLine(row);
    const text = line?.translateToString(true) ?? '';
    if (line?.isWrapped && lines.length > 0) lines.push((lines.pop() ?? '') + text);
    else lines.push(text);
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
