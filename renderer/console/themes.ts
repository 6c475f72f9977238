import type { ITheme } from '@xterm/xterm';

/** The sixteen colours and the grounds of a console; text colours hold at least 4.5:1 against their ground. */
export const consoleThemes: Readonly<Record<'dark' | 'light', ITheme>> = {
  dark: {
    background: '#0c0e12', foreground: '#d7dbe2', cursor: '#82aaff', cursorAccent: '#0c0e12', selectionBackground: '#3a5a9a80',
    overviewRulerBorder: '#00000000', scrollbarSliderBackground: '#ffffff1c', scrollbarSliderHoverBackground: '#ffffff33', scrollbarSliderActiveBackground: '#ffffff44',
    black: '#1d2129', red: '#f2696b', green: '#5fd39a', yellow: '#e9c46a', blue: '#6e9cff', magenta: '#c792ea', cyan: '#5ccfe6', white: '#c8cdd6',
    brightBlack: '#7d8695', brightRed: '#ff8a8b', brightGreen: '#86e6b6', brightYellow: '#f5d98b', brightBlue: '#9dbdff', brightMagenta: '#dcb3f5',
    brightCyan: '#8be3f2', brightWhite: '#f4f6f9',
  },
  light: {
    background: '#fcfcfd', foreground: '#1b2230', cursor: '#2f68e2', cursorAccent: '#fcfcfd', selectionBackground: '#2f68e240',
    overviewRulerBorder: '#00000000', scrollbarSliderBackground: '#1018281f', scrollbarSliderHoverBackground: '#10182838', scrollbarSliderActiveBackground: '#1018284a',
    black: '#1b2230', red: '#c12d2c', green: '#0f7d4e', yellow: '#8a5f00', blue: '#2558c7', magenta: '#8a3fb0', cyan: '#0b7285', white: '#6b7484',
    brightBlack: '#677084', brightRed: '#d13b3a', brightGreen: '#14854f', brightYellow: '#946a08', brightBlue: '#2f68e2', brightMagenta: '#9c4bc4',
    brightCyan: '#0c7c90', brightWhite: '#303a4b',
  },
};

export const searchColours = {
  matchBackground: '#7a5c12', matchOverviewRuler: '#e9b949', activeMatchBackground: '#c98a14', activeMatchColorOverviewRuler: '#ffd37a',
};
