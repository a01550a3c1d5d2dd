// js/src 473f93cf9a128839407b9cc68aea9ced80fe54c035a38abff77a923415a19772
/// <reference lib="esnext.disposable" />
/**
 * ErrorCode says what went wrong with a call. These are the protocol's own; an application may add others.
 * Some are made by the client itself: `timeout` and `canceled` (the caller's limit or signal), `unavailable` (the session,
 * or at the plain level the connection, was lost after the call was written; or the client is closed), `unauthenticated`
 * (closed with 4401 for good), `too_many` (its queue is full), `too_big` (over the server's limit).
 */
export type ErrorCode = 'bad_request' | 'not_found' | 'internal' | 'canceled' | 'timeout' | 'unauthenticated' | 'forbidden' | 'too_many' | 'unavailable' | 'too_big' | (string & {});
/** WsError is what a failed call rejects with, and what `error` callbacks get. */
export declare class WsError extends Error {
    /** What went wrong, for programs; `message` says it for people. */
    readonly code: ErrorCode;
    /**
     * What the server adds to its error, if anything. In errors of the client's own making: the signal's reason, what the
     * url or token function or the WebSocket class threw, or `{ dropped: n }` where messages were dropped, or are perhaps lost.
     */
    readonly data?: unknown;
    constructor(code?: ErrorCode, message?: string, data?: unknown);
}
/**
 * Protocol lists what a server and its clients say to each other, so that a wrong name or payload doesn't compile. A
 * server of wsctl writes it by itself: WriteTypes.
 *
 * ```ts
 * interface Chat {
 *   events: { said: Line };                                      // server to client: on, bind
 *   messages: { say: Line };                                     // client to server, not answered: send
 *   calls: { add: { req: [number, number]; res: number } };      // client to server, answered: call, upload
 *   streams: { count: { req: number; item: number } };           // client to server, answered by many: stream
 *   asks: { confirm: { req: string; res: boolean } };            // server to client, answered: handle
 * }
 * const client = new Client<Chat>('/ws');
 * ```
 */
export interface Protocol {
    /** What the server sends: message type to data. */
    events: Record<string, any>;
    /** What the client sends: message type to data; `undefined` for none. */
    messages: Record<string, any>;
    /** What the client calls: message type to argument (`undefined` for none), result, and item of the client's stream. */
    calls: Record<string, {
        req: any;
        res: any;
        up?: any;
    }>;
    /** What the server answers with a stream: message type to argument, item, and item of the client's stream. */
    streams?: Record<string, {
        req: any;
        item: any;
        up?: any;
    }>;
    /** What the server calls: message type to argument and answer. */
    asks?: Record<string, {
        req: any;
        res: any;
    }>;
}
/** AnyProtocol takes any name and any data: the default where no Protocol is given. */
export interface AnyProtocol extends Protocol {
}
/** Asks are the calls of the server, Streams what it answers with a stream; none where a Protocol has no such member. */
export type Asks<P extends Protocol> = NonNullable<P['asks']>;
export type Streams<P extends Protocol> = NonNullable<P['streams']>;
/** Message is one message of the server as it came, members that this client doesn't know included. */
export interface Message {
    readonly type: string;
    readonly data?: unknown;
    /** The room, and the position in it, of a message of a room that keeps history. */
    readonly room?: string;
    readonly pos?: string;
}
/** CloseInfo tells a `close` callback what ended, and what happens next. */
export interface CloseInfo {
    /**
     * The close code; 1006 for a connection that was lost or couldn't be made, 4408 for one that took too long, 4001 for one
     * closed because the page was put aside.
     */
    readonly code: number;
    readonly reason: string;
    /** Whether the connection had been open. False: an attempt to connect failed, or the client was closed meanwhile. */
    readonly opened: boolean;
    /** Whether the client connects again by itself. False: it stays closed until connect() is called. */
    readonly reconnect: boolean;
    /** Milliseconds until it does; Infinity while the page is put aside, when its return is what counts. */
    readonly delay: number;
}
/** OpenInfo tells an `open` callback what the connection is. */
export interface OpenInfo {
    /** Whether the session of the last connection goes on: nothing was lost. Always false at the plain level. */
    readonly resumed: boolean;
}
/**
 * GapInfo tells a `gap` callback what is missing: `dropped` messages of a type, by the policy that the server has for
 * slow clients, or messages of a room that its history doesn't have any more, so that the page must load anew what it
 * shows of the room.
 */
export interface GapInfo {
    readonly type?: string;
    readonly dropped?: number;
    readonly room?: string;
}
/** LocalEvents are made by the client itself. A message of the server with one of these types reaches nobody. */
export interface LocalEvents {
    /** The connection is open, what was queued has been written. */
    open: OpenInfo | null;
    /**
     * The connection was lost, or the first attempt to connect failed: told once, not for each attempt that fails after
     * it, and once more when there are to be no more attempts.
     */
    close: CloseInfo | null;
    /**
     * Something went wrong that no promise tells: queued messages were dropped (`timeout`, `too_big`, `unavailable`);
     * messages were written and the session was lost, so that they may or may not have been handled (`unavailable`): as many
     * as the server hadn't acknowledged, which it does when it has received a message, not when it has handled it; the url or
     * token function or the WebSocket class threw.
     */
    error: WsError;
    /** Messages of the server are missing. */
    gap: GapInfo;
}
/** ClientEvents are the local events of a Client. */
export interface ClientEvents extends LocalEvents {
    open: OpenInfo;
    close: CloseInfo;
}
/** TemplateEvents are the local events of a SimpleSocketHandler, whose callbacks get null, as they always did. */
export interface TemplateEvents extends LocalEvents {
    open: null;
    close: null;
}
/** EventName is what `on` takes: the events of the protocol and the local ones. */
export type EventName<P extends Protocol, L extends LocalEvents> = (keyof P['events'] | keyof L) & string;
/** Callback is what `on` takes for the event K. What it returns is ignored. */
export type Callback<P extends Protocol, L extends LocalEvents, K> = K extends keyof L ? (data: L[K]) => unknown : (data: P['events'][K & string], message: Message) => unknown;
/** Args are the arguments after the type: data, which may be left out only where it may be undefined, and options. */
export type Args<T, O> = undefined extends T ? [data?: T, options?: O] : [data: T, options?: O];
/**
 * State is what the client is doing: `idle` (not started), `connecting`, `open`, `waiting` (for the next attempt) or
 * `closed` (for good, until connect() is called).
 */
export type State = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed';
/** Address says where to connect: ws(s) or http(s), relative to the page where there is one. */
export type Address = string | URL;
/** Options of a client. What is left out or undefined has the default given. */
export interface Options {
    /**
     * Speak the plain level of the protocol, `{type, data}` messages and calls, which servers of other makes understand;
     * false: wsctl.v1, where nothing is lost with a connection. A server that doesn't speak that can't be connected to
     * otherwise: attempts end with 1006 or, after connectTimeout, 4408.
     */
    plain?: boolean;
    /**
     * The credential, or a function that is asked for it on every dial, and before it expires. It goes to the server in the
     * first message, never into a URL. A function that throws, or takes too long, is a failed attempt. Not used at the
     * plain level, where a page's credential is its cookie.
     */
    token?: string | (() => string | undefined | Promise<string | undefined>);
    /** Further subprotocols to offer; none. */
    protocols?: string | string[];
    /** Connect again after a loss; true. A page that was put aside, and is back, does so anyway. */
    reconnect?: boolean;
    /** Random part of the first delay between attempts, ms; 1000. 100 ms come on top. */
    minDelay?: number;
    /** Limit of the random part of a delay, ms; 20000. */
    maxDelay?: number;
    /** Growth of the random part of the delay from one attempt to the next; 2. */
    factor?: number;
    /** How many times to try again in a row before closing for good; Infinity. */
    maxAttempts?: number;
    /** A connection that was open for so long, ms, counts as good: delays begin anew; 5000. */
    stableAfter?: number;
    /** Limit for one attempt, url and token function included, until the connection is open, ms; 10000. */
    connectTimeout?: number;
    /** Limit for a call that sets none, ms, the time in the queue included; 10000. Infinity: none. */
    callTimeout?: number;
    /** How long to wait for a sign of life of a server where there is doubt (after sleep, a change of network), ms; 4000. */
    probeTimeout?: number;
    /** How many messages and calls may wait for a connection; 256. */
    maxQueue?: number;
    /**
     * How long one may wait, ms; 60000. Older ones are dropped, at the next attempt to connect or the next message at the
     * latest, and an `error` event says how many.
     */
    queueTtl?: number;
    /** The WebSocket class; the global one. */
    WebSocket?: WebSocketClass;
    /**
     * Decides about another attempt in place of the close codes' table, whose answer is `planned`. Not asked where
     * `reconnect` is false or `maxAttempts` are used up.
     */
    shouldRetry?: (code: number, reason: string, planned: boolean) => boolean;
    /** Connect at once; true. False: connect() does. */
    autoConnect?: boolean;
}
/** WebSocketClass is what the client needs of the class WebSocket. */
export type WebSocketClass = new (url: string, protocols?: string | string[]) => {
    readonly readyState: number;
    onopen: ((event: any) => any) | null;
    onmessage: ((event: any) => any) | null;
    onclose: ((event: any) => any) | null;
    onerror: ((event: any) => any) | null;
    send(text: string): void;
    close(code?: number, reason?: string): void;
};
/** BindOptions are the options of `on`. */
export interface BindOptions {
    /** Unbinds when it aborts. */
    signal?: AbortSignal;
    /** Unbinds before the first call. */
    once?: boolean;
}
/** SendOptions are the options of `send`. */
export interface SendOptions {
    /** Drop the message, silently, unless it can be written now. */
    volatile?: boolean;
}
/** CallOptions are the options of `call`. */
export interface CallOptions {
    /** Limit in ms, the time in the queue included; Options.callTimeout. Infinity: none. */
    timeout?: number;
    /** Rejects the call (`canceled`, with the signal's reason as data) and tells the server to stop. */
    signal?: AbortSignal;
}
/** StreamOptions are the options of `stream`. U: item of the client's stream. */
export interface StreamOptions<U = unknown> {
    /** What the client streams to the method. It is taken as the server asks for it. */
    source?: Iterable<U> | AsyncIterable<U>;
    /** Ends the stream (`canceled`, with the signal's reason as data) and tells the server to stop. */
    signal?: AbortSignal;
}
/** UploadOptions are the options of `upload`. T: argument of the method beside the stream. */
export interface UploadOptions<T = unknown> {
    /** The argument of the method beside the stream. */
    data?: T;
    /** Limit in ms for the whole of it; none. */
    timeout?: number;
    /** Ends it (`canceled`, with the signal's reason as data) and tells the server to stop. */
    signal?: AbortSignal;
}
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
export declare class Client<P extends Protocol = AnyProtocol, L extends LocalEvents = ClientEvents> {
    /**
     * Connects at once, unless `autoConnect` is false. url may be relative to the page, and http(s) for ws(s); a
     * function is asked before every attempt, and one that fails is a failed attempt, which is tried again.
     * Throws for a url that can't be one, and where there is no WebSocket class.
     */
    constructor(url: Address | (() => Address | Promise<Address>), options?: Options);
    /** What the client is doing at present. */
    get state(): State;
    /**
     * on calls fn for every event or message of that type: with its data and the whole message; after those that were
     * bound before. Returns the function that unbinds. What fn throws doesn't keep other callbacks from running: it is
     * thrown again from a timer.
     */
    on<K extends EventName<P, L>>(type: K, fn: Callback<P, L, K>, options?: BindOptions): () => void;
    /** bind is on, chainable. */
    bind<K extends EventName<P, L>>(type: K, fn: Callback<P, L, K>): this;
    /** unbind takes fn from the type, or all callbacks where no fn is given. */
    unbind<K extends EventName<P, L>>(type: K, fn?: Callback<P, L, K>): this;
    /**
     * handle answers the server's calls of that type with what fn returns or resolves to. The newest fn of a type counts.
     * A WsError that fn throws reaches the server, of anything else it hears `internal`, and the error is thrown again from
     * a timer. Returns the function that takes fn off: calls of a type without one fail with `not_found`. Not at the plain
     * level, where the server can't call.
     */
    handle<K extends keyof Asks<P> & string>(type: K, fn: (data: Asks<P>[K]['req']) => Asks<P>[K]['res'] | Promise<Asks<P>[K]['res']>): () => void;
    /**
     * send writes a message that isn't answered, or queues it while there is no connection. Throws a TypeError for a
     * type that can't be sent (empty, over 128 bytes, or with a leading `$`) and for data that JSON can't encode; a
     * WsError `too_many` when the queue is full, `too_big` for more than the server takes, `unavailable` when the client is
     * closed.
     */
    send<K extends keyof P['messages'] & string>(type: K, ...args: Args<P['messages'][K], SendOptions>): this;
    /**
     * call sends a message that the server answers, and resolves to the result. It never throws. It rejects with what
     * send throws, and with a WsError: the server's; `timeout` or `canceled`, at once, telling the server to stop;
     * `unavailable` when the session is lost after the call was written, so that it may or may not have run. A
     * call that wasn't written yet survives that.
     */
    call<K extends keyof P['calls'] & string>(type: K, ...args: Args<P['calls'][K]['req'], CallOptions>): Promise<P['calls'][K]['res']>;
    /** connect starts a client that is idle or closed, and one that waits tries at once; else it does nothing. Delays begin anew. */
    connect(): this;
    /**
     * close ends the connection and its session for good, until connect() is called: `close` is told before it returns,
     * what is queued is dropped, calls reject with `unavailable`. code is 1000 or 3000 to 4999, reason has at most 123
     * bytes; for others the WebSocket throws, where there is one, and nothing has happened then.
     */
    close(code?: number, reason?: string): this;
    /** Closes the client at the end of a `using` block. */
    [Symbol.dispose](): void;
}
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
    stream<K extends keyof Streams<P> & string>(type: K, ...args: StreamArgs<Streams<P>[K]>): AsyncIterableIterator<Streams<P>[K]['item']>;
    /**
     * upload calls a method that takes a stream, and streams source to it, as fast as the method takes it. Resolves to the
     * method's result, and rejects as call does, and with what source throws. When the method has enough, source is
     * returned early, as by a break, at its next value.
     */
    upload<K extends Uploads<P>>(type: K, source: Iterable<P['calls'][K]['up']> | AsyncIterable<P['calls'][K]['up']>, options?: UploadOptions<P['calls'][K]['req']>): Promise<P['calls'][K]['res']>;
}
/** StreamArgs are the arguments of stream after the type. */
export type StreamArgs<S extends {
    req: any;
    up?: any;
}> = undefined extends S['req'] ? [data?: S['req'], options?: StreamOptions<S['up']>] : [data: S['req'], options?: StreamOptions<S['up']>];
/** Uploads are the calls that take a stream. */
export type Uploads<P extends Protocol> = (string extends keyof P['calls'] ? string : {
    [K in keyof P['calls']]: P['calls'][K] extends {
        up: unknown;
    } ? K : never;
}[keyof P['calls']]) & string;
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
    on<K extends keyof P['events'] & string>(type: K, fn: (data: P['events'][K], message: Message) => unknown, options?: BindOptions): () => void;
    /** send is Client.send with the room's name as the member `room` of data, an object. */
    send<K extends keyof P['messages'] & string>(type: K, ...args: Args<Roomless<P['messages'][K]>, SendOptions>): this;
}
/** Roomless is T without what Room.send adds. */
export type Roomless<T> = T extends {
    room: string;
} ? Omit<T, 'room'> : T;
/** Rooms is what a Client of wsctl.js has beside that of wsctl.core.js. */
export interface Rooms<P extends Protocol> {
    /**
     * room gives access to one room. Which rooms a client is in is the server's decision: there is nothing to join here.
     * Positions are remembered for every room, used or not: where a session is lost, the server sends what was missed.
     */
    room(name: string): Room<P>;
}
/** MessageTypes names the local events `open` and `close` as the template does. */
export declare const MessageTypes: {
    readonly WS_OPEN: 'open';
    readonly WS_CLOSE: 'close';
};
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
export declare class SimpleSocketHandler<P extends Protocol = AnyProtocol> extends Client<P, TemplateEvents> {
    /** As that of Client; `plain` is true unless told otherwise. */
    constructor(url: Address | (() => Address | Promise<Address>), options?: Options);
}
export interface Client<P extends Protocol = AnyProtocol, L extends LocalEvents = ClientEvents> extends Streaming<P>, Rooms<P> {}
