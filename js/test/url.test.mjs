import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import { FakeWebSocket, dials, last, log, settle, setup, teardown, tick, warnings } from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const make = (options, url = 'ws://host/ws') => new Client(url, { plain: true, WebSocket: FakeWebSocket, ...options });

test('a url function is asked before every attempt', async () => {
  let n = 0;
  make({}, async () => `https://host/ws?try=${++n}`);
  assert.equal(dials(), 0);
  await settle();
  assert.equal(last().url, 'wss://host/ws?try=1');
  last().drop();
  tick(600);
  await settle();
  assert.equal(last().url, 'wss://host/ws?try=2');
  make({}, () => new URL('ws://host/sync'));
  await settle();
  assert.equal(last().url, 'ws://host/sync');
});

for (const [how, url] of [
  ['rejects', () => Promise.reject(new Error('no token'))],
  ['throws', () => {
    throw new Error('no token');
  }],
]) {
  test(`a url function that ${how} is a failed attempt`, async () => {
    let broken = true;
    const client = make({}, () => (broken ? url() : 'ws://host/ws'));
    const told = log(client);
    await settle();
    tick(0);
    assert.equal(told[0][0], 'close');
    assert.deepEqual({ ...told[0][1] }, {
      code: 1006, reason: 'Error: no token', opened: false, reconnect: true, delay: 600,
    });
    assert.equal(told[1][1].code, 'unavailable');
    assert.match(told[1][1].message, /no token/);
    assert.equal(told[1][1].data.message, 'no token');
    tick(600);
    await settle();
    tick(0);
    assert.deepEqual(told.map(([type]) => type), ['close', 'error', 'error'], 'the loss is told once, its causes each time');
    broken = false;
    tick(1100);
    await settle();
    last().accept();
    assert.equal(client.state, 'open');
  });
}

test('a url function that gives no url is a failed attempt', async () => {
  const client = make({}, async () => 'localhost:42000');
  await settle();
  tick(0);
  assert.equal(client.state, 'waiting');
  assert.equal(warnings.length, 1, 'nobody listens for error');
});

test('a WebSocket class that throws is a failed attempt', async () => {
  class Refusing {
    constructor() {
      throw new Error('SecurityError');
    }
  }
  const client = make({ WebSocket: Refusing });
  const told = log(client);
  await settle();
  tick(0);
  assert.deepEqual(told.map(([type]) => type), ['close', 'error']);
  assert.equal(client.state, 'waiting');
});

test('a url function counts towards the connect timeout, and comes too late afterwards', async () => {
  const waiting = [];
  const client = make({}, () => new Promise((done, fail) => waiting.push({ done, fail })));
  tick(10_000);
  assert.equal(client.state, 'waiting');
  waiting[0].done('ws://host/late');
  await settle();
  assert.equal(dials(), 0);
  tick(600);
  tick(4000);
  waiting[1].done('ws://host/ws');
  await settle();
  assert.equal(last().url, 'ws://host/ws');
  tick(6000);
  assert.equal(client.state, 'waiting', 'one limit for both');
  tick(1100);
  client.close();
  waiting[2].fail(new Error('late'));
  await settle();
  assert.equal(client.state, 'closed');
  assert.equal(dials(), 1);
});

test('a url function that failed concerns nobody who has closed in the meantime', async () => {
  const client = make({}, () => {
    throw new Error('no token');
  });
  const told = log(client);
  client.close();
  await settle();
  assert.deepEqual(told.map(([type]) => type), ['close']);
  assert.equal(client.state, 'closed');
});
