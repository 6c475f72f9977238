import { describe, expect, it } from 'vitest';
import { candidates } from '../../core/cli/completion.ts';
import { createProgram } from '../../core/cli/program.ts';

const program = createProgram(() => undefined);
const library = { vm: ['Debian 12', 'Monitor'], device: ['edu:0', 'serial:/dev/ttyS0'], snapshot: ['clean', 'broken'] } as const;
const asked: string[][] = [];
const complete = (...words: readonly string[]): Promise<readonly string[]> => candidates(program, words, async (kind, before) => {
  asked.push([kind, ...before]);
  return library[kind];
});

describe('completion', () => {
  it('offers commands, and those below them', async () => {
    expect(await complete('sn')).toEqual(['snapshot']);
    expect(await complete('vm', 're')).toEqual(['reset', 'resume', 'registers']);
    expect(await complete('')).not.toContain('complete');
  });

  it('offers the options of the command, and the values of those that have a few', async () => {
    expect(await complete('vm', 'stop', '--f')).toEqual(['--force']);
    expect(await complete('vm', 'create', 'x', '--balloon', '')).toEqual(['on', 'off']);
    expect(await complete('vm', 'create', 'x', '--memory', '')).toEqual([]);
    expect(await complete('vm', 'link', 'Monitor', '1', 'd')).toEqual(['down']);
  });

  it('offers the names of the library where they belong, in any case, and after options', async () => {
    expect(await complete('vm', 'start', 'deb')).toEqual(['Debian 12']);
    expect(await complete('exits', '--seconds', '5', 'm')).toEqual(['Monitor']);
    expect(await complete('device', 'assign', 'edu:0', '')).toEqual(['Debian 12', 'Monitor']);
    expect(await complete('snapshot', 'diff', 'Debian\\ 12', 'clean', 'b')).toEqual(['broken']);
    expect(asked.at(-1)).toEqual(['snapshot', 'Debian 12', 'clean']);
  });

  it('offers nothing where the person has to name something, or a file', async () => {
    expect(await complete('snapshot', 'take', 'Monitor', '')).toEqual([]);
    expect(await complete('disk', 'info', '')).toEqual([]);
    expect(await complete('nonsense', '')).toEqual([]);
  });
});
