import type { Frame } from './frameLink.ts';

/** What a cable leads to. */
export interface Network {
  /** A frame from the guest; it lies in memory that is used again afterwards. */
  receive(frame: Frame): void;
  /** All frames that came together have been received. */
  settle(): void;
  /** There is room for frames to the guest again. */
  drained(): void;
  close(): Promise<void>;
}
