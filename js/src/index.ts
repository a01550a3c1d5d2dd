// The entry of wsctl.js: everything. Streams and rooms will join the core here.
export * from './core.ts';
