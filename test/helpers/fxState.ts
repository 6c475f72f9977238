/** x87, MMX and SSE state of an emulated processor as FXSAVE lays it out. @sdm 1 table 10-2 */
import * as L from '../../core/cpu/layout.ts';

const XMM_AT = 160;
const XMM_BYTES = 256;
const REGISTERS_AT = 32;
const REGISTER_BYTES = 10;

/** The emulated memory and its bytes. */
interface State {
  readonly view: DataView;
  readonly bytes: Uint8Array;
}

/** @param fx 512 bytes */
export function loadFx({ view, bytes }: State, fx: Uint8Array): void {
  const from = new DataView(fx.buffer, fx.byteOffset, fx.length);
  view.setUint16(L.FCW, from.getUint16(0, true), true);
  view.setUint16(L.FSW, from.getUint16(2, true), true);
  view.setUint8(L.FTAGS, from.getUint8(4));
  view.setUint32(L.MXCSR, from.getUint32(24, true), true);
  for (let i = 0; i < 8; i++) bytes.set(fx.subarray(REGISTERS_AT + i * 16, REGISTERS_AT + REGISTER_BYTES + i * 16), registerAt(view, i));
  bytes.set(fx.subarray(XMM_AT, XMM_AT + XMM_BYTES), L.XMM);
}

/** @param fx 512 bytes, of which those of the state are replaced */
export function storeFx({ view, bytes }: State, fx: Uint8Array): void {
  const to = new DataView(fx.buffer, fx.byteOffset, fx.length);
  to.setUint16(0, view.getUint16(L.FCW, true), true);
  to.setUint16(2, view.getUint16(L.FSW, true), true);
  to.setUint8(4, view.getUint8(L.FTAGS));
  to.setUint32(24, view.getUint32(L.MXCSR, true), true);
  for (let i = 0; i < 8; i++) fx.set(bytes.subarray(registerAt(view, i), registerAt(view, i) + REGISTER_BYTES), REGISTERS_AT + i * 16);
  fx.set(bytes.subarray(L.XMM, L.XMM + XMM_BYTES), XMM_AT);
}

/** Where ST(i) lies: FSW says which register is the top. */
function registerAt(view: DataView, i: number): number {
  const top = (view.getUint16(L.FSW, true) >> 11) & 7;
  return L.X87 + ((top + i) & 7) * 16;
}
