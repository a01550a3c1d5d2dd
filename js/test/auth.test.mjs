// The credential: on every dial, and a fresh one before it expires.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, dials, last, log, redial, resume, sent, settle, setup, teardown, tick, welcome,
} from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const make = (token, options) => new Client('ws://host/ws', { WebSocket: FakeWebSocket, token, ...options });
const hello = (ws = last()) => sent('$hello', ws)[0];
const auths = () => last().sent.filter(({ type }) => type === '$auth');
const reply = (data) => last().message({ type: '$reply', id: auths().at(-1).id, data });
const refuse = (code) => last().message({ type: '$error', id: auths().at(-1).id, data: { code, message: '' } });
const alive = () => last().message({ type: '$ping' });

// pass lets ms go by on a connection that lives.
const pass = async (ms) => {
  await settle();
  for (; ms > 0; ms -= 1000) {
    tick(Math.min(ms, 1000));
    alive();
    await settle();
  }
};

const opened = async (expires, token) => {
  let n = 0;
  const asked = [];
  const client = make(token ?? (() => (asked.push(Date.now()), `t${++n}`)));
  await settle();
  welcome({ expires });
  return { client, asked };
};

test('a value goes into every $hello, and nowhere else', () => {
  const client = make('secret');
  last().accept();
  assert.deepEqual(last().sent, [{ type: '$hello', data: { try: 1, token: 'secret' } }]);
  assert.ok(!`${last().url} ${last().protocols}`.includes('secret'));
  redial(client).accept();
  assert.equal(hello().token, 'secret');
});

test('a function is asked on every dial, async or not', async () => {
  for (const wrap of [(x) => x, (x) => Promise.resolve(x)]) {
    let n = 0;
    const client = make(() => wrap(`t${++n}`));
    for (let i = 1; i <= 3; i++) {
      await settle();
      last().accept();
      assert.equal(hello().token, `t${i}`);
      redial(client);
    }
    client.close();
  }
});

test('the token is asked before the dial, not after', async () => {
  let give;
  make(() => new Promise((done) => (give = done)));
  await settle();
  assert.equal(dials(), 0);
  tick(5000);
  give('t');
  await settle();
  assert.equal(dials(), 1);
});

test('undefined is no token', async () => {
  for (const token of [undefined, () => undefined, async () => undefined]) {
    const client = make(token);
    await settle();
    last().accept();
    assert.deepEqual(hello(), { try: 1 });
    client.close();
  }
});

test('a function that throws or rejects is a failed attempt, told, and tried again', async () => {
  const mine = new Error('mine');
  for (const fail of [() => {
    throw mine;
  }, () => Promise.reject(mine)]) {
    let n = 0;
    const client = make(() => (++n < 3 ? fail() : 't'));
    const told = log(client);
    await settle();
    tick(0);
    assert.equal(client.state, 'waiting');
    assert.deepEqual(told.map(([what]) => what).sort(), ['close', 'error']);
    const close = told.find(([what]) => what === 'close')[1];
    assert.deepEqual([close.code, close.opened, close.reconnect, close.delay], [1006, false, true, 600]);
    const error = told.find(([what]) => what === 'error')[1];
    assert.equal(error.data, mine);
    tick(600);
    await settle();
    tick(0);
    assert.equal(client.state, 'waiting');
    assert.equal(told.filter(([what]) => what === 'error').length, 2, 'each time');
    tick(1100);
    await settle();
    last().accept();
    assert.equal(hello().token, 't');
    client.close();
    FakeWebSocket.all.length = 0;
  }
});

test('a function that hangs is a failed attempt after 10 s; what it says later is nobody\'s', async () => {
  const gives = [];
  const client = make(() => new Promise((done) => gives.push(done)));
  const told = log(client);
  await settle();
  tick(9999);
  assert.equal(client.state, 'connecting');
  tick(1);
  assert.equal(client.state, 'waiting');
  assert.equal(told[0][1].code, 4408);
  gives[0]('late');
  await settle();
  assert.equal(dials(), 0);
  tick(600);
  await settle();
  gives[1]('in time');
  await settle();
  last().accept();
  assert.equal(hello().token, 'in time');
  assert.equal(dials(), 1);
});

test('a function that rejects when its attempt is over is nobody\'s', async () => {
  const fails = [];
  const client = make(() => new Promise((_, fail) => fails.push(fail)));
  await settle();
  tick(10_000);
  tick(600);
  await settle();
  const told = log(client);
  fails[0](new Error('late'));
  await settle();
  assert.equal(client.state, 'connecting');
  assert.deepEqual(told, []);
});

test('close while the token is asked: nothing is dialled', async () => {
  let give;
  const client = make(() => new Promise((done) => (give = done)));
  client.close();
  give('t');
  await settle();
  assert.equal(dials(), 0);
  assert.equal(client.state, 'closed');
});

test('4401: a fresh token, at once, for the same session', async () => {
  const { client, asked } = await opened();
  last().message({ type: 'a' });
  last().drop(4401, 'expired');
  assert.equal(client.state, 'waiting');
  tick(1);
  await settle();
  last().accept();
  const { session, received, token } = hello();
  assert.deepEqual([session, received, token, asked.length], ['s1', 1, 't2', 2]);
});

test('a second 4401 without 5 s open in between is final: calls and what waits fail with unauthenticated', async () => {
  const { client } = await opened();
  const told = log(client);
  last().drop(4401);
  const call = client.call('a').catch((error) => error.code);
  client.send('b');
  tick(1);
  await settle();
  welcome({ session: 's2' });
  tick(4999);
  last().drop(4401);
  assert.equal(client.state, 'closed');
  assert.equal(await call, 'unauthenticated');
  assert.deepEqual(told.map(([what, info]) => [what, info.code, info.reconnect]), [
    ['close', 4401, true], ['open', undefined, undefined], ['close', 4401, false],
  ].concat(told.slice(3).map(([what, info]) => [what, info.code, info.reconnect])));
  tick(1e6);
  await settle();
  assert.equal(dials(), 2);
});

test('4401 before $welcome counts, too', async () => {
  const client = make(() => 't');
  for (let i = 0; i < 2; i++) {
    await settle();
    last().accept();
    last().drop(4401);
    tick(1);
  }
  assert.equal(client.state, 'closed');
  assert.equal(dials(), 2);
});

test('$auth goes at 80 % of expires, with a fresh token, and again after the next 80 %', async () => {
  const { asked } = await opened(100_000);
  assert.equal(asked.length, 1);
  await pass(79_999);
  assert.deepEqual(auths(), []);
  await pass(1);
  assert.deepEqual(auths().map(({ data }) => data), [{ token: 't2' }]);
  assert.ok(Number.isInteger(auths()[0].id));
  reply({ expires: 50_000 });
  await pass(39_999);
  assert.equal(auths().length, 1);
  await pass(1);
  assert.deepEqual(auths().map(({ data }) => data), [{ token: 't2' }, { token: 't3' }]);
});

test('$auth is a call like others: counted, and with a number of its own', async () => {
  const { client } = await opened(10_000);
  client.call('a').catch(() => 0);
  await pass(8000);
  assert.deepEqual(counted().map(({ type }) => type), ['a', '$auth']);
  assert.notEqual(counted()[0].id, counted()[1].id);
});

test('no expires in the reply: no further $auth', async () => {
  await opened(10_000);
  await pass(8000);
  reply();
  await pass(100_000);
  assert.equal(auths().length, 1);
});

test('a token that is a value can\'t be renewed', async () => {
  await opened(10_000, 'secret');
  await pass(20_000);
  assert.deepEqual(auths(), []);
});

test('a credential that ends soon doesn\'t make a storm', async () => {
  await opened(1);
  for (let i = 0; i < 20; i++) {
    await pass(100);
    if (auths().length) reply({ expires: 1 });
    await settle();
  }
  assert.ok(auths().length <= 3, `${auths().length} in 2 s`);
});

for (const [what, token, end] of [
  ['throws', () => {
    throw new Error('mine');
  }],
  ['rejects', () => Promise.reject(new Error('mine'))],
  ['is refused', () => 'bad', () => refuse('unauthenticated')],
  ['is of somebody else', () => 'bad', () => refuse('forbidden')],
]) {
  test(`renewal: a token that ${what} is told, and asked for again before the old one ends`, async () => {
    let n = 0;
    const { client } = await opened(100_000, () => (++n === 2 ? token() : `t${n}`));
    const told = log(client);
    await pass(80_000);
    end?.();
    await settle();
    assert.deepEqual(told.map(([what]) => what), ['error']);
    assert.equal(client.state, 'open', 'the connection lives on');
    const before = auths().length;
    await pass(20_000);
    assert.equal(auths().length, before + 1);
    assert.equal(auths().at(-1).data.token, 't3');
    reply({ expires: 100_000 });
    await pass(80_000);
    assert.equal(auths().length, before + 2);
  });
}

test('after a resume the time runs from the new $welcome, once', async () => {
  const { client } = await opened(100_000);
  await pass(50_000);
  redial(client);
  await settle();
  resume(0, { expires: 50_000 });
  await pass(39_999);
  assert.deepEqual(auths(), []);
  await pass(1);
  assert.equal(auths().length, 1);
  reply();
  await pass(100_000);
  assert.equal(auths().length, 1);
});

test('$auth in flight survives a resume', async () => {
  const { client } = await opened(100_000);
  await pass(80_000);
  redial(client);
  await settle();
  resume(0, { expires: 20_000 });
  assert.equal(auths().length, 1);
  reply({ expires: 100_000 });
  await pass(79_000);
  assert.equal(auths().length, 1);
  await pass(1000);
  assert.equal(auths().length, 2);
});

test('a renewal that is overtaken by a loss: the new connection has its own', async () => {
  const gives = [];
  const client = make(() => new Promise((done) => gives.push(done)));
  gives[0]('t1');
  await settle();
  welcome({ expires: 10_000 });
  await pass(8000);
  assert.equal(gives.length, 2);
  redial(client);
  gives[2]('t3');
  await settle();
  resume(0, { expires: 10_000 });
  gives[1]('t2');
  await settle();
  assert.deepEqual(auths(), []);
  await pass(8000);
  assert.equal(gives.length, 4);
  gives[3]('t4');
  await settle();
  assert.deepEqual(auths().map(({ data }) => data.token), ['t4']);
});

test('no timer is left after close', async (t) => {
  const left = new Set();
  const { setTimeout, clearTimeout } = globalThis;
  t.mock.method(globalThis, 'setTimeout', (fn, ms) => {
    const timer = setTimeout(() => (left.delete(timer), fn()), ms);
    left.add(timer);
    return timer;
  });
  t.mock.method(globalThis, 'clearTimeout', (timer) => {
    left.delete(timer);
    clearTimeout(timer);
  });
  for (const at of ['connecting', 'open', 'renewing', 'waiting', 'probing']) {
    const { client } = await opened(100_000);
    client.call('a').catch(() => 0);
    last().message({ type: 'b' });
    assert.ok(left.size >= 3);
    if (at === 'connecting' || at === 'waiting') last().drop();
    if (at === 'connecting') client.connect();
    if (at === 'renewing') await pass(80_000);
    client.close();
    await settle();
    tick(1000); // what is owed to the server may have been due
    assert.equal(left.size, 0, at);
  }
});
