// Is it alive? Silence, probes, and what the page and its network hint at.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import {
  FakeWebSocket, counted, dials, last, log, outcome, page, redial, resume, sent, settle, setup, sleep, teardown, tick, types,
  welcome,
} from './fake.mjs';

let fire;
let gone;

beforeEach(() => {
  setup();
  ({ fire, gone } = page());
});
afterEach(() => {
  gone();
  teardown();
});

const open = (options, data) => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, ...options });
  welcome(data);
  return client;
};
const hello = (ws = last()) => sent('$hello', ws)[0];
const pings = (ws) => sent('$ping', ws).length;
const given = (ws = last()) => ws.closed?.[0] === 4408; // up; the next dial may be under way then
const delay = () => {
  const before = dials();
  for (let ms = 0; ms < 100_000; ms++) {
    if (dials() > before) return ms;
    tick(1);
  }
  return Infinity;
};

// ---- Silence

test('$ping is answered by $pong, at once, each', () => {
  open();
  for (let i = 0; i < 3; i++) last().message({ type: '$ping' });
  assert.deepEqual(last().sent.slice(2), [{ type: '$pong' }, { type: '$pong' }, { type: '$pong' }]);
});

test('silence for ping + timeout: closes with 4408, doesn\'t wait for it, and dials again', () => {
  const client = open();
  const told = log(client);
  tick(34_999);
  assert.equal(client.state, 'open');
  tick(1);
  assert.equal(last().closed[0], 4408);
  assert.equal(client.state, 'waiting');
  assert.deepEqual(told.map(([what, { code, opened, reconnect }]) => [what, code, opened, reconnect]), [
    ['close', 4408, true, true],
  ]);
  assert.equal(delay(), 600);
  last().accept();
  assert.equal(hello().session, 's1', 'the session is parked, not over');
});

const signs = ['{"type":"a"}', '{"type":"$ping"}', '{"type":"$pong"}', '{"type":"$ack","data":0}', '{"type":"$what"}', 'x'];
for (const life of signs) {
  test(`anything counts as life: ${life}`, () => {
    const client = open();
    for (let i = 0; i < 4; i++) {
      tick(34_999);
      last().raw(life);
    }
    tick(34_999);
    assert.equal(client.state, 'open');
    tick(1);
    assert.equal(client.state, 'waiting');
  });
}

test('what the client sends is no sign of life', () => {
  const client = open();
  for (let i = 0; i < 35; i++) {
    client.send('a');
    tick(1000);
  }
  assert.equal(client.state, 'waiting');
});

test('the times are those of the last $welcome', () => {
  const client = open();
  redial(client);
  resume(0, { ping: 1000, timeout: 500 });
  tick(1499);
  assert.equal(client.state, 'open');
  tick(1);
  assert.equal(client.state, 'waiting');
});

for (const none of [{ ping: 0 }, { timeout: 0 }, { ping: 0, timeout: 0 }]) {
  test(`no limit of silence with ${JSON.stringify(none)}`, () => {
    const client = open({}, none);
    for (let i = 0; i < 100; i++) tick(1000);
    assert.equal(client.state, 'open');
    assert.equal(pings(), 0);
  });
}

// ---- Probes

test('a timer that is late has slept: it probes, and gives 4 s', () => {
  const client = open();
  sleep(60_000);
  tick(1);
  assert.equal(client.state, 'open');
  assert.equal(pings(), 1);
  tick(3999);
  assert.equal(client.state, 'open');
  tick(1);
  assert.equal(client.state, 'waiting');
  assert.equal(last().closed[0], 4408);
});

test('a probe that is answered: all is well, and silence is counted anew', () => {
  const client = open();
  sleep(60_000);
  tick(1);
  tick(3000);
  last().message({ type: '$pong' });
  tick(34_999);
  assert.equal(client.state, 'open');
  tick(1);
  assert.equal(client.state, 'waiting');
});

test('a timer that is a little late is only a timer, up to 1.5 s', () => {
  const client = open();
  sleep(35_000 + 1499);
  tick(1);
  assert.equal(client.state, 'waiting');
  assert.equal(pings(), 0);
  client.close();
  open();
  sleep(35_000 + 1501);
  tick(1);
  assert.equal(pings(), 1);
});

test('a sleep within a probe is another chance', () => {
  const client = open();
  sleep(60_000);
  tick(1);
  sleep(60_000);
  tick(1);
  assert.equal(client.state, 'open');
  assert.equal(pings(), 2);
  tick(4000);
  assert.equal(client.state, 'waiting');
});

test('probeTimeout is an option', () => {
  const client = open({ probeTimeout: 100 });
  const ws = last();
  fire('online');
  tick(99);
  assert.equal(client.state, 'open');
  tick(1);
  assert.ok(given(ws));
});

for (const [what, hint] of Object.entries({
  visible: () => fire('visibilitychange'), online: () => fire('online'), offline: () => fire('offline'),
  resume: () => fire('resume'),
})) {
  test(`${what}: probes an open connection, and gives it 4 s`, () => {
    const client = open();
    const ws = last();
    tick(10_000);
    hint();
    assert.equal(pings(), 1);
    tick(3999);
    assert.equal(client.state, 'open');
    tick(1);
    assert.ok(given(ws));
  });

  test(`${what}: not twice within a second, and hint after hint doesn't extend the 4 s`, () => {
    open();
    const ws = last();
    tick(10_000);
    for (let i = 0; i < 40; i++) {
      assert.ok(!given(ws), `${i}`);
      hint();
      assert.ok(pings(ws) <= 1 + Math.floor(i / 10), `${pings(ws)} in ${i * 100} ms`);
      tick(100);
    }
    assert.ok(given(ws));
  });

  test(`${what}: nothing at the plain level`, () => {
    const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, plain: true });
    last().accept();
    tick(10_000);
    hint();
    tick(1e6);
    assert.deepEqual(last().sent, []);
    assert.equal(client.state, 'open');
  });
}

test('hints after a probe that was answered probe again, a second later', () => {
  open();
  tick(10_000);
  for (let i = 1; i <= 3; i++) {
    fire('online');
    last().message({ type: '$pong' });
    assert.equal(pings(), i);
    tick(1001);
  }
});

test('a hint right after a probe that was answered is no second ping within the second', () => {
  open();
  tick(10_000);
  for (let i = 0; i < 5; i++) {
    fire('online');
    last().message({ type: '$pong' });
    tick(199);
    assert.equal(pings(), 1);
  }
});

test('hidden is no hint', () => {
  open();
  tick(10_000);
  document.hidden = true;
  fire('visibilitychange');
  assert.equal(pings(), 0);
});

test('a probe doesn\'t give a silent connection more time than it had', () => {
  open();
  const ws = last();
  tick(34_000);
  fire('online');
  tick(1000);
  assert.ok(given(ws));
});

test('a client that waits dials at a hint, for the same session', () => {
  for (const hint of ['online', 'visibilitychange', 'resume']) {
    const client = open();
    last().drop();
    const before = dials();
    fire(hint);
    assert.equal(dials(), before + 1);
    last().accept();
    assert.equal(hello().session, 's1');
    client.close();
  }
});

test('a hint while an attempt is under way gives it 4 s in all; without a hint it has 10 s', () => {
  const client = open();
  redial(client);
  const before = dials();
  const slow = last();
  tick(1000);
  fire('online');
  tick(2999);
  fire('online'); // no more time for that
  assert.equal(dials(), before);
  tick(2);
  assert.equal(dials(), before + 1);
  assert.ok(given(slow));
  slow.accept();
  assert.deepEqual(slow.sent, []);
  tick(5000);
  assert.equal(dials(), before + 1);
  fire('online'); // it had its time
  tick(1);
  assert.equal(dials(), before + 2);
  resume(0);
  assert.equal(client.state, 'open');
});

test('a token that is awaited at a hint is still good', async () => {
  let give;
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, token: () => new Promise((done) => (give = done)) });
  await settle();
  tick(1000);
  fire('online');
  give('t');
  await settle();
  assert.equal(dials(), 1);
  welcome();
  assert.equal(client.state, 'open');
  tick(5000);
  assert.equal(client.state, 'open');
});

test('an attempt that fails, or a connection that is lost, right after a hint: the next dial is at once, but only one', () => {
  const client = open();
  redial(client);
  fire('online');
  last().drop();
  const before = dials();
  tick(1);
  assert.equal(dials(), before + 1);
  last().drop();
  assert.ok(delay() >= 100);
  resume(0);
  fire('resume');
  last().drop();
  tick(1);
  assert.equal(client.state, 'connecting');
});

test('offline is no hint to a client that waits', () => {
  open();
  last().drop();
  const before = dials();
  fire('offline');
  assert.equal(dials(), before);
});

test('a page put aside closes with 4001, and resumes when it is back', () => {
  const client = open();
  last().message({ type: 'a' });
  client.send('b');
  const call = client.call('c', 0, { timeout: Infinity });
  fire('pagehide', { persisted: true });
  assert.equal(last().closed[0], 4001);
  assert.equal(client.state, 'waiting');
  tick(1e6);
  assert.equal(dials(), 1);
  fire('pageshow', { persisted: true });
  last().accept();
  assert.deepEqual(hello(), { session: 's1', received: 1, try: 2 });
  resume(1);
  assert.deepEqual(types(), ['c']);
  last().message({ type: '$reply', id: counted()[0].id, data: 7 });
  return outcome(call).then((result) => assert.equal(result, 7));
});
