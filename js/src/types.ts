import type { WsError } from './errors.ts';

/**
 * Protocol lists what a server and its clients say to each other, so that a wrong name or payload doesn't compile.
 *
 * ```ts
 * interface Chat {
 *   events: { said: Line };                              // server to client: on, bind
 *   messages: { say: Line };                             // client to server, not answered: send
 *   calls: { add: { req: [number, number]; res: number } }; // client to server, answered: call
 * }
 * const client = new Client<Chat>('/ws', { plain: true });
 * ```
 */
export interface Protocol {
  /** What the server sends: message type to data. */
  events: Record<string, any>;
  /** What the client sends: message type to data; `undefined` for none. */
  messages: Record<string, any>;
  /** What the client calls: message type to argument (`undefined` for none) and result. */
  calls: Record<string, { req: any; res: any }>;
}

/** AnyProtocol takes any name and any data: the default where no Protocol is given. */
export interface AnyProtocol extends Protocol {}

/** Message is one message of the server as it came, members that this client doesn't know included. */
export interface Message {
  readonly type: string;
  readonly data?: unknown;
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

/** LocalEvents are made by the client itself. A message of the server with one of these types reaches nobody. */
export interface LocalEvents {
  /** The connection is open, what was queued has been written. */
  open: null;
  /**
   * The connection was lost, or the first attempt to connect failed: told once, not for each attempt that fails after
   * it, and once more when there are to be no more attempts.
   */
  close: CloseInfo | null;
  /** Something went wrong that no promise tells: queued messages were dropped, the url function or the WebSocket class threw. */
  error: WsError;
}

/** ClientEvents are the local events of a Client. */
export interface ClientEvents extends LocalEvents {
  close: CloseInfo;
}

/** TemplateEvents are the local events of a SimpleSocketHandler, whose callbacks get null, as they always did. */
export interface TemplateEvents extends LocalEvents {
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
  /** Speak the plain level of the protocol: `{type, data}` messages and calls. Required by Client for now. */
  plain?: boolean;
  /** Subprotocols to offer; none. */
  protocols?: string | string[];
  /** Connect again after a loss; true. */
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
  /** Limit for one attempt, the url function included, ms; 10000. */
  connectTimeout?: number;
  /** Limit for a call that sets none, ms, the time in the queue included; 10000. Infinity: none. */
  callTimeout?: number;
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
