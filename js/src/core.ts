// The entry of wsctl.core.js: messages and calls, both ways.
import { guard } from './errors.ts';
import { link, type Hooks, type Link } from './link.ts';
import { compose, named } from './message.ts';
import type {
  Address, AnyProtocol, Args, Asks, BindOptions, Callback, CallOptions, ClientEvents, EventName, LocalEvents, Options,
  Protocol, SendOptions, State,
} from './types.ts';

export { WsError } from './errors.ts';
export type * from './errors.ts';
export type * from './types.ts';

// Listener is the function that unbinds, and what it unbinds; nothing, when it has been called.
interface Listener {
  (): void;
  _fn?: (...args: any[]) => unknown;
  _once?: boolean;
}

/** @internal What link puts into it. */
export interface Client<P extends Protocol = AnyProtocol, L extends LocalEvents = ClientEvents> extends Link {}

/**
 * Client is a connection to a server that comes back by itself: messages and calls both ways, one JSON object each.
 *
 * ```ts
 * const client = new Client('/ws');
 * client.on('said', (line) => show(line));
 * client.send('say', { text: 'hi' });
 * const sum = await client.call('add', [1, 2]);
 * ```
 *
 * Whatever is sent or called while there is no connection waits, within limits, and is written before `open` is told: what
 * a new session needs first, such as to enter a room, comes after it.
 * When a connection is lost, its session goes on with the next one: no message is lost and none comes twice, either way,
 * and calls don't notice. The server keeps a session for some time (30 s unless told otherwise); where that has passed,
 * or the server is another, or the level is plain, `open` says `resumed: false`.
 */
export class Client<P extends Protocol = AnyProtocol, L extends LocalEvents = ClientEvents> {
  private _listeners = new Map<string, Set<Listener>>();

  /**
   * Connects at once, unless `autoConnect` is false. url may be relative to the page, and http(s) for ws(s); a
   * function is asked before every attempt, and one that fails is a failed attempt, which is tried again.
   * Throws for a url that can't be one, and where there is no WebSocket class.
   */
  constructor(url: Address | (() => Address | Promise<Address>), options: Options = {}) {
    link(this as Hooks, url, options);
    if (options.autoConnect !== false) this.connect();
  }

  /** What the client is doing at present. */
  get state(): State {
    return this._state();
  }

  /**
   * on calls fn for every event or message of that type: with its data and the whole message; after those that were
   * bound before. Returns the function that unbinds. What fn throws doesn't keep other callbacks from running: it is
   * thrown again from a timer.
   */
  on<K extends EventName<P, L>>(type: K, fn: Callback<P, L, K>, options?: BindOptions): () => void;
  on(type: string, fn: (...args: any[]) => unknown, { signal, once }: BindOptions = {}): () => void {
    const all = this._listeners.get(type) ?? new Set();
    const off: Listener = () => {
      all.delete(off);
      off._fn = undefined;
      signal?.removeEventListener('abort', off);
    };
    off._fn = fn;
    off._once = once;
    if (!signal?.aborted) this._listeners.set(type, all.add(off));
    signal?.addEventListener('abort', off);
    return off;
  }

  /** bind is on, chainable. */
  bind<K extends EventName<P, L>>(type: K, fn: Callback<P, L, K>): this {
    this.on(type, fn);
    return this;
  }

  /** unbind takes fn from the type, or all callbacks where no fn is given. */
  unbind<K extends EventName<P, L>>(type: K, fn?: Callback<P, L, K>): this {
    this._of(type).forEach((off) => (fn && off._fn !== fn) || off());
    return this;
  }

  /**
   * handle answers the server's calls of that type with what fn returns or resolves to. The newest fn of a type counts.
   * A WsError that fn throws reaches the server, of anything else it hears `internal`, and the error is thrown again from
   * a timer. Returns the function that takes fn off: calls of a type without one fail with `not_found`. Not at the plain
   * level, where the server can't call.
   */
  handle<K extends keyof Asks<P> & string>(
    type: K, fn: (data: Asks<P>[K]['req']) => Asks<P>[K]['res'] | Promise<Asks<P>[K]['res']>,
  ): () => void {
    return this.on(('$' + type) as any, fn as any); // no message of such a type reaches a callback
  }

  /**
   * send writes a message that isn't answered, or queues it while there is no connection. Throws a TypeError for a
   * type that can't be sent (empty, over 128 bytes, or with a leading `$`) and for data that JSON can't encode; a
   * WsError `too_many` when the queue is full, `too_big` for more than the server takes, `unavailable` when the client is
   * closed.
   */
  send<K extends keyof P['messages'] & string>(type: K, ...args: Args<P['messages'][K], SendOptions>): this;
  send(type: string, data?: unknown, { volatile }: SendOptions = {}): this {
    this._send(compose(named(type), data), volatile);
    return this;
  }

  /**
   * call sends a message that the server answers, and resolves to the result. It never throws. It rejects with what
   * send throws, and with a WsError: the server's; `timeout` or `canceled`, at once, telling the server to stop;
   * `unavailable` when the session is lost after the call was written, so that it may or may not have run. A
   * call that wasn't written yet survives that.
   */
  call<K extends keyof P['calls'] & string>(
    type: K, ...args: Args<P['calls'][K]['req'], CallOptions>
  ): Promise<P['calls'][K]['res']>;
  async call(type: string, data?: unknown, options?: CallOptions): Promise<unknown> {
    return this._call(named(type), data, options);
  }

  /** connect starts a client that is idle or closed, and one that waits tries at once; else it does nothing. Delays begin anew. */
  connect(): this {
    this._connect();
    return this;
  }

  /**
   * close ends the connection and its session for good, until connect() is called: `close` is told before it returns,
   * what is queued is dropped, calls reject with `unavailable`. code is 1000 or 3000 to 4999, reason has at most 123
   * bytes; for others the WebSocket throws, where there is one, and nothing has happened then.
   */
  close(code: number = 1000, reason: string = ''): this {
    this._close(code, reason);
    return this;
  }

  /** Closes the client at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal */
  _of(type: string): Listener[] {
    return [...(this._listeners.get(type) ?? [])];
  }

  // Calls those bound before, unless one of them unbinds another; says whether there was any.
  /** @internal */
  _emit(type: string, ...args: unknown[]): boolean {
    const now = this._of(type);
    for (const off of now) {
      const fn = off._fn; // none: unbound by one before
      if (off._once) off();
      guard(fn, ...args);
    }
    return now.length > 0;
  }
}
