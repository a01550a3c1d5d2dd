// Runs the exchanges of docs/PROTOCOL.md against the client: what it writes must be that to the letter.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import { FakeWebSocket, last, outcome, settle, setup, teardown, tick } from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const doc = readFileSync(new URL('../../docs/PROTOCOL.md', import.meta.url), 'utf8');
const blocks = (level) => [...doc.matchAll(/^```(wire.*?)\n(.*?)^```/gms)]
  .filter(([, name]) => name === level).map(([, , lines]) => lines.trim().split('\n'));
const exchanges = blocks('wire');
const sessions = blocks('wire v1');

test('the document has exchanges', () => assert.ok(exchanges.length >= 4 && sessions.length >= 5));

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

for (const lines of sessions) {
  test(`as documented: ${lines.find((line) => /^> .*"type":"[^$]/.test(line))}${lines.some((line) => line[0] === '!') ? ', with a loss' : ''}`, async () => {
    const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket });
    const texts = [];
    const accept = () => {
      const ws = last();
      ws.send = (text) => texts.push(text);
      ws.accept();
    };
    accept();
    const parse = (line) => JSON.parse(line.slice(2));
    const ends = new Map(); // of our calls
    const items = new Map(); // of our streams
    for (const [i, line] of lines.entries()) {
      if (line[0] === '!') {
        last().drop();
        tick(600);
        accept();
        continue;
      }
      const { type, id, data } = parse(line);
      const later = lines.slice(i + 1).filter((l) => l[0] !== '!');
      const about = (way, what) => later.filter((l) => l[0] === way && parse(l).type === what && parse(l).id === id).map(parse);
      if (line[0] === '<' && lines[i + 1]?.[0] === '!') continue; // lost with it
      if (line[0] === '<') {
        if (type[0] !== '$') client.handle(type, () => about('>', '$reply')[0].data);
        last().raw(line.slice(2));
      } else if (type[0] !== '$') {
        if (about('<', '$item').length) {
          const got = [];
          items.set(id, [got, about('<', '$item').map((m) => m.data)]);
          ends.set(id, (async () => {
            for await (const item of client.stream(type, data)) got.push(item);
          })());
        } else if (about('>', '$end').length) {
          ends.set(id, client.upload(type, about('>', '$item').map((m) => m.data), { data }));
        } else ends.set(id, client.call(type, data));
      }
      await settle();
      const ack = /^{"type":"\$ack"/; // may come anywhere
      while (line[0] === '>' && type !== '$ack' && ack.test(texts[0])) texts.shift();
      if (line[0] === '>') assert.equal(texts.shift(), line.slice(2));
      else if (type === '$reply') assert.deepEqual(await outcome(ends.get(id)), data);
    }
    assert.deepEqual(texts, []);
    for (const [got, want] of items.values()) assert.deepEqual(got, want);
  });
}
