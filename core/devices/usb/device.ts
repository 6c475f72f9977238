/** A USB device as a host controller sees it: transfers by endpoint. Emulated ones and those of the host are behind the same interface. */

import type { Component } from '../../platform/device.ts';

export type UsbSpeed = 'full' | 'low' | 'high' | 'super';
export type TransferKind = 'control' | 'isochronous' | 'bulk' | 'interrupt';
/** `error`: the device did not answer, or what it sent was damaged. */
export type TransferStatus = 'completed' | 'stall' | 'error' | 'babble';

/** One request of a pipe. The kinds of endpoints differ in when a device answers, not in how. */
export interface UsbTransfer {
  /** Endpoint address: number in bits 3:0, bit 7 set for one that sends to the host. Control transfers: the number alone. */
  readonly endpoint: number;
  readonly kind: TransferKind;
  /** The eight bytes of a control transfer's setup stage; null for others. */
  readonly setup: Uint8Array | null;
  /** What goes to the device. */
  readonly data: Uint8Array;
  /** Bytes that the host has room for. */
  readonly length: number;
  /** Called once, perhaps before `submit` returns, and never after `cancel`. @param data what came from the device, or as many bytes as it took */
  readonly done: (status: TransferStatus, data: Uint8Array) => void;
}

export interface UsbDevice extends Component {
  readonly speed: UsbSpeed;
  /** Whether `loadState` brings the device back as it was: those of the host are plugged in anew instead. */
  readonly restorable: boolean;
  submit(transfer: UsbTransfer): void;
  /** Forgets what an endpoint was asked, where it has not answered. */
  cancel(endpoint: number): void;
}

/** Of a setup stage. @usb 9.3 */
export interface SetupPacket {
  /** Bit 7: towards the host; 6:5 type; 4:0 recipient. */
  readonly requestType: number;
  readonly request: number;
  readonly value: number;
  readonly index: number;
  readonly length: number;
}

export const setupBytes = 8;
export const toHost = 0x80;

/** @param bytes eight of them */
export function parseSetup(bytes: Uint8Array): SetupPacket {
  const word = (at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
  return { requestType: bytes[0] ?? 0, request: bytes[1] ?? 0, value: word(2), index: word(4), length: word(6) };
}
