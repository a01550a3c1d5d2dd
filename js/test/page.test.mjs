// What a page and its network tell the client: events of window and document.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import { FakeWebSocket, dials, last, log, setup, teardown, tick } from './fake.mjs';

let window;

beforeEach(() => {
  setup();
  window = new EventTarget();
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.removeEventListener = window.removeEventListener.bind(window);
  globalThis.document = Object.assign(new EventTarget(), { hidden: false, baseURI: 'http://page/' });
});
afterEach(() => {
  delete globalThis.addEventListener;
  delete globalThis.removeEventListener;
  delete globalThis.document;
  teardown();
});

const open = (options) => {
  const client = new Client('/ws', { plain: true, WebSocket: FakeWebSocket, ...options });
  last().accept();
  return client;
};
const fire = (target, type, members) => target.dispatchEvent(Object.assign(new Event(type), members));
const wakers = {
  online: () => fire(window, 'online'),
  visible: () => fire(document, 'visibilitychange'),
  resume: () => fire(document, 'resume'),
  pageshow: () => fire(window, 'pageshow', { persisted: true }),
};

for (const [name, wake] of Object.entries(wakers)) {
  test(`${name}: a waiting client dials at once, once, and delays begin anew`, () => {
    const client = open();
    last().drop();
    tick(600);
    last().drop();
    assert.equal(client.state, 'waiting');
    wake();
    assert.equal(dials(), 3);
    wake();
    tick(1100);
    assert.equal(dials(), 3, 'the timer of the wait is gone');
    last().drop();
    tick(600);
    assert.equal(dials(), 4);
  });

  test(`${name}: an open client stays, a closed one stays closed`, () => {
    const client = open();
    wake();
    assert.equal(client.state, 'open');
    assert.equal(dials(), 1);
    client.close();
    wake();
    assert.equal(client.state, 'closed');
    assert.equal(dials(), 1);
    client.connect();
    last().drop();
    wake();
    assert.equal(dials(), 3, 'connect() listens again');
  });

  test(`${name}: an idle client stays idle`, () => {
    const client = new Client('/ws', { plain: true, WebSocket: FakeWebSocket, autoConnect: false });
    wake();
    assert.equal(client.state, 'idle');
  });
}

test('hidden is no reason to dial', () => {
  open();
  last().drop();
  document.hidden = true;
  fire(document, 'visibilitychange');
  assert.equal(dials(), 1);
  fire(window, 'online');
  assert.equal(dials(), 2, 'online is one, hidden or not');
});

test('the pageshow of a new page is no reason to dial', () => {
  open();
  last().drop();
  fire(window, 'pageshow', { persisted: false });
  assert.equal(dials(), 1);
});

test('offline is no reason to close', () => {
  const client = open();
  fire(window, 'offline');
  assert.equal(client.state, 'open');
  last().drop();
  tick(600);
  assert.equal(dials(), 2, 'nor to stop dialing');
});

test('a page put aside closes with 4001, and comes back with pageshow', async () => {
  const client = open();
  const told = log(client);
  const call = client.call('a');
  fire(window, 'pagehide', { persisted: true });
  assert.deepEqual(last().closed, [4001, 'pagehide']);
  assert.deepEqual(told, [
    ['close', { code: 4001, reason: 'pagehide', opened: true, reconnect: true, delay: Infinity }],
  ]);
  await assert.rejects(call, { code: 'unavailable' });
  tick(1e6);
  assert.equal(dials(), 1, 'not before');
  assert.equal(client.state, 'waiting');
  client.send('b');
  fire(window, 'pageshow', { persisted: true });
  assert.equal(dials(), 2);
  FakeWebSocket.all[0].drop(1006); // the old socket's end is told after the page came back
  last().accept();
  assert.deepEqual(told.slice(1), [['open', { resumed: false }]]);
});

test('a page put aside while connecting gives that up, too', () => {
  const client = new Client('/ws', { plain: true, WebSocket: FakeWebSocket });
  fire(window, 'pagehide', { persisted: true });
  assert.deepEqual(last().closed, [4001, 'pagehide']);
  tick(1e6);
  assert.equal(dials(), 1);
  assert.equal(client.state, 'waiting');
});

test('a page put aside while waiting has nothing to tell', () => {
  const client = open();
  last().drop();
  const told = log(client);
  fire(window, 'pagehide', { persisted: true });
  assert.deepEqual(told, []);
});

test('a page that goes for good is left to the browser', () => {
  const client = open();
  fire(window, 'pagehide', { persisted: false });
  assert.equal(client.state, 'open');
  assert.equal(last().closed, null);
});

test('a closed client leaves no listener behind', (t) => {
  const types = new Set();
  const fns = new Set();
  for (const target of [globalThis, document]) {
    const add = target.addEventListener.bind(target);
    const remove = target.removeEventListener.bind(target);
    t.mock.method(target, 'addEventListener', (type, fn, options) => {
      assert.equal(options, undefined);
      types.add(type);
      fns.add(fn);
      add(type, fn);
    });
    t.mock.method(target, 'removeEventListener', (type, fn) => {
      if (fns.has(fn)) types.delete(type);
      remove(type, fn);
    });
  }
  const client = open();
  for (const again of [() => tick(600), wakers.online, () => client.connect()]) {
    last().drop();
    again();
    last().accept();
  }
  assert.equal(types.size, 6);
  assert.equal(fns.size, 1, 'one each, also after reconnects: a target takes the same function once');
  client.close();
  assert.equal(types.size, 0);
});
