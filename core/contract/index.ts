/** The one typed, validated API that the GUI, the CLI and the local server all use. */
export * from './client.ts';
export * from './device.ts';
export * from './display.ts';
export * from './errors.ts';
export * from './exits.ts';
export * from './hardware.ts';
export * from './inspect.ts';
export * from './limits.ts';
export * from './memory.ts';
export * from './operations.ts';
export * from './settings.ts';
export * from './shell.ts';
export * from './snapshot.ts';
export * from './streams.ts';
export * from './topology.ts';
export * from './vm.ts';
export * from './wire.ts';
