// A small world for the simulation: a clock of its own, dice with a seed, a network that fails in every way we know, and a
// server that keeps to docs/PROTOCOL.md. Whatever breaks a rule is a fault, and stops the run.

const immediate = () => new Promise(setImmediate);

// World is the clock, the dice and the page. What is the client's stands still while it sleeps.
export class World {
  now = 1e12;
  events = []; // a heap by time, then by number
  made = 0;
  asleep = 0; // until when the client's machine is
  faulty = true; // whether there are faults still

  constructor(seed) {
    this.state = seed;
  }

  random() {
    let t = (this.state += 0x6d2b79f5); // mulberry32
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
  int(from, to) {
    return from + Math.floor(this.random() * (to - from + 1));
  }
  chance(p) {
    return this.random() < p;
  }
  pick(...of) {
    return of[this.int(0, of.length - 1)];
  }

  after(ms, fn, client = false) {
    const event = { at: this.now + ms, n: this.made++, fn, client };
    this.push(event);
    return event;
  }
  sleep(ms) {
    return new Promise((done) => this.after(ms, done, true));
  }

  push(event) {
    const { events } = this;
    let i = events.push(event) - 1;
    for (let up; i > 0 && before(event, events[(up = (i - 1) >> 1)]); i = up) events[i] = events[up];
    events[i] = event;
  }
  pop() {
    const { events } = this;
    const first = events[0];
    const last = events.pop();
    if (events.length) {
      let i = 0;
      for (let down; (down = 2 * i + 1) < events.length; i = down) {
        if (down + 1 < events.length && before(events[down + 1], events[down])) down++;
        if (!before(events[down], last)) break;
        events[i] = events[down];
      }
      events[i] = last;
    }
    return first;
  }

  // run lets everything happen that is due within ms.
  async run(ms) {
    const end = this.now + ms;
    while (this.events.length && this.events[0].at <= end) {
      const event = this.pop();
      if (!event.fn) continue; // cleared
      if (event.client && event.at < this.asleep) {
        event.at = this.asleep;
        this.push(event);
        continue;
      }
      this.now = Math.max(this.now, event.at);
      try {
        event.fn();
      } catch (error) {
        if (error.message !== 'own') throw error; // a source that throws when its call is over
      }
      await immediate();
      if (broken) throw broken;
    }
    this.now = end;
  }

  // install puts the world's clock and dice in the place of the real ones, and returns what takes them away.
  install() {
    broken = undefined;
    const { setTimeout, clearTimeout } = globalThis;
    const { now } = Date;
    const { random } = Math;
    globalThis.setTimeout = (fn, ms) => Object.assign(this.after(Math.max(1, ms), fn, true), { timer: true });
    globalThis.clearTimeout = (event) => event && (event.fn = undefined);
    Date.now = () => this.now;
    Math.random = () => this.random();
    return () => {
      Object.assign(globalThis, { setTimeout, clearTimeout });
      Date.now = now;
      Math.random = random;
    };
  }
}

const before = (a, b) => a.at < b.at || (a.at === b.at && a.n < b.n);

// The first fault. The client would catch some if they were but thrown.
let broken;
export const fault = (text) => {
  throw (broken ??= new Error('fault: ' + text));
};

// Pipe is one direction of a connection: in order, with delay, until it is cut; then what is on its way is lost from
// some point on.
class Pipe {
  flying = [];
  last = 0;
  broken = false;

  constructor(world, client, deliver) {
    Object.assign(this, { world, client, deliver });
  }
  put(item) {
    if (this.broken) return;
    const { world } = this;
    const letter = { item };
    this.flying.push(letter);
    this.last = Math.max(this.last, world.now + world.int(1, 100));
    world.after(this.last - world.now, () => {
      if (letter.lost) return;
      this.flying.shift();
      this.deliver(letter.item);
    }, this.client);
  }
  stall(ms) {
    this.last = Math.max(this.last, this.world.now + ms);
  }
  cut() {
    this.broken = true;
    this.flying.splice(this.world.int(0, this.flying.length)).forEach((letter) => (letter.lost = true));
  }
}

// network makes the class WebSocket for a client of that server.
export function network(world, server) {
  return class {
    readyState = 0;

    constructor() {
      const link = (this.link = {
        faulty: false, // it had a fault, so that nothing can be expected of it
        up: new Pipe(world, false, (item) => (item.code ? link.ended(item.code) : link.got(item))),
        down: new Pipe(world, true, (item) => {
          if (item.code) return this.end(item.code);
          this.away ||= item.startsWith('{"type":"$goaway"');
          this.onmessage?.({ data: item });
        }),
        send: (text) => link.down.put(text),
        close: (code) => link.down.put({ code }),
      });
      const dice = world.faulty ? world.random() : 1;
      if (dice < 0.05) return; // never answered
      if (dice < 0.15) {
        world.after(world.int(1, 300), () => this.end(1006), true);
        return;
      }
      world.after(dice < 0.2 ? world.int(1, 12_000) : world.int(1, 200), () => {
        if (this.readyState) return;
        this.readyState = 1;
        server.accept(link);
        this.onopen?.({});
        if (world.faulty) world.after(world.int(1, world.pick(300, 3000, 40_000)), () => this.fail());
      }, true);
    }

    // One of the faults. Either end may hear of it, sooner or later, or never.
    fail() {
      if (!world.faulty || this.readyState > 1) return;
      const { up, down } = this.link;
      this.link.faulty = true;
      if (world.chance(0.3)) {
        // The link hangs, and delivers late.
        const ms = world.int(500, 60_000);
        if (world.chance(0.7)) up.stall(ms);
        if (world.chance(0.7)) down.stall(ms);
        return;
      }
      if (world.chance(0.8)) up.cut();
      else world.after(world.int(1, 3000), () => up.cut());
      if (world.chance(0.8)) down.cut();
      else world.after(world.int(1, 3000), () => down.cut());
      if (world.chance(0.6)) world.after(world.int(1, 2000), () => this.end(1006), true);
      if (world.chance(0.5)) world.after(world.int(1, 2000), () => this.link.ended(1006));
    }

    end(code) {
      if (this.readyState === 3) return;
      this.readyState = 3;
      if (code === 1006) this.onerror?.({});
      this.onclose?.({ code, reason: '' });
    }

    send(text) {
      if (this.readyState === 0) fault('sent before open');
      if (this.away && !uncounted.test(message(text).type)) fault('sent after $goaway: ' + text);
      if (this.readyState === 1) this.link.up.put(text);
    }

    // The peer hears of it, if it hears at all; this side much later, and the client should not care.
    close(code) {
      if (code === 4400) fault('the client complains: ' + code);
      this.link.faulty = true;
      if (this.readyState === 1) this.link.up.put({ code });
      this.readyState = Math.max(this.readyState, 2);
      world.after(world.int(1, 60_000), () => this.end(code), true);
    }
  };
}

const uncounted = /^\$(hello|welcome|ping|pong|ack|goaway)$/;

// Server is the model. It has one room, r, that its sessions are all in. app is what its methods do.
export class Server {
  sessions = new Map();
  all = []; // sessions, in the order made
  lost = 0; // sessions that were asked for and are gone
  resumed = 0; // and those that were there
  links = new Set();
  room = { epoch: 1, from: 0, next: 0 };
  forced = 0; // hellos to refuse with 4409

  constructor(world, app, terms) {
    Object.assign(this, { world, app, terms });
  }

  accept(link) {
    this.links.add(link);
    link.got = (text) => {
      const { data } = message(text);
      if (!link.greeted && message(text).type !== '$hello') fault('not $hello first: ' + text);
      if (link.greeted) fault('before $welcome: ' + text);
      link.greeted = true;
      // Some time goes by until the credential is checked. Then all is one step.
      const slow = this.world.faulty && this.world.chance(0.2) ? this.world.int(1, 12_000) : this.world.int(0, 50);
      this.world.after(slow, () => !link.over && this.hello(link, data));
    };
    link.ended = () => this.drop(link);
  }

  drop(link) {
    link.over = true;
    link.got = link.ended = () => {};
    this.links.delete(link);
  }

  hello(link, { session: id, received, try: number, rooms }) {
    const { world } = this;
    let session = this.sessions.get(id);
    if (number <= session?.try) return this.close(link, 4409); // it was slow: a younger one has it
    if (this.forced) {
      this.forced--;
      if (id) this.lost++;
      if (session) this.end(session); // the client forgets it; what is under way would mix with the new one
      return this.close(link, 4409);
    }
    if (session) {
      session.try = number;
      if (session.link) this.park(session);
      if (!(received >= session.base && received <= session.sent)) fault(`received ${received}`);
      const count = session.received + received;
      session.idle = count === session.count ? session.idle + 1 : 0;
      session.count = count;
      if (session.idle >= 3 || (world.faulty && world.chance(this.terms.forget))) {
        this.end(session);
        session = undefined;
      }
    }
    const resumed = !!session;
    if (id && !resumed) this.lost++;
    session ??= this.begin(number);
    session.link = link;
    session.life = world.now;
    session.told = session.received;
    link.got = (text) => this.receive(session, link, text);
    link.ended = (code) => {
      this.drop(link);
      if (code === 1000 || code === 1001 || !session.acked) this.end(session);
      else this.park(session);
    };
    const { ping, timeout, ack, window } = this.terms;
    this.raw(session, '$welcome', {
      session: session.id, resumed, received: session.received, ping, timeout, max: 1 << 20, ack, window, schema: 'x',
      ...(this.terms.expires && { expires: this.terms.expires }),
    });
    if (resumed) {
      this.resumed++;
      session.log.splice(0, received - session.base);
      session.base = received;
      session.log.forEach((text) => link.send(text));
    } else this.join(session, rooms);
    this.flush(session);
    const beat = () => {
      if (session.link !== link) return;
      if (world.now - session.life > ping + timeout) return this.close(link, 4408);
      this.raw(session, '$ping');
      world.after(ping, beat);
    };
    world.after(world.int(1, ping), beat);
  }

  begin(number) {
    const session = {
      id: `s${this.all.length}`, try: number, received: 0, sent: 0, base: 0, log: [], queue: [], idle: 0, calls: new Map(),
      seen: new Set(), asks: new Map(), asked: 0, ticks: [],
    };
    this.all.push(session);
    this.sessions.set(session.id, session);
    return session;
  }

  // Without a connection a session has 30 s.
  park(session) {
    const { link } = session;
    session.link = undefined;
    if (link) this.drop(link);
    const since = (session.since = {});
    this.world.after(30_000, () => !session.link && session.since === since && this.end(session));
  }

  end(session) {
    const { link } = session;
    session.link = undefined;
    if (link) this.drop(link);
    session.over = true;
    session.calls.clear();
    session.asks.clear();
    this.sessions.delete(session.id);
  }

  // close closes a connection by the server, which ends its session or not.
  close(link, code) {
    link.faulty = true;
    link.close(code);
    link.ended(code === 4510 || code === 4429 ? 1000 : 1006);
  }

  // goaway announces the close that follows.
  goaway(session) {
    const { link } = session;
    this.raw(session, '$goaway', { min: 10, max: 3000 });
    this.world.after(this.world.int(0, 4000), () => session.link === link && this.close(link, this.world.pick(1001, 1012)));
  }

  raw(session, type, data) {
    session.link?.send(JSON.stringify({ type, data }));
  }

  send(session, message) {
    if (session.over) return;
    session.queue.push(JSON.stringify(message));
    this.flush(session);
  }

  flush(session) {
    const { link, queue, log } = session;
    while (link && queue.length) {
      log.push(queue[0]);
      link.send(queue.shift());
      const n = ++session.sent;
      // The client acknowledges within 1 s: another half for the way.
      this.world.after(1500, () => {
        const fine = session.link !== link || link.faulty || session.base >= n || this.world.asleep + 1500 > this.world.now;
        if (!fine) fault(`${n} not acknowledged`);
      });
    }
  }

  receive(session, link, text) {
    const { world } = this;
    const { type, id, data } = message(text);
    session.life = world.now;
    if (type === '$ping') {
      if (session.told < session.received) this.acknowledge(session);
      return this.raw(session, '$pong');
    }
    if (type === '$pong') return;
    if (type === '$ack') {
      session.acked = true;
      if (data > session.sent) fault(`$ack ${data} of ${session.sent}`);
      session.log.splice(0, Math.max(0, data - session.base));
      session.base = Math.max(session.base, data);
      return;
    }
    if (uncounted.test(type)) fault('unexpected ' + text);
    if (session.received++ === session.told) world.after(world.int(0, 1000), () => this.acknowledge(session));
    if (session.received - session.told >= this.terms.ack) this.acknowledge(session);
    if (id && (type[0] !== '$' || type === '$auth')) {
      if (session.seen.has(id)) fault('id used twice: ' + text);
      session.seen.add(id);
    }
    if (type === '$reply' || type === '$error') {
      if (!session.asks.has(id)) fault('an answer to nothing, or a second one: ' + text);
      session.asks.get(id)(type, data);
      session.asks.delete(id);
    } else if (type[0] === '$' && type !== '$auth') {
      if (!session.seen.has(id)) fault('of no call of this session: ' + text);
      session.calls.get(id)?.(type, data);
    } else this.app(this, session, type, id, data);
  }

  acknowledge(session) {
    if (session.link) this.raw(session, '$ack', (session.told = session.received));
  }

  // The room: whatever is said in it has the next position, and the last 30 can be had again.
  say() {
    const { room } = this;
    const line = { type: 'said', room: 'r', pos: `${room.epoch}.${room.next}`, data: room.next++ };
    for (const session of this.sessions.values()) this.send(session, line);
    room.from = Math.max(room.from, room.next - 30);
  }

  join(session, rooms) {
    const { epoch, from, next } = this.room;
    const newest = `${epoch}.${next - 1}`;
    const [of, at] = (rooms?.r ?? '').split('.').map(Number);
    const told = (pos, recovered) => this.send(session, { type: '$room', data: { room: 'r', pos, recovered } });
    if (!rooms) told(newest, null);
    else if (of !== epoch || at < from - 1) told(newest, false);
    else {
      told(rooms.r, true);
      for (let n = at + 1; n < next; n++) this.send(session, { type: 'said', room: 'r', pos: `${epoch}.${n}`, data: n });
    }
  }

  // restart loses all sessions, and the room's history or not.
  restart() {
    for (const session of [...this.sessions.values()]) {
      session.link?.close(1012);
      this.end(session);
    }
    if (this.world.chance(0.5)) {
      this.room.epoch++;
      this.room.from = this.room.next;
    }
  }
}

const message = (text) => {
  const value = JSON.parse(text);
  if (typeof value.type !== 'string') fault('no type: ' + text);
  return value;
};
