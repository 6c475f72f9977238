/** Asks a guest for a screen that is as large as the pane that shows it. */
import { useEffect } from 'react';
import type { RefObject } from 'react';
import { DISPLAY_HEIGHT_MAXIMUM, DISPLAY_WIDTH_MAXIMUM } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';

/** A pane that is being dragged asks when it has come to rest. */
const REST_MS = 300;
const smallest = { width: 320, height: 200 } as const;

export function useFittingScreen(vm: string, pane: RefObject<HTMLElement | null>, on: boolean): void {
  useEffect(() => {
    const element = pane.current;
    if (!on || element === null) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = (): void => {
      const pixels = (length: number, least: number, most: number): number => Math.max(least, Math.min(most, Math.round(length * window.devicePixelRatio)));
      const size = { width: pixels(element.clientWidth, smallest.width, DISPLAY_WIDTH_MAXIMUM), height: pixels(element.clientHeight, smallest.height, DISPLAY_HEIGHT_MAXIMUM) };
      // A machine that ends meanwhile needs no screen.
      void engine.call('display.input', { vm, input: { size } }).catch(() => undefined);
    };
    const observer = new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(ask, REST_MS);
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      clearTimeout(timer);
    };
  }, [vm, pane, on]);
}
