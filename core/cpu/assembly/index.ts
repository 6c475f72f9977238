export * from './status';
export * from './memory';
export * from './code';
export * from './strings';
