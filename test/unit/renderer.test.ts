import { describe, expect, it, vi } from 'vitest';
import { ContractError, settingsDefaults, vmDefaults } from '../../core/contract/index.ts';
import type { MetricsEvent, Transport, Vm } from '../../core/contract/index.ts';
import { filterBy, score } from '../../renderer/commands/filter.ts';
import { changesBetween, draftOf, fieldProblem, freeName, nameForKernel, newDraft, readDraft } from '../../renderer/configuration/draft.ts';
import { createInputQueue } from '../../renderer/console/input-queue.ts';
import { LineTimes } from '../../renderer/console/line-times.ts';
import { keyCaps, matches, parseShortcut } from '../../renderer/controls/keys.ts';
import { sparkPoints } from '../../renderer/controls/sparkline.tsx';
import { createConnection } from '../../renderer/engine/connection.ts';
import { markMatches, searchVms } from '../../renderer/library/filter.ts';
import { shownTheme } from '../../renderer/settings/theme.ts';
import { bytesWithUnit, fileName, formatCount, formatDuration } from '../../renderer/state/format.ts';
import { nextSelection, portTab, tabPort } from '../../renderer/state/layout.ts';
import { applyLibraryEvent, applySample, emptyLibrary, METRICS_KEPT } from '../../renderer/state/library.ts';

function vmNamed(name: string, position: number, part: Partial<Vm> = {}): Vm {
  return {
    id: `00000000-0000-4000-8000-00000000000${position}`, config: { ...vmDefaults, name }, state: 'stopped', exit: null, position, createdAt: position, startedAt: null, processId: null, problem: null, ...part,
  };
}

const sample: MetricsEvent = { at: 1, cpuPercent: 5, instructions: 1, instructionsPerSecond: 1, exits: {}, exitsPerSecond: 0, residentBytes: 1, engine: {} };

describe('the library as the window sees it', () => {
  const a = vmNamed('a', 0);
  const b = vmNamed('b', 1);
  const full = applyLibraryEvent(emptyLibrary, { kind: 'all', vms: [b, a], settings: settingsDefaults });

  it('is in the list’s order', () => expect(full.vms.map((vm) => vm.config.name)).toEqual(['a', 'b']));

  it('takes a changed VM for the old one, and a new one at its place', () => {
    const moved = applyLibraryEvent(full, { kind: 'vm-changed', vm: { ...a, position: 2 } });
    expect(moved.vms.map((vm) => vm.config.name)).toEqual(['b', 'a']);
    expect(applyLibraryEvent(full, { kind: 'vm-changed', vm: vmNamed('c', 2) }).vms).toHaveLength(3);
  });

  it('forgets everything about a removed VM', () => {
    const withPast = applySample(applyLibraryEvent(full, { kind: 'error', vmId: a.id, error: { code: 'vm-crashed', message: 'It died.', hint: '' } }), a.id, sample);
    const removed = applyLibraryEvent(withPast, { kind: 'vm-removed', id: a.id });
    expect([removed.vms.length, removed.metrics[a.id], removed.errors[a.id]]).toEqual([1, undefined, undefined]);
  });

  it('keeps an error until the VM starts anew', () => {
    const failed = applyLibraryEvent(full, { kind: 'error', vmId: a.id, error: { code: 'vm-crashed', message: 'It died.', hint: '' } });
    expect(applyLibraryEvent(failed, { kind: 'vm-changed', vm: { ...a, state: 'crashed' } }).errors[a.id]?.message).toBe('It died.');
    expect(applyLibraryEvent(failed, { kind: 'vm-changed', vm: { ...a, state: 'starting' } }).errors[a.id]).toBeUndefined();
  });

  it('keeps only so many samples', () => {
    let state = full;
    for (let at = 0; at < METRICS_KEPT + 10; at++) state = applySample(state, a.id, { ...sample, at });
    expect(state.metrics[a.id]).toHaveLength(METRICS_KEPT);
    expect(state.metrics[a.id]?.at(-1)?.at).toBe(METRICS_KEPT + 9);
  });
});

describe('the selection', () => {
  it.each([
    ['stays where it is', 'b', ['a', 'b'], ['b', 'c'], 'b'],
    ['goes to the neighbour that took its place', 'b', ['a', 'b', 'c'], ['a', 'c'], 'c'],
    ['goes to the last when the last is removed', 'c', ['a', 'b', 'c'], ['a', 'b'], 'b'],
    ['is the first at the start', null, [], ['a', 'b'], 'a'],
    ['is none in an empty library', 'a', ['a'], [], null],
  ] as const)('%s', (_what, selected, before, now, expected) => expect(nextSelection(selected, before, now)).toBe(expected));

  it('names the tab of a port and back', () => expect([0, 1, 2, 3].map((port) => tabPort(portTab(port)))).toEqual([0, 1, 2, 3]));
});

describe('a configuration being typed', () => {
  it('is the configuration again when nothing was typed', () => {
    const config = { ...vmDefaults, name: 'x', boot: { kind: 'image' as const, kernel: '/k', initrd: null, append: 'a', modules: [{ path: '/m', commandLine: 'b' }] } };
    expect(readDraft(draftOf(config)).config).toEqual(config);
  });

  it.each([['7G', 'more than the supported'], ['3M', 'too small'], ['much', 'not a memory size'], ['', 'not a memory size']])('refuses %j as memory, with advice', (memory, words) => {
    const problem = readDraft({ ...newDraft('x'), memory }).problems?.['memoryBytes'];
    expect(problem?.message).toContain(words);
    expect(problem?.hint).not.toBe('');
  });

  it('names each field that is wrong, by the contract’s name', () => {
    const draft = newDraft('x');
    const { problems } = readDraft({ ...draft, name: ' ', cpus: 'two', boot: { ...draft.boot, kind: 'image', kernel: '' } });
    expect(Object.keys(problems ?? {}).sort()).toEqual(['boot.kernel', 'cpus', 'name']);
  });

  it('reads an empty initrd as none', () => {
    const draft = newDraft('x');
    const boot = readDraft({ ...draft, boot: { ...draft.boot, kind: 'image', kernel: ' /k ', initrd: '  ' } }).config?.boot;
    expect(boot).toMatchObject({ kernel: '/k', initrd: null });
  });

  it('sends only what differs', () => {
    const before = { ...vmDefaults, name: 'x' };
    expect(changesBetween(before, { ...before, cpus: 1, notes: 'n' })).toEqual({ notes: 'n' });
  });

  it('puts an engine’s refusal at its field', () => {
    expect(fieldProblem(new ContractError('name-taken', 'Taken.', 'Choose.', 'config.name'))).toMatchObject({ name: { message: 'Taken.', hint: 'Choose.' } });
    expect(fieldProblem(new ContractError('bad-image', 'Bad.', 'Other.', 'boot'))).toHaveProperty(['boot.kernel']);
    expect(fieldProblem(new ContractError('internal', 'x', 'y'))).toBeNull();
  });

  it('suggests a name that is free', () => {
    expect(freeName('Monitor', [])).toBe('Monitor');
    expect(freeName('Monitor', ['monitor', 'Monitor 2'])).toBe('Monitor 3');
    expect(nameForKernel('/boot/vmlinuz-6.1.0-28-cloud-amd64')).toBe('Linux 6.1.0-28-cloud-amd64');
    expect(nameForKernel('C:\\images\\xen.elf')).toBe('xen');
    expect(nameForKernel('')).toBe('Linux');
  });
});

describe('typing into a serial port', () => {
  const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

  it('keeps the order and offers again what was not taken', async () => {
    let got = '';
    const queue = createInputQueue({
      offer: async (piece) => {
        const taken = Math.min(3, piece.length);
        got += new TextDecoder().decode(piece.subarray(0, taken));
        return taken;
      },
      refused: () => undefined, pieceBytes: 8, retryMs: 0,
    });
    queue.push(bytes('hello '));
    queue.push(bytes('serial world'));
    await vi.waitFor(() => expect(got).toBe('hello serial world'));
    expect(queue.waiting).toBe(0);
  });

  it('never offers more than a piece at once', async () => {
    const sizes: number[] = [];
    const queue = createInputQueue({ offer: async (piece) => (sizes.push(piece.length), piece.length), refused: () => undefined, pieceBytes: 4, retryMs: 0 });
    queue.push(new Uint8Array(10));
    await vi.waitFor(() => expect(sizes).toEqual([4, 4, 2]));
  });

  it('drops what waits when the port refuses, and says so once', async () => {
    const refused = vi.fn();
    const queue = createInputQueue({ offer: () => Promise.reject(new Error('stopped')), refused, pieceBytes: 4, retryMs: 0 });
    queue.push(new Uint8Array(100));
    await vi.waitFor(() => expect(refused).toHaveBeenCalledTimes(1));
    expect(queue.waiting).toBe(0);
  });
});

describe('the connection', () => {
  function wire(): { readonly transport: Transport; readonly sent: unknown[]; drop(): void } {
    const sent: unknown[] = [];
    const closed: (() => void)[] = [];
    const transport: Transport = { send: (message) => void sent.push(message), onMessage: () => undefined, onClose: (listener) => void closed.push(listener), close: () => undefined };
    return { transport, sent, drop: () => closed.forEach((listener) => listener()) };
  }

  it('subscribes again on the next connection', async () => {
    const wires = [wire(), wire()];
    let opened = 0;
    const connection = createConnection(async () => wires[opened++]?.transport ?? Promise.reject(new Error('none')));
    connection.follow('library', {}, { event: () => undefined });
    await vi.waitFor(() => expect(wires[0]?.sent).toHaveLength(1));
    wires[0]?.drop();
    await vi.waitFor(() => expect(wires[1]?.sent).toEqual([expect.objectContaining({ type: 'subscribe', stream: 'library' })]));
    connection.close();
  });

  it('hears from the shell why there is no engine', async () => {
    const refusal = { code: 'library-unusable', message: 'The library folder cannot be used.', hint: 'Choose another.' };
    vi.stubGlobal('window', Object.assign(new EventTarget(), { vanderpool: { connect: () => Promise.resolve(refusal) } }));
    vi.resetModules();
    const { openPort } = await import('../../renderer/engine/shell.ts');
    await expect(openPort()).rejects.toMatchObject(refusal);
    vi.unstubAllGlobals();
  });

  it('says that it is lost and when it tries again; a wrong token or a newer library it does not try again', async () => {
    const states: string[] = [];
    const lost = createConnection(() => Promise.reject(new ContractError('engine-unreachable', 'Gone.', '')));
    lost.watch((state) => states.push(state.kind === 'lost' ? `lost, retry ${state.retryAt !== null}` : state.kind));
    await vi.waitFor(() => expect(states.slice(0, 2)).toEqual(['connecting', 'lost, retry true']));
    lost.close();
    for (const code of ['forbidden', 'library-newer'] as const) {
      const refused: unknown[] = [];
      const refusing = createConnection(() => Promise.reject(new ContractError(code, 'No.', '')));
      refusing.watch((state) => refused.push(state));
      await vi.waitFor(() => expect(refused.at(-1)).toMatchObject({ kind: 'lost', retryAt: null }));
      refusing.close();
    }
  });

  it('refuses calls while there is no engine', async () => {
    const connection = createConnection(() => Promise.reject(new Error('none')));
    await expect(connection.call('vm.list', {})).rejects.toMatchObject({ code: 'engine-unreachable' });
    connection.close();
  });
});

describe('shortcuts', () => {
  const press = (key: string, held: Partial<Record<'ctrlKey' | 'metaKey' | 'altKey' | 'shiftKey', boolean>> = {}, code = ''): Parameters<typeof matches>[1] =>
    ({ key, code, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...held });

  it('match their keys and no others', () => {
    expect(matches(parseShortcut('Mod+K'), press('k', { ctrlKey: true }), false)).toBe(true);
    expect(matches(parseShortcut('Mod+K'), press('k', { ctrlKey: true, shiftKey: true }), false)).toBe(false);
    expect(matches(parseShortcut('Mod+K'), press('k', { metaKey: true }), true)).toBe(true);
    expect(matches(parseShortcut('Mod+K'), press('k', { ctrlKey: true }), true)).toBe(false);
    expect(matches(parseShortcut('?'), press('?', { shiftKey: true }), false)).toBe(true);
  });

  it('go by the place of a key where Alt or Shift compose another character', () => {
    expect(matches(parseShortcut('Alt+1'), press('¡', { altKey: true }, 'Digit1'), true)).toBe(true);
    expect(matches(parseShortcut('Alt+P'), press('π', { altKey: true }, 'KeyP'), false)).toBe(true);
  });

  it('are written as the platform writes them', () => {
    expect(keyCaps('Mod+Shift+F', false)).toEqual(['Ctrl', 'Shift', 'F']);
    expect(keyCaps('Mod+Enter', true)).toEqual(['⌘', '↵']);
  });
});

describe('finding', () => {
  it('prefers what begins with the query, then words, then letters in order', () => {
    const rows = ['Reset…', 'Show console COM1', 'Start', 'Force stop…', 'Stop…'];
    expect(filterBy(rows, 'sto', (row) => row).slice(0, 2)).toEqual(['Stop…', 'Force stop…']);
    expect(filterBy(rows, 'com1', (row) => row)).toEqual(['Show console COM1']);
    expect(score('xyz', 'Start')).toBeNull();
  });

  it('searches tags, and for tag:NAME whole ones', () => {
    const vms = [['web', 'Env:Test'], ['webmail'], []].map((tags, index) => ({ ...vmNamed('Debian', index), config: { ...vmDefaults, name: `vm ${index}`, tags } }));
    const found = (query: string): readonly string[] => searchVms(vms, query).map((vm) => vm.config.name);
    expect([found('web'), found('tag:web'), found('TAG:env:test debian'), found('tag:WEBmail vm'), found('tag:')]).toEqual([['vm 0', 'vm 1'], ['vm 0'], [], ['vm 1'], []]);
  });

  it('searches names, notes and boot files, all words at once', () => {
    const vms = [vmNamed('Debian', 0), { ...vmNamed('Xen', 1), config: { ...vmDefaults, name: 'Xen', notes: 'driver course' } }];
    expect(searchVms(vms, 'COURSE xen').map((vm) => vm.config.name)).toEqual(['Xen']);
    expect(searchVms(vms, 'debian course')).toEqual([]);
    expect(markMatches('Debian 12', 'bia')).toEqual([{ text: 'De', marked: false }, { text: 'bia', marked: true }, { text: 'n 12', marked: false }]);
  });
});

describe('what is shown', () => {
  it('numbers, sizes and times in few digits', () => {
    expect([formatCount(999), formatCount(12_345_678), formatCount(312e6)]).toEqual(['999', '12.3 M', '312 M']);
    expect([bytesWithUnit(512), bytesWithUnit(2 ** 30), bytesWithUnit(1.5 * 2 ** 20)]).toEqual([
      { value: '512', unit: 'B' }, { value: '1', unit: 'GiB' }, { value: '1.5', unit: 'MiB' },
    ]);
    expect([formatDuration(12_000), formatDuration(249_000), formatDuration(11_100_000)]).toEqual(['12 s', '4 min 09 s', '3 h 05 min']);
    expect([fileName('/boot/vmlinuz'), fileName('C:\\a\\b.img')]).toEqual(['vmlinuz', 'b.img']);
  });

  it('a sparkline that grows from the right and keeps its top', () => {
    expect(sparkPoints([0, 100], 100, 40, 10, 5)).toEqual([[30, 10], [40, 0]]);
    expect(sparkPoints([200], 100, 40, 10, 5)).toEqual([[40, 0]]);
  });

  it('the theme of the setting, or of the system', () => {
    expect([shownTheme('system', true), shownTheme('system', false), shownTheme('light', true), shownTheme('dark', false)]).toEqual(['dark', 'light', 'light', 'dark']);
  });
});

describe('the times of lines', () => {
  const noon = new Date(2026, 10, 22, 12, 0, 0, 42).getTime();
  const shown = (times: LineTimes, text: string): string => new TextDecoder().decode(times.add(new TextEncoder().encode(text), noon)).replaceAll('\x1b[90m12:00:00.042\x1b[39m ', '|');

  it('stand before what begins a line, however the line comes', () => {
    const times = new LineTimes();
    expect([shown(times, 'one\r\ntw'), shown(times, 'o\r\n'), shown(times, '\r\n'), shown(times, 'three\rthree'), shown(times, '')]).toEqual(['|one\r\n|tw', 'o\r\n', '\r\n', '|three\rthree', '']);
  });
});
