/** `vanderpool settings`: what the window's settings dialog has. */
import { settings as schema, settingsDefaults } from '../contract/settings.ts';
import type { Settings } from '../contract/settings.ts';
import { list, show } from './output.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';
import { badArgument } from './status.ts';

/** Without a name all settings are shown, without a value one of them. */
export async function changeSetting(name: string | undefined, text: string | undefined, options: CommonOptions): Promise<void> {
  const known = name === undefined ? undefined : schema.keyof().safeParse(name).data;
  if (name !== undefined && known === undefined) throw badArgument(`There is no setting "${name}".`, `There are: ${schema.keyof().options.join(', ')}.`);
  const changes = known === undefined || text === undefined ? null : { [known]: valueOf(known, text) };
  const all = await withEngine(options, (client) => (changes ? client.call('settings.set', { changes }) : client.call('settings.get', {})));
  show(known === undefined ? all : { [known]: all[known] }, options.json === true, (shown) => list(Object.entries(shown).map(([key, value]) => [key, said(value)])));
}

function said(value: Settings[keyof Settings]): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
}

/** As its schema wants it: a switch, a number or a word. */
function valueOf(name: keyof Settings, text: string): unknown {
  const value: unknown = text === 'on' || text === 'off' ? text === 'on' : /^\d+$/.test(text) ? Number(text) : text;
  const parsed = schema.shape[name].safeParse(value);
  if (!parsed.success && typeof settingsDefaults[name] === 'boolean') throw badArgument(`${name} is "on" or "off", not "${text}".`);
  if (!parsed.success) throw badArgument(`${name}: "${text}" is not possible: ${parsed.error.issues[0]?.message ?? 'another value is needed'}.`);
  return parsed.data;
}
