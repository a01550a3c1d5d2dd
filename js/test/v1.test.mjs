// How a client of wsctl.v1 connects, and its messages both ways, as docs/PROTOCOL.md has them.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, dials, isPending, last, log, outcome, redial, resume, sent, settle, setup, teardown, tick, types,
  warnings, welcome,
} from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const make = (options) => new Client('ws://host/ws', { WebSocket: FakeWebSocket, ...options });
const open = (options, data) => {
  const client = make(options);
  welcome(data);
  return client;
};
const hello = (ws = last()) => sent('$hello', ws)[0];

test('v1 is offered, before the protocols of the page', () => {
  make();
  assert.deepEqual(last().protocols, ['wsctl.v1']);
  make({ protocols: 'a' });
  assert.deepEqual(last().protocols, ['wsctl.v1', 'a']);
  make({ protocols: ['a', 'b'] });
  assert.deepEqual(last().protocols, ['wsctl.v1', 'a', 'b']);
});

test('$hello goes out at once, and nothing else before $welcome', () => {
  const client = make();
  const told = log(client);
  client.send('early');
  last().accept();
  client.send('a');
  client.call('b').catch(() => 0);
  client.send('c', 1, { volatile: true });
  tick(5000);
  assert.deepEqual(last().sent, [{ type: '$hello', data: { try: 1 } }]);
  assert.equal(client.state, 'connecting');
  assert.deepEqual(told, []);
  welcome();
  assert.equal(client.state, 'open');
  assert.deepEqual(types(), ['early', 'a', 'b'], 'what was volatile is gone');
});

test('$welcome of a new session is answered by $ack 0, before anything else', () => {
  const client = make();
  client.send('a');
  welcome();
  assert.deepEqual(last().sent.slice(1), [{ type: '$ack', data: 0 }, { type: 'a' }]);
});

test('a server that keeps no sessions gets no $ack, and no session is asked for', () => {
  const client = make();
  client.send('a').send('b').send('c');
  welcome({ ack: 0, session: undefined });
  assert.deepEqual(types(), ['a', 'b', 'c']);
  for (let i = 0; i < 200; i++) last().message({ type: 'x', data: 'y'.repeat(1000) });
  last().message({ type: '$ping' });
  tick(1000);
  assert.deepEqual(sent('$ack'), []);
  redial(client).accept();
  assert.deepEqual(hello(), { try: 2 });
});

test('what waited is written before open is told, in order, once', () => {
  const client = make();
  client.on('open', () => {
    assert.deepEqual(types(), ['a', 'b', 'c', 'd']);
    client.send('open');
  });
  client.send('a').send('b');
  const call = client.call('c', 1);
  client.send('d');
  welcome();
  client.send('e');
  assert.deepEqual(types(), ['a', 'b', 'c', 'd', 'open', 'e']);
  tick(1); // no callback has thrown
  last().message({ type: '$reply', id: counted()[2].id, data: 7 });
  return call.then((result) => assert.equal(result, 7));
});

test('open tells whether the session goes on', () => {
  const client = make();
  const told = log(client);
  welcome();
  redial(client);
  resume(0);
  redial(client);
  welcome({ session: 's2' });
  redial(client);
  resume(0, { session: 's3' });
  assert.deepEqual(told.filter(([what]) => what === 'open').map(([, info]) => info), [
    { resumed: false }, { resumed: true }, { resumed: false }, { resumed: false },
  ], 'another session than the one asked for is a new one, whatever the server calls it');
});

test('try grows as long as the client lives, over failed attempts and close', () => {
  const client = make();
  const tries = [];
  const dial = (end) => {
    last().accept();
    tries.push(hello().try);
    end();
  };
  dial(() => redial(client));
  dial(() => (welcome(), redial(client)));
  dial(() => (tick(10_000), client.connect()));
  dial(() => (welcome(), client.close().connect()));
  dial(() => 0);
  for (let i = 1; i < tries.length; i++) assert.ok(tries[i] > tries[i - 1], `${tries}`);
  assert.equal(tries[0], 1);
});

test('a client that was closed asks for no session', () => {
  const client = open();
  last().message({ type: 'x' });
  client.close().connect();
  last().accept();
  assert.deepEqual(Object.keys(hello()), ['try']);
});

test('what comes before $welcome, but $goaway, reaches nobody', () => {
  const client = make();
  const got = [];
  client.on('x', (data) => got.push(data));
  client.handle('ask', (data) => got.push(data));
  last().accept();
  last().message({ type: 'x', data: 1 });
  last().message({ type: 'ask', id: 1, data: 2 });
  last().message({ type: '$reply', id: 1 });
  assert.deepEqual(got, []);
  assert.equal(client.state, 'connecting');
  welcome();
  last().message({ type: 'x', data: 3 });
  assert.deepEqual(got, [3]);
});

test('an attempt has 10 s, $welcome included', () => {
  const client = make();
  last().accept();
  tick(9999);
  assert.equal(client.state, 'connecting');
  tick(1);
  assert.equal(client.state, 'waiting');
  assert.deepEqual(last().closed, [4408, 'timeout']);
  welcome();
  assert.equal(client.state, 'waiting', 'too late');
});

test('a handshake that comes to its end too late sends nothing, and nobody\'s $hello', () => {
  make();
  const late = last();
  tick(10_000);
  late.accept();
  tick(600);
  late.accept();
  last().accept();
  late.accept();
  assert.deepEqual(late.sent, []);
  assert.equal(sent('$hello').length, 1);
});

test('$welcome ends that limit', () => {
  const client = open();
  for (let i = 0; i < 5; i++) {
    tick(9000);
    last().message({ type: '$ping' });
  }
  assert.equal(client.state, 'open');
  assert.equal(dials(), 1);
});

test('messages reach their callbacks with data and message, in order', () => {
  const client = open();
  const got = [];
  client.on('a', (data, message) => got.push([data, message.type]));
  client.bind('b', (data) => got.push(data));
  last().message({ type: 'a', data: 1 });
  last().message({ type: 'b', data: null });
  last().message({ type: 'a', data: { x: 1 } });
  last().message({ type: 'b' });
  assert.deepEqual(got, [[1, 'a'], null, [{ x: 1 }, 'a'], undefined]);
});

test('members are written as PROTOCOL has them: data absent where there is none, id on calls alone', () => {
  const client = open();
  client.send('a').send('b', null).send('c', 0);
  client.call('d').catch(() => 0);
  client.call('e', [1]).catch(() => 0);
  assert.deepEqual(counted(), [
    { type: 'a' }, { type: 'b', data: null }, { type: 'c', data: 0 }, { type: 'd', id: 1 }, { type: 'e', id: 2, data: [1] },
  ]);
});

test('$gap is told', () => {
  const client = open();
  const gaps = [];
  client.on('gap', (gap) => gaps.push(gap));
  last().message({ type: '$gap', data: { type: 'price', dropped: 3 } });
  assert.deepEqual(gaps, [{ type: 'price', dropped: 3 }]);
});

test('too_big: over what the server takes, in bytes, is not written', async () => {
  const client = open({}, { max: 40 });
  client.send('a', 'x'.repeat(18)); // 40 bytes with all around
  assert.equal(JSON.stringify(counted()[0]).length, 40);
  assert.throws(() => client.send('a', 'x'.repeat(19)), (error) => error instanceof WsError && error.code === 'too_big');
  assert.throws(() => client.send('a', 'ü'.repeat(10)), { code: 'too_big' }, 'bytes, not characters');
  assert.equal((await outcome(client.call('a', 'x'.repeat(19)))).code, 'too_big');
  assert.equal(counted().length, 1);
  client.send('b');
  assert.equal(counted().length, 2, 'the client goes on');
});

test('too_big: what waited for the first $welcome is dropped, and told', async () => {
  const client = make();
  const told = log(client);
  client.send('a', 'x'.repeat(100)).send('b').send('a', 'x'.repeat(100));
  const call = client.call('c', 'x'.repeat(100));
  const small = client.call('d');
  welcome({ max: 50 });
  assert.deepEqual(types(), ['b', 'd']);
  assert.equal((await outcome(call)).code, 'too_big');
  await settle();
  assert.deepEqual(told.filter(([what]) => what === 'error').map(([, { code, data }]) => [code, data]), [
    ['too_big', { dropped: 2 }],
  ]);
  assert.ok(await isPending(small));
});

test('the queue takes 256, calls among them, and counts only what waits', async () => {
  const client = open();
  for (let i = 0; i < 300; i++) client.send('written');
  redial(client);
  for (let i = 0; i < 255; i++) client.send('a');
  client.call('a', 0, { timeout: Infinity }).catch(() => 0);
  assert.throws(() => client.send('a'), { code: 'too_many' });
  assert.equal((await outcome(client.call('a'))).code, 'too_many');
  resume(0);
  assert.equal(counted().length, 556);
  client.send('b');
  assert.equal(counted().length, 557);
});

test('1,000,000 sends while offline take no memory', () => {
  const client = open();
  for (let i = 0; i < 1000; i++) client.send('written');
  last().drop();
  const before = process.memoryUsage().heapUsed;
  let refused = 0;
  for (let i = 0; i < 1e6; i++) {
    try {
      client.send('a', i);
    } catch (error) {
      if (error.code !== 'too_many') throw error;
      refused++;
    }
  }
  assert.equal(refused, 1e6 - 256);
  assert.ok(process.memoryUsage().heapUsed - before < 1e8);
  client.connect();
  resume(1000);
  assert.deepEqual(counted().map(({ data }) => data), Array.from({ length: 256 }, (_, i) => i), 'the first ones are kept');
});

test('a server that acknowledges nothing gets no more, at some point, and all of it again after a cut', () => {
  const client = open();
  let written = 0;
  assert.throws(() => {
    for (; written < 1e5; written++) client.send('a', written);
  }, { code: 'too_many' });
  const before = counted().length;
  assert.ok(before < 20_000);
  redial(client);
  resume(0);
  assert.equal(counted().length, before, 'resent, each of them');
  last().message({ type: '$ack', data: before });
  assert.deepEqual(counted().map(({ data }) => data), Array.from({ length: written }, (_, i) => i), 'then the rest');
});

test('volatile: dropped while there is no connection, kept once written', () => {
  const client = make();
  client.send('a', 1, { volatile: true });
  welcome();
  client.send('a', 2, { volatile: true });
  redial(client);
  client.send('a', 3, { volatile: true });
  last().accept();
  client.send('a', 4, { volatile: true });
  resume(0);
  assert.deepEqual(counted().map(({ data }) => data), [2]);
  last().readyState = 2;
  client.send('a', 5, { volatile: true });
  redial(client);
  resume(0);
  assert.deepEqual(counted().map(({ data }) => data), [2], 'nor is a closing socket a connection');
  client.close();
  client.send('a', 6, { volatile: true });
});

test('what is sent into a closing socket goes out with the next connection', () => {
  const client = open();
  last().readyState = 2;
  client.send('a');
  assert.deepEqual(types(), []);
  redial(client, 1001);
  resume(0);
  assert.deepEqual(types(), ['a']);
});

test('a plain server, which says no $welcome, is a failed attempt', () => {
  const client = make();
  const told = log(client);
  last().accept();
  last().message({ type: 'hello', data: 'I am plain' });
  tick(10_000);
  assert.deepEqual(told.map(([what, { code, opened }]) => [what, code, opened]), [['close', 4408, false]]);
  assert.deepEqual(warnings, []);
});

test('a url function is asked on every dial', async () => {
  const urls = ['ws://a/', 'ws://b/'];
  const client = new Client(() => urls.shift(), { WebSocket: FakeWebSocket });
  await settle();
  assert.equal(last().url, 'ws://a/');
  welcome();
  redial(client);
  await settle();
  assert.equal(last().url, 'ws://b/');
  resume(0);
  assert.equal(client.state, 'open');
});
