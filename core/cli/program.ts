/** Every command, its options and its help. Each command's code is loaded when it runs. */
import { Command, CommanderError } from 'commander';
import { asContractError, ContractError } from '../contract/errors.ts';
import type { ExitsOptions } from './exits.ts';
import type { WalkOptions } from './iommu.ts';
import type { InspectOptions } from './inspect.ts';
import { addHardwareOptions } from './hardware-options.ts';
import { addMachineOptions } from './machine-options.ts';
import { addDiskCommands } from './disk-commands.ts';
import { addCommonOptions } from './session.ts';
import type { CommonOptions } from './session.ts';
import { badArgument, inOptions, reportError, Status } from './status.ts';

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
  vanderpool run --kernel vmlinuz --append 'root=/dev/vda' --disk disk.qcow2 --net user,forward=tcp:2222:22
  vanderpool run --kernel test.flat --timeout 60 --stats stats.json
${exitStatuses}`;

/** Runs the command line and returns the exit status; never throws. */
export async function runProgram(args: readonly string[]): Promise<number> {
  const json = args.includes('--json');
  let status: number = Status.ok;
  // A reader such as `head` may have seen enough.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const program = createProgram((result) => void (status = result));
  try {
    await program.parseAsync(args, { from: 'user' });
    return status;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(withHelp(error, program, args), json);
    if (error.exitCode === 0) return Status.ok;
    // Asked for nothing: the help was printed.
    if (error.code === 'commander.help') return Status.badArgument;
    const message = error.message.replace(/^error: /, '').replace(/\.$/, '');
    return reportError(withHelp(badArgument(`${message}.`), program, args), json);
  }
}

/** A bad argument that says no more than that is followed by where the command's help is. */
function withHelp(thrown: unknown, program: Command, args: readonly string[]): ContractError {
  const error = inOptions(asContractError(thrown));
  const { code, message, hint, field } = error;
  if ((code !== 'bad-request' && code !== 'bad-field') || hint !== '') return error;
  return new ContractError(code, message, `See \`${commandOf(program, args)} --help\`.`, field);
}

/** The command that arguments name, as far as there is one: `vanderpool vm create`. */
function commandOf(program: Command, args: readonly string[]): string {
  const path = [program.name()];
  let command: Command | undefined = program;
  for (const word of args) {
    command = command.commands.find((candidate) => candidate.name() === word || candidate.aliases().includes(word));
    if (!command) break;
    path.push(command.name());
  }
  return path.join(' ');
}

/** @param done is told the status of a command that has one of its own */
export function createProgram(done: (status: number) => void): Command {
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
    .option('--screenshot <file.png>', 'write what the display shows at the timeout, or when the run is quit')
    .option('--test-devices', 'add the device that kvm-unit-tests and similar programs expect')
    .option('--json', 'write the ending, and errors, as JSON on standard error')
    .addHelpText('after', runExamples)
    .action(async (options: object) => {
      const { run } = await import('./run.ts');
      done(await run(options));
    });
  addVmCommands(program, done);
  addDiskCommands(program, done);
  addSnapshotCommands(program);
  addImport(program);
  addExport(program);
  addDoctor(program, done);
  addConsole(program, done);
  addWatching(program);
  addDevices(program);
  addRemapping(program);
  addEngineCommands(program, done);
  addSettings(program);
  addCompletion(program);
  return program;
}

const vmExamples = `
Examples:
  vanderpool vm create debian --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0' --memory 1G
  vanderpool vm start debian && vanderpool console debian
  vanderpool vm stop debian            press the power button
  vanderpool vm stop debian --force    pull the plug
  vanderpool vm list --json`;

function addVmCommands(program: Command, done: (status: number) => void): void {
  const vm = program.command('vm').description('the VMs of the library').addHelpText('after', vmExamples);
  const sub = (usage: string, description: string): Command => addCommonOptions(vm.command(usage).description(description));
  const editing = (command: Command): Command => addMachineOptions(command)
    .option('--group <name>', 'the machines of a group stand together in the library; "none": none')
    .option('--tags <web,test>', 'words by which the window finds the VM (tag:NAME), instead of those that it has; "none": none')
    .option('--notes <text>', 'notes for people')
    .option('--autostart <on|off>', 'start the VM, or let it go on, whenever the engine starts (default: off)')
    .option('--schedule <minutes,keep>', 'take a snapshot every so many minutes while the VM runs, and keep the newest; "none": none')
    .option('--console <port>', 'serial port that has a console, COM1 to COM4; may be repeated (default: COM1)', (port: string, before: string[] = []) => [...before, port])
    .option('--serial <COM2=tcp-server:4000>', 'connect a serial port with a TCP port of 127.0.0.1 (tcp-server:PORT, tcp-client:PORT), a pseudoterminal (pty:LINK), a file (file:FILE), only its console (console), nothing (none); may be repeated', (text: string, before: string[] = []) => [...before, text]);

  editing(sub('create <name>', 'create a VM; without --kernel it starts the built-in monitor')).action(async (name: string, options: object) => {
    await (await import('./vm.ts')).createVm(name, options);
  });
  editing(sub('edit <vm>', 'change the configuration of a VM'))
    .option('--name <name>', 'a new name')
    .option('--monitor', 'start the built-in monitor instead of a kernel')
    .action(async (name: string, options: object) => {
      await (await import('./vm.ts')).editVm(name, options);
    });
  sub('list', 'list the VMs').alias('ls').action(async (options: object) => {
    await (await import('./vm.ts')).listVms(options);
  });
  sub('show <vm>', 'show the configuration and the state of a VM').action(async (name: string, options: object) => {
    await (await import('./vm.ts')).showVm(name, options);
  });
  sub('tag <vm> <tags...>', 'add tags to a VM, by which the window finds it (tag:NAME)').action(async (name: string, tags: string[], options: object) => {
    await (await import('./vm.ts')).tagVm(name, tags, options);
  });
  sub('untag <vm> <tags...>', 'take tags away').action(async (name: string, tags: string[], options: object) => {
    await (await import('./vm.ts')).untagVm(name, tags, options);
  });
  sub('start <vm>', 'start a VM').option('--without-missing', 'leave out assigned devices that are not there or in use').action(async (name: string, options: object) => {
    await (await import('./vm.ts')).startVm(name, options);
  });
  const verbs = {
    reset: 'press the reset button of a VM', pause: 'pause a VM', resume: 'resume a paused or suspended VM', suspend: 'save a running VM and end its process',
  } as const;
  for (const verb of ['reset', 'pause', 'suspend', 'resume'] as const) {
    sub(`${verb} <vm>`, verbs[verb]).action(async (name: string, options: object) => {
      await (await import('./vm.ts')).commandVm(verb, name, options);
    });
  }
  sub('stop <vm>', 'press the power button of a VM').option('--force', 'pull its plug').action(async (name: string, options: object) => {
    await (await import('./vm.ts')).stopVm(name, options);
  });
  addHardwareOptions(sub('plug <vm>', 'put a disk or a network interface into a hot-plug slot, of a running VM at once')).action(async (name: string, options: object) => {
    await (await import('./vm.ts')).plugCard(name, options);
  });
  sub('media <vm> <file|eject>', 'put an ISO image into a CD-ROM drive or take it out, of a running VM at once')
    .option('--drive <n>', 'which of its CD-ROM drives (default: 1)').option('--force', 'whether the guest holds the medium or not')
    .action(async (name: string, file: string, options: object) => {
      await (await import('./vm.ts')).changeMedium(name, file, options);
    });
  sub('grow <vm> <disk> <size>', 'make a disk larger, counted from 1, also while the VM runs: the guest is told; snapshots keep the size that it had').action(async (name: string, disk: string, size: string, options: object) => {
    await (await import('./vm.ts')).growDisk(name, disk, size, options);
  });
  sub('balloon <vm> [size]', 'ask a running guest to do without so much of its memory; without a size, show what it does without').action(async (name: string, size: string | undefined, options: object) => {
    await (await import('./vm.ts')).setBalloon(name, size, options);
  });
  sub('screen <vm> <size>', 'ask a running guest with a virtio display for a screen of this size, such as 1280x800').action(async (name: string, size: string, options: object) => {
    await (await import('./vm.ts')).askForScreen(name, size, options);
  });
  sub('unplug <vm> <slot>', 'take the card out of a hot-plug slot; a running guest is asked to let it go')
    .option('--force', 'pull it out without asking')
    .action(async (name: string, slot: string, options: object) => {
      await (await import('./vm.ts')).unplugCard(name, slot, options);
    });
  sub('link <vm> <interface> <up|down>', 'plug the cable of a network interface in or pull it, of a running VM at once').action(async (name: string, number: string, state: string, options: object) => {
    await (await import('./vm.ts')).linkCable(name, number, state, options);
  });
  sub('clone <vm> <name>', 'make a new VM that goes on from what this one is now').option('--full', 'with disks of its own: it does not need the disk images of the other').action(async (vm: string, name: string, options: object) => {
    await (await import('./vm.ts')).cloneVm(vm, name, options);
  });
  sub('move <vm> <place>', 'put a VM at a place of the list, counted from 1').action(async (name: string, place: string, options: object) => {
    await (await import('./vm.ts')).moveVm(name, place, options);
  });
  sub('rm <vm>', 'remove a VM that does not run, with its folder').action(async (name: string, options: object) => {
    await (await import('./vm.ts')).removeVm(name, options);
  });
  sub('registers <vm>', 'print the registers of a running VM').action(async (name: string, options: object) => {
    await (await import('./vm.ts')).describeMachine(name, options);
  });
  addConsole(vm, done);
  addCommonOptions(program.command('events [vm]').description('what happened in the library, or to one VM'))
    .option('--limit <n>', 'how many', '50')
    .action(async (name: string | undefined, options: { readonly limit: string }) => {
      await (await import('./vm.ts')).listEvents(name, options);
    });
}

const importExamples = `
What an appliance wants and cannot have, such as more memory than there is, is written into the notes of the machine.

Examples:
  vanderpool import server.ova
  vanderpool import old-machine.vdi --name Old         a machine around a disk of another program
  vanderpool import clean.vpsnap                       a snapshot that was exported`;

function addImport(program: Command): void {
  addCommonOptions(program.command('import <file>').description('make a VM of an appliance (OVA, OVF), of a VMDK or VDI image, or of an exported snapshot'))
    .option('--name <name>', 'name of the VM')
    .addHelpText('after', importExamples)
    .action(async (file: string, options: CommonOptions & { readonly name?: string }) => {
      await (await import('./import.ts')).importFile(file, options);
    });
}

function addExport(program: Command): void {
  addCommonOptions(program.command('export <vm> <file>').description('write a VM as it is now to one file, for `vanderpool import` in another library'))
    .action(async (vm: string, file: string, options: CommonOptions) => {
      await (await import('./import.ts')).exportVm(vm, file, options);
    });
}

function addDoctor(program: Command, done: (status: number) => void): void {
  addCommonOptions(program.command('doctor').description('read everything the library keeps and say what is damaged; status 1 when something is'))
    .option('--repair', 'repair what can be repaired')
    .action(async (options: object) => {
      done(await (await import('./snapshot.ts')).examineLibrary(options));
    });
}

const snapshotExamples = `
A snapshot of a running VM holds its memory; the guest goes on while it is written.

Examples:
  vanderpool snapshot take debian clean
  vanderpool snapshot restore debian clean            running again, if it ran
  vanderpool snapshot restore debian clean --paused
  vanderpool snapshot diff debian clean               what changed since
  vanderpool snapshot clone debian clean second       a new VM in that state`;

function addSnapshotCommands(program: Command): void {
  const group = program.command('snapshot').description('snapshots of VMs').addHelpText('after', snapshotExamples);
  const sub = (usage: string, description: string): Command => addCommonOptions(group.command(usage).description(description));
  sub('take <vm> <name>', 'take a snapshot, of a running VM with its memory').option('--notes <text>', 'notes for people')
    .action(async (vm: string, name: string, options: object) => {
      await (await import('./snapshot.ts')).takeSnapshot(vm, name, options);
    });
  sub('list <vm>', 'list the snapshots of a VM as a tree').alias('ls').action(async (vm: string, options: object) => {
    await (await import('./snapshot.ts')).listSnapshots(vm, options);
  });
  sub('restore <vm> <snapshot>', 'put a VM back into a snapshot, whatever it does now').option('--paused', 'hold it there')
    .action(async (vm: string, snapshot: string, options: object) => {
      await (await import('./snapshot.ts')).restoreSnapshot(vm, snapshot, options);
    });
  sub('diff <vm> <snapshot> [other]', 'what differs from a snapshot to another one, or to the VM as it is now')
    .option('--symbols <file>', "System.map or /proc/kallsyms of the guest's Linux: what of the kernel, which file or process lies in memory that differs")
    .action(async (vm: string, from: string, to: string | undefined, options: object) => {
      await (await import('./snapshot.ts')).diffSnapshots(vm, from, to, options);
    });
  sub('clone <vm> <snapshot> <name>', 'make a new VM that goes on from a snapshot').option('--full', 'with disks of its own: it does not need the disk images of the other').action(async (vm: string, snapshot: string, name: string, options: object) => {
    await (await import('./snapshot.ts')).cloneSnapshot(vm, snapshot, name, options);
  });
  sub('edit <vm> <snapshot>', 'rename a snapshot, or change its notes').option('--name <name>', 'a new name').option('--notes <text>', 'notes for people')
    .action(async (vm: string, snapshot: string, options: object) => {
      await (await import('./snapshot.ts')).editSnapshot(vm, snapshot, options);
    });
  sub('export <vm> <snapshot> <file>', 'write a snapshot to one file').action(async (vm: string, snapshot: string, file: string, options: object) => {
    await (await import('./snapshot.ts')).exportSnapshot(vm, snapshot, file, options);
  });
  sub('import <file>', 'make a new VM of an exported snapshot').option('--name <name>', 'name of the VM').action(async (file: string, options: object) => {
    await (await import('./snapshot.ts')).importSnapshot(file, options);
  });
  sub('rm <vm> <snapshot>', 'delete a snapshot; those that went on from it stay').action(async (vm: string, snapshot: string, options: object) => {
    await (await import('./snapshot.ts')).removeSnapshot(vm, snapshot, options);
  });
}

function addConsole(program: Command, done: (status: number) => void): void {
  addCommonOptions(program.command('console <vm>').description('attach to a serial port of a VM; Ctrl-A x detaches'))
    .option('--history', 'print what the port has shown so far, and end')
    .option('--port <port>', 'COM1 to COM4', 'COM1')
    .action(async (name: string, options: object) => {
      done(await (await import('./console.ts')).openConsole(name, options));
    });
}

const exitsExamples = `
Tracing costs nothing while nobody watches.

Examples:
  vanderpool exits debian                               the exits of one second
  vanderpool exits debian --watch                       as they come, until Ctrl-C
  vanderpool exits debian --level 2 --seconds 10        a guest's guests, for ten seconds
  vanderpool exits debian --reason io-instruction --open
                                                        the newest of a kind, opened to its VMCS
  vanderpool exits debian --record boot.db --limit 64M  every exit with its registers, in a SQLite database`;

const inspectExamples = `
Works on a running and on a paused VM. Addresses are hexadecimal.

Examples:
  vanderpool inspect debian                             registers, and the code around RIP
  vanderpool inspect debian --walk ffffffff81000000     how an address is translated, step by step
  vanderpool inspect debian --memory 0xffffffff82000000 --count 64
  vanderpool inspect debian --interrupts --map --tlb`;

function addWatching(program: Command): void {
  addCommonOptions(program.command('screenshot <vm> <file.png>').description("write what a VM's display shows"))
    .action(async (name: string, path: string, options: CommonOptions) => {
      await (await import('./screenshot.ts')).screenshot(name, path, options);
    });
  addCommonOptions(program.command('inspect <vm>').description("look into a VM: registers, memory, page walks, interrupt controllers"))
    .option('--vcpu <n>', 'of which processor, from 0 (default: 0)')
    .option('--registers', 'every register, control registers by bit')
    .option('--vectors', 'x87 and SSE registers')
    .option('--walk <address>', 'the translation of a linear address, entry by entry')
    .option('--tlb', "the processor's cached translations")
    .option('--vmcs', "the VMCS of the guest's own hypervisor, and root mode's")
    .option('--root [address]', "root mode's EPT and bitmaps, and how a guest-physical address goes through that EPT")
    .option('--interrupts', 'local APIC, I/O APIC and 8259A')
    .option('--map', 'memory map and ports, with the names of devices')
    .option('--code [address]', 'instructions there, or around RIP')
    .option('--memory <address>', 'memory at a linear address')
    .option('--physical <address>', 'memory at a guest-physical address')
    .option('--count <n>', 'how many bytes (default: 256) or instructions (default: 16)', '')
    .addHelpText('after', inspectExamples)
    .action(async (name: string, options: InspectOptions) => {
      await (await import('./inspect.ts')).inspectVm(name, options);
    });
  addCommonOptions(program.command('exits <vm>').description('VM exits of a running VM by reason: counts, times, rates'))
    .option('--seconds <n>', 'how long to watch (default: 1)')
    .option('--watch', 'show them as they come, until Ctrl-C')
    .option('--vcpu <n>', 'only exits of one processor, from 0')
    .option('--level <n>', 'only exits of the guest (1) or of its own guests (2)')
    .option('--reason <name>', 'only exits for this reason, such as io-instruction')
    .option('--open [count]', 'then show the newest exits (default: 1) with qualification, VMCS by field name and registers')
    .option('--record <file>', 'write every exit to a SQLite database (.db) or a file of JSON lines, until Ctrl-C')
    .option('--limit <size>', 'the largest size of that file', '256M')
    .addHelpText('after', exitsExamples)
    .action(async (name: string, options: ExitsOptions) => {
      await (await import('./exits.ts')).watchExits(name, options);
    });
}

const iommuExamples = `
Examples:
  vanderpool iommu show debian                          registers, devices, interrupt remapping table
  vanderpool iommu walk debian 0xfffff000 --device 00:03.0 --write
  vanderpool iommu faults debian`;

const completionExamples = `
Examples:
  eval "$(vanderpool completion bash)"       in ~/.bashrc
  eval "$(vanderpool completion zsh)"        in ~/.zshrc, after compinit
  vanderpool completion fish | source        in ~/.config/fish/config.fish`;

const deviceExamples = `
A device belongs to one VM and is remembered. A VM that runs gets it at once.

Examples:
  vanderpool device list
  vanderpool device add serial /dev/pts/3
  vanderpool device assign serial:/dev/pts/3 debian
  vanderpool device add disk data.raw && vanderpool device assign disk:$PWD/data.raw debian
  vanderpool device release edu:0`;

function addDevices(program: Command): void {
  const device = program.command('device').description("resources of the host that VMs can own").addHelpText('after', deviceExamples);
  const sub = (usage: string, description: string): Command => addCommonOptions(device.command(usage).description(description));
  sub('list', 'what there is, and who owns it').alias('ls').action(async (options: CommonOptions) => {
    await (await import('./device.ts')).listDevices(options);
  });
  sub('show <device>', 'one of them').action(async (name: string, options: CommonOptions) => {
    await (await import('./device.ts')).showDevice(name, options);
  });
  sub('add <kind> <path>', 'make a serial port (serial), an image or block device (disk) or a socket with Ethernet frames (nic) known that is not listed').option('--name <name>', 'a name for people')
    .action(async (kind: string, path: string, options: CommonOptions & { readonly name?: string }) => {
      await (await import('./device.ts')).addDevice(kind, path, options);
    });
  sub('forget <device>', 'forget one that no VM owns').action(async (name: string, options: CommonOptions) => {
    await (await import('./device.ts')).forgetDevice(name, options);
  });
  sub('assign <device> <vm>', 'give it to a VM').action(async (name: string, vm: string, options: CommonOptions) => {
    await (await import('./device.ts')).assignDevice(name, vm, options);
  });
  sub('release <device>', 'take it back from its VM').option('--force', 'pull it out of a running guest that does not let it go').action(async (name: string, options: CommonOptions & { readonly force?: boolean }) => {
    await (await import('./device.ts')).releaseDevice(name, options);
  });
}

function addRemapping(program: Command): void {
  const iommu = program.command('iommu').description("a VM's VT-d unit: tables, translations, faults").addHelpText('after', iommuExamples);
  addCommonOptions(iommu.command('show <vm>').description('registers, what each device is mapped by, interrupt remapping table'))
    .action(async (name: string, options: CommonOptions) => {
      await (await import('./iommu.ts')).showUnit(name, options);
    });
  addCommonOptions(iommu.command('walk <vm> <address>').description("how a device's DMA address is translated, entry by entry"))
    .requiredOption('--device <requester>', 'bus, device and function, such as 00:03.0')
    .option('--pasid <n>', 'the PASID of the request')
    .option('--write', 'a write instead of a read')
    .action(async (name: string, address: string, options: WalkOptions) => {
      await (await import('./iommu.ts')).walkAddress(name, address, options);
    });
  addCommonOptions(iommu.command('faults <vm>').description('requests and interrupts of devices that were refused'))
    .action(async (name: string, options: CommonOptions) => {
      await (await import('./iommu.ts')).showFaults(name, options);
    });
}

function addCompletion(program: Command): void {
  program.command('completion <bash|zsh|fish>').description('print a script that completes words in a shell').addHelpText('after', completionExamples)
    .action(async (shell: string) => (await import('./completion.ts')).printCompletion(shell));
  program.command('complete [words...]', { hidden: true }).allowUnknownOption()
    .action(async (words: readonly string[]) => (await import('./completion.ts')).printCandidates(program, words));
}

function addSettings(program: Command): void {
  addCommonOptions(program.command('settings [name] [value]').description('settings of the library: all of them, one of them, or a new value'))
    .action(async (name: string | undefined, value: string | undefined, options: CommonOptions) => {
      await (await import('./settings.ts')).changeSetting(name, value, options);
    });
}

function addEngineCommands(program: Command, done: (status: number) => void): void {
  const engine = program.command('engine').description('the background process that owns the library');
  addCommonOptions(engine.command('status').description('whether it runs, and what it does')).action(async (options: object) => {
    done(await (await import('./engine.ts')).engineStatus(options));
  });
  addCommonOptions(engine.command('stop').description('stop it; refused while VMs run')).option('--suspend', 'suspend every VM first').option('--force', 'pull the plug of every VM first').action(async (options: object) => {
    done(await (await import('./engine.ts')).stopEngine(options));
  });
  addCommonOptions(program.command('serve').description('serve the graphical interface to a browser on this machine'))
    .option('--port <port>', 'port on 127.0.0.1; 0 is the one of the last time, where it is free', '0')
    .action(async (options: object) => {
      done(await (await import('./engine.ts')).serve(options));
    });
}
