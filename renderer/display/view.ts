/** Draws a machine's screen on a canvas and takes its keyboard and pointer while they are grabbed. */
import { POINTER_PLACE_MAXIMUM, keyNumber } from '../../core/contract/index.ts';
import type { DisplayInput, KeyEvent, Picture } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';

/** Pointer movements are gathered for so long. */
const POINTER_MS = 16;

export interface DisplayHandlers {
  /** There is a picture, of this size; or none, because the machine does not run. */
  size(size: { readonly width: number; readonly height: number } | null): void;
  grabbed(grabbed: boolean): void;
}

export class DisplayView {
  readonly #vm: string;
  readonly #canvas: HTMLCanvasElement;
  readonly #tablet: boolean;
  /** Where the pointer is; null: it is moved and has no place. */
  #place: { readonly x: number; readonly y: number } | null = null;
  readonly #handlers: DisplayHandlers;
  readonly #down = new Set<string>();
  readonly #stops: (() => void)[] = [];
  #size: string | null = null;
  #grabbed = false;
  #pointer = { dx: 0, dy: 0, dz: 0, buttons: 0 };
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param tablet the machine has one: its pointer is where the person's is, and nothing is taken away */
  constructor(vm: string, canvas: HTMLCanvasElement, tablet: boolean, handlers: DisplayHandlers) {
    this.#vm = vm;
    this.#tablet = tablet;
    this.#canvas = canvas;
    this.#handlers = handlers;
    this.#stops.push(engine.follow('display', { vm }, {
      event: (event) => (event.kind === 'picture' ? this.#draw(event.picture) : this.#off()),
      end: () => this.#off(),
    }));
    this.#listen(canvas, 'keydown', (event) => this.#key(event, true));
    this.#listen(canvas, 'keyup', (event) => this.#key(event, false));
    this.#listen(canvas, 'blur', () => this.release());
    this.#listen(canvas, 'mousedown', (event) => this.#press(event));
    this.#listen(canvas, 'mouseup', (event) => this.#move(event));
    this.#listen(canvas, 'mousemove', (event) => this.#move(event));
    this.#listen(canvas, 'wheel', (event) => this.#wheel(event));
    this.#listen(canvas, 'contextmenu', (event) => event.preventDefault());
    const lost = (): void => {
      if (document.pointerLockElement === null) this.release();
    };
    document.addEventListener('pointerlockchange', lost);
    this.#stops.push(() => document.removeEventListener('pointerlockchange', lost));
  }

  close(): void {
    this.release();
    clearTimeout(this.#timer);
    for (const stop of this.#stops) stop();
  }

  /** Keys go to the machine from now on. */
  grab(): void {
    this.#canvas.focus();
    if (this.#grabbed) return;
    this.#grabbed = true;
    this.#handlers.grabbed(true);
  }

  /** Gives keyboard and pointer back to the window; keys that are held are let go in the guest. */
  release(): void {
    if (!this.#grabbed) return;
    this.#grabbed = false;
    const keys = [...this.#down].map((code) => ({ code, down: false }));
    this.#down.clear();
    this.#pointer = { ...this.#pointer, buttons: 0 };
    this.#send({ keys, pointer: { dx: 0, dy: 0, dz: 0, buttons: 0 } });
    if (document.pointerLockElement === this.#canvas) document.exitPointerLock();
    this.#handlers.grabbed(false);
  }

  /** Presses keys together and lets them go in reverse. */
  type(codes: readonly string[]): void {
    const down = codes.map((code): KeyEvent => ({ code, down: true }));
    const up = codes.toReversed().map((code): KeyEvent => ({ code, down: false }));
    this.#send({ keys: [...down, ...up] });
  }

  #listen<K extends keyof HTMLElementEventMap>(target: HTMLElement, type: K, handler: (event: HTMLElementEventMap[K]) => void): void {
    target.addEventListener(type, handler, { passive: false });
    this.#stops.push(() => target.removeEventListener(type, handler));
  }

  async #draw({ width, height, x, y, png }: Picture): Promise<void> {
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(png)], { type: 'image/png' }));
    const size = `${width}x${height}`;
    if (size !== this.#size) {
      this.#size = size;
      this.#canvas.width = width;
      this.#canvas.height = height;
      this.#handlers.size({ width, height });
    }
    this.#canvas.getContext('2d')?.drawImage(bitmap, x, y);
    bitmap.close();
  }

  #off(): void {
    this.#size = null;
    this.#handlers.size(null);
  }

  #key(event: KeyboardEvent, down: boolean): void {
    if (!this.#grabbed) {
      // Nobody who walks through the page by keyboard is caught: the screen asks first.
      if (down && event.key === 'Enter') {
        event.preventDefault();
        this.grab();
      }
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    if (down && event.ctrlKey && event.altKey && (event.key === 'Control' || event.key === 'Alt')) return this.release();
    if (keyNumber(event.code) === undefined || (!down && !this.#down.has(event.code))) return;
    if (down) this.#down.add(event.code);
    else this.#down.delete(event.code);
    this.#send({ keys: [{ code: event.code, down }] });
  }

  #press(event: MouseEvent): void {
    event.preventDefault();
    if (!this.#grabbed) {
      this.grab();
      if (!this.#tablet) {
        void Promise.resolve(this.#canvas.requestPointerLock()).catch(() => undefined);
        return;
      }
    }
    this.#move(event);
  }

  #move(event: MouseEvent): void {
    if (this.#tablet) return this.#put(event);
    if (document.pointerLockElement !== this.#canvas) return;
    const { dx, dy, dz, buttons } = this.#pointer;
    this.#pointer = { dx: dx + event.movementX, dy: dy + event.movementY, dz, buttons: event.buttons & 7 };
    this.#later(buttons);
  }

  #put(event: MouseEvent): void {
    if (!this.#grabbed) return;
    const { clientWidth, clientHeight, width, height } = this.#canvas;
    // The picture keeps its shape, with bars at two sides.
    const scale = Math.min(clientWidth / width, clientHeight / height) || 1;
    const fraction = (at: number, whole: number, picture: number): number => (at - (whole - picture * scale) / 2) / (picture * scale);
    const place = (value: number): number => Math.round(Math.max(0, Math.min(1, value)) * POINTER_PLACE_MAXIMUM);
    this.#place = { x: place(fraction(event.offsetX, clientWidth, width)), y: place(fraction(event.offsetY, clientHeight, height)) };
    const { buttons } = this.#pointer;
    this.#pointer = { ...this.#pointer, buttons: event.buttons & 7 };
    this.#later(buttons);
  }

  #wheel(event: WheelEvent): void {
    if (!this.#grabbed) return;
    event.preventDefault();
    this.#pointer = { ...this.#pointer, dz: this.#pointer.dz + Math.sign(event.deltaY) };
    this.#later();
  }

  /** Movements are gathered; a button that goes down or up is told of at once, since a click is over sooner. */
  #later(buttonsBefore = this.#pointer.buttons): void {
    if (buttonsBefore !== this.#pointer.buttons) return this.#tell();
    this.#timer ??= setTimeout(() => this.#tell(), POINTER_MS);
  }

  #tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const limit = (value: number): number => Math.max(-4096, Math.min(4096, Math.round(value)));
    const { dx, dy, dz, buttons } = this.#pointer;
    this.#pointer = { dx: 0, dy: 0, dz: 0, buttons };
    this.#send(this.#place === null ? { pointer: { dx: limit(dx), dy: limit(dy), dz: limit(dz), buttons } } : { place: { ...this.#place, dz: limit(dz), buttons } });
  }

  /** What cannot be delivered is lost, as keys are that nobody hears. */
  #send(input: DisplayInput): void {
    void engine.call('display.input', { vm: this.#vm, input }).catch(() => undefined);
  }
}
