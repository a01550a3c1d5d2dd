// The entry of wsctl.js: everything. Streams and rooms are put into the one class Client, of which SimpleSocketHandler is.
import { Client } from './core.ts';
import { rooms, type Rooms } from './room.ts';
import { streaming, type Streaming } from './stream.ts';
import type { LocalEvents, Protocol } from './types.ts';

export * from './core.ts';
export * from './template.ts';
export type * from './room.ts';
export type * from './stream.ts';

declare module './core.ts' {
  interface Client<P extends Protocol, L extends LocalEvents> extends Streaming<P>, Rooms<P> {}
}

Object.assign(Client.prototype, streaming, rooms);
