/** Passing messages for what has no place of its own on the screen. */
import { create } from 'zustand';
import { asContractError } from '../../core/contract/index.ts';

export interface Notice {
  readonly id: number;
  readonly kind: 'error' | 'info';
  readonly title: string;
  readonly hint: string;
}

const SHOWN_MS = 8000;
let lastId = 0;

export const useNotices = create<{ readonly notices: readonly Notice[] }>()(() => ({ notices: [] }));

export function dismiss(id: number): void {
  useNotices.setState(({ notices }) => ({ notices: notices.filter((notice) => notice.id !== id) }));
}

export function notify(kind: Notice['kind'], title: string, hint = ''): void {
  const id = ++lastId;
  useNotices.setState(({ notices }) => ({ notices: [...notices.slice(-2), { id, kind, title, hint }] }));
  setTimeout(() => dismiss(id), SHOWN_MS);
}

export function notifyError(thrown: unknown): void {
  const error = asContractError(thrown);
  notify('error', error.message, error.hint);
}
