/** Linear memory as the other chapters see it. */
export * from './access';
export * from './windows';
export * from './address';
export * from './paging';
export * from './tlb';
