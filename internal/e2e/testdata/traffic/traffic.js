// A client of wsctl.v1 and what goes on between it and the server, all of it written down for the test: numbered messages,
// and beside them calls, a stream, an upload and a question of the server, which last as long as the messages do.
import { Client } from '/js/wsctl.js';

const pace = 10; // ms from one message to the next

let seen;
let waiting; // for the message of that number: [n, done]

let kinds;

// A new client in place of the last one. Calls, or the stream and the upload, may be left out.
window.begin = ({ calls = true, streams = true } = {}) => {
  kinds = { calls, streams };
  window.client?.close();
  const mine = { sent: 0, dials: 0, heard: 0, opens: [], closes: [], errors: [], gaps: [], thrown: [], ticks: [], asked: [], items: [], ends: {} };
  window.seen = seen = mine;
  waiting = [];
  const client = (window.client = new Client(() => {
    mine.dials++;
    mine.dialed = Date.now();
    return '/ws';
  }));
  client.on('open', ({ resumed }) => mine.opens.push({ at: Date.now(), resumed }));
  client.on('close', ({ code, opened, reconnect }) => mine.closes.push({ at: Date.now(), code, opened, reconnect, sent: mine.sent }));
  client.on('error', ({ code, message, data }) => mine.errors.push({ code, message, dropped: data?.dropped ?? 0 }));
  client.on('gap', (info) => mine.gaps.push(JSON.stringify(info)));
  client.on('tick', (n) => {
    mine.ticks.push(n);
    mine.heard = Date.now();
  });
  client.handle('half', async (n) => {
    mine.asked.push(n);
    await reached(150);
    return n / 2;
  });
};

// Sends messages up to number `to`. How many are due is told by the clock and not by timers, so that a page whose timers
// were slowed down or stopped catches up.
window.sendUpTo = (to) => {
  const from = seen.sent;
  const start = Date.now();
  const timer = setInterval(() => {
    const due = Math.min(to, from + Math.floor((Date.now() - start) / pace));
    while (seen.sent < due) step(seen.sent);
    if (seen.sent >= to) clearInterval(timer);
  }, pace);
};

function step(n) {
  if (n === 0 && kinds.streams) {
    end('stream', consume());
    end('upload', client.upload('Sum', numbers(), { data: 0, timeout: Infinity }));
  }
  if (n === 60 && kinds.calls) for (const i of [1, 2]) slow(client, i);
  if (n === 190) slow(client, 3);
  try {
    client.send('Note', n);
  } catch (error) {
    seen.thrown.push(`${n}: ${error}`);
  }
  seen.sent++;
  waiting = waiting.filter(([i, done]) => i > n || done());
}

const slow = (client, n) => end('slow' + n, client.call('Slow', n, { timeout: Infinity }));

// A call of another client, which keeps no message of the first from its turn.
window.callAside = (n) => slow(new Client('/ws'), n);

// Resolves when message n has been sent.
const reached = (n) => n < seen.sent || new Promise((done) => waiting.push([n, done]));

async function consume() {
  const { items } = seen;
  for await (const n of client.stream('Count', 100)) {
    items.push(n);
    await reached(2 * n);
  }
}

async function* numbers() {
  for (let n = 0; n < 100; n++) {
    await reached(2 * n);
    yield n;
  }
}

// Notes how a promise ends.
function end(name, promise) {
  const { ends } = seen;
  promise.then(
    (result) => (ends[name] = 'ok ' + JSON.stringify(result)),
    (error) => (ends[name] = error.code ?? String(error)),
  );
}

// How many times a timer of 10 ms fires in a second.
window.timerRate = () => new Promise((done) => {
  let fired = 0;
  const start = Date.now();
  const timer = setInterval(() => {
    fired++;
    if (Date.now() - start >= 1000) done(clearInterval(timer) ?? fired);
  }, 10);
});
