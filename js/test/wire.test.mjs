// Runs the exchanges of docs/PROTOCOL.md, but those of the server alone, against the client.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import { FakeWebSocket, last, outcome, setup, teardown } from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const doc = readFileSync(new URL('../../docs/PROTOCOL.md', import.meta.url), 'utf8');
const exchanges = [...doc.matchAll(/^```wire\n(.*?)^```/gms)].map(([, lines]) => lines.trim().split('\n'));

test('the document has exchanges', () => assert.ok(exchanges.length >= 4));

for (const lines of exchanges) {
  test(`as documented: ${lines[0]}`, async () => {
    const client = new Client('ws://host/ws', { plain: true, WebSocket: FakeWebSocket });
    const ws = last().accept();
    const texts = [];
    ws.send = (text) => texts.push(text); // to the letter
    const calls = new Map();
    for (const line of lines) {
      const { type, id, data } = JSON.parse(line.slice(2));
      if (line[0] === '>') {
        if (type === '$cancel') calls.get(id).abort.abort();
        else if (id) {
          const abort = new AbortController();
          calls.set(id, { abort, promise: client.call(type, data, { signal: abort.signal }) });
        } else client.send(type, data);
        assert.equal(texts.pop(), line.slice(2));
        continue;
      }
      const told = [];
      const off = client.on(type, (data) => told.push(data));
      ws.raw(line.slice(2));
      off();
      if (type === '$reply') assert.deepEqual(await outcome(calls.get(id).promise), data);
      else if (type === '$error') assert.equal((await outcome(calls.get(id).promise)).code, data.code);
      else assert.deepEqual(told, [data]);
    }
  });
}
