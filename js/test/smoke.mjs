// Smoke test against a real server: node smoke.mjs ws://localhost:42000/ws (or deno run -A, or bun).
// The server is examples/starter.
import { Client, SimpleSocketHandler, MessageTypes, WsError } from '../dist/wsctl.js';

const process = globalThis.process ?? (await import('node:process')).default;
const url = process.argv[2];
let passed = 0;
let failed = 0;

if (!url) {
  console.error('usage: smoke.mjs ws://host:port/path');
  process.exit(2);
}
if (!globalThis.WebSocket) {
  console.log('SKIP smoke: this runtime has no WebSocket');
  process.exit(0);
}

const equal = (got, want) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
};
const event = (client, type) =>
  new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no ${type} within 5 s`)), 5000);
    client.on(type, (data) => (clearTimeout(timer), done(data)), { once: true });
  });
const code = (promise) => promise.then(() => 'no error', (error) => (error instanceof WsError ? error.code : error));

async function test(name, fn) {
  try {
    await fn();
    passed++;
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED ${name}: ${error.stack ?? error}`);
  }
}

const client = new Client(url, { plain: true });

await test('opens, and writes before that what was sent earlier', async () => {
  const answer = event(client, 'hello_world');
  client.send('hello');
  equal(client.state, 'connecting');
  await event(client, 'open');
  equal(client.state, 'open');
  equal(typeof (await answer), 'string');
});
await test('call', async () => equal(await client.call('compute_gdc', [12, 18]), 6));
await test('many calls at once, each with its own answer', async () => {
  const calls = Array.from({ length: 200 }, (_, i) => client.call('compute_gdc', [i + 1, 0x7fffffff * (i + 1)]));
  equal(await Promise.all(calls), Array.from({ length: 200 }, (_, i) => i + 1));
});
await test('not_found', async () => equal(await code(client.call('no_such_method')), 'not_found'));
await test('bad_request', async () => equal(await code(client.call('compute_gdc', ['a', 'b'])), 'bad_request'));
await test('abort', async () => {
  const control = new AbortController();
  const call = client.call('compute_gdc', [12, 18], { signal: control.signal });
  control.abort();
  equal(await code(call), 'canceled');
  equal(await client.call('compute_gdc', [4, 6]), 2);
});
await test('close, and connect again', async () => {
  const closed = event(client, 'close');
  client.close();
  equal((await closed).code, 1000);
  equal(client.state, 'closed');
  equal(await code(client.call('compute_gdc', [1, 1])), 'unavailable');
  client.connect();
  equal(await client.call('compute_gdc', [10, 15]), 5);
  client.close();
});
await test('url function, and the names of the template', async () => {
  const ws = new SimpleSocketHandler(async () => url);
  const open = event(ws, MessageTypes.WS_OPEN);
  const answer = event(ws, 'hello_world');
  ws.bind(MessageTypes.WS_OPEN, () => ws.send('hello', ''));
  equal(await open, null);
  equal(typeof (await answer), 'string');
  const closed = event(ws, MessageTypes.WS_CLOSE);
  ws.close();
  equal(await closed, null);
});
await test('no server: attempts fail and go on', async () => {
  let attempts = 0;
  const lost = new Client(() => (attempts++, 'ws://localhost:1/'), { plain: true, minDelay: 1 });
  const first = await event(lost, 'close');
  equal([first.code, first.opened, first.reconnect], [1006, false, true]);
  while (attempts < 3) await new Promise((done) => setTimeout(done, 20));
  const last = event(lost, 'close');
  lost.close();
  equal((await last).reconnect, false);
});

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
