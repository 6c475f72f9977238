/** Every command, its options and its help. Each command's code is loaded when it runs. */
import { Command, CommanderError } from 'commander';
import { ContractError } from '../contract/errors.ts';
import { addMachineOptions } from './machine-options.ts';
import { reportError, Status } from './status.ts';

const exitStatuses = `
Exit status:
  0    done; \`run\`: the guest powered off, or Ctrl-A x
  1    the engine refused: no such VM, not in this state, name taken
  124  \`run\`: the time of --timeout was over
  125  a bad argument, file or image; the message names it
  126  \`run\`: the guest ended in a triple fault; its last state is printed
  (value << 1) | 1   \`run\`: the guest wrote the value to the debug-exit port 0xf4
`;

const runExamples = `
COM1 is on standard input and output. Ctrl-A x quits, Ctrl-A h lists the keys. The end of input leaves the guest running.

Examples:
  vanderpool run                                               the built-in monitor
  vanderpool run --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0' --memory 1G
  vanderpool run --kernel xen.elf --append 'console=com1' --module 'vmlinuz console=hvc0' --module initrd.img
  vanderpool run --kernel test.flat --timeout 60 --stats stats.json
${exitStatuses}`;

/** Runs the command line and returns the exit status; never throws. */
export async function runProgram(args: readonly string[]): Promise<number> {
  const json = args.includes('--json');
  let status: number = Status.ok;
  const program = createProgram((result) => void (status = result));
  try {
    await program.parseAsync(args, { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return commanderStatus(error, json);
    return reportError(error, json);
  }
}

function commanderStatus(error: CommanderError, json: boolean): number {
  if (error.exitCode === 0) return Status.ok;
  // Asked for nothing: the help was printed.
  if (error.code === 'commander.help') return Status.badArgument;
  const message = error.message.replace(/^error: /, '');
  return reportError(new ContractError('bad-request', `${message.replace(/\.$/, '')}.`, 'See `vanderpool --help`.'), json);
}

function createProgram(done: (status: number) => void): Command {
  const program = new Command('vanderpool')
    .description('A virtualization workstation: a whole Intel PC, emulated.')
    .version(`vanderpool ${process.env.VANDERPOOL_VERSION ?? 'development'}`)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })
    .showSuggestionAfterError(true)
    .addHelpText('after', exitStatuses);

  addMachineOptions(program.command('run').description('run one guest here, without the library; COM1 on stdio'))
    .option('--timeout <seconds>', 'end with status 124 after this time')
    .option('--stats <file.json>', 'write times, instructions, VM exits and peak memory at the end')
    .option('--json', 'write the ending, and errors, as JSON on standard error')
    .addHelpText('after', runExamples)
    .action(async (options: object) => {
      const { run } = await import('./run.ts');
      done(await run(options));
    });
  return program;
}
