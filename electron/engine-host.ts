/** Holds the engine's utility process and those of its VMs. One engine at a time; when it ends, the next connection starts another. */
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { utilityProcess } from 'electron';
import type { UtilityProcess } from 'electron';
import { ContractError } from '../core/contract/index.ts';
import { makeLibraryFolder } from '../core/store/folder.ts';
import { engineNews } from './engine-messages.ts';
import type { EngineNews, EngineOrder } from './engine-messages.ts';

export interface EngineHost {
  /** Starts the engine on a library and returns when it is ready. @throws ContractError, the engine's own words. */
  launch(folder: string): Promise<void>;
  /** Whether the engine that this window started is alive. */
  readonly alive: boolean;
}

/** @param programs Folder of the built programs: `electron-engine.js` and `vm.js`. */
export function createEngineHost(programs: string): EngineHost {
  let engine: UtilityProcess | null = null;
  return {
    get alive() {
      return engine !== null;
    },
    async launch(folder) {
      makeLibraryFolder(folder);
      const child = fork(join(programs, 'electron-engine.js'), [folder], 'Vanderpool engine', join(folder, 'engine.log'));
      engine = child;
      const vms = new Map<number, UtilityProcess>();
      const order = (message: EngineOrder): void => {
        if (engine === child) child.postMessage(message);
      };
      await new Promise<void>((resolve, reject) => {
        child.on('message', (raw: unknown) => {
          const parsed = engineNews.safeParse(raw);
          if (!parsed.success) return;
          const news = parsed.data;
          if (news.type === 'ready') resolve();
          else if (news.type === 'failed') reject(ContractError.fromShape(news.error));
          else serveVm(programs, vms, news, order);
        });
        child.once('exit', (code) => {
          if (engine === child) engine = null;
          for (const vm of vms.values()) vm.kill();
          reject(new ContractError('engine-unreachable', `The engine ended with status ${code}.`, `See ${join(folder, 'engine.log')}.`));
        });
      });
    },
  };
}

function serveVm(programs: string, vms: Map<number, UtilityProcess>, news: Exclude<EngineNews, { type: 'ready' | 'failed' }>, order: (message: EngineOrder) => void): void {
  const { id } = news;
  if (news.type === 'to-vm') return vms.get(id)?.postMessage(news.message);
  if (news.type === 'kill') return void vms.get(id)?.kill();
  if (vms.has(id)) return;
  const vm = fork(join(programs, 'vm.js'), [], 'Vanderpool machine', news.logFile);
  vms.set(id, vm);
  vm.once('spawn', () => order({ type: 'started', id, processId: vm.pid ?? 0 }));
  vm.on('message', (message: unknown) => order({ type: 'from-vm', id, message }));
  vm.once('exit', (code) => {
    vms.delete(id);
    order({ type: 'exit', id, how: `status ${code}` });
  });
}

/** Starts a utility process whose output goes to the end of a file. */
function fork(program: string, args: string[], serviceName: string, logFile: string): UtilityProcess {
  const child = utilityProcess.fork(program, args, { serviceName, stdio: ['ignore', 'pipe', 'pipe'] });
  const log = createWriteStream(logFile, { flags: 'a', mode: 0o600 });
  // A log that cannot be written must not end what it is about.
  log.on('error', () => undefined);
  child.stdout?.on('data', (piece) => log.write(piece));
  child.stderr?.on('data', (piece) => log.write(piece));
  child.once('exit', () => log.end());
  return child;
}
