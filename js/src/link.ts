// The connection to the server, which comes back, and the session that outlives it. Closures in place of a class: what is
// in here is nobody else's, and has short names in the bundle.
import { WsError, guard, later, rethrow } from './errors.ts';
import { compose, size } from './message.ts';
import type { Address, CallOptions, Options, State, WebSocketClass } from './types.ts';

// Outgoing is one message that is written, and kept until it is acknowledged, or waits for that.
export interface Outgoing {
  _text: string;
  _until?: number; // when it has waited too long; undefined: it belongs to a call of this session, and means nothing in the next
  _stop?: Call['_stop'];
}

// Call is one of ours that has no end yet. Its members with a $ take what the server says of it, by type; $reply ends it.
export interface Call extends Outgoing {
  _id: number;
  _tell: (type: string, data?: unknown) => void; // sends a message of it, if it has no end yet
  _stop: (code: string, data?: unknown) => void; // ends it, and tells the server if that has heard of it
  $reply: (result: any, error?: unknown) => void;
  $error: (data: any) => void;
  $item?: (data: any) => void;
  $more?: (n: number) => void;
}

// Hooks is what a link needs of its client. The last three are of the bundle with streams and rooms: what the server says
// of a room, what to remember of a message, and what $hello says of it.
export interface Hooks {
  _of(type: string): { _fn?: (data: any) => unknown }[];
  _emit(type: string, ...args: unknown[]): boolean;
  _room?(data: any): void;
  _delivered?(message: any): void;
  _rooms?(): unknown;
}

// Link is what a client gets in return: they become its own functions.
export interface Link {
  _state(): State;
  _window(): number; // first credit of a stream
  _connect(): void;
  _close(code: number, reason: string): void;
  _send(text: string, volatile?: boolean): void;
  _call(type: string, data: unknown, options?: CallOptions, call?: Call): Promise<any>; // what it is about is in call, too
}

// What the server says first. At the plain level it says nothing.
interface Welcome {
  session?: string;
  resumed?: boolean;
  received?: number;
  ping?: number;
  timeout?: number;
  max?: number;
  ack?: number;
  window?: number;
  expires?: number;
}

// Older browsers take neither http(s), nor relative URLs, nor fragments.
const resolve = (url: Address): string => {
  const address = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href).href
    .replace(/^http/, 'ws').replace(/#.*/, '');
  if (!/^wss?:/.test(address)) throw SyntaxError('no WebSocket URL: ' + url);
  return address;
};

export const link = (
  client: Hooks,
  url: Address | (() => Address | Promise<Address>),
  {
    plain, token, protocols = [], shouldRetry, reconnect = true, minDelay = 1000, maxDelay = 20_000, factor = 2,
    maxAttempts = Infinity, stableAfter = 5000, connectTimeout = 10_000, callTimeout = 10_000, probeTimeout = 4000,
    maxQueue = 256, queueTtl = 60_000, WebSocket = globalThis.WebSocket,
  }: Options,
): void => {
  let state: State = 'idle';
  let ws: InstanceType<WebSocketClass> | undefined; // undefined once given up: what comes late from it is nobody's
  let timer: ReturnType<typeof setTimeout> | undefined; // of the state: limit of connecting, of silence, next attempt
  let due = 0; // when it is; for an attempt, when it has had time enough if there was a hint
  let pinged = 0; // when we have last asked for a sign of life
  let eager = 0; // until when a loss is answered at once, after a hint
  let renewal: typeof timer; // of the credential
  let stable = Infinity; // when the connection has proved to be good
  let attempt = 0; // changes with every attempt, and with its end
  let tries = 0; // attempts since the last good connection
  let told = false; // `close` was told, and no `open` since
  let away: { min?: number; max?: number } | undefined; // of $goaway
  let refused: Record<number, boolean> = {}; // codes that allow one more attempt, and had it

  // The session.
  let welcome: Welcome = {};
  let session: string | undefined; // undefined: none that can be resumed
  let dials = 0; // those with a $hello
  let calls = new Map<number, Call>(); // written, without an end
  let lastId = 0;
  let sent: Outgoing[] = []; // numbered, and not acknowledged
  let queue: Outgoing[] = []; // waiting to be
  let base = 0; // messages acknowledged by the server
  let received = 0; // messages of the server
  let acked = 0; // how many of them it knows that we have
  let owed = 0; // size of the others

  if (!WebSocket) throw Error('no WebSocket');
  if (typeof url !== 'function') url = resolve(url);

  // One attempt. Every way to a connection leads through here.
  const dial = async () => {
    state = 'connecting';
    due = Date.now() + probeTimeout;
    expire();
    const mine = ++attempt;
    after(connectTimeout, () => lost(4408, 'timeout'));
    try {
      const address = typeof url === 'function' ? resolve(await url()) : url;
      const secret = !plain && typeof token === 'function' ? await token() : token;
      if (mine !== attempt) return; // given up in the meantime
      const socket = (ws = new WebSocket(
        address as string, plain ? protocols : ['wsctl.v1'].concat(protocols),
      ));
      socket.onopen = () => {
        if (socket !== ws) return;
        if (plain) controls.$welcome({}); // says nothing
        else raw('$hello', { session, received: session && (acked = received), try: ++dials, rooms: client._rooms?.(), token: secret });
      };
      socket.onmessage = ({ data }) => socket === ws && receive('' + data);
      // Where a handshake fails, Node 22 has no close event, and Deno's has code 0. An error of an open connection is
      // followed by its close, which knows more.
      socket.onerror = socket.onclose = ({ code, reason = '' }) => {
        if (socket !== ws || (state === 'open' && code === undefined)) return;
        ws = undefined;
        lost(code || 1006, reason);
      };
    } catch (error) {
      await 0; // whoever has just called the constructor has bound its callbacks now
      if (mine !== attempt) return;
      lost(1006, '' + error);
      later(0, () => fail('unavailable', '' + error, error)); // not now: a callback may connect, and fail, and so on
    }
  };

  // Control messages that belong to the connection; all others are counted.
  const controls: Record<string, (data: any) => unknown> = {
    $welcome(data) {
      if (state !== 'connecting') return;
      welcome = data ?? {};
      const same = session && welcome.resumed && session === welcome.session;
      if (same ? refuted(welcome.received!, base) : forget()) return;
      if (!same && welcome.ack) {
        session = welcome.session;
        raw('$ack', 0);
      }
      for (const out of sent) ws!.send(out._text);
      renew(welcome.expires);
      state = 'open';
      stable = Date.now() + stableAfter;
      told = false;
      watch();
      expire();
      drop('too_big', queue.filter(big));
      flush();
      client._emit('open', { resumed: !!same });
    },
    $ping() {
      acknowledge();
      raw('$pong');
    },
    $pong() {},
    $ack: (n) => refuted(n),
    $goaway: (data) => (away = data?.min >= 0 && data.max >= data.min ? data : {}),
  };

  // The server says that it has n messages of the session. If it can't, the session can't go on.
  const refuted = (n: number, least = n) => {
    if (!(Number.isSafeInteger(n) && n >= least && n <= base + sent.length)) {
      session = undefined;
      lost(4400, 'bad count', true);
      return true;
    }
    for (; base < n; base++) sent.shift();
    flush();
  };

  // Tells the server what has come.
  const acknowledge = () => {
    if (state === 'open' && acked < received) raw('$ack', (acked = received));
    owed = 0;
  };

  const receive = (text: string) => {
    let message: any;
    try {
      message = JSON.parse(text);
    } catch {}
    let { type, id, data } = message ?? {};
    if (typeof type !== 'string') type = 'error'; // as little of a message as one of that type
    const control = !plain && type[0] === '$' && controls[type];
    if (state === 'open' && !away) watch();
    if (control) return control(data);
    if (state !== 'open') return; // the server hasn't said $welcome
    if (session) {
      if (acked === received++) later(1000, acknowledge);
      owed += text.length;
      if (owed > 2e4 || received - acked >= welcome.ack!) acknowledge();
    }
    if (/^(open|close|error|gap)$/.test(type)) console.warn('wsctl: ignored', text);
    else if (type === '$gap') client._emit('gap', data ?? {});
    else if (type === '$room') client._room?.(data);
    else if (type[0] === '$') (calls.get(id) as any)?.[type]?.(data);
    else if (id === undefined || plain) {
      client._emit(type, data, message);
      client._delivered?.(message);
    } else if (Number.isSafeInteger(id) && id > 0) asked(type, id, data);
  };

  const asked = async (type: string, id: number, data: unknown) => {
    const mine = calls; // of this session
    const answer = (type: string, data: unknown) => mine === calls && put({ _text: compose(type, data, id) });
    try {
      const fn = client._of('$' + type).pop()?._fn;
      if (!fn) throw new WsError('not_found');
      answer('$reply', await fn(data));
    } catch (error) {
      const { code, message, data } = error instanceof WsError ? error : new WsError();
      try {
        answer('$error', { code, message, data });
      } catch (error) {
        answer('$error', { code: 'internal', message: '' });
        rethrow(error);
      }
      if (code === 'internal') rethrow(error);
    }
  };

  // Asks for a fresh credential before the old one ends. One that can't be had is asked for again, at the latest by the
  // dial after a 4401.
  const renew = (expires?: number) => {
    clearTimeout(renewal);
    if (expires && typeof token === 'function') renewal = later(Math.max(1000, expires * 0.8), async () => {
      const mine = ws;
      try {
        const fresh = await token();
        if (mine === ws) renew((await call('$auth', { token: fresh }))?.expires);
      } catch (error) {
        if (mine !== ws) return;
        renew(expires / 5);
        fail('unauthenticated', '' + error, error);
      }
    });
  };

  // A connection or an attempt came to an end that nobody asked for.
  const lost = (code: number, reason: string, retry?: boolean) => {
    if (Date.now() >= stable) {
      tries = 0;
      refused = {};
    }
    // Final are: normal, errors that a retry repeats, the client's fault. All others are tried again, 4401 and 4409 once.
    retry ??= !/^(10(0[0237-9]|10)|44(?!0[189]|29))/.test(code as any) && !refused[code];
    const { min = 100, max = 100 + Math.min(maxDelay, minDelay * factor ** tries) } = away ?? {};
    let delay = +min + Math.random() * (max - min) || 100; // 0 × Infinity is NaN, which would be no delay
    if (retry && (code === 4401 || code === 4409)) {
      refused[code] = true;
      delay = 0;
    } else if (!away && Date.now() < eager) delay = eager = 0;
    retry = reconnect && tries++ < maxAttempts && (guard(shouldRetry, code, reason, retry) ?? retry);
    if (state !== 'closed') over(code, reason, !!retry && delay); // shouldRetry may have closed it
  };

  // Gives the connection up, without waiting for it: a dead one takes a minute to close. Without a delay for good, and
  // with it the session.
  const over = (code: number, reason: string, delay: number | false) => {
    const opened = state === 'open';
    const reconnect = delay !== false;
    ws?.close(code, reason);
    ws = away = undefined;
    attempt++;
    stable = Infinity;
    state = reconnect ? 'waiting' : 'closed';
    after(delay as number, reconnect && dial);
    renew();
    if (!reconnect) listen('remove');
    if (!reconnect || !session || code === 4409) forget(code === 4401 ? 'unauthenticated' : undefined);
    // Attempts that fail while the page knows that there is no connection are no news, until the last.
    if (told && reconnect) return;
    told = reconnect; // first: a callback may close, or connect
    client._emit('close', { code, reason, opened, reconnect, delay: +delay });
  };

  // The session is over: of what was written nobody knows whether it was handled, and nothing that belongs to it has a
  // meaning in another.
  const forget = (code = 'unavailable') => {
    const gone = [...calls.values(), ...sent, ...queue.filter((out) => state === 'closed' || !out._until)];
    sent = [];
    session = undefined;
    base = received = acked = 0;
    calls = new Map();
    drop(code, gone);
  };

  // Takes messages from the queue. Calls know by themselves, of others an event tells how many they were: later, when
  // whatever is being done is done.
  const drop = async (code: string, gone: Outgoing[]) => {
    let dropped = 0;
    queue = queue.filter((out) => !gone.includes(out));
    for (const out of gone) out._stop ? out._stop(code) : out._until && dropped++;
    await 0;
    if (dropped) fail(code, dropped + ' messages lost', { dropped });
  };

  const expire = () => drop('timeout', queue.filter((out) => out._until! < Date.now()));

  // Sets the timer of the state, or none, in place of the last one.
  const after = (ms?: number, fn?: (() => void) | false | 0) => {
    clearTimeout(timer);
    if (fn) timer = later(ms!, fn);
  };

  // Waits for a sign of life. A timer that is late has slept, and the messages with it: then there is a second chance.
  const watch = (ms = welcome.ping && welcome.timeout && welcome.ping + welcome.timeout) => {
    due = Date.now() + ms!;
    after(ms, ms && (() => (Date.now() > due + 1500 ? probe() : lost(4408, 'timeout'))));
  };

  const probe = () => {
    raw('$ping');
    pinged = Date.now();
    watch(probeTimeout);
  };

  const start = () => {
    if (/p|co/.test(state)) return; // open, connecting
    listen('add');
    dial();
  };

  // A hint: what didn't work may work now, and what has worked may be dead. Delays begin anew.
  const hint = () => {
    const now = Date.now();
    tries = 0;
    if (state === 'open') {
      // Not where silence or the server is about to end it anyway. The server answers one a second; what comes until then is an answer, too.
      if (!plain && !away && !(due >= now && due <= now + probeTimeout)) now > pinged + 1000 ? probe() : after(1000, probe);
    } else if (state === 'connecting') {
      after(due - now, () => over(4408, 'timeout', 0)); // a new attempt, when this one has had time enough
    } else start();
  };

  // To add it twice is to add it once. Those of the document are the last in the alphabet.
  const listen = (verb: 'add' | 'remove') => {
    for (const type of ['online', 'offline', 'pageshow', 'pagehide', 'visibilitychange', 'resume']) {
      (type > 'q' ? globalThis.document : globalThis)?.[`${verb}EventListener`]?.(type, ear as any);
    }
  };

  // Page and network give hints. Workers and servers have fewer of these events, or none.
  const ear = ({ type, persisted }: Event & { persisted?: boolean }) => {
    if (persisted === false) return; // pageshow of a new page, pagehide of one that won't come back
    if (type > 's' && document.hidden) return;
    eager = Date.now() + 5000;
    if (type === 'pagehide') {
      // Put aside with an open connection, the page would leave the server in the dark.
      if (/p|co/.test(state)) over(4001, type, Infinity);
    } else if (type !== 'offline' || state === 'open') hint();
  };

  // Writes what belongs to the connection, and is neither counted nor kept.
  const raw = (type: string, data?: unknown) => ws?.send(compose(type, data));

  const big = (out: Outgoing) => out._text.length * 3 > welcome.max! && size(out._text) > welcome.max!; // size is slow

  // A socket that is closing would swallow a message, a server that is going away not read it. A server that acknowledges
  // nothing gets no more.
  const writable = () => state === 'open' && ws?.readyState === 1 && !away && sent.length < 5000;

  const put = (out: Outgoing, volatile?: boolean) => {
    if (!writable()) {
      if (volatile) return;
      if (state === 'closed') throw new WsError('unavailable', 'closed');
      if (out._until) {
        if (queue[0]?._until! < Date.now()) expire();
        if (queue.length >= maxQueue) throw new WsError('too_many', maxQueue + ' messages wait');
      }
    }
    if (big(out)) throw new WsError('too_big', welcome.max + ' bytes at most');
    queue.push(out);
    flush();
  };

  const flush = () => {
    while (queue[0] && writable()) {
      const out = queue.shift()!;
      if (out._stop) calls.set((out as Call)._id, out as Call);
      if (session) sent.push(out);
      ws!.send(out._text);
    }
  };

  const call = (
    type: string, data: unknown, { timeout = callTimeout, signal }: CallOptions = {}, call = {} as Call,
  ): Promise<any> => new Promise((done, reject) => {
    const id = ++lastId;
    let limit: typeof timer;
    Object.assign(call, {
      _id: id,
      _text: compose(type, data, id),
      _until: Date.now() + queueTtl,
      $reply(result, error) {
        clearTimeout(limit);
        signal?.removeEventListener('abort', abort);
        calls.delete(id);
        error ? reject(error) : done(result);
      },
      $error(data) {
        call.$reply(0, new WsError(data?.code, data?.message, data?.data));
      },
      _tell(type, data) {
        if (calls.has(id)) put({ _text: compose(type, data, id) });
      },
      _stop(code, data) {
        queue = queue.filter((out) => out !== call);
        call._tell('$cancel');
        call.$error({ code, message: `${type}: ${code}`, data });
      },
    } satisfies Call);
    const abort = () => call._stop('canceled', signal!.reason);
    if (signal?.aborted) return abort();
    put(call);
    if (timeout < 2e9) limit = later(timeout, () => call._stop('timeout')); // else never
    signal?.addEventListener('abort', abort);
  });

  const fail = (code: string, message: string, data: unknown) => {
    const error = new WsError(code, message, data);
    if (!client._emit('error', error)) console.warn(error);
  };

  Object.assign(client, {
    _state: () => state,
    _window: () => welcome.window!,
    _connect() {
      refused = {};
      tries = 0;
      start();
    },
    _close(code, reason) {
      if (state === 'closed') return;
      ws?.close(code, reason); // may throw, when nothing has changed yet
      if (state === 'open') sent = []; // these are on their way, before the close
      over(code, reason, false);
    },
    _send: (text, volatile) => put({ _text: text, _until: Date.now() + queueTtl }, volatile),
    _call: call,
  } satisfies Link);
};
