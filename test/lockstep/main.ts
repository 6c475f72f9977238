/** `npm run lockstep`: boots guests in both tiers side by side. Exits with 1 at the first difference, which it names. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { provideGuest } from '../helpers/guests.ts';
import { lockstep } from './lockstep.ts';
import type { Agreement, Disagreement } from './lockstep.ts';

const HELP = `Boots a guest compiled and interpreted side by side, and compares registers and memory.

  npm run lockstep -- [--guest amd64|i386] [--kernel FILE --initrd FILE] [--append TEXT]
                      [--memory MIB] [--tier on|always] [--instructions N] [--translations FILE]

Without a kernel: Debian's, as the tests use it. --instructions: where to end if the guest does not power off before. --translations: takes over
the compiled code that the run before has left in this file, and leaves its own; in a folder that is nobody else's.
`;
const GUESTS = ['amd64', 'i386'] as const;

const { values } = parseArgs({
  options: {
    guest: { type: 'string' }, kernel: { type: 'string' }, initrd: { type: 'string' }, append: { type: 'string', default: 'console=ttyS0 quiet bootonly' },
    memory: { type: 'string', default: '256' }, tier: { type: 'string', default: 'on' }, instructions: { type: 'string', default: '3e9' }, help: { type: 'boolean', default: false }, translations: { type: 'string' },
  },
});

function report(name: string, result: Agreement | Disagreement): boolean {
  if (result.kind === 'agreed') {
    console.log(`${name}: no difference in ${result.instructions} instructions, ${result.entries} VM entries, ${result.regions} regions, ${result.kept} of an earlier run`);
    return true;
  }
  console.log(`${name}: the tiers differ after instruction ${result.agreed}, seen at ${result.differs}`);
  for (const { what, compiled, interpreted } of result.values) console.log(`  ${what.padEnd(16)} compiled ${compiled}  interpreted ${interpreted}`);
  for (const { rip, text, suspect } of result.trace) console.log(`${suspect ? '→' : ' '} ${rip.toString(16).padStart(16, '0')}  ${text}`);
  return false;
}

async function files(name: (typeof GUESTS)[number]): Promise<{ readonly kernel: string; readonly initrd: string | undefined }> {
  if (values.kernel !== undefined) return { kernel: values.kernel, initrd: values.initrd };
  const { kernel, initramfs } = await provideGuest(name);
  return { kernel, initrd: initramfs };
}

if (values.help) console.log(HELP);
else {
  const tier = values.tier === 'always' ? 'always' : 'on';
  const names = values.kernel === undefined ? GUESTS.filter((name) => values.guest === undefined || name === values.guest) : (['amd64'] as const);
  for (const name of names) {
    const { kernel, initrd } = await files(name);
    let told = performance.now();
    const result = await lockstep({
      tier, instructions: Number(values.instructions),
      config: () => ({
        memoryBytes: Number(values.memory) << 20, cpuModel: '', ...(values.translations === undefined ? {} : { translations: values.translations }),
        boot: { kind: 'image', kernel: readFileSync(kernel), ...(initrd === undefined ? {} : { initrd: readFileSync(initrd) }), append: values.append, modules: [] },
      }),
      progress: (instructions) => {
        if (performance.now() - told < 2_000) return;
        told = performance.now();
        console.error(`${name}: ${(instructions / 1e6).toFixed(0)} million instructions`);
      },
    });
    if (!report(values.kernel ?? name, result)) process.exitCode = 1;
  }
}
