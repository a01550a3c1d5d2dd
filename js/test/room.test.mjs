// Rooms: their messages, and the positions that $hello says.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Client } from '../dist/wsctl.js';
import { Client as Core } from '../dist/wsctl.core.js';
import {
  FakeWebSocket, counted, last, redial, resume, sent, setup, teardown, tick, welcome,
} from './fake.mjs';

beforeEach(setup);
afterEach(teardown);

const open = (options) => {
  const client = new Client('ws://host/ws', { WebSocket: FakeWebSocket, ...options });
  welcome();
  return client;
};
const said = (room, pos, data) => last().message({ type: 'said', room, pos, data });
const told = (room, pos, recovered) => last().message({ type: '$room', data: { room, pos, recovered } });

// What the next $hello says of rooms, and its size in bytes.
const hello = (client) => {
  const texts = [];
  const ws = redial(client);
  const { send } = ws;
  ws.send = (text) => texts.push(text) && send.call(ws, text);
  ws.accept();
  return { rooms: sent('$hello')[0].rooms, size: Buffer.byteLength(texts[0]) };
};

test('a client that has seen no room says nothing of rooms', () => {
  const client = open();
  last().message({ type: 'said', data: 1 });
  last().message({ type: 'said', room: 'a', data: 1 }); // a room without history
  assert.equal(hello(client).rooms, undefined);
});

test('$hello has the position of the last message of each room, whether somebody listens or not', () => {
  const client = open();
  client.on('said', () => 0);
  said('a', 'e.1');
  said('b', 'f.7');
  last().message({ type: 'unheard', room: 'a', pos: 'e.2' });
  const expected = { a: 'e.2', b: 'f.7' };
  assert.deepEqual(hello(client).rooms, expected);
  assert.deepEqual(hello(client).rooms, expected, 'also when an attempt failed in between');
  resume(0);
  assert.deepEqual(hello(client).rooms, expected);
  welcome({ session: 's2' });
  assert.deepEqual(hello(client).rooms, expected, 'also from a session to another');
  client.close().connect();
  last().accept();
  assert.deepEqual(sent('$hello')[0].rooms, expected, 'and over close');
});

test('the position is that of what was delivered: it moves after the callbacks ran', () => {
  const client = open();
  const room = client.room('a');
  const at = [];
  room.on('said', () => at.push(room.position));
  said('a', 'e.1');
  said('a', 'e.2');
  assert.deepEqual(at, [undefined, 'e.1']);
  assert.equal(room.position, 'e.2');
});

test('a callback that throws doesn\'t keep the position back', () => {
  const client = open();
  client.on('said', () => {
    throw new Error('mine');
  });
  said('a', 'e.1');
  assert.throws(() => tick(1), /mine/);
  assert.equal(client.room('a').position, 'e.1');
});

test('$room sets the position, and forgets it with pos null', () => {
  const client = open();
  const gaps = [];
  client.on('gap', (gap) => gaps.push(gap));
  const room = client.room('a');
  assert.equal(room.position, undefined);
  told('a', 'e.5', null);
  assert.equal(room.position, 'e.5');
  told('a', 'e.6');
  assert.equal(room.position, 'e.6');
  told('a', 'e.2', true);
  assert.equal(room.position, 'e.2');
  assert.deepEqual(hello(client).rooms, { a: 'e.2' });
  resume(0);
  told('a', null);
  assert.equal(room.position, undefined);
  assert.equal(hello(client).rooms, undefined);
  assert.deepEqual(gaps, []);
});

test('recovered: false is a gap, of the client and of that room, and sets the position', () => {
  const client = open();
  const gaps = [];
  client.on('gap', (gap) => gaps.push(['client', gap.room]));
  client.room('a').on('gap', (gap) => gaps.push(['a', gap.room]));
  client.room('b').on('gap', (gap) => gaps.push(['b', gap.room]));
  told('a', 'e.9', false);
  assert.deepEqual(gaps, [['client', 'a'], ['a', 'a']]);
  assert.equal(client.room('a').position, 'e.9');
  last().message({ type: '$gap', data: { type: 'said', dropped: 2 } });
  assert.deepEqual(gaps.slice(2), [['client', undefined]], 'a gap of no room is none of a room');
});

test('on: the messages of the room, with data and message', () => {
  const client = open();
  const got = [];
  const off = client.room('a').on('said', (data, message) => got.push([data, message.room, message.pos]));
  said('a', 'e.1', 1);
  said('b', 'e.2', 2);
  last().message({ type: 'said', data: 3 });
  last().message({ type: 'said', room: 'a', data: 4 });
  last().message({ type: 'else', room: 'a', data: 5 });
  off();
  said('a', 'e.3', 6);
  assert.deepEqual(got, [[1, 'a', 'e.1'], [4, 'a', undefined]]);
});

test('on: once is once for a message of this room', () => {
  const client = open();
  const got = [];
  client.room('a').on('said', (data) => got.push(data), { once: true });
  said('b', 'e.1', 1);
  said('a', 'e.1', 2);
  said('a', 'e.2', 3);
  assert.deepEqual(got, [2]);
});

test('on: a signal unbinds', () => {
  const client = open();
  const got = [];
  const abort = new AbortController();
  client.room('a').on('said', (data) => got.push(data), { signal: abort.signal });
  said('a', 'e.1', 1);
  abort.abort();
  said('a', 'e.2', 2);
  assert.deepEqual(got, [1]);
});

test('send adds the room, and does else what Client.send does', () => {
  const client = open();
  const room = client.room('a');
  assert.equal(room.name, 'a');
  const data = { text: 'x', room: 'of the caller' };
  assert.equal(room.send('say', data).send('say'), room, 'chainable');
  assert.deepEqual(counted(), [{ type: 'say', data: { text: 'x', room: 'a' } }, { type: 'say', data: { room: 'a' } }]);
  assert.equal(data.room, 'of the caller');
  assert.throws(() => room.send('$say'), TypeError);
  redial(client);
  room.send('say', {}, { volatile: true });
  resume(2);
  assert.deepEqual(counted(), []);
});

test('the newest 100 rooms, no more', () => {
  const client = open();
  for (let i = 0; i < 150; i++) said(`room ${i}`, `e.${i}`);
  said('room 20', 'e.999'); // is among the newest again
  said('room 52', 'e.1000'); // still is
  const { rooms } = hello(client);
  assert.equal(Object.keys(rooms).length, 100);
  assert.equal(rooms['room 20'], 'e.999');
  assert.equal(rooms['room 50'], undefined);
  assert.equal(rooms['room 51'], 'e.51');
  assert.equal(rooms['room 52'], 'e.1000');
  assert.equal(rooms['room 149'], 'e.149');
});

test('$hello stays below 16 KiB, and leaves 4 of them for the token: the newest rooms are kept', () => {
  for (const letter of ['x', 'ü', '世', '😀', '"', '\u0001']) {
    const client = open({ token: 'x'.repeat(3800) });
    const name = (i) => letter.repeat(Math.floor(124 / Buffer.byteLength(letter))) + String(i).padStart(4, '0');
    for (let i = 0; i < 100; i++) said(name(i), `${'0123456789abcdef'}.${1e15 + i}`);
    const { rooms, size } = hello(client);
    assert.ok(size <= 16_384, `${letter}: ${size}`);
    const names = Object.keys(rooms);
    assert.ok(names.length >= 6 && rooms[name(99)], `${letter}: ${names.length}`);
    assert.deepEqual(names.sort(), Array.from(names, (_, i) => name(100 - names.length + i)), letter);
    client.close();
  }
});

test('any name is a room', () => {
  const client = open();
  const names = ['__proto__', 'constructor', 'toString', '', '7', 'undefined', ' '];
  const got = [];
  for (const name of names) client.room(name).on('said', (data) => got.push(data));
  names.forEach((name, i) => said(name, `e.${i}`, name));
  assert.deepEqual(got, names);
  const { rooms } = hello(client);
  for (const [i, name] of names.entries()) {
    assert.equal(Object.getOwnPropertyDescriptor(rooms, name)?.value, `e.${i}`, name);
    assert.equal(client.room(name).position, `e.${i}`);
  }
});

test('two clients don\'t share positions', () => {
  const [a, b] = [open(), open()];
  said('r', 'e.1');
  assert.equal(a.room('r').position, undefined);
  assert.equal(b.room('r').position, 'e.1');
});

test('the core knows of no rooms, and lives with their messages', () => {
  const client = new Core('ws://host/ws', { WebSocket: FakeWebSocket });
  welcome();
  const got = [];
  client.on('said', (data) => got.push(data));
  said('a', 'e.1', 1);
  told('a', 'e.2', false);
  redial(client).accept();
  assert.deepEqual(got, [1]);
  assert.deepEqual([sent('$hello')[0].rooms, sent('$hello')[0].received], [undefined, 2]);
});
