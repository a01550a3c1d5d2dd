// Streams of the client: uploads, and streams both ways.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, last, outcome, redial, resume, sent, settle, setup, teardown, tick, types, welcome,
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

test('upload: as many items as were granted, then $end, then the result', async () => {
  const client = open();
  const record = {};
  const result = client.upload('sum', source([1, 2, 3], record), { data: { a: 1 } });
  await settle();
  assert.deepEqual(counted(), [{ type: 'sum', id: 1, data: { a: 1 } }]);
  assert.deepEqual(record, {}, 'the source isn\'t touched before the server asks');
  more(2);
  await settle();
  assert.deepEqual(counted().slice(1), [{ type: '$item', id: 1, data: 1 }, { type: '$item', id: 1, data: 2 }]);
  assert.equal(record.taken, 2, 'nor further than the credit');
  more(5);
  await settle();
  assert.deepEqual(counted().slice(3), [{ type: '$item', id: 1, data: 3 }, { type: '$end', id: 1 }]);
  reply(6);
  assert.equal(await outcome(result), 6);
});

test('upload: any iterable', async () => {
  const client = open();
  client.upload('sum', new Set(['a', 'b']));
  client.upload('sum', [Promise.resolve('c')]);
  for (const id of [1, 2]) more(9, id);
  await settle();
  assert.deepEqual(sent('$item').sort(), ['a', 'b', 'c']);
});

test('upload: an empty source ends at once when it is asked for', async () => {
  const client = open();
  client.upload('sum', []);
  await settle();
  assert.deepEqual(types(), ['sum']);
  more(1);
  await settle();
  assert.deepEqual(types(), ['sum', '$end']);
});

test('upload: when the method has enough, the source is returned, and nothing more is sent', async () => {
  for (const end of [() => reply('enough'), () => error({ code: 'mine' })]) {
    const client = open();
    const record = {};
    const result = client.upload('sum', source([1, 2, 3, 4], record));
    more(2);
    await settle();
    end();
    await outcome(result);
    await settle();
    assert.deepEqual([record.taken, record.over], [2, true]);
    assert.deepEqual(types(), ['sum', '$item', '$item']);
    client.close();
  }
});

test('upload: what the source throws is what it rejects with; the server gets $end with an error', async () => {
  const client = open();
  const mine = new Error('mine');
  const result = client.upload('sum', (async function* () {
    yield 1;
    throw mine;
  })()).catch((error) => error);
  more(5);
  await settle();
  assert.equal(await outcome(result), mine);
  assert.deepEqual(types(), ['sum', '$item', '$end']);
  const { code, message } = sent('$end')[0];
  assert.equal(typeof code, 'string');
  assert.equal(typeof message, 'string');
  error({ code: 'canceled' });
  assert.equal(counted().length, 3);
});

test('upload: an item that is too big, or no JSON, is an error of the source', async () => {
  const client = open({ max: 100 });
  for (const [bad, code] of [['x'.repeat(100), 'too_big'], [1n, undefined]]) {
    const record = {};
    const result = client.upload('sum', source([bad, 2], record)).catch((error) => error);
    more(5, counted().at(-1).id);
    await settle();
    assert.equal((await outcome(result)).code, code);
    assert.equal(counted().at(-1).type, '$end');
    assert.equal(record.over, true);
  }
});

test('upload: abort and timeout reject at once, send $cancel, and return the source', async () => {
  const client = open();
  const abort = new AbortController();
  const records = [{}, {}];
  const results = [
    client.upload('sum', source([1, 2, 3], records[0]), { signal: abort.signal }),
    client.upload('sum', source([1, 2, 3], records[1]), { timeout: 500 }),
  ];
  for (const id of [1, 2]) more(1, id);
  await settle();
  abort.abort();
  tick(500);
  assert.equal((await outcome(results[0])).code, 'canceled');
  assert.equal((await outcome(results[1])).code, 'timeout');
  await settle();
  assert.deepEqual(records.map(({ over }) => over), [true, true]);
  assert.deepEqual(types().slice(-2), ['$cancel', '$cancel']);
});

test('upload: survives a resume, with the credit it had', async () => {
  const client = open();
  const result = client.upload('sum', source([1, 2, 3]));
  more(1);
  await settle();
  more(1);
  redial(client);
  await settle();
  resume(1);
  assert.deepEqual(sent('$item'), [1, 2]);
  more(9);
  await settle();
  assert.deepEqual(types(), ['$item', '$item', '$item', '$end']);
  reply(3);
  assert.equal(await outcome(result), 3);
});

test('upload: a lost session rejects it, returns the source, and sends nothing of it', async () => {
  const client = open();
  const record = {};
  const result = client.upload('sum', source([1, 2, 3], record));
  more(1);
  await settle();
  redial(client);
  welcome({ session: 's2' });
  assert.equal((await outcome(result)).code, 'unavailable');
  more(5);
  await settle();
  assert.equal(record.over, true);
  assert.deepEqual(counted(), []);
});

// An iterator by hand: its items come when the test gives them, without a detour.
const manual = () => {
  const source = {
    [Symbol.asyncIterator]: () => source,
    next: () => new Promise((done) => (source.give = (value) => done({ value, done: false }))),
    return: async () => ({ done: (source.over = true) }),
  };
  return source;
};

test('upload: an item that comes in the same moment as close', async () => {
  const client = open();
  const source = manual();
  const result = client.upload('sum', source);
  more(5);
  await settle();
  source.give(1);
  client.close();
  assert.equal((await outcome(result)).code, 'unavailable');
  await settle(); // a rejection that nobody handles would fail this test
  source.give(2);
  await settle();
  assert.ok(source.over);
  tick(1); // nor is anything thrown from a timer
});

test('upload: an item that comes in the same moment as a new session', async () => {
  const client = open();
  const source = manual();
  client.upload('sum', source).catch(() => 0);
  more(5);
  await settle();
  redial(client);
  source.give(1);
  welcome({ session: 's2' });
  await settle();
  assert.deepEqual(counted(), []);
});

test('a stream with a source: items both ways', async () => {
  const client = open();
  const record = {};
  const items = client.stream('echo', 1, { source: source(['a', 'b', 'c'], record) });
  const first = items.next();
  more(2);
  await settle();
  assert.deepEqual(counted(), [
    { type: 'echo', id: 1, data: 1 }, { type: '$item', id: 1, data: 'a' }, { type: '$item', id: 1, data: 'b' },
  ]);
  item('A');
  assert.equal((await outcome(first)).value, 'A');
  await outcome(items.return());
  await settle();
  assert.deepEqual([types().at(-1), record.over], ['$cancel', true]);
});

test('a stream with a source that throws: the iterator throws that', async () => {
  const client = open();
  const mine = new Error('mine');
  const next = client.stream('echo', 1, { source: (function* () {
    throw mine;
  })() }).next().catch((error) => error);
  more(1);
  await settle();
  assert.equal(await outcome(next), mine);
  assert.deepEqual(types(), ['echo', '$end']);
});
