import type { WsError } from './errors.ts';

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
  calls: Record<string, { req: any; res: any; up?: any }>;
  /** What the server answers with a stream: message type to argument, item, and item of the client's stream. */
  streams?: Record<string, { req: any; item: any; up?: any }>;
  /** What the server calls: message type to argument and answer. */
  asks?: Record<string, { req: any; res: any }>;
}

/** AnyProtocol takes any name and any data: the default where no Protocol is given. */
export interface AnyProtocol extends Protocol {}

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
export type Callback<P extends Protocol, L extends LocalEvents, K> =
  K extends keyof L ? (data: L[K]) => unknown : (data: P['events'][K & string], message: Message) => unknown;

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
