/** Checks of images in a thread of their own: an image is anybody's, and the engine has others to serve while one is unpacked. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { asContractError, ContractError } from '../contract/errors.ts';
import type { ErrorShape } from '../contract/errors.ts';
import { checkBootHere } from './boot-check.ts';
import { entryUrl } from './entries.ts';
import type { MachineSettings } from './files.ts';

type Verdict = { readonly description: string } | { readonly error: ErrorShape };

const CHECK_MS = 30_000;

if (!isMainThread && isCheck(workerData)) parentPort?.postMessage(judge(workerData.check));

/** Says what would boot. @throws ContractError `file-unreadable` or `bad-image`. */
export function checkBoot(settings: MachineSettings): Promise<string> {
  const worker = new Worker(entryUrl('check'), { workerData: { check: settings } });
  return new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => reject(tooLong()), CHECK_MS);
    const settle = (verdict: Verdict): void => {
      clearTimeout(late);
      if ('error' in verdict) reject(ContractError.fromShape(verdict.error));
      else resolve(verdict.description);
    };
    worker.once('message', settle);
    worker.once('error', (error) => settle({ error: asContractError(error).toShape() }));
    worker.once('exit', () => settle({ error: tooLong().toShape() }));
  }).finally(() => void worker.terminate());
}

function judge(settings: MachineSettings): Verdict {
  try {
    return { description: checkBootHere(settings) };
  } catch (error) {
    return { error: asContractError(error).toShape() };
  }
}

function isCheck(data: unknown): data is { readonly check: MachineSettings } {
  return typeof data === 'object' && data !== null && 'check' in data;
}

function tooLong(): ContractError {
  return new ContractError('bad-image', 'The image could not be looked at in time.', 'Choose another image.', 'boot');
}
