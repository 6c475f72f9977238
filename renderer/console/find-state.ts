import { create } from 'zustand';

/** The console, by its session key, whose find bar is open. */
export const useFind = create<{ readonly open: string | null }>()(() => ({ open: null }));
