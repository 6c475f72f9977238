/** The real `usb` package, on whatever bus this machine has. */
import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { loadUsb, listUsb, usbIdentity, usbResources } from '../../../../core/passthrough/usb/host.ts';

it('loads, and lists each device of the bus once; without a bus there are none, and no error', async () => {
  expect(process.env['VANDERPOOL_USB']).toBeUndefined();
  expect(await loadUsb()).toMatchObject({ getDevices: expect.any(Function) as unknown });
  const devices = await listUsb();
  if (!existsSync('/sys/bus/usb/devices')) expect(devices).toEqual([]);
  const identities = devices.map(usbIdentity);
  expect(new Set(identities).size).toBe(identities.length);
  for (const identity of identities) expect(identity).toMatch(/^usb:[0-9a-f]{4}:[0-9a-f]{4}:./);
  expect((await usbResources()).map(({ id }) => id)).toEqual(identities);
});
