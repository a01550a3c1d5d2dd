// What answers the calls of the server.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import {
  FakeWebSocket, catching, counted, last, redial, sent, settle, setup, teardown, thrown, tick, usable, welcome,
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

test('handle: answers, at once or later, with or without a result', async () => {
  const client = open();
  client.handle('now', (data) => data + 1);
  client.handle('later', async (data) => data + 2);
  client.handle('nothing', () => undefined);
  client.handle('null', () => null);
  ['now', 'later', 'nothing', 'null'].forEach((type, i) => last().message({ type, id: i + 1, data: 10 }));
  await settle();
  assert.deepEqual(counted().sort((a, b) => a.id - b.id), [
    { type: '$reply', id: 1, data: 11 }, { type: '$reply', id: 2, data: 12 }, { type: '$reply', id: 3 },
    { type: '$reply', id: 4, data: null },
  ]);
});

test('handle: a WsError goes to the server as it is; anything else is internal, and the page hears it', async () => {
  const client = open();
  client.handle('mine', () => {
    throw new WsError('mine', 'no', { a: 1 });
  });
  client.handle('late', async () => {
    throw new WsError('late', 'no');
  });
  last().message({ type: 'mine', id: 1 });
  last().message({ type: 'late', id: 2 });
  await settle();
  assert.deepEqual(counted(), [
    { type: '$error', id: 1, data: { code: 'mine', message: 'no', data: { a: 1 } } },
    { type: '$error', id: 2, data: { code: 'late', message: 'no' } },
  ]);
  tick(1);
  for (const secret of [new Error('secret'), 'secret', null, undefined, { code: 'secret' }]) {
    client.handle('broken', () => {
      throw secret;
    });
    last().message({ type: 'broken', id: 3 });
    await settle();
    const { type, id, data } = counted().at(-1);
    assert.deepEqual([type, id, data.code], ['$error', 3, 'internal']);
    assert.ok(!JSON.stringify(data).includes('secret'));
    tick(1);
    assert.deepEqual(thrown.splice(0), [secret]);
  }
  await usable(client);
});

test('handle: an answer that is no JSON, or too big, is an error', async () => {
  const client = open({}, { max: 200 });
  client.handle('cycle', () => 1n);
  client.handle('big', () => 'x'.repeat(1000));
  last().message({ type: 'cycle', id: 1 });
  last().message({ type: 'big', id: 2 });
  await settle();
  assert.deepEqual(counted().map(({ type, id, data: { code } }) => [type, id, code]), [
    ['$error', 1, 'internal'], ['$error', 2, 'too_big'],
  ]);
  tick(1);
  assert.ok(thrown.length === 1 && thrown[0] instanceof TypeError);
});

test('handle: not_found where there is none, or it was taken off; the last one counts', async () => {
  const client = open();
  const asked = async (type) => {
    last().message({ type, id: 1 });
    await settle();
    const { data } = counted().at(-1);
    return data.code ?? data;
  };
  assert.equal(await asked('a'), 'not_found');
  assert.equal(await asked('constructor'), 'not_found');
  const off = client.handle('a', () => 'first');
  assert.equal(await asked('a'), 'first');
  const off2 = client.handle('a', () => 'second');
  off();
  assert.equal(await asked('a'), 'second', 'off takes off its own alone');
  off2();
  assert.equal(await asked('a'), 'not_found');
});

test('handle: a call reaches no listener, a message no handler', async () => {
  const client = open();
  const got = [];
  client.on('a', () => got.push('on'));
  client.handle('a', () => got.push('handle'));
  last().message({ type: 'a' });
  last().message({ type: 'a', id: 1 });
  await settle();
  assert.deepEqual(got, ['on', 'handle']);
});

test('handle: a call whose id isn\'t one is a bad message: not run, not answered', async () => {
  const client = open();
  let ran = 0;
  client.handle('a', () => ++ran);
  for (const id of ['x', '1', 1.5, -1, true, {}, [1], 2 ** 53, 0]) last().message({ type: 'a', id });
  await settle();
  assert.equal(ran, 0);
  assert.deepEqual(counted(), []);
  await usable(client);
});

test('handle: an answer after the session was lost, or the client closed, isn\'t sent', async () => {
  for (const end of [(client) => (redial(client), welcome({ session: 's2' })), (client) => client.close()]) {
    const client = open();
    let answer;
    client.handle('a', () => new Promise((done) => (answer = done)));
    last().message({ type: 'a', id: 1 });
    end(client);
    answer('late');
    await settle();
    assert.deepEqual(counted(), []);
    tick(1);
    client.close();
  }
});

test('handle: not at the plain level, where it is a message', async () => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, plain: true });
  last().accept();
  const got = [];
  client.handle('a', () => got.push('handle'));
  client.on('a', () => got.push('on'));
  last().message({ type: 'a', id: 1 });
  await settle();
  assert.deepEqual([got, last().sent], [['on'], []]);
});
