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

const root = document.getElementById('root');
if (root) createRoot(root).render(<StrictMode><App /></StrictMode>);
