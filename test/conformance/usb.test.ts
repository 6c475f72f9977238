/** The conformance suite on the USB host controller and on emulated devices. */
import { REGISTER_BYTES } from '../../core/devices/usb/xhci/registers.ts';
import { UsbKeyboard, UsbTablet } from '../../core/devices/usb/hid.ts';
import { UsbStorage } from '../../core/devices/usb/storage.ts';
import { XhciController } from '../../core/devices/usb/xhci/controller.ts';
import { MemoryDisk } from '../doubles/memoryDisk.ts';
import { behindBar, plugged } from '../doubles/virtioDriver.ts';
import { componentConformance, deviceConformance } from './device.ts';

deviceConformance('xHCI', clock => {
  const fn = new XhciController('xhci', clock);
  for (const device of [new UsbTablet('tablet'), new UsbStorage('stick', new MemoryDisk(), 'serial')]) fn.attach(device);
  plugged(fn, new Uint8Array(0x100000));
  return behindBar(fn, fn.registers, REGISTER_BYTES);
});

componentConformance('USB tablet', () => new UsbTablet('tablet'), component => {
  for (let count = 0; count < 3; count++) (component as UsbTablet).setPointer(count * 1000, 77, count);
});

componentConformance('USB keyboard', () => new UsbKeyboard('keyboard'), component => {
  for (const place of ['KeyA', 'ShiftLeft', 'F5']) (component as UsbKeyboard).setKey(place, true);
});

componentConformance('USB stick', () => new UsbStorage('stick', new MemoryDisk(), 'serial'), component => {
  const wrapper = new Uint8Array(31);
  wrapper.set([0x55, 0x53, 0x42, 0x43, 1, 2, 3, 4, 0, 2, 0, 0, 0x80, 0, 10, 0x28, 0, 0, 0, 0, 1, 0, 0, 1]);
  (component as UsbStorage).submit({ endpoint: 2, kind: 'bulk', setup: null, data: wrapper, length: 0, done() {} });
});
