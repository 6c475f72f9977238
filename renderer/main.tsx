import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import './styles/main.css';
import { App } from './app.tsx';
import { installKeymap } from './commands/keymap.ts';
import { applyRememberedTheme } from './settings/theme.ts';
import { followEngine } from './state/follow.ts';

applyRememberedTheme();
followEngine();
installKeymap();

function draw(): void {
  const root = document.getElementById('root');
  if (root) createRoot(root).render(<StrictMode><App /></StrictMode>);
}

// A terminal measures its font once, when it opens: the font has to be there by then.
document.fonts.load('13px "JetBrains Mono Variable"').then(draw, draw);
