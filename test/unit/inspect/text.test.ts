import { expect, it } from 'vitest';
import { sectionText } from '../../../core/inspect/text.ts';

const section = { title: 'Refused requests', columns: ['Time', 'Device'], rows: [['21:00', '00:02.0']], note: '' };

it('a table has a line for each row, and one that is empty says so', () => {
  expect(sectionText(section)).toBe('Refused requests\nTIME   DEVICE\n21:00  00:02.0');
  expect(sectionText({ ...section, rows: [] })).toBe('Refused requests\nNone.');
  expect(sectionText({ ...section, rows: [], note: 'The unit is off.' })).toBe('Refused requests\nThe unit is off.');
});
