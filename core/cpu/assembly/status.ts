import { FAULT, FAULT_ADDRESS, FAULT_ERROR, FAULT_HAS_ERROR, FAULT_PENDING, FAULT_EXIT, EXIT_REASON, EXIT_QUALIFICATION } from '../layout';

export const OK: i32 = 0;
export const FAULTED: i32 = 1;
export const JUMP: i32 = 2;
export const EXIT: i32 = 3;
export const SYNC: i32 = 4;

// @ts-ignore: decorator
@inline
export function faulted(): bool {
  return load<u32>(FAULT) != 0;
}

/** Makes an exception without error code pending. */
export function raise(vector: u32): i32 {
  store<u32>(FAULT, vector | FAULT_PENDING);
  return FAULTED;
}

/** Makes an exception with an error code pending. */
export function raiseError(vector: u32, error: u32): i32 {
  store<u32>(FAULT, vector | FAULT_PENDING | FAULT_HAS_ERROR);
  store<u32>(FAULT_ERROR, error);
  return FAULTED;
}

export function raisePageFault(linear: u64, error: u32): i32 {
  store<u64>(FAULT_ADDRESS, linear);
  return raiseError(14, error);
}

/** Makes a VM exit pending; the instruction is unwound. */
export function exit(reason: u32, qualification: u64): i32 {
  store<u32>(EXIT_REASON, reason);
  store<u64>(EXIT_QUALIFICATION, qualification);
  store<u32>(FAULT, FAULT_EXIT);
  return EXIT;
}
