/** Settings of a library's people, kept in its database. */
import * as z from 'zod';

const fields = {
  theme: z.enum(['system', 'dark', 'light']),
  consoleFontSize: z.int().min(6).max(40),
  consoleScrollbackLines: z.int().min(100).max(200_000),
  confirmStop: z.boolean(),
  /** What becomes of running VMs when a person quits the desktop application. */
  quitting: z.enum(['ask', 'background', 'suspend']),
  /** Whether what VMs compile of their guests' code is kept for their next runs. */
  keepCode: z.boolean(),
};

export const settings = z.strictObject(fields);
export type Settings = z.infer<typeof settings>;

export const settingsChanges = z.strictObject(fields).partial();
export type SettingsChanges = z.infer<typeof settingsChanges>;

export const settingsDefaults: Settings = { theme: 'system', consoleFontSize: 13, consoleScrollbackLines: 10_000, confirmStop: true, quitting: 'ask', keepCode: true };
