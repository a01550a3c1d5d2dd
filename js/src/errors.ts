/**
 * ErrorCode says what went wrong with a call. These are the protocol's own; an application may add others.
 * Some are made by the client itself: `timeout` and `canceled` (the caller's limit or signal), `unavailable` (the session,
 * or at the plain level the connection, was lost after the call was written; or the client is closed), `unauthenticated`
 * (closed with 4401 for good), `too_many` (its queue is full), `too_big` (over the server's limit).
 */
export type ErrorCode =
  | 'bad_request' | 'not_found' | 'internal' | 'canceled' | 'timeout' | 'unauthenticated'
  | 'forbidden' | 'too_many' | 'unavailable' | 'too_big' | (string & {});

/** WsError is what a failed call rejects with, and what `error` callbacks get. */
export class WsError extends Error {
  /** What went wrong, for programs; `message` says it for people. */
  readonly code: ErrorCode;
  /**
   * What the server adds to its error, if anything. In errors of the client's own making: the signal's reason, what the
   * url or token function or the WebSocket class threw, or `{ dropped: n }` where messages were dropped, or are perhaps lost.
   */
  readonly data?: unknown;

  constructor(code: ErrorCode = 'internal', message: string = code, data?: unknown) {
    super(message);
    this.name = 'WsError';
    this.code = code;
    this.data = data;
  }
}

// setTimeout takes Infinity, and anything above 2^31-1 ms, for 1 ms.
/** @internal */
export const later = (ms: number, fn: () => void): ReturnType<typeof setTimeout> => setTimeout(fn, Math.min(ms, 2e9));

// Throws where nothing of ours is in the way: the page's error handler sees it.
/** @internal */
export const rethrow = (error: unknown): void => {
  later(0, () => {
    throw error;
  });
};

// Calls what the user wrote. What it throws keeps nothing else from running.
/** @internal */
export const guard = <R>(fn: ((...args: any[]) => R) | undefined, ...args: unknown[]): R | undefined => {
  try {
    return fn?.(...args);
  } catch (error) {
    rethrow(error);
  }
};
