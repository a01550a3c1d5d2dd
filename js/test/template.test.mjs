// The page script of the template, loaded as classic scripts, one after the other, in one global scope.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import vm from 'node:vm';
import { SimpleSocketHandler } from '../dist/wsctl.js';
import { FakeWebSocket, dials, last, setup, teardown, tick } from './fake.mjs';

const bundle = readFileSync(new URL('../dist/wsctl.global.js', import.meta.url), 'utf8');

beforeEach(setup);
afterEach(teardown);

function page(...scripts) {
  const given = { WebSocket: FakeWebSocket, URL, TextEncoder, AbortController, setTimeout, clearTimeout, console, Math };
  const context = vm.createContext(given);
  for (const script of scripts) vm.runInContext(script, context);
  return (script) => vm.runInContext(script, context);
}

const classic = `
  var told = [];
  const ws = new SimpleSocketHandler('ws://localhost:42000/ws');
  ws.bind(MessageTypes.WS_OPEN, function (data) { told.push(['open', data]); ws.send('hello', ''); })
    .bind(MessageTypes.WS_CLOSE, function (data) { told.push(['close', data]); })
    .bind('hello_world', function (data) { told.push(['hello_world', data]); });
`;

test('the page script of the template', () => {
  const run = page(bundle, classic);
  assert.equal(last().url, 'ws://localhost:42000/ws');
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'hello', data: '' }]);
  last().message({ type: 'hello_world', data: 'Hey, you !' });
  last().drop();
  assert.equal(run('JSON.stringify(told)'), '[["open",null],["hello_world","Hey, you !"],["close",null]]');
  tick(600);
  assert.equal(dials(), 2, 'unlike the template it comes back');
});

test('the names of a page win over ours, whatever they are declared with', () => {
  const own = `const MessageTypes = { WS_OPEN: 'open', WS_CLOSE: 'close', HELLO: 'hello_world' };`;
  for (const kind of ['const', 'let', 'var', 'class']) {
    const names = ['MessageTypes', 'SimpleSocketHandler', 'wsctl'];
    const declare = (name) => (kind === 'class' ? `class ${name} {}` : `${kind} ${name} = 'mine'`);
    for (const name of names) assert.doesNotThrow(() => page(bundle, declare(name)), `${kind} ${name}`);
  }
  assert.equal(page(bundle, own)('MessageTypes.HELLO'), 'hello_world');
  assert.equal(page(own, bundle)('MessageTypes.HELLO'), 'hello_world');
  page(own, bundle, classic);
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'hello', data: '' }]);
});

test('the classic script sets three names, and leaks none', () => {
  const before = page('')(`Object.getOwnPropertyNames(globalThis)`);
  const run = page(bundle);
  const names = run(`Object.getOwnPropertyNames(globalThis)`).filter((name) => !before.includes(name));
  assert.deepEqual([...names].sort(), ['MessageTypes', 'SimpleSocketHandler', 'wsctl']);
  assert.equal(run('Object.keys(wsctl).sort().join()'), 'Client,MessageTypes,SimpleSocketHandler,WsError');
  assert.equal(run('wsctl.SimpleSocketHandler === SimpleSocketHandler'), true);
  assert.equal(run('JSON.stringify(MessageTypes)'), '{"WS_OPEN":"open","WS_CLOSE":"close"}');
});

test('what is sent before open waits; the template threw', () => {
  page(bundle, classic)(`ws.send('early', 1)`);
  last().accept();
  assert.deepEqual(last().sent, [{ type: 'early', data: 1 }, { type: 'hello', data: '' }]);
});

test('SimpleSocketHandler: null for open and close, options as those of Client', async () => {
  const ws = new SimpleSocketHandler('ws://host/ws', { WebSocket: FakeWebSocket, reconnect: false });
  const told = [];
  ws.bind('open', (...args) => told.push(['open', ...args])).bind('close', (...args) => told.push(['close', ...args]));
  ws.bind('a', (data) => told.push(['a', data]));
  last().accept();
  last().message({ type: 'close', data: 'from the wire' });
  last().message({ type: 'a', data: { code: 1 } });
  const call = ws.call('gcd', [12, 18]);
  last().message({ type: '$reply', id: 1, data: 6 });
  assert.equal(await call, 6);
  last().drop(1006);
  assert.equal(ws.state, 'closed');
  assert.deepEqual(told.map((t) => t.slice(0, 2)), [['open', null], ['a', { code: 1 }], ['close', null]]);
  new SimpleSocketHandler('ws://host/ws', { WebSocket: FakeWebSocket, plain: false });
  assert.deepEqual(last().protocols, ['wsctl.v1'], 'v1 where told so');
});
