// The names of the template, and its manners.
import { Client } from './core.ts';
import type { Address, AnyProtocol, Options, Protocol, TemplateEvents } from './types.ts';

/** MessageTypes names the local events `open` and `close` as the template does. */
export const MessageTypes: { readonly WS_OPEN: 'open'; readonly WS_CLOSE: 'close' } = {
  WS_OPEN: 'open',
  WS_CLOSE: 'close',
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
export class SimpleSocketHandler<P extends Protocol = AnyProtocol> extends Client<P, TemplateEvents> {
  /** As that of Client; `plain` is true unless told otherwise. */
  constructor(url: Address | (() => Address | Promise<Address>), options?: Options) {
    super(url, { plain: true, ...options });
  }

  /** @internal Null for open and close; data for error, gap, and messages. */
  override _emit(type: string, data: unknown, message?: unknown): boolean {
    return super._emit(type, message || /[rg]/.test(type) ? data : null, message);
  }
}
