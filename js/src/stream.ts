// What wsctl.js adds to the core: streams, both ways.
import type { Client } from './core.ts';
import { WsError } from './errors.ts';
import type { Call } from './link.ts';
import { named } from './message.ts';
import type { Protocol, StreamOptions, Streams, UploadOptions } from './types.ts';

/** Streaming is what a Client of wsctl.js has beside that of wsctl.core.js. */
export interface Streaming<P extends Protocol> {
  /**
   * stream calls a method that answers with many values, and iterates over them:
   *
   * ```ts
   * for await (const n of client.stream('count', 10)) console.log(n);
   * ```
   *
   * The call goes out when the first value is asked for, and the server goes on only as values are taken. To leave the
   * loop, or to abort the signal, tells the server to stop; a return() while a value is awaited, when that has come. A loss of the connection goes unnoticed; the iterator throws
   * what call rejects with, after the values that came before. There is no limit of time.
   */
  stream<K extends keyof Streams<P> & string>(
    type: K, ...args: StreamArgs<Streams<P>[K]>
  ): AsyncIterableIterator<Streams<P>[K]['item']>;
  /**
   * upload calls a method that takes a stream, and streams source to it, as fast as the method takes it. Resolves to the
   * method's result, and rejects as call does, and with what source throws. When the method has enough, source is
   * returned early, as by a break, at its next value.
   */
  upload<K extends Uploads<P>>(
    type: K, source: Iterable<P['calls'][K]['up']> | AsyncIterable<P['calls'][K]['up']>,
    options?: UploadOptions<P['calls'][K]['req']>,
  ): Promise<P['calls'][K]['res']>;
}

/** StreamArgs are the arguments of stream after the type. */
export type StreamArgs<S extends { req: any; up?: any }> =
  undefined extends S['req'] ? [data?: S['req'], options?: StreamOptions<S['up']>] : [data: S['req'], options?: StreamOptions<S['up']>];

/** Uploads are the calls that take a stream. */
export type Uploads<P extends Protocol> = (string extends keyof P['calls'] ? string : {
  [K in keyof P['calls']]: P['calls'][K] extends { up: unknown } ? K : never;
}[keyof P['calls']]) & string;

type Source = Iterable<unknown> | AsyncIterable<unknown>;

// Watcher is where the two sides of a stream meet: one waits until it is ready, or the call over, and says whether that is
// so; the other wakes it to look again.
interface Watcher {
  (ready: () => unknown): Promise<boolean | undefined>;
  _over?: boolean;
  _wake?: () => void;
}

const watch = (end: Promise<unknown>): Watcher => {
  const watcher: Watcher = async (ready) => {
    while (!ready() && !watcher._over) await new Promise<void>((done) => (watcher._wake = done));
    return watcher._over;
  };
  const over = () => {
    watcher._over = true;
    watcher._wake?.();
  };
  end.then(over, over);
  return watcher;
};

// Streams source to a call, as the server grants.
const pump = async (call: Call, end: Promise<unknown>, source: Source) => {
  const watcher = watch(end);
  let credit = 0;
  call.$more = (n) => {
    if (n > 0) credit += +n;
    watcher._wake?.();
  };
  const ended = () => watcher(() => credit >= 1);
  try {
    if (await ended()) return;
    for await (const item of source) {
      call._tell('$item', item); // if the call isn't over
      credit--;
      if (await ended()) return;
    }
    call._tell('$end');
  } catch (error) {
    call._tell('$end', { code: 'canceled', message: '' });
    call.$reply(0, error ?? new WsError()); // means nothing where it is over
  }
};

/** @internal */
export const streaming: object = {
  async *stream(this: Client, type: string, data?: unknown, { source, signal }: StreamOptions = {}) {
    const items: unknown[] = [];
    const call = {} as Call;
    const end = this._call(named(type), data, { timeout: Infinity, signal }, call);
    const watcher = watch(end);
    let taken = 0;
    call.$item = (item) => {
      items.push(item);
      watcher._wake?.();
    };
    if (source) pump(call, end, source);
    try {
      for (;;) {
        await watcher(() => items.length);
        if (!items.length) return end; // throws what it rejected with
        yield items.shift();
        if (++taken * 2 >= this._window()) {
          call._tell('$more', taken);
          taken = 0;
        }
      }
    } finally {
      call._stop?.('canceled'); // means nothing where it is over, or never was
    }
  },

  async upload(
    this: Client, type: string, source: Source, { data, timeout = Infinity, signal }: UploadOptions = {},
  ): Promise<unknown> {
    const call = {} as Call;
    const end = this._call(named(type), data, { timeout, signal }, call);
    pump(call, end, source);
    return end;
  },
};
