import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import { FakeWebSocket, isPending, last, log, outcome, settle, setup, teardown, tick, warnings } from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const make = (options) => new Client('ws://host/ws', { plain: true, WebSocket: FakeWebSocket, ...options });
const open = (options) => {
  const client = make(options);
  last().accept();
  return client;
};

test('calls are numbered from 1 and end with their answer', async () => {
  const client = open();
  const one = client.call('add', [1, 2]);
  const two = client.call('now');
  assert.deepEqual(last().sent, [{ type: 'add', id: 1, data: [1, 2] }, { type: 'now', id: 2 }]);
  last().message({ type: '$reply', id: 2, data: 'noon' });
  last().message({ type: '$reply', id: 1, data: 3 });
  assert.equal(await outcome(one), 3);
  assert.equal(await outcome(two), 'noon');
});

test('an answer without data is undefined, a falsy one is itself', async () => {
  const client = open();
  const calls = [client.call('a'), client.call('a'), client.call('a'), client.call('a')];
  last().message({ type: '$reply', id: 1 });
  last().message({ type: '$reply', id: 2, data: null });
  last().message({ type: '$reply', id: 3, data: 0 });
  last().message({ type: '$reply', id: 4, data: '' });
  assert.deepEqual(await Promise.all(calls), [undefined, null, 0, '']);
});

test('$error rejects with the code, the message and the data of the server', async () => {
  const client = open();
  const call = client.call('a');
  last().message({ type: '$error', id: 1, data: { code: 'too_many', message: 'slow down', data: { retry: 50 } } });
  const error = await outcome(call);
  assert.ok(error instanceof WsError);
  assert.deepEqual([error.code, error.message, error.data], ['too_many', 'slow down', { retry: 50 }]);
});

test('a broken $error still ends the call', async () => {
  const client = open();
  const calls = [client.call('a'), client.call('a')];
  last().message({ type: '$error', id: 1 });
  last().message({ type: '$error', id: 2, data: null });
  for (const call of calls) assert.ok((await outcome(call)) instanceof WsError);
});

test('answers for nobody are ignored', async () => {
  const client = open();
  const call = client.call('a');
  for (const id of [2, 0, -1, '1', null, undefined, 1.5]) {
    last().message({ type: '$reply', id, data: 'wrong' });
    last().message({ type: '$error', id, data: { code: 'x', message: '' } });
  }
  assert.ok(await isPending(call));
  last().message({ type: '$reply', id: 1, data: 'right' });
  last().message({ type: '$reply', id: 1, data: 'again' });
  last().message({ type: '$error', id: 1, data: { code: 'x', message: '' } });
  assert.equal(await outcome(call), 'right');
  assert.equal(warnings.length, 0);
});

test('call rejects with what send throws', async () => {
  const client = make({ maxQueue: 1 });
  assert.ok((await outcome(client.call(''))) instanceof TypeError);
  assert.ok((await outcome(client.call('$a'))) instanceof TypeError);
  assert.ok((await outcome(client.call('a', 1n))) instanceof TypeError);
  client.send('full');
  assert.equal((await outcome(client.call('a'))).code, 'too_many');
  client.close();
  assert.equal((await outcome(client.call('a'))).code, 'unavailable');
  tick(20_000); // no timer is left to reject it twice
});

test('calls wait for the connection, in one line with messages', async () => {
  const client = make();
  client.send('a');
  const call = client.call('b');
  client.send('c');
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'a' }, { type: 'b', id: 1 }, { type: 'c' }]);
  last().message({ type: '$reply', id: 1, data: 1 });
  assert.equal(await outcome(call), 1);
});

test('after the default of 10 s a call rejects at once, and the server is told', async () => {
  const client = open();
  const call = client.call('slow');
  tick(9999);
  assert.ok(await isPending(call));
  tick(1);
  const error = await outcome(call);
  assert.ok(error instanceof WsError);
  assert.equal(error.code, 'timeout');
  assert.match(error.message, /slow/);
  assert.deepEqual(last().sent.slice(1), [{ type: '$cancel', id: 1 }]);
  last().message({ type: '$error', id: 1, data: { code: 'canceled', message: '' } }); // its end, nobody's
  await settle();
});

test('the timeout of the client, and of one call', async () => {
  const client = open({ callTimeout: 100 });
  const short = client.call('a');
  const long = client.call('a', undefined, { timeout: 200 });
  const never = client.call('a', undefined, { timeout: Infinity });
  tick(100);
  assert.equal((await outcome(short)).code, 'timeout');
  assert.ok(await isPending(long));
  tick(100);
  assert.equal((await outcome(long)).code, 'timeout');
  tick(1e9);
  assert.ok(await isPending(never));
});

test('an ended call leaves nothing behind', async (t) => {
  const client = open();
  const control = new AbortController();
  const clear = t.mock.method(globalThis, 'clearTimeout');
  const remove = t.mock.method(control.signal, 'removeEventListener');
  const forget = t.mock.method(Map.prototype, 'delete');
  const call = client.call('a', 1, { signal: control.signal });
  last().message({ type: '$reply', id: 1 });
  await outcome(call);
  assert.ok(clear.mock.calls.some(({ arguments: [timer] }) => timer));
  assert.equal(remove.mock.callCount(), 1);
  assert.ok(forget.mock.calls.some(({ arguments: [id], result }) => id === 1 && result));
  control.abort();
  tick(20_000);
  assert.equal(last().sent.length, 1, 'no $cancel');
});

test('a call that times out in the queue is taken out of it, without $cancel', async () => {
  const client = make({ connectTimeout: Infinity });
  const call = client.call('a', 1, { timeout: 50 });
  client.send('b');
  tick(50);
  assert.equal((await outcome(call)).code, 'timeout');
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'b' }]);
});

test('a call with a longer timeout than the queue has is dropped with the queue', async () => {
  const client = make({ connectTimeout: Infinity });
  const told = log(client);
  const call = client.call('a', 1, { timeout: Infinity });
  tick(60_001);
  last().accept();
  assert.equal((await outcome(call)).code, 'timeout');
  assert.deepEqual(last().sent, []);
  assert.deepEqual(told.map(([type]) => type), ['open'], 'a call tells by itself');
});

test('abort rejects at once, with the reason, and the server is told', async () => {
  const client = open();
  const control = new AbortController();
  const call = client.call('a', 1, { signal: control.signal });
  control.abort('enough');
  const error = await outcome(call);
  assert.ok(error instanceof WsError);
  assert.deepEqual([error.code, error.data], ['canceled', 'enough']);
  assert.deepEqual(last().sent.slice(1), [{ type: '$cancel', id: 1 }]);
  tick(20_000);
  assert.equal(last().sent.length, 2, 'and no timeout follows');
});

test('abort in the queue takes the call out', async () => {
  const client = make();
  const control = new AbortController();
  const call = client.call('a', 1, { signal: control.signal });
  control.abort();
  assert.equal((await outcome(call)).code, 'canceled');
  last().accept();
  assert.deepEqual(last().sent, []);
});

test('a signal aborted before: nothing is sent', async () => {
  const client = open();
  const error = await outcome(client.call('a', 1, { signal: AbortSignal.abort('no') }));
  assert.deepEqual([error.code, error.data], ['canceled', 'no']);
  assert.deepEqual(last().sent, []);
  tick(20_000);
  assert.deepEqual(last().sent, []);
});

test('on a loss, written calls reject as unavailable, queued ones live on', async () => {
  const client = open();
  const written = client.call('a');
  last().readyState = 3; // the close event is still to come
  const waiting = client.call('b');
  last().drop();
  assert.equal((await outcome(written)).code, 'unavailable');
  assert.ok(await isPending(waiting));
  tick(600);
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'b', id: 2 }]);
  last().message({ type: '$reply', id: 1, data: 'late' });
  last().message({ type: '$reply', id: 2, data: 'fine' });
  assert.equal(await outcome(waiting), 'fine');
});

test('numbers go on after a reconnect', async () => {
  const client = open();
  client.call('a').catch(() => {});
  last().drop();
  tick(600);
  last().accept();
  client.call('b').catch(() => {});
  assert.deepEqual(last().sent, [{ type: 'b', id: 2 }]);
});

test('a timeout between two connections sends no $cancel to the second', async () => {
  const client = open();
  const call = client.call('a');
  last().drop();
  assert.equal((await outcome(call)).code, 'unavailable');
  tick(600);
  last().accept();
  tick(20_000);
  assert.deepEqual(last().sent, []);
});

test('after a final close all calls reject as unavailable', async () => {
  const client = open();
  const written = client.call('a');
  last().readyState = 2;
  const waiting = client.call('b');
  client.send('c');
  const told = log(client);
  last().drop(4403, 'not you');
  assert.equal((await outcome(written)).code, 'unavailable');
  assert.equal((await outcome(waiting)).code, 'unavailable');
  assert.deepEqual(told.map(([type]) => type), ['close', 'error']);
  assert.deepEqual([told[1][1].code, told[1][1].data], ['unavailable', { dropped: 1 }]);
  assert.throws(() => client.send('d'), { code: 'unavailable' });
  client.connect();
  last().accept();
  assert.deepEqual(last().sent, [], 'nothing comes back from before');
});

test('a callback of error may call again', async () => {
  const client = make({ connectTimeout: Infinity });
  let again;
  client.on('error', () => (again = client.call('again')));
  client.send('old');
  tick(60_001);
  const now = client.call('now');
  last().accept();
  await settle();
  assert.deepEqual(last().sent, [{ type: 'now', id: 1 }, { type: 'again', id: 2 }]);
  last().message({ type: '$reply', id: 1, data: 'n' });
  last().message({ type: '$reply', id: 2, data: 'a' });
  assert.deepEqual(await Promise.all([now, again]), ['n', 'a']);
});
