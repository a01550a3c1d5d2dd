import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, SimpleSocketHandler, WsError } from '../dist/wsctl.js';
import * as core from '../dist/wsctl.core.js';
import * as full from '../dist/wsctl.js';
import { FakeWebSocket, dials, last, log, settle, setup, teardown, tick, warnings } from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const make = (options) => new Client('ws://host/ws', { plain: true, WebSocket: FakeWebSocket, ...options });
const open = (options) => {
  const client = make(options);
  last().accept();
  return client;
};

test('the bundles export their names, and nothing else', () => {
  assert.deepEqual(Object.keys(full).sort(), ['Client', 'MessageTypes', 'SimpleSocketHandler', 'WsError']);
  assert.deepEqual(Object.keys(core).sort(), ['Client', 'WsError']);
});

test('the core is the same without streams and rooms', () => {
  const names = (c) => Object.getOwnPropertyNames(c.prototype).filter((name) => /^[^_]../.test(name)).sort();
  const more = ['room', 'stream', 'upload'];
  assert.deepEqual(names(full.Client).filter((name) => !more.includes(name)), names(core.Client));
  for (const name of more) assert.equal(typeof full.Client.prototype[name], 'function');
});

test('without a WebSocket class the constructor throws', () => {
  assert.throws(() => make({ WebSocket: null }), /no WebSocket/);
});

test('urls', () => {
  const dialed = (url) => {
    new Client(url, { plain: true, WebSocket: FakeWebSocket });
    return last().url;
  };
  assert.equal(dialed('ws://host/ws'), 'ws://host/ws');
  assert.equal(dialed('wss://host/ws?x=1#part'), 'wss://host/ws?x=1');
  assert.equal(dialed('http://host/ws'), 'ws://host/ws');
  assert.equal(dialed(new URL('https://host/ws')), 'wss://host/ws');
  const before = dials();
  for (const bad of ['', '/ws', 'localhost:42000/ws', 'ftp://host/ws']) {
    assert.throws(() => dialed(bad), { message: /URL/ }, bad);
  }
  assert.equal(dials(), before);
});

test('relative urls take the page, and its base, as their origin', (t) => {
  t.after(() => {
    delete globalThis.location;
    delete globalThis.document;
  });
  globalThis.location = { href: 'https://page.example/a/b?c' };
  make().close();
  new Client('/ws', { plain: true, WebSocket: FakeWebSocket }).close();
  assert.equal(last().url, 'wss://page.example/ws');
  globalThis.document = Object.assign(new EventTarget(), { baseURI: 'http://base.example/x/' });
  new Client('ws', { plain: true, WebSocket: FakeWebSocket }).close();
  assert.equal(last().url, 'ws://base.example/x/ws');
});

test('protocols are offered, none by default', () => {
  make();
  assert.deepEqual(last().protocols, []);
  make({ protocols: ['a', 'b'] });
  assert.deepEqual(last().protocols, ['a', 'b']);
});

test('send writes {type, data}, and no data where there is none', () => {
  const client = open();
  assert.equal(client.send('a', { x: [1, null, 'ü'] }), client, 'chainable');
  client.send('b').send('c', null).send('d', '').send('e', 0).send('f', undefined);
  assert.deepEqual(last().sent, [
    { type: 'a', data: { x: [1, null, 'ü'] } },
    { type: 'b' },
    { type: 'c', data: null },
    { type: 'd', data: '' },
    { type: 'e', data: 0 },
    { type: 'f' },
  ]);
});

test('send throws for a type that no server takes', () => {
  const client = open();
  for (const type of ['', '$ping', 'x'.repeat(129), 'ü'.repeat(65), undefined, 7]) {
    assert.throws(() => client.send(type), TypeError, String(type));
  }
  client.send('x'.repeat(128)).send('ü'.repeat(64)).send('a$');
  client.send('"\\\n');
  assert.equal(last().sent.length, 4);
  assert.equal(last().sent[3].type, '"\\\n');
});

test('send throws for data that JSON has no word for', () => {
  const client = open();
  const cycle = {};
  cycle.self = cycle;
  for (const data of [cycle, 1n]) assert.throws(() => client.send('a', data), TypeError);
  assert.deepEqual(last().sent, []);
  for (const data of [() => 1, Symbol('x'), { toJSON: () => undefined }]) client.send('a', data);
  assert.deepEqual(last().sent, Array(3).fill({ type: 'a' }), 'what JSON leaves out is absent');
});

test('messages reach their callbacks, in the order bound, with data and message', () => {
  const client = open();
  const got = [];
  client.bind('a', (...args) => got.push(['first', ...args])).bind('a', (...args) => got.push(['second', ...args]));
  client.bind('b', (...args) => got.push(['b', ...args]));
  last().message({ type: 'a', data: 1, room: 'r' });
  last().message({ type: 'b' });
  last().message({ type: 'nobody', data: 1 });
  assert.deepEqual(got, [
    ['first', 1, { type: 'a', data: 1, room: 'r' }],
    ['second', 1, { type: 'a', data: 1, room: 'r' }],
    ['b', undefined, { type: 'b' }],
  ]);
  assert.equal(warnings.length, 0);
});

test('types that are names of Object.prototype are types like others', () => {
  const client = open();
  const got = [];
  for (const type of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
    last().message({ type, data: 0 }); // nobody's
    client.on(type, () => got.push(type));
    last().raw(`{"type":"${type}"}`);
    client.unbind(type);
    last().message({ type });
  }
  assert.deepEqual(got, ['constructor', '__proto__', 'toString', 'hasOwnProperty']);
});

test('a callback that throws: the others run, and the error comes from a timer', () => {
  const client = open();
  const got = [];
  client.on('a', () => {
    throw new Error('mine');
  });
  client.on('a', (data) => got.push(data));
  last().message({ type: 'a', data: 1 });
  assert.deepEqual(got, [1]);
  assert.throws(() => tick(1), /mine/);
});

test('callbacks have no this', () => {
  const client = open();
  let self = 1;
  client.on('a', function () {
    self = this;
  });
  last().message({ type: 'a' });
  assert.equal(self, undefined);
});

test('on returns what unbinds that one', () => {
  const client = open();
  const got = [];
  const fn = (data) => got.push(data);
  const off = client.on('a', fn);
  client.on('a', fn);
  off();
  off();
  last().message({ type: 'a', data: 1 });
  assert.deepEqual(got, [1]);
});

test('unbind takes one function, or all of a type', () => {
  const client = open();
  const got = [];
  const one = () => got.push('one');
  const two = () => got.push('two');
  client.bind('a', one).bind('a', two).bind('a', one).bind('b', one);
  assert.equal(client.unbind('a', one), client, 'chainable');
  client.unbind('nobody').unbind('nobody', one);
  last().message({ type: 'a' });
  assert.deepEqual(got.splice(0), ['two']);
  client.unbind('a');
  last().message({ type: 'a' });
  last().message({ type: 'b' });
  assert.deepEqual(got, ['one']);
});

test('once', () => {
  const client = open();
  let n = 0;
  client.on('a', () => {
    n++;
    if (n === 1) last().message({ type: 'a' }); // it is off already while it runs
  }, { once: true });
  last().message({ type: 'a' });
  assert.equal(n, 1);
});

test('signal unbinds, one aborted before never binds, and unbinding lets go of the signal', (t) => {
  const client = open();
  const control = new AbortController();
  let n = 0;
  const removed = t.mock.method(control.signal, 'removeEventListener');
  client.on('a', () => n++, { signal: control.signal });
  client.on('a', () => n++, { signal: control.signal })();
  assert.equal(removed.mock.callCount(), 1);
  last().message({ type: 'a' });
  assert.equal(n, 1);
  control.abort();
  client.on('a', () => n++, { signal: control.signal });
  last().message({ type: 'a' });
  assert.equal(n, 1);
});

test('binding and unbinding while callbacks run', () => {
  const client = open();
  const got = [];
  const third = () => got.push('third');
  client.on('a', () => {
    got.push('first');
    client.unbind('a', third);
    client.on('a', () => got.push('late'));
  }, { once: true });
  client.on('a', () => got.push('second'));
  client.on('a', third);
  last().message({ type: 'a' });
  assert.deepEqual(got.splice(0), ['first', 'second'], 'unbound ones are out at once, new ones in from the next');
  last().message({ type: 'a' });
  assert.deepEqual(got, ['second', 'late']);
});

test('what is no message is ignored with a warning', () => {
  const client = open();
  const told = log(client);
  const bad = ['', '{', 'null', '1', '"a"', '[]', '[{"type":"a"}]', '{}', '{"type":1}', '{"type":null}', new Blob(['{}'])];
  for (const text of bad) last().raw(text);
  assert.equal(warnings.length, bad.length);
  assert.deepEqual(told, []);
  assert.equal(client.state, 'open');
});

test('messages named like local events reach nobody', () => {
  const client = open();
  let n = 0;
  for (const type of ['open', 'close', 'error', 'gap']) {
    client.on(type, () => n++);
    last().message({ type, data: { code: 1 } });
  }
  assert.equal(n, 0);
  assert.equal(warnings.length, 4);
});

test('unknown $ types are ignored, also by those who bind them', () => {
  const client = open();
  client.on('$news', () => assert.fail());
  last().message({ type: '$news', data: 1 });
  last().message({ type: '$ping' });
  assert.equal(warnings.length, 0);
  assert.deepEqual(last().sent, []);
});

test('messages wait for the connection and are written in order, before open is told', () => {
  const client = make();
  client.send('a', 1);
  client.on('open', () => {
    assert.deepEqual(last().sent.map((m) => m.type), ['a', 'b']);
    client.send('c');
  });
  client.send('b');
  last().accept();
  assert.deepEqual(last().sent.map((m) => m.type), ['a', 'b', 'c']);
});

test('data is encoded when it is sent, not when it is written', () => {
  const client = make();
  const data = { n: 1 };
  client.send('a', data);
  data.n = 2;
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'a', data: { n: 1 } }]);
});

test('a full queue: send throws too_many and keeps what it has', () => {
  const client = make();
  for (let i = 0; i < 256; i++) client.send('a', i);
  assert.throws(() => client.send('a', 256), (e) => e instanceof WsError && e.code === 'too_many');
  last().accept();
  assert.deepEqual(last().sent.map((m) => m.data), Array.from({ length: 256 }, (_, i) => i));

  const small = make({ maxQueue: 1 });
  small.send('a');
  assert.throws(() => small.send('a'), { code: 'too_many' });
});

test('what waited too long is dropped, and an error event says how many', async () => {
  const client = make({ connectTimeout: Infinity });
  const told = log(client);
  client.send('old').send('old');
  tick(1000);
  client.send('young');
  tick(59_001);
  assert.deepEqual(told, []);
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'young' }]);
  await settle();
  assert.deepEqual(told.map(([type]) => type), ['open', 'error']);
  const error = told[1][1];
  assert.ok(error instanceof WsError);
  assert.equal(error.code, 'timeout');
  assert.deepEqual(error.data, { dropped: 2 });
});

test('queueTtl is an option, and its bound is kept', () => {
  const client = make({ queueTtl: 500 });
  client.send('a');
  tick(500);
  client.send('b');
  last().accept();
  assert.deepEqual(last().sent.map((m) => m.type), ['a', 'b']);
  const other = make({ queueTtl: 500 });
  other.send('a');
  tick(501);
  last().accept();
  assert.deepEqual(last().sent, []);
});

test('what waited too long makes room in a full queue', async () => {
  const client = make({ connectTimeout: Infinity, maxQueue: 2 });
  const told = log(client);
  client.send('old').send('old');
  tick(60_001);
  client.send('new');
  await settle();
  assert.equal(told[0][1].data.dropped, 2);
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'new' }]);
});

test('an error that nobody listens for is a warning', async () => {
  const client = make({ connectTimeout: Infinity });
  client.send('old');
  tick(60_001);
  last().accept();
  await settle();
  assert.equal(warnings.length, 1);
  assert.ok(warnings[0][0] instanceof WsError);
});

test('volatile messages are written now or never', () => {
  const client = make({ maxQueue: 1 });
  client.send('full');
  client.send('a', 1, { volatile: true });
  last().accept();
  client.send('b', 2, { volatile: true });
  assert.deepEqual(last().sent, [{ type: 'full' }, { type: 'b', data: 2 }]);
  client.close();
  client.send('c', 3, { volatile: true });
  assert.throws(() => client.send('$c', 3, { volatile: true }), TypeError);
});

test('a socket that is closing swallows nothing: messages wait for the next one', () => {
  const client = open();
  last().readyState = 2;
  client.send('a');
  client.send('v', 0, { volatile: true });
  last().drop(1006);
  tick(600);
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'a' }]);
});

test('what was written is not written again, what was not survives a loss', () => {
  const client = open();
  client.send('written');
  last().drop();
  client.send('waiting');
  tick(600);
  last().drop();
  tick(1100);
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'waiting' }]);
});

test('undefined options have their defaults', () => {
  const client = make({ maxQueue: undefined, minDelay: undefined, WebSocket: FakeWebSocket });
  client.send('a');
  last().drop();
  tick(599);
  assert.equal(dials(), 1);
  tick(1);
  assert.equal(dials(), 2);
});

test('WsError', () => {
  const error = new WsError('forbidden', 'not you', { who: 'me' });
  assert.ok(error instanceof Error);
  assert.equal(error.name, 'WsError');
  assert.equal(String(error), 'WsError: not you');
  assert.deepEqual([error.code, error.message, error.data], ['forbidden', 'not you', { who: 'me' }]);
  assert.ok(new SimpleSocketHandler('ws://host', { WebSocket: FakeWebSocket }) instanceof Client);
});
