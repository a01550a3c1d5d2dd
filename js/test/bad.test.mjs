// Bad input: what a server, a token function, a listener may do wrong. Nothing is thrown out of the socket's callbacks, and
// the client goes on.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import {
  FakeWebSocket, catching, counted, dials, last, outcome, redial, resume, sent, settle, setup, teardown, thrown, tick,
  usable, warnings, welcome,
} from './fake.mjs';

beforeEach(setup);
beforeEach(catching);
afterEach(teardown);

const open = (options, data) => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, ...options });
  client.on('error', () => 0);
  welcome(data);
  return client;
};

const values = ['null', 'true', '0', '-1', '1.5', '1e999', '""', '"x"', '[]', '[1]', '{}',
  '{"__proto__":1}', '{"length":-1}', '{"then":1}', '"' + 'x'.repeat(1000) + '"'];
const types = ['a', 'ask', 'open', 'close', 'error', 'gap', 'constructor', '__proto__', 'toString', 'hasOwnProperty', '',
  '$', '$$', '$what', '$hello', '$reply', '$error', '$item', '$end', '$more', '$cancel', '$gap', '$room', '$auth', '$pong',
  '$ping', '$constructor', '$__proto__', 'x'.repeat(10_000)].map((type) => JSON.stringify(type));

test('garbage of any kind, while a call, a stream, an upload and a handler are at work', async () => {
  const texts = ['', ' ', '{', '}', '{}', '[', '[]', '"', 'null', 'undefined', 'NaN', '\u0000', '\ufeff{}',
    '{"type":"a"}{"type":"a"}',
    '{"type":"a"', '{"type":}', '[{"type":"a"}]', '['.repeat(100_000), ...values];
  for (const type of [...types, ...values]) {
    texts.push(`{"type":${type}}`);
    for (const value of values) {
      texts.push(`{"type":${type},"data":${value}}`);
      if (!['"$reply"', '"$error"'].includes(type)) texts.push(`{"type":${type},"id":1,"data":${value}}`);
      texts.push(`{"type":${type},"id":${value},"data":${value}}`, `{"type":${type},"room":${value},"pos":${value}}`);
    }
  }
  const client = open();
  client.handle('ask', (data) => data);
  client.on('a', () => 0);
  client.on('gap', () => 0);
  for (const type of ['a', 'gap']) client.room('r').on(type, () => 0);
  const call = client.call('call', 0, { timeout: Infinity });
  const stream = client.stream('stream');
  const item = stream.next();
  const upload = client.upload('upload', [1, 2, 3]);
  for (const promise of [call, item, upload]) promise.catch(() => 0);
  for (const text of texts) {
    try {
      last().raw(text);
      tick(1);
      if (thrown.length) throw thrown[0];
    } catch (error) {
      error.message += `, by ${text.slice(0, 200)}`;
      throw error;
    }
  }
  await settle();
  tick(1);
  await usable(client);
  for (const { type, id } of counted()) assert.ok(id === undefined || Number.isSafeInteger(id), `${type} with id ${id}`);
  last().message({ type: '$reply', id: counted().find(({ type }) => type === 'call').id, data: 'ok' });
  assert.equal(await outcome(call), 'ok');
});

test('data that isn\'t text', async () => {
  const client = open();
  for (const data of [new ArrayBuffer(3), new Uint8Array(3), new Blob(['{}'])]) last().raw(data);
  await usable(client);
});

for (const value of [...values, '"' + 'x'.repeat(100) + '"']) {
  test(`$ack ${value.slice(0, 40)}`, async () => {
    const client = open();
    client.send('x');
    last().raw(`{"type":"$ack","data":${value}}`);
    if (client.state !== 'open') {
      assert.equal(last().closed[0], 4400);
      client.connect();
      welcome({ session: 's2' });
    }
    await usable(client);
  });

  test(`$welcome with all ${value.slice(0, 40)}`, async () => {
    for (const first of [true, false]) {
      const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, token: () => 't' });
      client.on('error', () => 0);
      await settle();
      if (!first) {
        welcome();
        client.send('x');
        redial(client);
        await settle();
      }
      last().accept().raw(`{"type":"$welcome","data":${value}}`);
      if (client.state === 'connecting') tick(10_000);
      client.connect();
      const members = ['session', 'resumed', 'received', 'ping', 'timeout', 'max', 'ack', 'window', 'schema', 'expires'];
      await settle();
      if (last().readyState === 0) {
        last().accept().raw(`{"type":"$welcome","data":{${members.map((name) => `"${name}":${value}`)}}}`);
        last().message({ type: 'a' });
        tick(1);
      }
      await settle();
      client.close();
      client.connect();
      await settle();
      welcome();
      await usable(client);
      client.close();
    }
  });

  test(`$goaway ${value.slice(0, 40)}`, async () => {
    for (const data of [value, `{"min":${value},"max":${value}}`, `{"min":${value}}`, `{"max":${value}}`]) {
      const client = open();
      last().raw(`{"type":"$goaway","data":${data}}`);
      client.send('x');
      const before = dials();
      const told = [];
      client.on('close', ({ delay }) => told.push(delay));
      last().drop(1012);
      assert.equal(client.state, 'waiting', data);
      assert.ok(Number.isFinite(told[0]) && told[0] >= 0, `a delay of ${told[0]} for ${data}`);
      client.connect();
      assert.equal(dials(), before + 1);
      resume(0);
      await usable(client);
      client.close();
    }
  });
}

test('a reply for an unknown id, of a call that is over, and twice', async () => {
  const client = open();
  for (const id of [0, 1, 99, -1, 2 ** 53, 'x', null]) {
    for (const type of ['$reply', '$error', '$item', '$more', '$cancel', '$end']) last().message({ type, id, data: 1 });
  }
  const call = client.call('a');
  last().message({ type: '$reply', id: 1, data: 'first' });
  last().message({ type: '$reply', id: 1, data: 'second' });
  last().message({ type: '$error', id: 1, data: { code: 'x' } });
  assert.equal(await outcome(call), 'first');
  await usable(client);
});

test('an $error without, or with odd, data still fails the call', async () => {
  const client = open();
  const odd = [undefined, null, 7, 'x', [], {}, { code: 7 }, { code: {}, message: {} }, { message: 'm' }];
  for (const value of odd) {
    const call = client.call('a');
    last().message({ type: '$error', id: counted().at(-1).id, data: value });
    assert.ok((await outcome(call)) instanceof WsError, JSON.stringify(value));
  }
  await usable(client);
});

test('$welcome twice: the second is ignored, and isn\'t counted', async () => {
  const client = open();
  const told = [];
  client.on('open', (info) => told.push(info));
  client.send('x');
  welcome({ session: 's2', max: 1, ack: 1 });
  welcome({ resumed: true, received: 9 });
  assert.deepEqual(told, []);
  assert.deepEqual(sent('$ack'), [0]);
  await usable(client);
  redial(client).accept();
  assert.deepEqual(sent('$hello')[0].session, 's1');
});

test('resumed without a session that could be is no resume', () => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket });
  const told = [];
  client.on('open', ({ resumed }) => told.push(resumed));
  welcome({ session: undefined, resumed: true });
  assert.deepEqual(told, [false]);
});

test('local events are made by the client alone', async () => {
  const client = open();
  const got = [];
  for (const type of ['open', 'close', 'error', 'gap']) client.on(type, (data) => got.push([type, data]));
  for (const type of ['open', 'close', 'error', 'gap']) {
    last().message({ type, data: 'fake' });
    client.handle(type, () => got.push('handled'));
    last().message({ type, id: 1, data: 'fake' });
  }
  assert.deepEqual(got, []);
  assert.ok(warnings.length >= 4);
  await usable(client);
});

test('types that objects have by nature are types like others', () => {
  const client = open();
  const got = [];
  const names = ['constructor', '__proto__', 'toString', 'valueOf', 'hasOwnProperty', 'then'];
  for (const type of names) last().message({ type, data: 'nobody listens' });
  for (const type of names) client.on(type, (data) => got.push(data));
  for (const type of names) last().message({ type, data: type });
  assert.deepEqual(got, names);
  last().raw('{"__proto__":{"type":"then"}}');
  assert.equal(got.length, names.length, 'a type is a member, not inherited');
});

test('$more that is no grant grants nothing', async () => {
  for (const value of [-1, 0, 0.5, '-1', 'x', null, {}, [], [1, 2], undefined]) {
    const client = open();
    client.upload('up', Array(50).fill('x')).catch(() => 0);
    last().message({ type: '$more', id: 1, data: value });
    await settle();
    assert.deepEqual(sent('$item'), [], JSON.stringify(value));
    last().message({ type: '$more', id: 1, data: 2 });
    await settle();
    assert.equal(sent('$item').length, 2, JSON.stringify(value));
    client.close();
  }
});

test('positions that are none don\'t go into $hello', () => {
  const client = open();
  const bad = [7, null, true, {}, [], ''];
  for (const pos of bad.slice(0, 5)) {
    if (pos !== null) last().message({ type: 'said', room: 'a', pos });
    last().message({ type: '$room', data: { room: 'b', pos } });
  }
  for (const room of [7, null, {}, undefined]) {
    last().message({ type: 'said', room, pos: 'e.1' });
    last().message({ type: '$room', data: { room, pos: 'e.1' } });
  }
  for (const data of [undefined, null, 7, 'x', []]) last().message({ type: '$room', data });
  last().message({ type: 'said', room: 'c', pos: 'e.1' });
  redial(client).accept();
  assert.deepEqual(sent('$hello')[0].rooms, { c: 'e.1' });
});

test('a $gap without data, and listeners of client and rooms', async () => {
  const client = open();
  client.on('gap', () => 0);
  client.room('a').on('gap', () => 0);
  for (const data of [undefined, null, 7]) last().message({ type: '$gap', data });
  tick(1);
  await usable(client);
});

test('plain: control types of v1 mean nothing', async () => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, plain: true });
  last().accept();
  for (const type of ['$hello', '$welcome', '$ping', '$pong', '$ack', '$goaway', '$what']) {
    last().message({ type, data: { ping: 1, timeout: 1, min: 1, max: 1, ack: 1, session: 's' } });
    last().message({ type, data: 5 });
  }
  assert.deepEqual(last().sent, []);
  tick(1e6);
  await usable(client);
});

// ---- Callbacks

test('a listener that throws: the others run, the error comes from a timer, the message is counted', async () => {
  const client = open({}, { ack: 1 });
  const got = [];
  client.on('a', () => {
    throw new Error('mine');
  });
  client.on('a', (data) => got.push(data));
  last().message({ type: 'a', data: 1 });
  assert.deepEqual(got, [1]);
  assert.deepEqual(sent('$ack'), [0, 1]);
  tick(1);
  assert.deepEqual(thrown.splice(0).map(({ message }) => message), ['mine']);
  await usable(client);
});

for (const type of ['open', 'close', 'error', 'gap']) {
  test(`a listener of ${type} that throws`, async () => {
    const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket });
    client.on(type, () => {
      throw new Error('mine');
    });
    if (type === 'error') client.send('a', 'x'.repeat(100));
    welcome({ max: 90 });
    last().message({ type: '$gap', data: { type: 'a', dropped: 1 } });
    last().drop();
    await settle();
    tick(1);
    assert.ok(thrown.length >= 1);
    client.connect();
    resume(0);
    tick(1);
    assert.ok(thrown.splice(0).every(({ message }) => message === 'mine'));
    await usable(client);
  });

  test(`a listener of ${type} that closes`, async () => {
    const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, queueTtl: 100 });
    client.on(type, () => client.close(), { once: true });
    if (type === 'error') {
      last().drop();
      client.send('a');
      tick(600);
      await settle();
    } else {
      welcome();
      last().message({ type: '$gap', data: { type: 'a', dropped: 1 } });
      last().drop();
    }
    assert.equal(client.state, 'closed');
    const before = dials();
    tick(1e6);
    await settle();
    assert.equal(dials(), before);
    client.connect();
    welcome();
    await usable(client);
  });
}
