// What the unit tests share: a WebSocket that does what it is told, a clock that stands still, dice without surprise.
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
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  mock.method(Math, 'random', () => dice.value);
  mock.method(console, 'warn', (...args) => warnings.push(args));
  FakeWebSocket.all.length = warnings.length = 0;
  dice.value = 0.5;
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
