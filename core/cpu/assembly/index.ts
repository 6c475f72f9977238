export * from './status';
export * from './tlb';
export * from './paging';
export * from './memory';
export * from './address';
export * from './code';
