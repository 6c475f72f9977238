/** The picture of a pointer, over what is on the screen. @virtio 5.7.6.10 */

import { blend } from './pixels.ts';
import { deflated } from '../../../platform/state.ts';
import type { Frame } from '../../vga/render.ts';
import type { StateReader } from '../../../platform/state.ts';

export const POINTER_EDGE = 64;
const IMAGE_BYTES = POINTER_EDGE * POINTER_EDGE * 4;

export class Pointer {
  /** Null: none is shown. */
  #image: Uint32Array<ArrayBuffer> | null = null;
  #x = 0;
  #y = 0;

  /** @param image of POINTER_EDGE pixels a side, B8G8R8A8; null hides it */
  show(image: Uint32Array<ArrayBuffer> | null): void {
    this.#image = image?.slice() ?? null;
  }

  /** Puts its upper left corner somewhere, at the edges also outside of the screen. */
  move(x: number, y: number): void {
    this.#x = x | 0;
    this.#y = y | 0;
  }

  draw({ width, height, pixels }: Frame): void {
    const image = this.#image;
    if (image === null) return;
    for (let row = Math.max(0, -this.#y); row < Math.min(POINTER_EDGE, height - this.#y); row++) {
      for (let column = Math.max(0, -this.#x); column < Math.min(POINTER_EDGE, width - this.#x); column++) {
        const at = (this.#y + row) * width + this.#x + column;
        pixels[at] = blend(image[row * POINTER_EDGE + column] ?? 0, pixels[at] ?? 0);
      }
    }
  }

  save(): Readonly<Record<string, unknown>> {
    return { x: this.#x, y: this.#y, image: this.#image === null ? null : deflated(new Uint8Array(this.#image.buffer)) };
  }

  /** @throws StateError */
  static read(reader: StateReader): Pointer {
    const pointer = new Pointer();
    pointer.move(reader.integer('x', -(2 ** 31), 2 ** 31 - 1), reader.integer('y', -(2 ** 31), 2 ** 31 - 1));
    if (reader.nested('image') !== null) pointer.show(new Uint32Array(reader.deflated('image', IMAGE_BYTES).slice().buffer));
    return pointer;
  }
}
