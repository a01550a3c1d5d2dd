// What wsctl.js adds to the core: rooms that keep history, and their positions.
import type { Client } from './core.ts';
import type { Hooks } from './link.ts';
import type { Args, BindOptions, GapInfo, Message, Protocol, SendOptions } from './types.ts';

/** Room is what happens in one room that keeps history. It is a view: made any number of times, and nothing to dispose of. */
export interface Room<P extends Protocol> {
  readonly name: string;
  /** The position of the last message of the room; undefined before the first, and outside of the room. */
  readonly position: string | undefined;
  /**
   * on calls fn for every message of that type in this room, as Client.on does; `gap` is told when messages of it are
   * missing that can't be had any more.
   */
  on(type: 'gap', fn: (gap: GapInfo) => unknown, options?: BindOptions): () => void;
  on<K extends keyof P['events'] & string>(
    type: K, fn: (data: P['events'][K], message: Message) => unknown, options?: BindOptions,
  ): () => void;
  /** send is Client.send with the room's name as the member `room` of data, an object. */
  send<K extends keyof P['messages'] & string>(type: K, ...args: Args<Roomless<P['messages'][K]>, SendOptions>): this;
}

/** Roomless is T without what Room.send adds. */
export type Roomless<T> = T extends { room: string } ? Omit<T, 'room'> : T;

/** Rooms is what a Client of wsctl.js has beside that of wsctl.core.js. */
export interface Rooms<P extends Protocol> {
  /**
   * room gives access to one room. Which rooms a client is in is the server's decision: there is nothing to join here.
   * Positions are remembered for every room, used or not: where a session is lost, the server sends what was missed.
   */
  room(name: string): Room<P>;
}

type Positions = Client & { _positions?: Map<string, string> };

const positions = (client: Positions) => (client._positions ??= new Map());

/** @internal */
export const rooms: object = {
  room(this: Client, name: string): Room<any> {
    const client = this;
    return {
      name,
      get position() {
        return positions(client).get(name);
      },
      on(type: string, fn: (...args: any[]) => unknown, { once, signal }: BindOptions = {}) {
        const off = client.on(
          type,
          (data, message) => {
            if ((message ?? data).room !== name) return;
            if (once) off();
            fn(data, message);
          },
          { signal },
        );
        return off;
      },
      send(type: string, data?: any, options?: SendOptions) {
        client.send(type, { ...data, room: name }, options);
        return this;
      },
    };
  },
  _room(this: Client & Hooks, data: any) {
    if (data) {
      this._delivered!(data);
      if (data.recovered === false) this._emit('gap', { room: data.room });
    }
  },
  _delivered(this: Client, { room, pos }: any) {
    const all = positions(this);
    if (typeof room !== 'string' || (pos !== null && typeof pos !== 'string')) return;
    all.delete(room); // so that the newest is the last
    if (pos !== null) all.set(room, pos);
    if (all.size > 100) all.delete([...all.keys()][0]);
  },
  // 6000 characters of the 16 KiB that $hello may have: names have 128 bytes at most, so that few characters take more than one.
  _rooms(this: Client) {
    const newest = [...positions(this)].reverse();
    while (JSON.stringify(newest).length > 6000) newest.pop();
    return newest[0] && Object.fromEntries(newest);
  },
};
