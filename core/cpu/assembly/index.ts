export * from './status';
export * from './memory';
export * from './code';
export * from './strings';
export * from './x87';
export * from './fxsave';
export * from './xsave';
