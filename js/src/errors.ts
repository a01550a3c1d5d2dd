/**
 * ErrorCode says what went wrong with a call. These are the protocol's own; an application may add others.
 * Some are made by the client itself: `timeout` and `canceled` (the caller's limit or signal), `unavailable`
 * (connection lost after the call was written, or closed for good), `too_many` (its queue is full).
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
   * url function threw, or `{ dropped: n }` where queued messages were dropped.
   */
  readonly data?: unknown;

  constructor(code: ErrorCode, message: string, data?: unknown) {
    super(message);
    this.name = 'WsError';
    this.code = code;
    this.data = data;
  }
}
