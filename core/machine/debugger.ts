/** GDB's port of a machine, on the I/O thread. */
import { GdbServer } from '../gdb/server.ts';
import type { Runner } from './runner.ts';

/** A packet may ask for a long walk through memory; one that takes longer than this meets a machine that is stuck. */
const PACKET_MS = 30_000;

/** @throws ContractError `bad-field` when the port cannot be had */
export function listenForGdb(port: number, runner: Runner): Promise<GdbServer> {
  return GdbServer.listen(port, {
    hold: () => runner.ask('debug-hold', {}),
    release: () => runner.ask('debug-release', {}),
    packet: (packet) => runner.ask('gdb', { packet }, PACKET_MS),
  });
}
