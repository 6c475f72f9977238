/**
 * `npm run fuzz -- [--guests N] [--seed N] [--instructions N] [--nested]`: hostile guests in every tier and model, or hypervisors with hostile
 * guests; one that makes the machine throw is reported with the seed that repeats it, and the command ends with status 1.
 * `npm run fuzz -- --snapshots N [--seed N]`: snapshots on a disk that loses its power, is full or read-only after any number of steps.
 * `npm run fuzz -- --kills N [--seed N]`: `kill -9` of engine and machines at random moments of snapshots.
 * `npm run fuzz -- --vtd STEPS [--seed N]`: random remapping tables, requests and invalidations, against a model that knows no caches.
 * `npm run fuzz -- --devices STEPS [--seed N] [--only NAME]`: hostile drivers of every device of the table in test/fuzz/devices.
 * `npm run fuzz -- --usb STEPS [--seed N]`: hostile drivers of the USB host controller.
 * `npm run fuzz -- --net STEPS [--seed N]`: hostile frames and drivers of network interfaces.
 */
import { parseArgs } from 'node:util';
import { fuzzDevices } from './devices/run.ts';
import { fuzzVtd } from './vtd/run.ts';
import { fuzzNet } from './net/run.ts';
import { fuzzUsb } from './usb/run.ts';
import { fuzzKills } from './snapshots/kills.ts';
import { fuzzStore } from './snapshots/main.ts';
import { fuzzGuests } from './guests.ts';

const text = { type: 'string' } as const;
const { values } = parseArgs({ options: { guests: text, seed: text, instructions: text, nested: { type: 'boolean' }, vtd: text, usb: text, net: text, devices: text, only: text, snapshots: text, kills: text } });
const guests = Number(values.guests ?? 300);
const first = Number(values.seed ?? 1);
const instructions = Number(values.instructions ?? 5_000_000);

if (values.vtd !== undefined) {
  const { steps, answers, hits, walks } = fuzzVtd(first, Number(values.vtd));
  console.log(`${steps} steps, the same answers: ${[...answers].sort().map(([answer, count]) => `${answer} ${count}`).join(', ')}; ${hits} from the IOTLB, ${walks} by walks`);
  process.exit(0);
}

if (values.devices !== undefined) {
  const { steps, devices } = fuzzDevices(first, Number(values.devices), values.only);
  console.log(`${devices} devices, ${steps} steps each`);
  process.exit(0);
}

if (values.usb !== undefined) {
  const { steps, events } = fuzzUsb(first, Number(values.usb));
  console.log(`${steps} steps; events by type and completion code: ${[...events].sort().map(([kind, count]) => `${kind} ${count}`).join(', ')}`);
  process.exit(0);
}

if (values.net !== undefined) {
  const { steps, answers, load } = await fuzzNet(first, Number(values.net));
  console.log(`${steps} steps; frames to the guest: ${[...answers].sort().map(([kind, count]) => `${kind} ${count}`).join(', ')}; at most ${load.tcp} connections, ${load.udp} sockets, ${load.fragments} packets in pieces`);
  process.exit(0);
}

if (values.snapshots !== undefined) {
  console.log(await fuzzStore(first, Number(values.snapshots)));
  process.exit(0);
}

if (values.kills !== undefined) {
  console.log(await fuzzKills(first, Number(values.kills)));
  process.exit(0);
}

const { outcomes, faults } = await fuzzGuests({ count: guests, seed: first, instructions, nested: values.nested === true }, (done) => {
  if (process.stdout.isTTY) process.stdout.write(`\r${done} of ${guests} guests `);
});
for (const fault of faults) console.error(fault);
console.log(`${guests} hostile guests: ${[...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', ')}`);
process.exit(faults.length > 0 ? 1 : 0);
