// A session outlives its connections: how it is resumed, and what its loss means.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, dials, isPending, last, log, outcome, redial, resume, sent, settle, setup, teardown, tick, types,
  welcome,
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
const acks = (ws = last()) => sent('$ack', ws);
const send = (client, from, to) => {
  for (let i = from; i <= to; i++) client.send('n', i);
};
const numbers = (ws = last()) => counted(ws).map(({ data }) => data);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const errors = async (told) => {
  await settle();
  return told.filter(([what]) => what === 'error').map(([, error]) => {
    assert.ok(error instanceof WsError);
    return [error.code, error.data];
  });
};

// ---- Resume

test('$hello says session and received right after any loss', () => {
  const client = open();
  for (let i = 1; i <= 3; i++) last().message({ type: 'a' });
  redial(client).accept();
  assert.deepEqual(hello(), { session: 's1', received: 3, try: 2 });
  redial(client).accept();
  assert.deepEqual(hello(), { session: 's1', received: 3, try: 3 }, 'also when an attempt failed in between');
  resume(0);
  last().message({ type: 'a' });
  redial(client).accept();
  assert.deepEqual(hello(), { session: 's1', received: 4, try: 4 });
});

test('what comes from an old connection concerns nobody', () => {
  const client = open();
  const got = [];
  client.on('a', (data) => got.push(data));
  const old = last();
  send(client, 1, 2);
  tick(35_000); // silent: given up
  assert.equal(old.closed[0], 4408);
  old.message({ type: 'a', data: 1 });
  old.message({ type: '$ack', data: 2 });
  client.connect();
  old.message({ type: 'a', data: 2 });
  old.message({ type: '$ack', data: 9 });
  old.drop(1000);
  last().accept();
  assert.equal(hello().received, 0);
  resume(0);
  old.message({ type: 'a', data: 3 });
  assert.deepEqual(got, []);
  assert.deepEqual(numbers(), [1, 2]);
  assert.equal(client.state, 'open');
});

for (const has of [0, 1, 3, 5]) {
  test(`resumed, the server has ${has} of 5: the others are sent again, as they were, then what waited`, () => {
    const client = open();
    send(client, 1, 5);
    const before = counted();
    redial(client);
    send(client, 6, 7);
    resume(has);
    send(client, 8, 8);
    assert.deepEqual(numbers(), range(has + 1, 8));
    assert.deepEqual(counted().slice(0, 5 - has), before.slice(has));
    assert.deepEqual(acks(), [], 'no $ack 0 in a session that goes on');
  });
}

test('resumes in a row: each sends what that server state lacks', () => {
  const client = open();
  send(client, 1, 3);
  redial(client);
  resume(1);
  assert.deepEqual(numbers(), [2, 3]);
  send(client, 4, 4);
  redial(client);
  resume(1);
  assert.deepEqual(numbers(), [2, 3, 4]);
  redial(client);
  resume(4);
  assert.deepEqual(numbers(), []);
});

test('what was written is kept, however long the outage', async () => {
  const client = open();
  const told = log(client);
  send(client, 1, 2);
  last().drop();
  for (let i = 0; i < 60; i++) {
    tick(20_100);
    last().drop();
  }
  client.connect();
  resume(0);
  assert.deepEqual(numbers(), [1, 2]);
  assert.deepEqual(await errors(told), []);
});

test('calls in flight survive, answered before or after, on either connection', async () => {
  const client = open();
  const [a, b, c] = ['a', 'b', 'c'].map((type) => client.call(type, 0, { timeout: Infinity }));
  const ids = counted().map(({ id }) => id);
  last().message({ type: '$reply', id: ids[0], data: 'A' });
  redial(client);
  const d = client.call('d', 0, { timeout: Infinity });
  resume(2);
  last().message({ type: '$reply', id: ids[1], data: 'B' });
  assert.deepEqual(types(), ['c', 'd']);
  last().message({ type: '$error', id: ids[2], data: { code: 'mine', message: 'no', data: 7 } });
  last().message({ type: '$reply', id: counted()[1].id, data: 'D' });
  assert.equal(await outcome(a), 'A');
  assert.equal(await outcome(b), 'B');
  const { code, message, data } = await outcome(c);
  assert.deepEqual([code, message, data], ['mine', 'no', 7]);
  assert.equal(await outcome(d), 'D');
});

test('a timeout or an abort during an outage sends $cancel afterwards, after the call', async () => {
  const client = open();
  const abort = new AbortController();
  const a = client.call('a', 0, { timeout: 500 });
  const b = client.call('b', 0, { signal: abort.signal });
  const [{ id: first }, { id: second }] = counted();
  redial(client);
  const never = client.call('never', 0, { timeout: 500 });
  tick(500);
  abort.abort('why');
  for (const call of [a, never]) assert.equal((await outcome(call)).code, 'timeout');
  const error = await outcome(b);
  assert.deepEqual([error.code, error.data], ['canceled', 'why']);
  resume(1);
  assert.deepEqual(counted().map(({ type, id }) => [type, id]), [['b', second], ['$cancel', first], ['$cancel', second]]);
  last().message({ type: '$reply', id: first });
  assert.equal(client.state, 'open', 'a late end is ignored');
});

test('answers to calls of the server survive, ready before, during or after the outage', async () => {
  const client = open();
  const ready = {};
  client.handle('ask', (data) => new Promise((done) => (ready[data] = done)));
  for (let id = 1; id <= 3; id++) last().message({ type: 'ask', id, data: id });
  ready[1]('before');
  await settle();
  redial(client);
  ready[2]('during');
  await settle();
  resume(0);
  ready[3]('after');
  await settle();
  assert.deepEqual(counted(), [
    { type: '$reply', id: 1, data: 'before' },
    { type: '$reply', id: 2, data: 'during' },
    { type: '$reply', id: 3, data: 'after' },
  ]);
});

test('resumed with a smaller max, what has a number is sent again all the same', () => {
  const client = open();
  client.send('n', 'x'.repeat(100)).send('n', 1);
  redial(client);
  resume(0, { max: 50 });
  assert.deepEqual(numbers(), ['x'.repeat(100), 1]);
  last().message({ type: '$ack', data: 1 });
  redial(client);
  resume(1);
  assert.deepEqual(numbers(), [1]);
});

// ---- Lost

test('not resumed: what was written is reported, not sent again; what waited is sent', async () => {
  const client = open();
  const told = log(client);
  send(client, 1, 5);
  last().message({ type: '$ack', data: 2 });
  redial(client);
  send(client, 6, 7);
  welcome({ session: 's2' });
  assert.deepEqual(numbers(), [6, 7]);
  assert.deepEqual(acks(), [0]);
  assert.deepEqual(await errors(told), [['unavailable', { dropped: 3 }]]);
});

test('not resumed: calls that were written fail, others are sent', async () => {
  const client = open();
  const told = log(client);
  const written = client.call('a');
  redial(client);
  const waiting = client.call('b');
  assert.ok(await isPending(written));
  welcome({ session: 's2' });
  const error = await outcome(written);
  assert.ok(error instanceof WsError);
  assert.equal(error.code, 'unavailable');
  assert.deepEqual(types(), ['b']);
  last().message({ type: '$reply', id: counted()[0].id, data: 1 });
  assert.equal(await outcome(waiting), 1);
  assert.deepEqual(await errors(told), [], 'calls know by themselves');
});

test('not resumed: what has waited for more than 60 s is dropped', async () => {
  const client = open();
  const told = log(client);
  last().drop();
  send(client, 1, 2);
  tick(30_000);
  send(client, 3, 3);
  tick(30_001);
  client.connect();
  welcome({ session: 's2' });
  assert.deepEqual(numbers(), [3]);
  assert.deepEqual(await errors(told), [['timeout', { dropped: 2 }]]);
});

test('what gets too old while the connection is made isn\'t sent either', async () => {
  const client = open();
  const told = log(client);
  last().drop();
  send(client, 1, 1);
  tick(55_000);
  send(client, 2, 2);
  client.connect();
  tick(5001);
  resume(0);
  assert.deepEqual(numbers(), [2]);
  assert.deepEqual(await errors(told), [['timeout', { dropped: 1 }]]);
});

test('not resumed: nothing that belongs to an older call is sent', async () => {
  const client = open();
  const told = log(client);
  let answer;
  client.handle('ask', () => new Promise((done) => (answer = done)));
  client.handle('now', () => 1);
  last().message({ type: 'ask', id: 1 });
  const items = client.stream('s');
  const first = items.next();
  const up = client.upload('u', [1, 2, 3]).catch((error) => error);
  const call = client.call('c', 0, { timeout: 100 });
  const [s, u] = counted();
  last().message({ type: '$item', id: s.id, data: 0 });
  assert.equal((await first).value, 0);
  last().message({ type: 'now', id: 2 });
  redial(client);
  await settle();
  last().readyState = 0;
  tick(100); // c: $cancel
  assert.equal((await outcome(call)).code, 'timeout');
  const returned = items.return(); // s: $cancel
  welcome({ session: 's2' });
  answer('late');
  await settle();
  assert.deepEqual(counted(), []);
  await returned;
  assert.equal((await outcome(up)).code, 'unavailable');
  last().message({ type: '$more', id: u.id, data: 5 });
  await settle();
  assert.deepEqual(counted(), []);
  assert.deepEqual(await errors(told), [], 'calls know by themselves');
});

for (const [what, bad] of Object.entries({
  'below what was acknowledged': 1, 'above what was written': 6, negative: -1, 'no number': undefined, null: null,
  'a string': '3', 'not whole': 2.5, huge: 1e300,
})) {
  test(`resumed with received ${what}: closes with 4400, and comes back as new`, async () => {
    const client = open();
    const told = log(client);
    send(client, 1, 5);
    last().message({ type: '$ack', data: 2 });
    redial(client);
    send(client, 6, 7); // waits
    resume(bad);
    assert.equal(client.state, 'waiting');
    assert.equal(last().closed[0], 4400);
    assert.deepEqual(numbers(), []);
    assert.deepEqual(await errors(told), [['unavailable', { dropped: 3 }]]);
    const before = dials();
    tick(20_100);
    assert.equal(dials(), before + 1);
    last().accept();
    assert.deepEqual(Object.keys(hello()), ['try']);
    welcome({ session: 's2' });
    assert.deepEqual(numbers(), [6, 7]);
  });
}

test('a connection lost before its first $welcome loses nothing that waited', () => {
  const client = make();
  send(client, 1, 2);
  last().accept();
  redial(client);
  welcome();
  assert.deepEqual(numbers(), [1, 2]);
});

test('without sessions a loss is the end of what was written', async () => {
  const client = open({}, { ack: 0, session: undefined });
  const call = client.call('a');
  send(client, 1, 2);
  last().drop();
  assert.equal((await outcome(call)).code, 'unavailable');
  send(client, 3, 3);
  client.connect();
  welcome({ ack: 0, session: undefined });
  assert.deepEqual(numbers(), [3]);
});

test('close drops what waits, and says so; what was written is on its way', async () => {
  const client = open();
  const told = log(client);
  const call = client.call('a');
  send(client, 1, 2);
  client.close();
  assert.equal((await outcome(call)).code, 'unavailable');
  assert.deepEqual(await errors(told), []);
  client.connect();
  send(client, 3, 5);
  client.close();
  assert.deepEqual(await errors(told), [['unavailable', { dropped: 3 }]]);
  client.connect();
  welcome({ session: 's2' });
  assert.deepEqual(numbers(), []);
});

test('a final code loses the session, with all that was written or waits', async () => {
  const client = open();
  const told = log(client);
  const call = client.call('a');
  send(client, 1, 2);
  last().drop(4403);
  assert.equal(client.state, 'closed');
  assert.equal((await outcome(call)).code, 'unavailable');
  assert.deepEqual(await errors(told), [['unavailable', { dropped: 2 }]]);
  assert.throws(() => client.send('n'), { code: 'unavailable' });
});
