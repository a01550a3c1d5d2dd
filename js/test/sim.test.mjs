// Simulated lives of a client: it does what pages do, in a network that fails, with a server that loses sessions at times.
// SEEDS=5000 runs more of them, SEED=7 that one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, WsError } from '../dist/wsctl.js';
import { page } from './fake.mjs';
import { Server, World, fault, network } from './sim.mjs';

// ---- What the server's methods do. A call of the session gets its control messages by a function in session.calls.

function methods(world, book) {
  const delay = () => (world.chance(0.1) ? world.int(5000, 15_000) : world.int(0, 1500));
  return (server, session, type, id, data) => {
    const reply = (data) => session.calls.delete(id) && server.send(session, { type: '$reply', id, data });
    const error = (code) => {
      if (session.calls.delete(id)) server.send(session, { type: '$error', id, data: { code, message: '' } });
    };
    const live = () => session.calls.has(id);
    const soon = (fn, ms = delay()) => world.after(ms, () => live() && fn());
    const on = (controls = {}) => session.calls.set(id, (control, data) => {
      if (control === '$cancel') error('canceled');
      else (controls[control] ?? (() => fault(`${control} of ${type}`)))(data);
    });

    if (type === 'note') return void book.notes.push(data);
    if (type === '$auth') {
      on();
      if (!data.token) fault('$auth without a token');
      return soon(() => reply({ expires: server.terms.expires }), 100);
    }
    if (book.ran.has(data.n)) fault('ran twice: ' + data.n);
    book.ran.add(data.n);

    if (type === 'add') {
      on();
      return soon(() => (data.fail ? error('mine') : reply(data.n + 1)));
    }

    // Items of the answer, as far as there is credit.
    let credit = server.terms.window;
    let given = 0;
    const more = (n) => {
      if (!(Number.isInteger(n) && n >= 1)) fault('$more ' + n);
      if ((credit += n) > server.terms.window + given) fault('credit for more than was taken');
      next();
    };
    const queue = [];
    let ended = false;
    const next = () => {
      while (live() && given < credit && queue.length) {
        server.send(session, { type: '$item', id, data: queue.shift() });
        given++;
      }
      if (live() && ended && !queue.length) data.fail ? error('mine') : reply(given);
    };

    if (type === 'count') {
      on({ $more: more });
      const tick = (i) => {
        if (i === data.k) ended = true;
        else queue.push(i);
        next();
        if (i < data.k) soon(() => tick(i + 1), world.chance(0.8) ? 0 : delay());
      };
      return soon(() => tick(0));
    }

    // sum takes a stream, echo answers with it, too.
    let granted = 0;
    let got = 0;
    const grant = () => {
      const n = world.int(1, 4);
      granted += n;
      server.send(session, { type: '$more', id, data: n });
    };
    on({
      $more: more,
      $item(item) {
        if (item !== got) fault(`item ${item} of ${type}, not ${got}`);
        if (++got > granted) fault('beyond its credit');
        if (type === 'echo') queue.push(item), next();
        else if (got === data.early) return soon(() => reply(data.early), 10);
        if (got === granted) soon(grant);
      },
      $end(why) {
        if (why) return error('canceled');
        if (got !== data.k) fault(`${got} items of ${data.k}`);
        ended = true;
        type === 'echo' ? next() : soon(() => reply(got));
      },
    });
    soon(grant);
  };
}

// ---- What the page does, and what it must see.

// How a call may end though no session was lost. timeout: of the queue, too.
const harmless = ['timeout', 'canceled', 'too_many', 'mine', 'own'];

function activity(world, client, book, server) {
  let n = 0;
  const pick = (...of) => world.pick(...of);
  const chance = (p) => world.chance(p);
  const settles = (what, promise) => {
    const call = { what };
    book.calls.push(call);
    return promise.then(
      (value) => (call.end = { value }),
      (error) => (call.end = { code: error.code ?? error.message }),
    ).then(() => call);
  };
  const aborted = () => {
    if (chance(0.8)) return undefined;
    const abort = new AbortController();
    world.after(world.int(0, 8000), () => abort.abort(), true);
    return abort.signal;
  };
  async function* source(k, record, breaks) {
    book.sources.push(record);
    record.begun = true;
    try {
      for (let i = 0; i < k; i++) {
        if (chance(0.5)) await world.sleep(world.int(0, 1500));
        if (i === breaks) throw new Error('own');
        yield i;
      }
    } finally {
      record.over = true;
    }
  }

  const acts = {
    note() {
      const volatile = chance(0.2);
      const note = ++n;
      try {
        client.send('note', note, { volatile });
      } catch (error) {
        if (error.code !== 'too_many') fault(`send: ${error}`);
        return;
      }
      (volatile ? book.maybe : book.sent).add(note);
    },
    burst() {
      for (let i = world.int(1, 30); i > 0; i--) acts.note();
    },
    async add() {
      const id = ++n;
      const fail = chance(0.1);
      const timeout = pick(undefined, undefined, Infinity, world.int(1, 5000));
      const { end } = await settles('add', client.call('add', { n: id, fail }, { timeout, signal: aborted() }));
      if (!('value' in end)) return;
      if (fail || end.value !== id + 1 || !book.ran.has(id)) fault(`add ${id} came to ${end.value}`);
    },
    async stream() {
      const k = world.int(0, 60);
      const fail = chance(0.1);
      const echo = chance(0.3);
      const leave = chance(0.2) ? world.int(0, k) : Infinity;
      const record = {};
      let got = 0;
      const iterate = async () => {
        const options = { signal: aborted(), source: echo ? source(k, record) : undefined };
        for await (const item of client.stream(echo ? 'echo' : 'count', { n: ++n, k, fail }, options)) {
          if (item !== got++) fault(`item ${item}, not ${got - 1}`);
          if (chance(0.3)) await world.sleep(world.int(0, 2000));
          if (got === leave) return 'left';
        }
      };
      const { end } = await settles('stream', iterate());
      const whole = end.code === 'mine' ? fail : 'value' in end && end.value !== 'left';
      if (whole && got !== k) fault(`${got} items of ${k}`);
      if (end.value === undefined && !end.code && fail) fault('no error');
    },
    async upload() {
      const k = world.int(0, 20);
      const early = chance(0.3) ? world.int(1, 20) : undefined;
      const breaks = chance(0.1) ? world.int(0, k) : undefined;
      const record = {};
      const options = { data: { n: ++n, k, early }, signal: aborted() };
      const { end } = await settles('upload', client.upload('sum', source(k, record, breaks), options));
      if ('value' in end && end.value !== k && end.value !== early) fault(`${end.value} items of ${k}`);
      await world.sleep(2000);
      if (record.begun && !record.over) fault('a source goes on after the end');
    },
    page() {
      book.page.fire(pick('online', 'offline', 'visibilitychange', 'resume'));
    },
    away() {
      book.page.fire('pagehide', { persisted: true });
      world.after(world.int(1, 40_000), () => book.page.fire('pageshow', { persisted: true }), true);
    },
    connect: () => client.connect(),
    asleep: () => (world.asleep = world.now + world.int(1000, 60_000)),
  };

  // What the server does by itself.
  let ticks = 0;
  const current = () => server.all.findLast(({ link }) => link);
  const deeds = {
    tick() {
      const tick = ++ticks;
      for (const session of server.sessions.values()) {
        session.ticks.push(tick);
        server.send(session, { type: 'tick', data: [session.id, tick] });
      }
    },
    burst() {
      for (let i = world.int(1, 40); i > 0; i--) pick(deeds.tick, deeds.say)();
    },
    say: () => server.say(),
    ask() {
      for (const session of server.sessions.values()) {
        const id = ++session.asked;
        const asked = world.now;
        session.asks.set(id, Object.assign((type, data) => {
          const due = id % 7 ? (id % 5 ? id * 2 : 'mine') : 'not_found';
          if ((type === '$reply' ? data : data.code) !== due) fault(`ask ${id}: ${type} ${JSON.stringify(data)}`);
        }, { asked }));
        server.send(session, { type: id % 7 ? 'ask' : 'nobody', id, data: id });
      }
    },
    kick() {
      const session = current();
      if (session) server.close(session.link, pick(1011, 1013, 4000, 4408, 4500, 4510, 4429));
    },
    goaway() {
      const session = current();
      if (session) server.goaway(session);
    },
    restart: () => server.terms.forget && server.restart(),
  };
  // These are final when they come twice in a short time.
  if (server.terms.forget && chance(0.5)) world.after(world.int(1, 60_000), () => (server.forced = 1));
  world.after(world.int(1, 60_000), () => current() && server.close(current().link, 4401));

  const go = (acts, weights, pause) => {
    const all = Object.entries(weights).flatMap(([name, weight]) => Array(weight).fill(name));
    const step = () => {
      if (!world.faulty) return;
      // A fault in there is kept anyway.
      acts[pick(...all)]()?.catch?.((error) => error.message.startsWith('fault') || fault(error.stack));
      world.after(world.int(1, pause), step, acts === deeds ? false : true);
    };
    step();
  };
  const often = { note: 20, burst: 2, add: 10, stream: 4, upload: 4, page: 2, away: 1, connect: 1, asleep: 1 };
  go(acts, often, pick(200, 1000, 5000));
  go(deeds, { tick: 15, burst: 2, say: 8, ask: 5, kick: 1, goaway: 1, restart: 1 }, pick(200, 1000, 5000));
}

// What reaches the page.
function listen(world, client, book) {
  client.on('tick', ([session, tick]) => book.ticks.push([session, tick]));
  client.on('said', (n) => {
    const { last, gap } = book.room;
    if (gap ? n <= last : last !== undefined && n !== last + 1) fault(`said ${n} after ${last}`);
    book.room = { last: n };
  });
  client.on('gap', ({ room }) => room === 'r' && (book.room.gap = true));
  client.on('error', ({ code, data }) => {
    if (data?.dropped) book.dropped[code] = (book.dropped[code] ?? 0) + data.dropped;
  });
  client.on('close', ({ reconnect, code }) => reconnect || book.closing || fault('closed for good by ' + code));
  client.handle('ask', async (id) => {
    if (world.chance(0.7)) await world.sleep(world.int(0, 5000));
    if (id % 5 === 0) throw new WsError('mine', '');
    return id * 2;
  });
}

// ---- One life, and what must be true at its end.

async function live(seed) {
  const world = new World(seed);
  const uninstall = world.install();
  const book = {
    notes: [], ran: new Set(), calls: [], sources: [], sent: new Set(), maybe: new Set(), ticks: [], room: {}, dropped: {},
    page: page(),
  };
  try {
    const server = new Server(world, methods(world, book), {
      ping: 5000, timeout: 3000, ack: world.pick(1, 8, 64), window: world.pick(1, 4, 16), forget: world.pick(0, 0, 0.2),
      expires: world.pick(0, 5000, 30_000),
    });
    const client = new Client('ws://host/ws', {
      WebSocket: network(world, server), token: world.pick(undefined, 'secret', async () => 'secret'),
    });
    listen(world, client, book);
    activity(world, client, book, server);
    await world.run(world.int(20_000, 120_000));
    world.faulty = false;
    await world.run(150_000);
    end(client, book, server);
    book.closing = true;
    client.close();
    await world.run(1001);
    const left = world.events.filter(({ fn, timer }) => fn && timer);
    await world.run(200_000);
    assert.equal(client.state, 'closed');
    return { ...stats(book, server), left: left.length };
  } finally {
    uninstall();
    book.page.gone();
  }
}

function end(client, book, server) {
  assert.equal(client.state, 'open');
  const now = server.all.findLast(({ link }) => link);

  // Server to client: of each session all up to some point, of the last one all.
  const got = book.ticks.map(([, tick]) => tick);
  for (const session of server.all) {
    const ticks = got.filter((_, i) => book.ticks[i][0] === session.id);
    assert.deepEqual(ticks, session.ticks.slice(0, session === now ? Infinity : ticks.length), session.id);
  }
  assert.deepEqual(got, got.toSorted((a, b) => a - b), 'in order');
  if (server.room.next && book.room.last !== undefined && !book.room.gap) assert.equal(book.room.last, server.room.next - 1);

  // Client to server: in order, none twice, and those that are missing were told.
  for (let i = 1; i < book.notes.length; i++) assert.ok(book.notes[i] > book.notes[i - 1], 'in order, once');
  const arrived = new Set(book.notes);
  for (const note of arrived) assert.ok(book.sent.has(note) || book.maybe.has(note), 'nobody sent ' + note);
  const missing = [...book.sent].filter((note) => !arrived.has(note)).length;
  const told = Object.values(book.dropped).reduce((sum, n) => sum + n, 0);
  assert.ok(told >= missing, `${missing} missing, ${told} told`);
  if (!server.lost) {
    assert.deepEqual(Object.keys(book.dropped).filter((code) => code !== 'timeout'), []);
    assert.equal(missing, told);
  }

  for (const { what, end } of book.calls) {
    assert.ok(end, `${what} never came to an end`);
    if (!end.code || harmless.includes(end.code)) continue;
    assert.ok(end.code === 'unavailable' && server.lost, `${what} failed: ${end.code}`);
  }
  for (const { begun, over } of book.sources) assert.ok(over || !begun, 'a source goes on');
  assert.equal(now.asks.size, 0, 'the server waits for answers');
  if (server.terms.expires) return; // then a renewal may be under way
  assert.equal(now.base, now.sent, 'all is acknowledged');
  assert.equal(now.calls.size, 0, 'the server has calls that nobody waits for');
}

const stats = (book, server) => ({
  notes: book.notes.length, ticks: book.ticks.length, calls: book.calls.length, lost: server.lost,
  resumed: server.resumed,
});

const seeds = process.env.SEED ? [+process.env.SEED] : Array.from({ length: +(process.env.SEEDS ?? 200) }, (_, i) => i + 1);

test(`${seeds.length} lives`, async (t) => {
  const sum = {};
  for (const seed of seeds) {
    try {
      for (const [what, n] of Object.entries(await live(seed))) sum[what] = (sum[what] ?? 0) + n;
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  t.diagnostic(JSON.stringify(sum));
  assert.equal(sum.left, 0, 'timers of closed clients');
  if (seeds.length < 100) return;
  for (const what of ['notes', 'ticks', 'calls', 'lost', 'resumed']) assert.ok(sum[what] > 100, what);
});
