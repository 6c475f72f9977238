/** Operand specifications in the SDM's letters (SDM 2D, appendix A.2) and what the decoder makes of them. */
import type { Slot, Width } from './ir.ts';

export type OperandKind =
  | { readonly type: 'register'; readonly slot: Slot; readonly width: Width }
  | { readonly type: 'memory'; readonly width: Width }
  | { readonly type: 'immediate'; readonly width: Width }
  | { readonly type: 'constant'; readonly width: Width; readonly value: number };
