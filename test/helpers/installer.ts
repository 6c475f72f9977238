/** Debian's installer, answered as a person would who takes what it proposes: from the choice of a language to a disk with a file system. */

/** What shows the installer and takes keys: a serial console, or a display and a keyboard. */
export interface InstallerScreen {
  /** What a person can read now. */
  text(): Promise<string>;
  press(key: 'Enter' | 'ArrowLeft'): Promise<void>;
  /** Letters that cannot be told from spaces. */
  readonly unreadable?: RegExp;
}

interface Step {
  readonly shows: string;
  readonly keys: readonly ('Enter' | 'ArrowLeft')[];
}

/** Questions in their order. Those without a mark may be left out by the installer. */
const steps: readonly (Step & { readonly always: boolean })[] = [
  { shows: 'Select a language', keys: ['Enter'], always: true },
  { shows: 'Select your location', keys: ['Enter'], always: true },
  { shows: 'Configure the keyboard', keys: ['Enter'], always: false },
  { shows: 'HTTP proxy information', keys: ['Enter'], always: false },
  { shows: 'Guided - use entire disk', keys: ['Enter'], always: true },
  { shows: 'Select disk to partition', keys: ['Enter'], always: true },
  { shows: 'All files in one partition', keys: ['Enter'], always: true },
  { shows: 'Finish partitioning and write', keys: ['Enter'], always: true },
  { shows: 'Write the changes to disks?', keys: ['ArrowLeft', 'Enter'], always: true },
];
/** The step behind, while it works, or when it asks: the mirror has nothing to install. */
const finished = ['Installing the base', 'Install the base'];
/** What the installer shows when it cannot go on. */
const failures = ['failed to download', 'Architecture not supported', 'No kernel modules were found', 'Bad archive mirror', 'No partitionable media', 'Installation step failed'];

/** Questions that are no part of the first screens, answered on the command line of the installer's kernel. */
export const installerAnswers = [
  'netcfg/get_hostname=debian', 'netcfg/get_domain=local',
  'passwd/root-password=debian', 'passwd/root-password-again=debian', 'passwd/make-user=false', 'clock-setup/ntp=false', 'time/zone=Etc/UTC',
].join(' ');

const LOOK_MS = 1000;
/** A screen that is being drawn is read again when it stands. */
const SETTLE_MS = 700;

/** @throws Error with what is on the screen when it does not go on for so long */
export async function partitionDisk(screen: InstallerScreen, patienceMs: number, report: (line: string) => void = () => {}): Promise<void> {
  const seen = (text: string): string => (screen.unreadable ? text.replace(screen.unreadable, ' ') : text);
  let next = 0;
  let since = performance.now();
  for (;;) {
    const text = seen(await screen.text());
    if (finished.some((words) => text.includes(seen(words)))) return;
    const failure = failures.find((words) => text.includes(seen(words)));
    if (failure !== undefined) throw new Error(`the installer cannot go on at step ${next}:\n${text.slice(-3000)}`);
    const reach = steps.findIndex(({ always }, index) => index >= next && always);
    const at = steps.findIndex(({ shows }, index) => index >= next && index <= (reach < 0 ? steps.length : reach) && text.includes(seen(shows)));
    const step = steps[at];
    if (step !== undefined) {
      report(step.shows);
      await pause(SETTLE_MS);
      for (const key of step.keys) {
        await screen.press(key);
        await pause(SETTLE_MS);
      }
      next = at + 1;
      since = performance.now();
    }
    if (performance.now() - since > patienceMs) throw new Error(`the installer stands still at step ${next}:\n${text.slice(-3000)}`);
    await pause(LOOK_MS);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
