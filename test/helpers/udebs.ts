/** Packages of Debian's installer: which of them it loads, from its list of all. */

export interface Udeb {
  readonly name: string;
  readonly version: string;
  /** Where it lies below the mirror's folder. */
  readonly path: string;
  /** How the list describes it. */
  readonly text: string;
  /** Whether the installer loads it unasked. */
  readonly standard: boolean;
  /** The kernel whose modules it holds. */
  readonly kernel: string | undefined;
  readonly provides: readonly string[];
  /** The first of each choice. */
  readonly depends: readonly string[];
}

const priorities = ['required', 'important', 'standard'];

/** @param text paragraphs of fields, as apt and mirrors write them */
export function readUdebs(text: string): Udeb[] {
  return text.split(/\n\n+/).flatMap((paragraph) => {
    const fields = new Map([...paragraph.matchAll(/^(\S+): (.*)$/gm)].map(([, name = '', value = '']) => [name, value] as const));
    const list = (name: string): string[] => (fields.get(name) ?? '').split(',').map((item) => item.trim().split(/[\s|]/)[0] ?? '').filter((item) => item !== '');
    const name = fields.get('Package');
    if (name === undefined) return [];
    return [{
      name, version: fields.get('Version') ?? '', path: fields.get('Filename') ?? '', text: paragraph.trim(), standard: priorities.includes(fields.get('Priority') ?? ''),
      kernel: fields.get('Kernel-Version'), provides: list('Provides'), depends: list('Depends'),
    }];
  });
}

/** What the installer loads unasked with this kernel, and all that it depends on. */
export function loadedUdebs(all: readonly Udeb[], kernel: string): Udeb[] {
  const usable = all.filter((udeb) => udeb.kernel === undefined || udeb.kernel === kernel);
  const loaded = new Set<Udeb>();
  const load = (udeb: Udeb): void => {
    if (loaded.has(udeb)) return;
    loaded.add(udeb);
    for (const name of udeb.depends) usable.filter((other) => other.name === name || other.provides.includes(name)).forEach(load);
  };
  usable.filter(({ standard }) => standard).forEach(load);
  return [...loaded];
}
