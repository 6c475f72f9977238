import { useEffect } from 'react';
import type { Settings } from '../../core/contract/index.ts';
import { useLibrary } from '../state/library.ts';

const REMEMBERED = 'vanderpool.theme';

/** The theme to show for a setting, given what the system prefers. */
export function shownTheme(setting: Settings['theme'], systemIsDark: boolean): 'dark' | 'light' {
  if (setting === 'system') return systemIsDark ? 'dark' : 'light';
  return setting;
}

/** Applies the theme as it was last, before the engine has answered, so that the window does not flash. */
export function applyRememberedTheme(): void {
  const kept = localStorage.getItem(REMEMBERED);
  apply(kept === 'dark' || kept === 'light' ? kept : 'system');
}

function apply(setting: Settings['theme']): void {
  document.documentElement.dataset['theme'] = shownTheme(setting, matchMedia('(prefers-color-scheme: dark)').matches);
}

/** Keeps the document's theme that of the settings and of the system. */
export function useTheme(): void {
  const setting = useLibrary((state) => state.settings.theme);
  const loaded = useLibrary((state) => state.loaded);
  useEffect(() => {
    if (!loaded) return undefined;
    localStorage.setItem(REMEMBERED, setting);
    apply(setting);
    const query = matchMedia('(prefers-color-scheme: dark)');
    const follow = (): void => apply(setting);
    query.addEventListener('change', follow);
    return () => query.removeEventListener('change', follow);
  }, [setting, loaded]);
}
