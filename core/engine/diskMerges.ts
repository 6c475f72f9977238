/** Disks that no snapshot needs any more are written back into their images, of VMs that do not run. Whatever wants such a VM goes first. */
import type { Vm } from '../contract/vm.ts';
import type { Supervisor } from './supervisor.ts';

export class DiskMerges {
  readonly #supervisor: Supervisor;
  readonly #merging = new Map<string, { givenUp: boolean; readonly done: Promise<void> }>();
  /** VMs whose disks could not be written back: tried again after the next change. */
  readonly #unmergeable = new Set<string>();
  #closed = false;

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
  }

  /**
   * Writes back what can be.
   * @param isBusy whether something is being done to a VM
   * @param merged is told after each
   */
  async mergeAll(isBusy: (id: string) => boolean, merged: () => void): Promise<void> {
    for (const vm of await this.#supervisor.list()) {
      const rests = (vm.state === 'stopped' || vm.state === 'crashed') && !this.#supervisor.isAlive(vm.id) && !isBusy(vm.id);
      if (this.#closed || !rests || this.#merging.has(vm.id) || this.#unmergeable.has(vm.id) || !this.#supervisor.disks.isUnheld(vm)) continue;
      await this.#merge(vm, merged);
    }
  }

  async #merge(vm: Vm, merged: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const work = { givenUp: false, done: promise };
    this.#merging.set(vm.id, work);
    try {
      await this.#supervisor.disks.mergeBack(vm, () => work.givenUp);
      merged();
    } catch (error) {
      this.#unmergeable.add(vm.id);
      this.#supervisor.tellError(vm.id, error);
    } finally {
      this.#merging.delete(vm.id);
      resolve();
    }
  }

  /** Done when nothing is being written back of a VM: somebody wants it. */
  async release(id: string): Promise<void> {
    const work = this.#merging.get(id);
    if (!work) return;
    work.givenUp = true;
    await work.done;
  }

  /** A VM's snapshots changed. */
  retry(id: string): void {
    this.#unmergeable.delete(id);
  }

  /** What is under way is given up, and nothing begins any more. */
  leave(): void {
    this.#closed = true;
    for (const work of this.#merging.values()) work.givenUp = true;
  }
}
