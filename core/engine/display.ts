/** A VM's screen as one subscriber sees it: asked for as often as it changes and as the subscriber keeps up. */
import type { DisplayEvent, Picture } from '../contract/display.ts';

/** Between two looks at a screen that changes, and at one that has not for a while. */
const SHORTEST_MS = 40;
const LONGEST_MS = 250;
/** Pictures that the subscriber may leave unacknowledged. */
const UNREAD_PICTURES = 2;

/** Asks for what is new since this viewer's last picture. Null: nothing; undefined: the VM does not run. */
export type PictureSource = (viewer: number, forget: boolean) => Promise<Picture | null | undefined>;

let lastViewer = 0;

/** A number that no other viewer of this engine has. */
export function newViewer(): number {
  lastViewer += 1;
  return lastViewer;
}

export class DisplayView {
  readonly #source: PictureSource;
  readonly #send: (event: DisplayEvent) => void;
  readonly #viewer = newViewer();
  #unread = 0;
  #delay = SHORTEST_MS;
  #timer: NodeJS.Timeout | undefined;
  #shown: 'picture' | 'off' | null = null;
  #closed = false;

  constructor(source: PictureSource, send: (event: DisplayEvent) => void) {
    this.#source = source;
    this.#send = send;
    void this.#look();
  }

  acknowledge(count: number): void {
    this.#unread -= count;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    void this.#source(this.#viewer, true).catch(() => undefined);
  }

  async #look(): Promise<void> {
    if (this.#unread < UNREAD_PICTURES) await this.#ask();
    if (!this.#closed) this.#timer = setTimeout(() => void this.#look(), this.#delay);
  }

  async #ask(): Promise<void> {
    // A machine that is just starting or ending does not answer: it is asked again.
    const picture = await this.#source(this.#viewer, false).catch(() => null);
    if (this.#closed) return;
    this.#delay = picture ? SHORTEST_MS : Math.min(LONGEST_MS, this.#delay * 1.5);
    if (picture) this.#tell('picture', { kind: 'picture', picture });
    else if (picture === undefined && this.#shown !== 'off') this.#tell('off', { kind: 'off' });
  }

  #tell(shown: 'picture' | 'off', event: DisplayEvent): void {
    this.#shown = shown;
    this.#unread += 1;
    this.#send(event);
  }
}
