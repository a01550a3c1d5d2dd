// How a connection ends, and what comes after: close codes, $goaway.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, dials, dice, last, log, outcome, page, redial, resume, sent, setup, teardown, tick, types,
  welcome,
} from './fake.mjs';

let fire;
let gone;

beforeEach(() => {
  setup();
  ({ fire, gone } = page());
});
afterEach(() => {
  gone();
  teardown();
});

const open = (options, data) => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, ...options });
  welcome(data);
  return client;
};
const hello = (ws = last()) => sent('$hello', ws)[0];
const delay = () => {
  const before = dials();
  for (let ms = 0; ms < 100_000; ms++) {
    if (dials() > before) return ms;
    tick(1);
  }
  return Infinity;
};

test('the table of close codes', async () => {
  const again = {};
  const kept = {};
  for (let code = 1000; code < 5000; code++) {
    if (code > 1020 && code < 2990 || code > 3010 && code < 3990) continue;
    const client = open();
    client.send('a');
    last().drop(code);
    again[code] = client.state === 'waiting';
    if (again[code]) {
      client.connect();
      last().accept();
      kept[code] = hello().session === 's1';
    }
    client.close();
    FakeWebSocket.all.length = 0;
  }
  const codes = (of, is) => Object.keys(of).filter((code) => of[code] === is).map(Number);
  const final = (code) => [1000, 1002, 1003, 1007, 1008, 1009, 1010].includes(code)
    || (code >= 4400 && code < 4500 && ![4401, 4408, 4409, 4429].includes(code));
  assert.deepEqual(codes(again, false), Object.keys(again).map(Number).filter(final));
  assert.deepEqual(codes(kept, false), [4409], 'all others ask for the session: the server knows whether it is over');
});

test('4409: comes back as new, at once, once', async () => {
  const client = open();
  const told = log(client);
  client.send('a');
  const call = client.call('b');
  last().drop(4409);
  assert.equal((await outcome(call)).code, 'unavailable');
  const error = told.find(([what]) => what === 'error')[1];
  assert.deepEqual([error.code, error.data], ['unavailable', { dropped: 1 }]);
  tick(1);
  assert.equal(dials(), 2);
  last().accept();
  assert.deepEqual(hello(), { try: 2 });
  welcome({ session: 's2' });
  assert.deepEqual(types(), []);
  tick(4999);
  last().drop(4409);
  assert.equal(client.state, 'closed');
});

test('4409 in answer to $hello is the same', () => {
  const client = open();
  redial(client).accept();
  last().drop(4409);
  tick(1);
  last().accept();
  assert.equal(hello().session, undefined);
  last().drop(4409);
  assert.equal(client.state, 'closed');
});

test('4409 after 5 s open is the first one again', () => {
  const client = open();
  for (let i = 0; i < 3; i++) {
    last().drop(4409);
    tick(1);
    welcome({ session: `n${i}` });
    tick(5000);
  }
  assert.equal(client.state, 'open');
});

test('$goaway: back after a random delay in its range, whatever the code', () => {
  for (const [value, expected] of [[0, 2000], [0.5, 3500], [0.999, 4997]]) {
    for (const code of [1001, 1012, 1006, 4429]) {
      dice.value = value;
      const client = open();
      last().message({ type: '$goaway', data: { min: 2000, max: 5000 } });
      last().drop(code);
      assert.equal(delay(), expected, `${code}`);
      client.close();
    }
  }
});

test('$goaway: a hint changes nothing: the server said when', () => {
  const client = open();
  tick(10_000);
  last().message({ type: '$goaway', data: { min: 2000, max: 5000 } });
  fire('online');
  tick(1000);
  last().message({ type: '$pong' });
  tick(3500);
  assert.equal(client.state, 'open');
  fire('online');
  last().drop(1012);
  assert.equal(delay(), 3500);
});

test('$goaway is of one connection: the next loss has the usual delay', () => {
  const client = open();
  last().message({ type: '$goaway', data: { min: 2000, max: 5000 } });
  redial(client);
  resume(0);
  last().drop();
  assert.equal(delay(), 600);
});

test('$goaway: what is new waits for the next connection; answers and acks go on', async () => {
  const client = open();
  client.send('before');
  last().message({ type: '$goaway', data: { min: 0, max: 10 } });
  assert.equal(client.state, 'open');
  client.send('a').send('b', 0, { volatile: true });
  const call = client.call('c', 0, { timeout: Infinity });
  last().message({ type: 'x' });
  last().message({ type: '$ping' });
  assert.deepEqual(last().sent.slice(2), [{ type: 'before' }, { type: '$ack', data: 1 }, { type: '$pong' }]);
  last().drop(1012);
  tick(10);
  resume(1);
  assert.deepEqual(types(), ['a', 'c']);
  last().message({ type: '$reply', id: counted()[1].id, data: 1 });
  assert.equal(await outcome(call), 1);
});

test('$goaway: messages that still come are delivered', () => {
  const client = open();
  const got = [];
  client.on('a', (data) => got.push(data));
  last().message({ type: '$goaway', data: { min: 0, max: 10 } });
  last().message({ type: 'a', data: 1 });
  assert.deepEqual(got, [1]);
});

test('$goaway: waits for the close, at most ping + timeout, whatever still comes', () => {
  const client = open();
  last().message({ type: '$goaway', data: { min: 2000, max: 2000 } });
  for (let i = 0; i < 34; i++) {
    tick(1000);
    last().message({ type: '$ping' });
  }
  tick(999);
  assert.equal(client.state, 'open');
  tick(1);
  assert.equal(client.state, 'waiting');
  assert.equal(last().closed[0], 4408);
  assert.equal(delay(), 2000);
});

test('$goaway before $welcome: the connection opens, and what waited goes on waiting', () => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket });
  client.send('a');
  last().accept().message({ type: '$goaway', data: { min: 50, max: 50 } });
  welcome();
  assert.deepEqual(types(), []);
  last().drop(1012);
  assert.equal(delay(), 50);
  resume(0);
  assert.deepEqual(types(), ['a']);
});

test('close ends the session with 1000 and the connection at once', () => {
  const client = open();
  client.send('a').close();
  assert.deepEqual([last().closed, types(), client.state], [[1000, ''], ['a'], 'closed']);
});
