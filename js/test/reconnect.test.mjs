import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import { FakeWebSocket, dials, dice, last, log, outcome, setup, teardown, tick } from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const make = (options) => new Client('ws://host/ws', { plain: true, WebSocket: FakeWebSocket, ...options });
const open = (options) => {
  const client = make(options);
  last().accept();
  return client;
};

// The delay until the next attempt, found by waiting for it.
const delay = () => {
  const before = dials();
  for (let ms = 0; ms < 100_000; ms++) {
    if (dials() > before) return ms;
    tick(1);
  }
  return Infinity;
};

test('states', () => {
  const client = make({ autoConnect: false });
  assert.equal(client.state, 'idle');
  assert.equal(dials(), 0);
  assert.equal(client.connect(), client, 'chainable');
  assert.equal(client.state, 'connecting');
  last().accept();
  assert.equal(client.state, 'open');
  last().drop();
  assert.equal(client.state, 'waiting');
  tick(600);
  assert.equal(client.state, 'connecting');
  assert.equal(client.close(), client, 'chainable');
  assert.equal(client.state, 'closed');
  assert.throws(() => (client.state = 'open'), TypeError);
});

test('the constructor dials at once', () => {
  make();
  assert.equal(dials(), 1);
});

test('open tells that it is new, close tells what happened and what is next', () => {
  const client = make();
  const told = log(client);
  last().accept();
  last().drop(1011, 'oops');
  tick(600);
  last().drop();
  client.close();
  assert.deepEqual(told, [
    ['open', { resumed: false }],
    ['close', { code: 1011, reason: 'oops', opened: true, reconnect: true, delay: 600 }],
    ['close', { code: 1000, reason: '', opened: false, reconnect: false, delay: 0 }],
  ]);
});

test('close is told once for a loss: attempts that fail are no news, a loss after open is', () => {
  const client = make();
  const told = log(client);
  last().drop(); // the first attempt
  for (let i = 0; i < 3; i++) {
    tick(1e5);
    last().drop();
  }
  tick(1e5);
  last().accept();
  last().drop();
  tick(1e5);
  last().drop();
  client.close();
  client.connect();
  last().drop();
  assert.deepEqual(told.map(([what, info]) => [what, info?.opened, info?.reconnect]), [
    ['close', false, true],
    ['open', undefined, undefined],
    ['close', true, true],
    ['close', false, false],
    ['close', false, true],
  ]);
});

test('close() in a close callback is not forgotten: a loss after connect() is told', () => {
  const client = make();
  const told = log(client);
  client.on('close', () => client.close(), { once: true });
  last().drop();
  assert.equal(client.state, 'closed');
  told.length = 0;
  client.connect();
  last().drop();
  assert.deepEqual(told.map(([what, info]) => [what, info.reconnect]), [['close', true]]);
});

test('what has waited too long is dropped at the next attempt', async () => {
  const client = make({ queueTtl: 500 });
  const told = log(client);
  last().drop();
  client.send('a');
  const call = client.call('b', 1, { timeout: Infinity });
  tick(600);
  assert.equal(dials(), 2);
  assert.equal((await outcome(call)).code, 'timeout');
  assert.deepEqual(told.map(([what]) => what), ['close', 'error']);
  assert.deepEqual(told[1][1].data, { dropped: 1 });
});

test('delays: 100 ms and a random part of a range that doubles up to its limit', () => {
  const first = make();
  const delays = () => Array.from({ length: 8 }, () => (last().drop(), delay()));
  dice.value = 0;
  assert.deepEqual(delays(), Array(8).fill(100));
  first.close();
  make();
  dice.value = 0.5;
  assert.deepEqual(delays(), [600, 1100, 2100, 4100, 8100, 10100, 10100, 10100]);
});

test('delays: options', () => {
  make({ minDelay: 10, maxDelay: 1000, factor: 10 });
  dice.value = 0.5;
  assert.deepEqual([1, 2, 3, 4].map(() => (last().drop(), delay())), [105, 150, 600, 600]);
});

test('delays: no option leads to a storm', () => {
  make({ minDelay: 0 });
  for (let i = 0; i < 1100; i++) {
    last().drop();
    tick(99);
    assert.equal(FakeWebSocket.all.length, i + 1);
    tick(1);
  }
  make({ maxDelay: Infinity });
  for (let i = 0; i < 40; i++) {
    last().drop();
    tick(2e9);
  }
  const before = dials();
  last().drop();
  tick(1e6);
  assert.equal(dials(), before, 'a delay beyond the range of setTimeout is long, not nothing');
});

test('delays begin anew only after 5 s open', () => {
  open();
  last().drop();
  tick(600);
  last().accept();
  tick(4999);
  last().drop(); // a crash loop backs off
  assert.equal(delay(), 1100);
  last().accept();
  tick(5000);
  last().drop();
  assert.equal(delay(), 600);
});

test('stableAfter is an option', () => {
  open({ stableAfter: 100 });
  last().drop();
  tick(600);
  last().accept();
  tick(100);
  last().drop();
  assert.equal(delay(), 600);
});

test('time spent connecting is no time open', () => {
  open();
  last().drop();
  tick(600);
  tick(6000);
  last().accept();
  tick(4999);
  last().drop();
  assert.equal(delay(), 1100);
});

test('the table of close codes', () => {
  const retries = (code) => {
    const client = open();
    last().drop(code);
    const again = client.state === 'waiting';
    client.close();
    return again;
  };
  const yes = [1001, 1004, 1005, 1006, 1011, 1012, 1013, 1014, 1015, 3000, 3999, 4000, 4001, 4399, 4401, 4408, 4409,
    4429, 4500, 4510, 4999];
  const no = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 4400, 4402, 4403, 4404, 4407, 4410, 4428, 4430, 4499];
  for (const code of yes) assert.equal(retries(code), true, `${code}`);
  for (const code of no) assert.equal(retries(code), false, `${code}`);
});

test('a final code ends it: no dial, reconnect false', () => {
  const client = open();
  const told = log(client);
  last().drop(4404, 'gone');
  assert.deepEqual(told, [['close', { code: 4404, reason: 'gone', opened: true, reconnect: false, delay: 0 }]]);
  tick(1e6);
  assert.equal(dials(), 1);
  assert.equal(client.state, 'closed');
});

for (const code of [4401, 4409]) {
  test(`${code}: one more attempt at once, a second one without 5 s open is final`, () => {
    const client = open();
    last().drop(code);
    tick(1);
    assert.equal(dials(), 2);
    last().accept();
    tick(4999);
    last().drop(code);
    assert.equal(client.state, 'closed');
  });

  test(`${code}: after 5 s open it is the first one again`, () => {
    const client = open();
    for (let i = 0; i < 3; i++) {
      last().drop(code);
      tick(1);
      assert.equal(dials(), i + 2);
      last().accept();
      tick(5000);
    }
    assert.equal(client.state, 'open');
  });

  test(`${code}: losses in between don't forgive`, () => {
    const client = open();
    last().drop(code);
    tick(1);
    last().drop(1006);
    tick(20_100);
    last().accept();
    last().drop(code);
    assert.equal(client.state, 'closed');
  });

  test(`${code}: connect() begins anew`, () => {
    const client = open();
    last().drop(code);
    tick(1);
    last().drop(code);
    client.connect();
    last().drop(code);
    assert.equal(client.state, 'waiting');
  });
}

test('4401 and 4409 are counted apart', () => {
  const client = open();
  last().drop(4401);
  tick(1);
  last().drop(4409);
  tick(1);
  assert.equal(dials(), 3);
  last().drop(4401);
  assert.equal(client.state, 'closed');
});

test('reconnect: false', () => {
  const client = open({ reconnect: false, shouldRetry: () => assert.fail('not asked') });
  last().drop(1006);
  assert.equal(client.state, 'closed');
  tick(1e6);
  assert.equal(dials(), 1);
  client.connect();
  assert.equal(dials(), 2);
});

test('maxAttempts: so many in a row, then it is final until connect()', () => {
  const client = make({ maxAttempts: 2, shouldRetry: () => true });
  const told = log(client);
  for (let i = 0; i < 3; i++) {
    last().drop();
    tick(1e5);
  }
  assert.equal(dials(), 3);
  assert.deepEqual(told.map(([, info]) => info.reconnect), [true, false]);
  client.connect();
  last().drop();
  assert.equal(client.state, 'waiting');
  const none = open({ maxAttempts: 0 });
  last().drop();
  assert.equal(none.state, 'closed');
});

test('shouldRetry decides, knowing what the table says', () => {
  const asked = [];
  const client = open({ shouldRetry: (...args) => asked.push(args) && args[0] === 4403 });
  last().drop(4403, 'not you');
  assert.equal(client.state, 'waiting');
  assert.equal(delay(), 600);
  last().drop(1006);
  assert.equal(client.state, 'closed');
  assert.deepEqual(asked, [[4403, 'not you', false], [1006, '', true]]);
});

test('shouldRetry: nothing returned is the table, what it throws comes from a timer', () => {
  assert.equal((open({ shouldRetry: () => {} }), last().drop(), delay()), 600);
  const client = open({
    shouldRetry: () => {
      throw new Error('mine');
    },
  });
  last().drop();
  assert.equal(client.state, 'waiting');
  assert.throws(() => tick(1), /mine/);
});

test('shouldRetry may close', () => {
  const client = open({ shouldRetry: () => !!client.close(4000, 'enough') });
  const told = log(client);
  last().drop();
  assert.equal(client.state, 'closed');
  assert.equal(told.length, 1);
});

test('an attempt has 10 s; then the socket is given up, not waited for', () => {
  const client = make();
  const told = log(client);
  const dead = last();
  tick(9999);
  assert.equal(client.state, 'connecting');
  tick(1);
  assert.deepEqual(dead.closed, [4408, 'timeout']);
  assert.deepEqual(told, [['close', { code: 4408, reason: 'timeout', opened: false, reconnect: true, delay: 600 }]]);
  dead.drop(1006); // a minute later, in truth
  dead.accept();
  dead.message({ type: 'a' });
  assert.equal(told.length, 1);
  assert.equal(client.state, 'waiting');
  tick(600);
  last().accept();
  assert.equal(client.state, 'open');
  dead.drop(1000);
  assert.equal(client.state, 'open', 'what comes late from an old socket is nobody\'s');
});

test('a failed handshake is told once, whether error, close or both say so', () => {
  const failures = {
    browser: (ws) => ws.drop(1006),
    'Node 22': (ws) => ws.onerror({}),
    Deno: (ws) => (ws.onerror({}), ws.onclose({ code: 0, reason: '' })),
    'close alone, without a code': (ws) => ws.onclose({ code: 0, reason: '' }),
  };
  for (const [where, fail] of Object.entries(failures)) {
    const client = make();
    const told = log(client);
    fail(last());
    const info = { code: 1006, reason: '', opened: false, reconnect: true, delay: 600 };
    assert.deepEqual(told, [['close', info]], where);
    client.close();
  }
});

test('an error of an open socket is not its end', () => {
  const client = open();
  last().onerror({});
  assert.equal(client.state, 'open');
});

test('connectTimeout is an option, and ends with open', () => {
  const client = make({ connectTimeout: 50 });
  tick(50);
  assert.equal(client.state, 'waiting');
  tick(600);
  last().accept();
  tick(1e6);
  assert.equal(client.state, 'open');
  const patient = make({ connectTimeout: Infinity });
  tick(1e6);
  assert.equal(patient.state, 'connecting');
});

test('close ends the connection for good', () => {
  const client = open();
  const told = log(client);
  const got = [];
  client.on('a', (data) => got.push(data));
  client.close();
  assert.deepEqual(last().closed, [1000, '']);
  assert.deepEqual(told, [['close', { code: 1000, reason: '', opened: true, reconnect: false, delay: 0 }]]);
  last().message({ type: 'a' });
  last().drop(1000);
  client.close();
  tick(1e6);
  assert.equal(told.length, 1, 'told once');
  assert.deepEqual(got, []);
  assert.equal(dials(), 1);
});

test('close takes a code and a reason, and does nothing where the socket refuses them', () => {
  const client = open();
  assert.throws(() => client.close(1001), /InvalidAccessError/);
  assert.throws(() => client.close(4000, 'x'.repeat(124)), /SyntaxError/);
  client.send('a');
  assert.equal(last().sent.length, 1);
  assert.equal(client.state, 'open');
  client.close(4001, 'bye');
  assert.deepEqual(last().closed, [4001, 'bye']);
});

test('close while idle, connecting and waiting', () => {
  for (const at of ['idle', 'connecting', 'waiting']) {
    const client = make({ autoConnect: at !== 'idle' });
    if (at === 'waiting') last().drop();
    assert.equal(client.state, at);
    const before = dials();
    client.close();
    assert.equal(client.state, 'closed');
    tick(1e6);
    assert.equal(dials(), before, at);
  }
});

test('connect in a callback of close', () => {
  const client = open();
  client.on('close', () => client.connect(), { once: true });
  client.close();
  assert.equal(client.state, 'connecting');
  assert.equal(dials(), 2);
  last().accept();
  assert.equal(client.state, 'open');
});

test('close in a callback of open and of close', () => {
  const client = make();
  client.on('open', () => client.close());
  last().accept();
  assert.equal(client.state, 'closed');
  const other = open();
  other.on('close', () => other.close());
  last().drop();
  assert.equal(other.state, 'closed');
  tick(1e6);
  assert.equal(dials(), 2);
});

test('connect while waiting dials now, while connecting or open does nothing', () => {
  const client = open();
  client.connect();
  assert.equal(dials(), 1);
  last().drop();
  client.connect();
  assert.equal(dials(), 2);
  client.connect();
  assert.equal(dials(), 2);
  last().drop();
  assert.equal(delay(), 600, 'delays began anew, and the old timer is gone');
});

test('using closes', () => {
  const client = open();
  client[Symbol.dispose]();
  assert.equal(client.state, 'closed');
  assert.deepEqual(last().closed, [1000, '']);
});
