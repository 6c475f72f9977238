/** Completion for shells: scripts that ask `vanderpool complete` what may stand at the place of the last word. */
import type { Command, Option } from 'commander';
import { createClient } from '../contract/client.ts';
import type { Client } from '../contract/client.ts';
import { findEngine, libraryFolder } from '../engine/connect.ts';
import { badArgument } from './status.ts';

const scripts: Readonly<Record<string, string>> = {
  bash: `# eval "$(vanderpool completion bash)" in ~/.bashrc
COMP_WORDBREAKS=\${COMP_WORDBREAKS//:}
_vanderpool() {
  local found
  mapfile -t found < <(vanderpool complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  COMPREPLY=()
  if (( \${#found[@]} > 0 )); then mapfile -t COMPREPLY < <(printf '%q\\n' "\${found[@]}"); fi
}
complete -o default -F _vanderpool vanderpool`,
  zsh: `# eval "$(vanderpool completion zsh)" in ~/.zshrc, after compinit
_vanderpool() {
  local -a found
  found=("\${(@f)$(vanderpool complete -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _vanderpool vanderpool`,
  fish: `# vanderpool completion fish | source, in ~/.config/fish/config.fish
function __vanderpool
  set -l found (vanderpool complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
  if test (count $found) -gt 0; printf '%s\\n' $found; else; __fish_complete_path (commandline -ct); end
end
complete -c vanderpool -f -a '(__vanderpool)'`,
};

export function printCompletion(shell: string): void {
  const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
  if (script === undefined) throw badArgument(`"${shell}" is none of ${Object.keys(scripts).join(', ')}.`);
  process.stdout.write(`${script}\n`);
}

/** Prints what the last of the words may become, a line each; nothing where only a file's name or a word of the person's own can stand. */
export async function printCandidates(program: Command, words: readonly string[]): Promise<void> {
  const found = await candidates(program, words, askRunningEngine);
  if (found.length > 0) process.stdout.write(`${found.join('\n')}\n`);
}

/** What a word may become that names something in the library. */
export type Names = (kind: 'vm' | 'device' | 'snapshot', before: readonly string[]) => Promise<readonly string[]>;

/** @param words what follows the program's name, as far as the cursor; the last one may be empty */
export async function candidates(program: Command, words: readonly string[], names: Names): Promise<readonly string[]> {
  const plain = words.map(unquoted);
  const prefix = plain.at(-1) ?? '';
  const { command, given, open } = read(program, plain.slice(0, -1));
  const all = open ? alternatives(open.flags) : prefix.startsWith('-') ? optionsOf(command) : await wordsOf(command, given, names);
  return all.filter((word) => word.toLowerCase().startsWith(prefix.toLowerCase()));
}

/** Bash and fish hand words over as they were typed. */
function unquoted(word: string): string {
  return word.replace(/^["']|["']$/g, '').replaceAll(/\\(.)/g, '$1');
}

interface Typed {
  readonly command: Command;
  /** Its arguments that are there already. */
  readonly given: readonly string[];
  /** The option whose value comes next. */
  readonly open: Option | undefined;
}

function read(program: Command, words: readonly string[]): Typed {
  let command = program;
  let open: Option | undefined;
  const given: string[] = [];
  for (const word of words) {
    const isValue = open !== undefined;
    open = undefined;
    if (isValue) continue;
    const sub = command.commands.find((one) => one.name() === word || one.aliases().includes(word));
    if (word.startsWith('-')) open = command.options.find((option) => option.long === word && (option.required || option.optional));
    else if (sub && given.length === 0) command = sub;
    else given.push(word);
  }
  return { command, given, open };
}

function optionsOf(command: Command): readonly string[] {
  return [...command.options.flatMap(({ long, hidden }) => (long && !hidden ? [long] : [])), '--help'];
}

/** `<on|off>` offers both; `<file>` and `<user|switch=NAME>` have to be written. */
function alternatives(usage: string): readonly string[] {
  const [, inside = ''] = /[<[]([^>\]]*)[>\]]/.exec(usage) ?? [];
  const words = inside.split('|');
  return words.length > 1 && words.every((word) => /^[a-z]+$/.test(word)) ? words : [];
}

async function wordsOf(command: Command, given: readonly string[], names: Names): Promise<readonly string[]> {
  if (command.commands.length > 0) return given.length > 0 ? [] : command.createHelp().visibleCommands(command).map((sub) => sub.name());
  const argument = command.registeredArguments[given.length]?.name() ?? '';
  if (argument === 'vm' || argument === 'device') return names(argument, given);
  // A new snapshot is named by the person.
  if (argument === 'snapshot' || argument === 'other') return names('snapshot', given);
  return alternatives(`<${argument}>`);
}

/** From the engine, when it runs: a press of Tab starts none. */
const askRunningEngine: Names = async (kind, [vm = '']) => {
  const transport = await findEngine(libraryFolder(undefined));
  if (!transport) return [];
  const client: Client = createClient(transport);
  try {
    if (kind === 'vm') return (await client.call('vm.list', {})).map(({ config }) => config.name);
    if (kind === 'device') return (await client.call('device.list', {})).map(({ id }) => id);
    return (await client.call('snapshot.list', { vm })).map(({ name }) => name);
  } catch {
    return [];
  } finally {
    client.close();
  }
};
