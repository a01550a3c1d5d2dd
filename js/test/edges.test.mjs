// What happens at the same moment, for a very long time, or against all expectation.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, SimpleSocketHandler, WsError } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, dials, dice, isPending, last, log, outcome, page, redial, resume, sent, settle, setup, teardown, tick, types,
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

// The two may come in any order, some microtasks apart.
test('a source that throws while its consumer leaves: nothing that is sent afterwards is lost', async () => {
  for (let late = 0; late < 7; late++) {
    for (let later = 0; later < 7; later++) {
      const client = open();
      let go;
      const signal = new Promise((done) => (go = done));
      const source = {
        [Symbol.asyncIterator]: () => ({
          async next() {
            await signal;
            for (let i = 0; i < late; i++) await 0;
            throw new Error('own');
          },
        }),
      };
      const consumer = (async () => {
        for await (const item of client.stream('echo', 1, { source })) {
          await signal;
          for (let i = 0; i < later; i++) await 0;
          if (item === 0) break;
        }
      })();
      await settle();
      last().message({ type: '$more', id: 1, data: 3 });
      last().message({ type: '$item', id: 1, data: 0 });
      await settle();
      go();
      await outcome(consumer);
      client.send('a').send('b');
      assert.deepEqual(types().slice(-2), ['a', 'b'], `${late}, ${later}`);
      redial(client);
      resume(1);
      assert.deepEqual(types().slice(-2), ['a', 'b'], 'and both are sent again');
    }
  }
});

test('an end and the next message in one turn', async () => {
  const client = open();
  const items = client.stream('s');
  const first = items.next();
  client.on('stop', () => items.return());
  last().message({ type: '$item', id: 1, data: 0 });
  assert.equal((await outcome(first)).value, 0);
  client.send('a');
  last().message({ type: 'stop' });
  last().message({ type: '$reply', id: 1 });
  client.send('b');
  await settle();
  client.send('c');
  assert.deepEqual(types().filter((type) => type.length === 1 && type !== 's'), ['a', 'b', 'c']);
  redial(client);
  resume(1);
  assert.deepEqual(types().filter((type) => type.length === 1), ['a', 'b', 'c']);
});

test('no limit of time is none, also after a month', async () => {
  const client = open({}, { ping: 0 });
  const call = client.call('a', 1, { timeout: Infinity });
  const item = client.stream('s').next();
  const upload = client.upload('u', []);
  for (let day = 0; day < 60; day++) tick(86_400_000);
  for (const promise of [call, item, upload]) assert.ok(await isPending(promise));
  assert.deepEqual(sent('$cancel'), []);
});

test('one signal for an upload and for its source: nothing is thrown at nobody', async () => {
  const client = open();
  const control = new AbortController();
  async function* source() {
    yield 1;
    await new Promise((_, fail) => control.signal.addEventListener('abort', () => fail(control.signal.reason)));
  }
  const upload = client.upload('sum', source(), { signal: control.signal });
  await settle();
  last().message({ type: '$more', id: 1, data: 5 });
  await settle();
  control.abort();
  assert.equal((await outcome(upload)).code, 'canceled');
  await settle();
  tick(1);
});

test('a source that throws undefined fails the upload', async () => {
  const client = open();
  const upload = client.upload('sum', (function* () {
    throw undefined;
  })());
  last().message({ type: '$more', id: 1, data: 5 });
  assert.ok((await outcome(upload)) instanceof WsError);
});

test('close without a connection tells of what was written, too', async () => {
  const client = open();
  const told = log(client);
  client.send('a').send('b').send('c');
  last().drop();
  client.send('d');
  client.close();
  await settle();
  assert.deepEqual(told.filter(([type]) => type === 'error').map(([, { code, data }]) => [code, data.dropped]), [['unavailable', 4]]);
});

test('SimpleSocketHandler at v1: a gap has its data', () => {
  const ws = new SimpleSocketHandler('ws://host/ws', { WebSocket: FakeWebSocket, plain: false });
  welcome();
  const told = [];
  ws.on('gap', (gap) => told.push(gap));
  ws.room('go').on('gap', (gap) => told.push(gap));
  last().message({ type: '$gap', data: { type: 'a', dropped: 2 } });
  last().message({ type: '$room', data: { room: 'go', pos: 'e.1', recovered: false } });
  assert.deepEqual(told, [{ type: 'a', dropped: 2 }, { room: 'go' }, { room: 'go' }]);
});

test('connect() leaves an attempt alone, however old, and an open connection', () => {
  const client = make();
  for (let i = 0; i < 9; i++) {
    tick(1000);
    client.connect();
  }
  assert.equal(dials(), 1);
  welcome();
  tick(5000);
  const before = last().sent.length;
  client.connect();
  assert.equal(last().sent.length, before);
});

test('a subclass may have any members', async () => {
  const names = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_';
  class Mine extends Client {
    constructor(...args) {
      super(...args);
      for (const name of names) this[name] = 0;
    }
  }
  const client = new Mine('ws://host/ws', { WebSocket: FakeWebSocket });
  welcome();
  const got = [];
  client.on('a', (data) => got.push(data));
  client.handle('ask', () => 7);
  client.room('go').on('a', (data) => got.push(data));
  last().message({ type: 'a', data: 1, room: 'go', pos: 'e.1' });
  last().message({ type: 'ask', id: 1 });
  const item = client.stream('s').next();
  last().message({ type: '$item', id: 1, data: 2 });
  assert.equal((await outcome(item)).value, 2);
  assert.deepEqual(got, [1, 1]);
  assert.deepEqual(sent('$reply'), [7]);
  assert.equal(client.room('go').position, 'e.1');
  client.close();
  assert.equal(client.state, 'closed');
});

test('what a subclass overrides is called', () => {
  class Loud extends Client {
    send(type, data, options) {
      return super.send(type.toUpperCase(), data, options);
    }
  }
  const client = new Loud('ws://host/ws', { WebSocket: FakeWebSocket });
  welcome();
  client.send('a');
  client.room('go').send('b', { c: 1 });
  assert.deepEqual(counted(), [{ type: 'A' }, { type: 'B', data: { c: 1, room: 'go' } }]);
});

test('handle: an answer, or an error, that cannot be sent is an error that can', async () => {
  const client = open({}, { max: 200 });
  const cycle = {};
  cycle.self = cycle;
  client.handle('reply', () => 1n);
  client.handle('data', () => {
    throw new WsError('mine', 'text', cycle);
  });
  client.handle('large', () => {
    throw new WsError('mine', 'x'.repeat(1000));
  });
  for (const [i, type] of ['reply', 'data', 'large'].entries()) {
    last().message({ type, id: i + 1 });
    await settle();
    assert.equal(sent('$error').length, i + 1, type);
    assert.equal(sent('$error').at(-1).code, 'internal');
    assert.throws(() => tick(1), type);
  }
});

test('an error listener that connects again, and a token function that throws at once: the page lives on', async () => {
  let asked = 0;
  const client = make({
    token() {
      if (++asked > 1000) client.close();
      throw new Error('no');
    },
  });
  client.on('error', () => client.connect());
  await settle();
  assert.ok(asked < 10, `asked ${asked} times in one turn`);
});

test('plain: nobody is asked for a token', async () => {
  const client = make({ plain: true, token: () => assert.fail() });
  await settle();
  last().accept();
  assert.equal(client.state, 'open');
});

test('a page put aside while the token is awaited opens no connection', async () => {
  const { fire, gone } = page();
  try {
    let give;
    const client = make({ token: () => new Promise((done) => (give = done)) });
    await settle();
    fire('pagehide', { persisted: true });
    assert.equal(client.state, 'waiting');
    give('t');
    await settle();
    assert.equal(dials(), 0);
    fire('pageshow', { persisted: true });
    await settle();
    give('t');
    await settle();
    welcome();
    assert.equal(client.state, 'open');
    client.close();
  } finally {
    gone();
  }
});

test('after one good connection too, a second 4401 is final', async () => {
  const client = open({ token: 't' });
  tick(6000);
  last().drop(4401);
  await settle();
  tick(0);
  last().accept().drop(4401);
  await settle();
  assert.equal(client.state, 'closed');
});

test('after one good connection too, delays grow', () => {
  dice.value = 1;
  const client = open();
  const delays = [];
  client.on('close', ({ delay }) => delays.push(delay));
  tick(6000);
  last().drop();
  const times = [];
  for (let i = 0; i < 4; i++) {
    const before = dials();
    let waited = 0;
    for (; dials() === before; waited += 100) tick(100);
    times.push(waited);
    last().drop();
  }
  assert.deepEqual(times, [1100, 2100, 4100, 8100]);
});
