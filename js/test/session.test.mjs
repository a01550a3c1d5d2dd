// A session counts its messages, both ways, and each side acknowledges what it has.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, last, log, redial, resume, sent, settle, setup, teardown, tick, welcome,
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
const errors = async (told) => {
  await settle();
  return told.filter(([what]) => what === 'error').map(([, error]) => {
    assert.ok(error instanceof WsError);
    return [error.code, error.data];
  });
};

// ---- Counting

const connection = ['$welcome', '$ping', '$pong', '$ack', '$goaway'];
for (const type of connection) {
  test(`${type} isn't counted`, () => {
    const client = open();
    last().message({ type, ...(type === '$ack' && { data: 0 }) });
    redial(client).accept();
    assert.equal(hello().received, 0);
  });
}

test('all else is counted: unknown, bad, ignored, refused, of any kind', () => {
  const client = open();
  const raw = ['', 'x', '{', '[]', 'null', '7', '"x"', '{}', '{"type":7}', '{"type":["$ping"]}', '{"type":{"a":1}}',
    '{"type":"$ping","x":', '{"type":"open"}', '{"type":"close"}', '{"type":"__proto__"}', '{"type":"constructor"}',
    '{"type":"$what"}', '{"type":"$"}', '{"type":" $ping"}', '{"type":"$PING"}', '{"type":"$reply","id":9}',
    '{"type":"$error"}', '{"type":"$item","id":9}', '{"type":"$more","id":9,"data":1}', '{"type":"$cancel","id":9}',
    '{"type":"$end","id":9}', '{"type":"$auth","id":9}', '{"type":"$gap","data":{"type":"a","dropped":1}}',
    '{"type":"$room","data":{"room":"a","pos":null}}', '{"type":"a"}', '{"type":"a","id":1}', '{"type":"a"} x'];
  for (const text of raw) last().raw(text);
  redial(client).accept();
  assert.equal(hello().received, raw.length);
});

test('messages that a callback or a handler threw at are counted', () => {
  const client = open();
  client.on('a', () => {
    throw new Error('mine');
  });
  last().message({ type: 'a' });
  assert.throws(() => tick(1), /mine/);
  redial(client).accept();
  assert.equal(hello().received, 1);
});

test('each session counts from 1', () => {
  const client = open();
  last().message({ type: 'a' });
  send(client, 1, 3);
  last().message({ type: '$ack', data: 2 });
  redial(client);
  welcome({ session: 's2' });
  send(client, 4, 5);
  last().message({ type: '$ack', data: 1 });
  last().message({ type: 'a' });
  last().message({ type: 'a' });
  redial(client).accept();
  assert.deepEqual([hello().session, hello().received], ['s2', 2]);
  resume(1, { session: 's2' });
  assert.deepEqual(numbers(), [5]);
});

// ---- Acks

test('$ack goes at least every `ack` messages', () => {
  open({}, { ack: 5 });
  for (let i = 1; i <= 4; i++) last().message({ type: 'a' });
  assert.deepEqual(acks(), [0]);
  for (let i = 5; i <= 13; i++) last().message({ type: 'a' });
  assert.deepEqual(acks(), [0, 5, 10]);
});

test('ack 1: each message', () => {
  open({}, { ack: 1 });
  for (let i = 1; i <= 3; i++) last().message({ type: 'a' });
  assert.deepEqual(acks(), [0, 1, 2, 3]);
});

test('$ack goes at least every 64 KiB, whatever the characters', () => {
  open();
  for (const letter of ['x', '世', '😀']) {
    const before = acks().length;
    const text = letter.repeat(1000 / letter.length);
    for (let bytes = 0; bytes < 65_536; bytes += Buffer.byteLength(text)) last().message({ type: 'a', data: text });
    assert.ok(acks().length > before, letter);
  }
  const before = acks().length;
  last().message({ type: 'a', data: 'x'.repeat(65_536) });
  assert.equal(acks().length, before + 1, 'a large one at once');
  for (let i = 0; i < 9; i++) last().message({ type: 'a' });
  assert.equal(acks().length, before + 1, 'and not each one after it');
});

test('$ack goes at most 1 s after a message, and not without one', () => {
  open();
  tick(500);
  last().message({ type: 'a' });
  tick(600);
  last().message({ type: 'a' });
  tick(399);
  assert.deepEqual(acks(), [0]);
  tick(1);
  assert.deepEqual(acks(), [0, 2]);
  tick(5000);
  assert.deepEqual(acks(), [0, 2]);
  last().message({ type: 'a' });
  tick(1000);
  assert.deepEqual(acks(), [0, 2, 3]);
});

test('after acks by number, the next message is acknowledged within 1 s, too', () => {
  open({}, { ack: 2 });
  last().message({ type: 'a' });
  tick(900);
  last().message({ type: 'a' });
  last().message({ type: 'a' });
  tick(1000);
  assert.deepEqual(acks(), [0, 2, 3]);
});

test('$ack goes before $pong, if owed', () => {
  open();
  last().message({ type: '$ping' });
  last().message({ type: 'a' });
  last().message({ type: '$ping' });
  last().message({ type: '$ping' });
  assert.deepEqual(last().sent.slice(2), [
    { type: '$pong' }, { type: '$ack', data: 1 }, { type: '$pong' }, { type: '$pong' },
  ]);
});

test('acks are timed again after a resume', () => {
  const client = open({}, { ack: 3 });
  last().message({ type: 'a' });
  redial(client);
  resume(0, { ack: 3 });
  tick(1000);
  assert.deepEqual(acks(), [], '$hello said it');
  last().message({ type: 'a' });
  tick(999);
  assert.deepEqual(acks(), []);
  tick(1);
  assert.deepEqual(acks(), [2]);
  for (let i = 3; i <= 5; i++) last().message({ type: 'a' });
  assert.deepEqual(acks(), [2, 5]);
});

test('no $ack to a connection that isn\'t welcomed', () => {
  const client = open();
  last().message({ type: 'a' });
  const old = last();
  redial(client).accept();
  tick(1000);
  assert.deepEqual([acks(old), acks()], [[0], []]);
});

test('the server\'s $ack frees what it names, and nothing else', () => {
  const client = open();
  send(client, 1, 5);
  last().message({ type: '$ack', data: 3 });
  last().message({ type: '$ack', data: 2 }); // lower: ignored
  last().message({ type: '$ack', data: 3 });
  redial(client);
  resume(3);
  assert.deepEqual(numbers(), [4, 5]);
  last().message({ type: '$ack', data: 5 });
  send(client, 6, 6);
  redial(client);
  resume(5);
  assert.deepEqual(numbers(), [6]);
});

for (const bad of [1, 4, 1e300]) {
  test(`$ack ${bad} above what was sent closes with 4400, and comes back as new`, async () => {
    const client = open();
    const told = log(client);
    if (bad > 1) send(client, 1, 3);
    last().message({ type: '$ack', data: bad });
    assert.equal(last().closed[0], 4400);
    assert.equal(client.state, 'waiting');
    assert.deepEqual(await errors(told), bad > 1 ? [['unavailable', { dropped: 3 }]] : []);
    client.connect();
    last().accept();
    assert.equal(hello().session, undefined);
    assert.equal(hello().received, undefined);
  });
}
