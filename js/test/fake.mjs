// What the unit tests share: a WebSocket that does what it is told, a clock that stands still, dice without surprise.
import assert from 'node:assert/strict';
import { mock } from 'node:test';

export class FakeWebSocket {
  static all = []; // every one made since reset, oldest first
  readyState = 0;
  sent = [];
  closed = null; // [code, reason] of close()

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeWebSocket.all.push(this);
  }

  send(text) {
    if (this.readyState === 0) throw new Error('InvalidStateError');
    if (this.readyState === 1) this.sent.push(JSON.parse(text)); // else swallowed, as the real one does
  }

  // Never tells of the close by itself, like a socket whose peer is gone.
  close(code, reason = '') {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new Error('InvalidAccessError');
    if (new TextEncoder().encode(reason).length > 123) throw new Error('SyntaxError');
    this.closed ??= [code, reason];
    this.readyState = Math.max(this.readyState, 2);
  }

  accept() {
    this.readyState = 1;
    this.onopen?.({});
    return this;
  }

  // message delivers a value as JSON, raw what is given.
  message(value) {
    this.raw(JSON.stringify(value));
  }
  raw(data) {
    this.onmessage?.({ data });
  }

  // drop is the end by the server or by the network, which is an error, too.
  drop(code = 1006, reason = '') {
    this.readyState = 3;
    if (code === 1006) this.onerror?.({});
    this.onclose?.({ code, reason });
  }
}

// The dice of Math.random: a test sets it.
export const dice = { value: 0.5 };
export const warnings = [];

export function setup() {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1e12 });
  mock.method(Math, 'random', () => dice.value);
  mock.method(console, 'warn', (...args) => warnings.push(args));
  FakeWebSocket.all.length = warnings.length = 0;
  dice.value = 0.5;
}

// What timers threw, of a test that is catching: a mock timer that throws would be called again.
export const thrown = [];

export function catching() {
  const { setTimeout } = globalThis;
  thrown.length = 0;
  globalThis.setTimeout = (fn, ms) => setTimeout(() => {
    try {
      fn();
    } catch (error) {
      thrown.push(error);
    }
  }, ms);
}

export function teardown() {
  mock.timers.reset();
  mock.restoreAll();
}

export const tick = (ms) => mock.timers.tick(ms);
export const last = () => FakeWebSocket.all.at(-1);
export const dials = () => FakeWebSocket.all.length;

// What is due without time passing: promises.
export const settle = () => new Promise(setImmediate);

// The outcome of a promise that must be settled by now.
export async function outcome(promise) {
  const pending = Symbol('pending');
  const result = await Promise.race([promise.catch((error) => error), settle().then(() => pending)]);
  if (result === pending) throw new Error('still pending');
  return result;
}

export async function isPending(promise) {
  const pending = Symbol('pending');
  return (await Promise.race([promise.catch(() => 0), settle().then(() => pending)])) === pending;
}

// log collects what a client tells about itself.
export function log(client) {
  const told = [];
  client.on('open', (data) => told.push(['open', data]));
  client.on('close', (data) => told.push(['close', data]));
  client.on('error', (data) => told.push(['error', data]));
  return told;
}

// From here on: the far end of wsctl.v1, which does nothing by itself.

// The terms of a $welcome, unless a test says otherwise.
export const terms = {
  session: 's1', resumed: false, received: 0, ping: 25_000, timeout: 10_000, max: 1 << 20, ack: 64, window: 8, schema: 'x',
};

// welcome takes the last dial, up to its $welcome. resume does so with the old session, of which the server has received.
export function welcome(data) {
  if (last().readyState === 0) last().accept();
  last().message({ type: '$welcome', data: { ...terms, ...data } });
  return last();
}
export const resume = (received, data) => welcome({ resumed: true, received, ...data });

// redial loses the connection, and has the client dial again at once.
export function redial(client, code) {
  last().drop(code);
  client.connect();
  return last();
}

// What a socket has sent: the counted messages, and the data of those of one type.
const uncounted = new Set(['$hello', '$welcome', '$ping', '$pong', '$ack', '$goaway']);
export const counted = (ws = last()) => ws.sent.filter(({ type }) => !uncounted.has(type));
export const types = (ws = last()) => counted(ws).map(({ type }) => type);
export const sent = (type, ws = last()) => ws.sent.filter((message) => message.type === type).map(({ data }) => data);

// sleep lets time pass without timers: the machine is suspended.
export const sleep = (ms) => mock.timers.setTime(Date.now() + ms);

// page stands for window and document, where there are none. What is told to the document passes the window first.
export function page() {
  const window = new EventTarget();
  const fire = (type, members) => {
    const event = () => Object.assign(new Event(type), members);
    window.dispatchEvent(event());
    if (/^[vr]/.test(type)) document.dispatchEvent(event());
  };
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.removeEventListener = window.removeEventListener.bind(window);
  globalThis.document = Object.assign(new EventTarget(), { hidden: false, baseURI: 'http://page/' });
  const gone = () => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
    delete globalThis.document;
  };
  return { fire, gone };
}

// The client is of use: a message comes, a call is answered, and no timer has thrown.
export async function usable(client) {
  assert.equal(client.state, 'open');
  const got = [];
  const off = client.on('fine', (data) => got.push(data));
  last().message({ type: 'fine', data: 1 });
  off();
  assert.deepEqual(got, [1]);
  const call = client.call('fine', 2);
  const { id, data } = counted().at(-1);
  assert.equal(data, 2);
  last().message({ type: '$reply', id, data: 3 });
  assert.equal(await outcome(call), 3);
  tick(1);
  assert.deepEqual(thrown, []);
}
