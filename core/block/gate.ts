/** Who may be inside an image at once: many that leave its metadata alone, or one that changes it. In order of arrival. */

interface Waiter {
  readonly exclusive: boolean;
  readonly enter: () => void;
}

export class Gate {
  #inside = 0;
  #exclusive = false;
  readonly #waiting: Waiter[] = [];

  shared<T>(action: () => Promise<T>): Promise<T> {
    return this.#run(false, action);
  }

  exclusive<T>(action: () => Promise<T>): Promise<T> {
    return this.#run(true, action);
  }

  async #run<T>(exclusive: boolean, action: () => Promise<T>): Promise<T> {
    if (this.#waiting.length > 0 || !this.#admits(exclusive)) await new Promise<void>(enter => this.#waiting.push({ exclusive, enter }));
    else this.#enter(exclusive);
    try {
      return await action();
    } finally {
      this.#inside -= 1;
      this.#exclusive = false;
      this.#admit();
    }
  }

  #admits(exclusive: boolean): boolean {
    return this.#inside === 0 || (!exclusive && !this.#exclusive);
  }

  #enter(exclusive: boolean): void {
    this.#inside += 1;
    this.#exclusive = exclusive;
  }

  #admit(): void {
    for (let first = this.#waiting[0]; first && this.#admits(first.exclusive); first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#enter(first.exclusive);
      first.enter();
    }
  }
}
