// Streams of the server: their order, their credit, and their ends.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, isPending, last, outcome, redial, resume, sent, settle, setup, teardown, tick, types, welcome,
} from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const open = (data) => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket });
  welcome(data);
  return client;
};
const item = (data, id = 1) => last().message({ type: '$item', id, data });
const reply = (data, id = 1) => last().message({ type: '$reply', id, data });
const error = (data, id = 1) => last().message({ type: '$error', id, data });
const more = (n, id = 1) => last().message({ type: '$more', id, data: n });
const take = async (items, n) => {
  const got = [];
  for (let i = 0; i < n; i++) got.push((await outcome(items.next())).value);
  return got;
};

// source says what became of it.
async function* source(items, record = {}) {
  record.begun = true;
  try {
    for (const item of items) {
      record.taken = (record.taken ?? 0) + 1;
      yield item;
    }
  } finally {
    record.over = true;
  }
}

test('the call goes out when the first item is asked for', async () => {
  const client = open();
  const items = client.stream('count', 3);
  await settle();
  assert.deepEqual(types(), []);
  items.next();
  await settle();
  assert.deepEqual(counted(), [{ type: 'count', id: 1, data: 3 }]);
  assert.equal(items[Symbol.asyncIterator](), items);
});

test('a stream that nobody asks is never called, and can be left', async () => {
  const client = open();
  const items = client.stream('count');
  assert.deepEqual(await items.return(), { value: undefined, done: true });
  assert.deepEqual(await items.next(), { value: undefined, done: true });
  assert.deepEqual(types(), []);
});

test('items come in order, then the end; undefined and null are items, too', async () => {
  const client = open();
  const got = [];
  const loop = (async () => {
    for await (const item of client.stream('count')) got.push(item);
  })();
  await settle();
  for (const data of [1, null, { a: 1 }, undefined, '']) item(data);
  reply();
  await outcome(loop);
  assert.deepEqual(got, [1, null, { a: 1 }, undefined, '']);
  assert.deepEqual(types(), ['count'], 'no $cancel after the end');
});

test('an empty stream, and one that fails at once', async () => {
  const client = open();
  const empty = client.stream('a').next();
  reply();
  assert.deepEqual(await outcome(empty), { value: undefined, done: true });
  const failed = client.stream('b').next();
  error({ code: 'not_found', message: 'no b' }, 2);
  assert.equal((await outcome(failed)).code, 'not_found');
});

test('an error comes after the items that came before it, and once', async () => {
  const client = open();
  const items = client.stream('count');
  const first = items.next();
  await settle();
  item(1);
  item(2);
  error({ code: 'mine', message: 'no more', data: [1] });
  assert.deepEqual([(await outcome(first)).value, (await outcome(items.next())).value], [1, 2]);
  const failure = await outcome(items.next());
  assert.ok(failure instanceof WsError);
  assert.deepEqual([failure.code, failure.message, failure.data], ['mine', 'no more', [1]]);
  assert.deepEqual(await items.next(), { value: undefined, done: true });
});

test('what comes after the end concerns nobody', async () => {
  const client = open();
  const items = client.stream('count');
  const first = items.next();
  await settle();
  item(1);
  reply();
  item(2);
  error({ code: 'mine' });
  assert.equal((await outcome(first)).value, 1);
  assert.equal((await outcome(items.next())).done, true);
});

test('$more follows the consumer: not more than it took, nor so late that the server stands still for good', async () => {
  for (const window of [1, 2, 3, 8, 64]) {
    const client = open({ window });
    const items = client.stream('count');
    const first = items.next();
    await settle();
    let given = 0;
    let taken = 0;
    const credit = () => window + sent('$more').reduce((sum, n) => sum + n, 0) - given;
    const give = () => {
      while (credit() > 0) item(given++);
    };
    give();
    assert.equal(given, window, 'no credit before something is taken');
    assert.equal((await outcome(first)).value, taken++);
    for (; taken < 200; taken++) {
      const next = items.next();
      await settle();
      for (const n of sent('$more')) assert.ok(Number.isInteger(n) && n >= 1);
      assert.ok(given + credit() <= window + taken, 'not more than was taken');
      give();
      assert.equal((await outcome(next)).value, taken);
    }
    client.close();
    FakeWebSocket.all.length = 0;
  }
});

test('a consumer that stands still grants nothing', async () => {
  const client = open({ window: 4 });
  const items = client.stream('count');
  const first = items.next();
  await settle();
  for (let i = 0; i < 4; i++) item(i);
  await outcome(first);
  await settle();
  tick(1000);
  assert.deepEqual(sent('$more'), []);
});

test('to leave the loop sends $cancel, once, and what comes late is ignored', async () => {
  const client = open();
  const loop = (async () => {
    for await (const item of client.stream('count')) if (item === 2) break;
  })();
  await settle();
  for (let i = 1; i <= 4; i++) item(i);
  await outcome(loop);
  assert.deepEqual(counted(), [{ type: 'count', id: 1 }, { type: '$cancel', id: 1 }]);
  item(5);
  error({ code: 'canceled' });
  assert.equal(counted().length, 2);
});

test('a throw in the loop is the caller\'s, and sends $cancel', async () => {
  const client = open();
  const loop = (async () => {
    for await (const item of client.stream('count')) throw new Error(`mine ${item}`);
  })();
  await settle();
  item(1);
  assert.equal((await outcome(loop)).message, 'mine 1');
  assert.deepEqual(types(), ['count', '$cancel']);
});

test('an aborted signal ends the stream, with its reason, and sends $cancel', async () => {
  const client = open();
  const abort = new AbortController();
  const next = client.stream('count', 1, { signal: abort.signal }).next();
  await settle();
  abort.abort('enough');
  const failure = await outcome(next);
  assert.deepEqual([failure.code, failure.data], ['canceled', 'enough']);
  assert.deepEqual(types(), ['count', '$cancel']);
  const never = client.stream('count', 1, { signal: abort.signal }).next();
  assert.equal((await outcome(never)).code, 'canceled');
  assert.equal(counted().length, 2, 'not called at all');
});

test('there is no limit of time', async () => {
  const client = open({ ping: 0 });
  const next = client.stream('count').next();
  tick(1e9);
  assert.ok(await isPending(next));
});

test('a stream survives a resume: items, credit, and the end', async () => {
  const client = open({ window: 2 });
  const items = client.stream('count');
  const first = items.next();
  await settle();
  item(0);
  redial(client);
  assert.equal((await outcome(first)).value, 0);
  const second = items.next();
  await settle();
  resume(1, { window: 2 });
  item(1);
  assert.equal((await outcome(second)).value, 1);
  assert.deepEqual(sent('$more'), [1], 'what was granted during the outage');
  const third = items.next();
  await settle();
  redial(client);
  resume(2, { window: 2 });
  assert.deepEqual(sent('$more'), [1], 'again what the server lacks');
  item(2);
  reply();
  assert.equal((await outcome(third)).value, 2);
  assert.equal((await outcome(items.next())).done, true);
});

test('a lost session ends it with unavailable, after the items that came', async () => {
  const client = open();
  const items = client.stream('count');
  const first = items.next();
  await settle();
  item(0);
  item(1);
  redial(client);
  assert.equal((await outcome(first)).value, 0);
  welcome({ session: 's2' });
  assert.equal((await outcome(items.next())).value, 1);
  assert.equal((await outcome(items.next())).code, 'unavailable');
  await settle();
  assert.deepEqual(counted(), []);
});

test('an iterator that asks in the callback of open finds nothing of it in the new session', async () => {
  const client = open({ window: 1 });
  const items = client.stream('count');
  const first = items.next();
  await settle();
  item(0);
  await outcome(first);
  redial(client);
  let next;
  client.on('open', () => (next = items.next()));
  welcome({ session: 's2', window: 1 });
  assert.equal((await outcome(next)).code, 'unavailable');
  assert.deepEqual(counted(), []);
});

test('a closed client ends it', async () => {
  const client = open();
  const next = client.stream('count').next();
  client.close();
  assert.equal((await outcome(next)).code, 'unavailable');
  assert.equal((await outcome(client.stream('count').next())).code, 'unavailable');
});

test('data that JSON has no word for: the iterator throws the TypeError of send', async () => {
  const client = open();
  const failure = await outcome(client.stream('count', 1n).next());
  assert.ok(failure instanceof TypeError);
  assert.match(failure.message, /BigInt/);
  assert.ok((await outcome(client.stream('$count').next())) instanceof TypeError);
  assert.ok((await outcome(client.upload('a', [], { data: 1n }))) instanceof TypeError);
  assert.deepEqual(counted(), []);
});

test('two streams at a time don\'t mix', async () => {
  const client = open();
  const [a, b] = [client.stream('a'), client.stream('b')];
  const firsts = [a.next(), b.next()];
  await settle();
  item('b1', 2);
  item('a1', 1);
  reply(undefined, 2);
  item('a2', 1);
  assert.deepEqual((await Promise.all(firsts)).map(({ value }) => value), ['a1', 'b1']);
  assert.equal((await outcome(b.next())).done, true);
  assert.deepEqual(await take(a, 1), ['a2']);
});
