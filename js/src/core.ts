// The entry of wsctl.core.js: the connection, messages and calls, at the plain level of the protocol.
import { WsError } from './errors.ts';
import type {
  Address, AnyProtocol, Args, BindOptions, Callback, CallOptions, ClientEvents, EventName, LocalEvents, Options,
  Protocol, SendOptions, State, TemplateEvents, WebSocketClass,
} from './types.ts';

export { WsError } from './errors.ts';
export type * from './errors.ts';
export type * from './types.ts';

/** MessageTypes names the local events `open` and `close` as the template does. */
export const MessageTypes: { readonly WS_OPEN: 'open'; readonly WS_CLOSE: 'close' } = {
  WS_OPEN: 'open',
  WS_CLOSE: 'close',
};

interface Listener {
  _fn: (...args: any[]) => unknown;
  _once?: boolean;
  _off: () => void;
}

type End = (error?: WsError, result?: unknown) => void;

// Outgoing is one message that is written or waits for it; a call has an id and an end.
interface Outgoing {
  _text: string;
  _at: number;
  _id?: number;
  _end?: End;
}

// setTimeout takes Infinity, and anything above 2^31-1 ms, for 1 ms.
const later = (ms: number, fn: () => void) => setTimeout(fn, Math.min(ms, 2e9));

// Calls what the user wrote. What it throws is thrown again where nothing of ours is in the way: the page's error
// handler sees it, the other callbacks run.
const guard = <R>(fn: (...args: any[]) => R, ...args: unknown[]): R | undefined => {
  try {
    return fn(...args);
  } catch (error) {
    later(0, () => {
      throw error;
    });
  }
};

// Older browsers take neither http(s), nor relative URLs, nor fragments.
const resolve = (url: Address): string => {
  const { href } = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  const address = href.replace(/^http/, 'ws').replace(/#.*/, '');
  if (!/^wss?:/.test(address)) throw new SyntaxError('not a WebSocket URL: ' + url);
  return address;
};

const encode = (type: string, data: unknown, id?: number): string => {
  if (typeof type !== 'string' || !type || type[0] === '$' || new TextEncoder().encode(type).length > 128) {
    throw new TypeError('bad type: ' + type);
  }
  const json = JSON.stringify(data);
  if (json === undefined && data !== undefined) throw new TypeError(`${type}: data isn't JSON`);
  return `{"type":${JSON.stringify(type)}${id ? `,"id":${id}` : ''}${json ? `,"data":${json}` : ''}}`;
};

// Codes that are final: normal, errors that a retry repeats, the client's fault. All others are tried again, 4401 and
// 4409 once.
const final = /^(1000|100[23789]|1010|44(?!01|08|09|29)..)$/;

const local = /^(open|close|error|gap)$/;

/**
 * Client is a connection to a server that comes back by itself: messages both ways and calls, one JSON object each.
 *
 * ```ts
 * const client = new Client('/ws', { plain: true });
 * client.on('said', (line) => show(line));
 * client.send('say', { text: 'hi' });
 * const sum = await client.call('add', [1, 2]);
 * ```
 *
 * Whatever is sent or called while there is no connection waits, within limits, and is written before `open` is told.
 */
export class Client<P extends Protocol = AnyProtocol, L extends LocalEvents = ClientEvents> {
  private _url: Address | (() => Address | Promise<Address>);
  private _options: Options & Required<Omit<Options, 'plain' | 'protocols' | 'shouldRetry'>> = {
    reconnect: true,
    minDelay: 1000,
    maxDelay: 20_000,
    factor: 2,
    maxAttempts: Infinity,
    stableAfter: 5000,
    connectTimeout: 10_000,
    callTimeout: 10_000,
    maxQueue: 256,
    queueTtl: 60_000,
    autoConnect: true,
    WebSocket: globalThis.WebSocket,
  };
  private _state: State = 'idle';
  private _ws?: InstanceType<WebSocketClass>; // undefined once given up: what comes late from it is nobody's
  private _timer?: ReturnType<typeof setTimeout>; // of the state: limit of connecting, stable after, next attempt
  private _ears?: AbortController; // ends the listeners on the page
  private _tries = 0; // attempts since the last good connection
  private _told = false; // `close` was told, and no `open` since
  private _refused = new Set<number>(); // codes that allow one more attempt, and had it
  private _listeners = new Map<string, Set<Listener>>();
  private _queue: Outgoing[] = []; // not written yet, oldest first
  private _calls = new Map<number, End>(); // written, without an end
  private _lastId = 0;

  /**
   * Connects at once, unless `autoConnect` is false. url may be relative to the page, and http(s) for ws(s); a
   * function is asked before every attempt, and one that fails is a failed attempt, which is tried again.
   * Throws for a url that can't be one, without `plain: true`, and where there is no WebSocket class.
   */
  constructor(url: Address | (() => Address | Promise<Address>), options: Options = {}) {
    const o: Record<string, any> = this._options;
    for (const [name, value] of Object.entries(options)) if (value !== undefined) o[name] = value;
    if (!o.plain) throw new Error('wsctl: pass { plain: true }, there is no other level yet');
    if (!o.WebSocket) throw new Error('wsctl: no WebSocket here');
    this._url = typeof url === 'function' ? url : resolve(url);
    if (o.autoConnect) this.connect();
  }

  /** What the client is doing at present. */
  get state(): State {
    return this._state;
  }

  /**
   * on calls fn for every event or message of that type: with its data and the whole message; after those that were
   * bound before. Returns the function that unbinds. What fn throws doesn't keep other callbacks from running: it is
   * thrown again from a timer.
   */
  on<K extends EventName<P, L>>(type: K, fn: Callback<P, L, K>, options?: BindOptions): () => void;
  on(type: string, fn: Listener['_fn'], { signal, once }: BindOptions = {}): () => void {
    const all = this._listeners.get(type) ?? new Set();
    const off = () => {
      all.delete(listener);
      signal?.removeEventListener('abort', off);
    };
    const listener: Listener = { _fn: fn, _once: once, _off: off };
    if (!signal?.aborted) {
      this._listeners.set(type, all.add(listener));
      signal?.addEventListener('abort', off);
    }
    return off;
  }

  /** bind is on, chainable. */
  bind<K extends EventName<P, L>>(type: K, fn: Callback<P, L, K>): this {
    this.on(type, fn);
    return this;
  }

  /** unbind takes fn from the type, or all callbacks where no fn is given. */
  unbind<K extends EventName<P, L>>(type: K, fn?: Callback<P, L, K>): this {
    for (const { _fn, _off } of this._listeners.get(type) ?? []) if (!fn || _fn === fn) _off();
    return this;
  }

  /**
   * send writes a message that isn't answered, or queues it while there is no connection. Throws a TypeError for a
   * type that can't be sent (empty, over 128 bytes, or with a leading `$`) and for data that JSON can't encode; a
   * WsError `too_many` when the queue is full, `unavailable` when the client is closed.
   */
  send<K extends keyof P['messages'] & string>(type: K, ...args: Args<P['messages'][K], SendOptions>): this;
  send(type: string, data?: unknown, { volatile }: SendOptions = {}): this {
    this._put({ _text: encode(type, data), _at: Date.now() }, volatile);
    return this;
  }

  /**
   * call sends a message that the server answers, and resolves to the result. It never throws. It rejects with what
   * send throws, and with a WsError: the server's; `timeout` or `canceled`, at once, telling the server to stop;
   * `unavailable` when the connection is lost after the call was written, so that it may or may not have run. A call
   * that wasn't written yet survives that.
   */
  call<K extends keyof P['calls'] & string>(
    type: K, ...args: Args<P['calls'][K]['req'], CallOptions>
  ): Promise<P['calls'][K]['res']>;
  call(
    type: string, data?: unknown, { timeout = this._options.callTimeout, signal }: CallOptions = {},
  ): Promise<unknown> {
    return new Promise((done, reject) => {
      const id = ++this._lastId;
      const end: End = (error, result) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        this._calls.delete(id);
        error ? reject(error) : done(result);
      };
      const call: Outgoing = { _text: encode(type, data, id), _at: Date.now(), _id: id, _end: end };
      const stop = (code: string, data?: unknown) => {
        const i = this._queue.indexOf(call);
        if (i >= 0) this._queue.splice(i, 1);
        else if (this._calls.has(id)) this._write({ _text: `{"type":"$cancel","id":${id}}`, _at: 0 });
        end(new WsError(code, `${type}: ${code}`, data));
      };
      const abort = () => stop('canceled', signal!.reason);
      const timer = later(timeout, () => stop('timeout'));
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort);
      try {
        this._put(call);
      } catch (error) {
        end(error as WsError);
      }
    });
  }

  /** connect starts a client that is idle or closed, and one that waits tries at once. Delays begin anew. */
  connect(): this {
    this._refused.clear();
    this._wake();
    return this;
  }

  /**
   * close ends the connection for good, until connect() is called: `close` is told before it returns, what is queued
   * is dropped, calls reject with `unavailable`. code is 1000 or 3000 to 4999, reason has at most 123 bytes; for others
   * the WebSocket throws, where there is one, and nothing has happened then.
   */
  close(code: number = 1000, reason: string = ''): this {
    if (this._state !== 'closed') this._over(code, reason);
    return this;
  }

  /** Closes the client at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  // One attempt. Every way to a connection leads through here.
  private async _dial(): Promise<void> {
    const o = this._options;
    this._state = 'connecting';
    this._fail(this._expire());
    const timer = this._after(o.connectTimeout, () => this._lost(4408, 'timeout'));
    try {
      let url = this._url;
      if (typeof url === 'function') url = resolve(await url());
      if (timer !== this._timer) return; // given up in the meantime
      const ws = (this._ws = new o.WebSocket(url as string, o.protocols));
      ws.onopen = () => ws === this._ws && this._opened();
      ws.onmessage = ({ data }) => ws === this._ws && this._receive(data);
      const gone = (code: number, reason: string) => {
        if (ws !== this._ws) return;
        this._ws = undefined;
        this._lost(code, reason);
      };
      // Where a handshake fails, Node 22 has no close event, and Deno's has code 0.
      ws.onerror = () => this._state === 'connecting' && gone(1006, '');
      ws.onclose = ({ code, reason }) => gone(code || 1006, reason);
    } catch (error) {
      await 0; // whoever has just called the constructor has bound its callbacks now
      if (timer !== this._timer) return;
      this._lost(1006, `${error}`);
      this._fail(new WsError('unavailable', `${error}`, error));
    }
  }

  private _opened(): void {
    this._state = 'open';
    this._after(this._options.stableAfter, () => {
      this._tries = 0;
      this._refused.clear();
    });
    this._told = false;
    const error = this._expire();
    while (this._queue[0] && this._write(this._queue[0])) this._queue.shift();
    this._emit('open', null);
    this._fail(error);
  }

  private _receive(text: string): void {
    let message: any;
    try {
      message = JSON.parse(text);
    } catch {}
    const type = message?.type;
    if (typeof type !== 'string' || local.test(type)) {
      console.warn('wsctl: ignored', text);
    } else if (type[0] === '$') {
      const { id, data } = message;
      const end = this._calls.get(id);
      if (type === '$reply') end?.(undefined, data);
      if (type === '$error') end?.(new WsError(data?.code ?? 'internal', data?.message, data?.data));
    } else {
      this._emit(type, message.data, message);
    }
  }

  // A connection or an attempt came to an end that nobody asked for.
  private _lost(code: number, reason: string): void {
    const { reconnect, maxAttempts, shouldRetry, minDelay, maxDelay, factor } = this._options;
    let retry = !final.test(`${code}`) && !this._refused.has(code);
    let delay = 0;
    if (retry && (code === 4401 || code === 4409)) this._refused.add(code);
    // 0 × Infinity is NaN, which would be no delay.
    else delay = 100 + Math.random() * (Math.min(maxDelay, minDelay * factor ** this._tries) || 0);
    if (!reconnect || this._tries++ >= maxAttempts) retry = false;
    else if (shouldRetry) retry = guard(shouldRetry, code, reason, retry) ?? retry;
    if (this._state !== 'closed') this._over(code, reason, retry ? delay : undefined); // shouldRetry may have closed it
  }

  // Gives the connection up, without waiting for it: a dead one takes a minute to close. Without a delay for good.
  private _over(code: number, reason: string, delay?: number): void {
    const opened = this._state === 'open';
    const reconnect = delay !== undefined;
    this._ws?.close(code, reason); // may throw, when nothing has changed yet
    this._ws = undefined;
    this._calls.forEach((end) => end(new WsError('unavailable', 'connection lost')));
    this._state = reconnect ? 'waiting' : 'closed';
    this._after(delay, reconnect ? () => this._dial() : undefined);
    let error;
    if (!reconnect) {
      this._ears?.abort();
      this._ears = undefined;
      error = this._expire(Infinity, 'unavailable');
    }
    // Attempts that fail while the page knows that there is no connection are no news, until the last.
    const told = this._told;
    this._told = reconnect; // first: a callback may close, or connect
    if (!told || !reconnect) this._emit('close', { code, reason, opened, reconnect, delay: delay ?? 0 });
    this._fail(error);
  }

  // Sets the timer of the state, or none, in place of the last one.
  private _after(ms?: number, fn?: () => void): Client<P, L>['_timer'] {
    clearTimeout(this._timer);
    return (this._timer = fn && later(ms!, fn));
  }

  // Something says that an attempt may succeed now: delays begin anew.
  private _wake(): void {
    this._tries = 0;
    if (this._busy()) return;
    if (!this._ears) this._listen();
    this._dial();
  }

  private _busy(): boolean {
    return this._state === 'open' || this._state === 'connecting';
  }

  // Page and network tell when to try again. Workers and servers have fewer of these events, or none.
  private _listen(): void {
    const { signal } = (this._ears = new AbortController());
    const ear = ({ type, persisted }: Event & { persisted?: boolean }) => {
      if (persisted === false) return; // pageshow of a new page, pagehide of one that won't come back
      if (type === 'visibilitychange' && document.hidden) return;
      if (type !== 'pagehide') this._wake();
      // Put aside with an open connection, the page would leave the server in the dark.
      else if (this._busy()) this._over(4001, 'page put aside', Infinity);
    };
    for (const type of ['online', 'pageshow', 'pagehide', 'visibilitychange', 'resume']) {
      (/^[vr]/.test(type) ? globalThis.document : globalThis)?.addEventListener?.(type, ear, { signal });
    }
  }

  // Writes now, or says that it can't. A socket that is closing would swallow the message.
  private _write({ _text, _id, _end }: Outgoing): boolean {
    const ws = this._ws;
    const ok = this._state === 'open' && ws?.readyState === 1;
    if (ok) {
      if (_end) this._calls.set(_id!, _end);
      ws.send(_text);
    }
    return ok;
  }

  private _put(out: Outgoing, volatile?: boolean): void {
    if (this._write(out) || volatile) return;
    if (this._state === 'closed') throw new WsError('unavailable', 'closed');
    const error = this._expire();
    if (this._queue.length >= this._options.maxQueue) throw new WsError('too_many', 'queue full');
    this._queue.push(out);
    this._fail(error);
  }

  // Takes from the queue what came before that time. The error tells how many messages that were; calls know by
  // themselves.
  private _expire(before: number = Date.now() - this._options.queueTtl, code = 'timeout'): WsError | undefined {
    let dropped = 0;
    while (this._queue[0]?._at < before) {
      const { _end } = this._queue.shift()!;
      _end ? _end(new WsError(code, 'not sent')) : dropped++;
    }
    return dropped ? new WsError(code, dropped + ' messages not sent', { dropped }) : undefined;
  }

  private _fail(error?: WsError): void {
    if (error && !this._emit('error', error)) console.warn(error);
  }

  // Calls those bound before, unless one of them unbinds another; says whether there was any.
  protected _emit(type: string, ...args: unknown[]): boolean {
    const all = this._listeners.get(type);
    const now = [...(all ?? [])];
    for (const listener of now) {
      if (!all!.has(listener)) continue;
      if (listener._once) listener._off();
      guard(listener._fn, ...args);
    }
    return now.length > 0;
  }
}

/**
 * SimpleSocketHandler is a Client under the name, and with the manners, of the template's: it is plain by default, and
 * callbacks of `open` and `close` get null. Unlike that one, it comes back by itself, and what is sent while there is
 * no connection waits for it.
 *
 * ```js
 * const ws = new SimpleSocketHandler('ws://localhost:42000/ws');
 * ws.bind(MessageTypes.WS_OPEN, () => ws.send('hello', ''));
 * ```
 */
export class SimpleSocketHandler<P extends Protocol = AnyProtocol> extends Client<P, TemplateEvents> {
  /** As that of Client; `plain` is true unless told otherwise. */
  constructor(url: Address | (() => Address | Promise<Address>), options?: Options) {
    super(url, { ...options, plain: options?.plain ?? true });
  }

  protected override _emit(type: string, data: unknown, message?: unknown): boolean {
    return super._emit(type, type === 'close' ? null : data, message);
  }
}
