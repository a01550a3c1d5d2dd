// Smoke test against a real server, for any runtime that has a WebSocket: internal/e2e runs it as
//
//	node smoke.mjs ws://localhost:1234/ws http://localhost:1235
//
// The second address is the test's: there connections are cut, and one learns what the server has.
import { Client, SimpleSocketHandler, MessageTypes, WsError } from '../dist/wsctl.js';

const equal = (got, want) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
};
const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
const event = (client, type) =>
  new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no ${type} within 20 s`)), 20_000);
    client.on(type, (data) => (clearTimeout(timer), done(data)), { once: true });
  });
const code = (promise) => promise.then(() => 'no error', (error) => (error instanceof WsError ? error.code : String(error)));
// collect takes the items of a stream, and waits for gate at the item of that number.
const collect = async (stream, at, gate) => {
  const items = [];
  for await (const n of stream) if (items.push(n) === at) await gate;
  return items;
};
// up yields 0, 1, … and so on, n of them, and waits for gate before the item of that number.
async function* up(n, at, gate) {
  for (let i = 0; i < n; i++) {
    if (i === at) await gate;
    yield i;
  }
}

/** smoke runs all tests and returns how many have failed. log gets a line for each. */
export async function smoke(url, control, log = console.log) {
  let passed = 0;
  let failed = 0;
  const test = async (name, fn) => {
    try {
      await fn();
      passed++;
      log(`ok ${name}`);
    } catch (error) {
      failed++;
      log(`FAILED ${name}: ${error.stack ?? error}`);
    }
  };
  const ask = async (path) => {
    const response = await fetch(control + path, { method: 'POST' });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  };

  const client = new Client(url);
  await test('opens, and writes before that what was sent earlier', async () => {
    const echo = event(client, 'echoed');
    client.send('Echo', 'early');
    equal(client.state, 'connecting');
    equal(await event(client, 'open'), { resumed: false });
    equal(client.state, 'open');
    equal(await echo, 'early');
  });
  await test('call', async () => equal(await client.call('Add', [1, 2]), 3));
  await test('many calls at once, each with its own answer', async () => {
    const calls = numbers(0, 200).map((n) => client.call('Add', [n, n]));
    equal(await Promise.all(calls), numbers(0, 200).map((n) => 2 * n));
  });
  await test('not_found', async () => equal(await code(client.call('Nothing')), 'not_found'));
  await test('bad_request', async () => equal(await code(client.call('Add', ['a', 'b'])), 'bad_request'));
  await test('an error of the method', async () => {
    const error = await client.call('Fail').catch((e) => e);
    equal([error instanceof WsError, error.code, error.message, error.data], [true, 'full', 'no room', 7]);
  });
  await test('abort', async () => {
    const stop = new AbortController();
    const call = client.call('Slow', -1, { signal: stop.signal });
    equal(await ask('/begun'), -1);
    stop.abort();
    equal(await code(call), 'canceled');
    equal(await client.call('Add', [4, 6]), 10);
  });
  await test('timeout', async () => {
    equal(await code(client.call('Slow', -2, { timeout: 50 })), 'timeout');
    equal(await ask('/begun'), -2);
  });
  await test('stream', async () => equal(await collect(client.stream('Count', 1000)), numbers(0, 1000)));
  await test('leaving a stream', async () => {
    for await (const n of client.stream('Count', 1e9)) if (n === 100) break;
    equal(await client.call('Add', [1, 1]), 2);
  });
  await test('upload', async () => equal(await client.upload('Sum', up(1000), { data: 1 }), 1 + 499_500));
  await test('an upload whose source breaks', async () => {
    async function* broken() {
      yield 1;
      throw new RangeError('broken');
    }
    equal(await code(client.upload('Sum', broken(), { data: 0 })), 'RangeError: broken');
  });
  await test('stream of a stream', async () => {
    equal(await collect(client.stream('Double', undefined, { source: up(300) })), numbers(0, 300).map((n) => 2 * n));
  });
  await test('answers the server', async () => {
    const off = client.handle('half', async (n) => n / 2);
    equal(await client.call('Ask', 8), 4);
    off();
    equal(await code(client.call('Ask', 8)), 'not_found'); // of this client, and so shown to it
  });
  await test('close, and connect again', async () => {
    const closed = event(client, 'close');
    client.close();
    equal((await closed).code, 1000);
    equal(client.state, 'closed');
    equal(await code(client.call('Add', [1, 1])), 'unavailable');
    client.connect();
    equal(await client.call('Add', [10, 15]), 25);
    client.close();
  });

  for (const [i, how] of ['fin', 'rst', 'refuse', 'hole'].entries()) {
    await test(`nothing is lost or doubled: ${how}`, async () => {
      const base = 1000 * (i + 1);
      const echoes = [];
      const errors = [];
      const c = new Client(url);
      c.on('error', ({ message }) => errors.push(message));
      c.on('echoed', (n) => echoes.push(n));
      await event(c, 'open');
      const say = (from, to) => numbers(from, to).forEach((n) => c.send('Note', n).send('Echo', n));
      let goOn;
      const gate = new Promise((done) => (goOn = done));
      const uploading = c.upload('Sum', up(200, 100, gate), { data: base });
      const streaming = collect(c.stream('Count', 200), 100, gate);
      say(base, base + 50);
      const slow = c.call('Slow', base, { timeout: 30_000 });
      equal(await ask('/begun'), base);
      const closed = event(c, 'close');
      const opened = event(c, 'open');
      say(base + 50, base + 60);
      await ask(`/${how}`);
      say(base + 60, base + 70);
      equal((await closed).reconnect, true);
      say(base + 70, base + 100);
      goOn();
      await ask(`/release/${base}`);
      await ask('/restore');
      equal(await opened, { resumed: true });
      equal(await slow, base);
      equal(await uploading, base + 19_900);
      equal(await streaming, numbers(0, 200));
      equal(await c.call('Add', [1, 2]), 3);
      equal((await ask('/notes')).filter((n) => n >= base), numbers(base, base + 100));
      equal(echoes, numbers(base, base + 100));
      equal(await ask(`/runs/${base}`), 1);
      equal(errors, []);
      c.close();
    });
  }

  await test('url function, and the names of the template', async () => {
    const ws = new SimpleSocketHandler(async () => url);
    const open = event(ws, MessageTypes.WS_OPEN);
    const echo = event(ws, 'echoed');
    ws.bind(MessageTypes.WS_OPEN, () => ws.send('Echo', 'plain'));
    equal(await open, null);
    equal(await echo, 'plain');
    const closed = event(ws, MessageTypes.WS_CLOSE);
    ws.close();
    equal(await closed, null);
  });
  await test('no server: attempts fail and go on', async () => {
    let attempts = 0;
    const lost = new Client(() => (attempts++, 'ws://localhost:1/'), { minDelay: 1 });
    const first = await event(lost, 'close');
    equal([first.code, first.opened, first.reconnect], [1006, false, true]);
    while (attempts < 3) await new Promise((done) => setTimeout(done, 20));
    const last = event(lost, 'close');
    lost.close();
    equal((await last).reconnect, false);
  });

  log(`${passed} passed, ${failed} failed`);
  return failed;
}

const [, file, url, control] = globalThis.process?.argv ?? [];
if (file?.endsWith('smoke.mjs')) {
  // Not in a worker, which calls smoke by itself.
  if (!control) {
    console.error('usage: smoke.mjs ws://host:port/path http://host:port');
    process.exit(2);
  }
  process.exit((await smoke(url, control)) ? 1 : 0);
}
