// What is asked and told: the page's side of controller.go. The charts themselves are in chart.js.
import { Client } from '/js/wsctl.js';
import { Chart } from './chart.js';

const find = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

const kept = 300; // samples, as many as the server keeps
const spans = [60_000, 120_000, 300_000]; // what the charts may show, ms: the shortest that has all samples

/**
 * What each chart shows of a sample. The numbers are the server's; unit stands beside the newest one.
 * @type {Record<string, {unit: string, least: number, figure: (n: number) => string, label?: (n: number) => string}>}
 */
const metrics = {
  messages: { unit: '/s', least: 12, figure: whole.format },
  sockets: { unit: '', least: 4, figure: whole.format },
  goroutines: { unit: '', least: 12, figure: whole.format },
  memory: { unit: 'MB', least: 4e6, figure: (n) => tenths.format(n / 1e6), label: (n) => `${n % 1e6 ? tenths.format(n / 1e6) : n / 1e6} MB` },
};

// The newest sample's run and number: where to go on. The server makes a new run each time it is started.
let last = { run: '', n: 0 };

/** @type {(import('./chart.js').Sample & Record<string, number>)[]} The oldest first. */
const samples = [];
find('charts').samples = samples; // for whoever looks at this page with the tools of a browser

const count = { received: 0, missing: 0, twice: 0 };

const views = [...document.querySelectorAll('.chart')].map((card) => {
  const metric = card.dataset.metric;
  const { unit, least, figure, label = figure } = metrics[metric];
  const canvas = card.querySelector('canvas');
  const chart = new Chart(canvas, card.querySelector('.tip'), { read: (s) => s[metric], format: label, least, onpoint: pointAt });
  const title = card.querySelector('h2').textContent;
  const [value, range] = [card.querySelector('.value'), card.querySelector('.range')];
  return {
    chart,
    show(span) {
      chart.show(samples, span);
      const newest = samples.at(-1);
      const values = samples.filter((s) => s.at >= newest.at - span).map((s) => s[metric]);
      const [low, high] = [Math.min(...values), Math.max(...values)].map(label);
      value.firstElementChild.textContent = figure(newest[metric]);
      if (unit && value.childElementCount === 1) value.append(element('small', unit));
      range.textContent = `${low} to ${high}`;
      canvas.setAttribute('aria-label', `${title}: now ${label(newest[metric])}, in the last ${duration(span / 1000)} from ${low} to ${high}`);
    },
  };
});

// Who points at a moment in one chart sees it in all of them.
function pointAt(at) {
  for (const { chart } of views) chart.point(at);
}

// Connects at once, and again by itself whenever the connection is lost. A page that is back within half a minute is the same
// to the server as before: what was sent meanwhile, either way, arrives, once and in order. Nothing is to be done for it here.
const client = new Client('/ws');

// follow asks for samples, for as long as the page is there. The stream ends when the session does: the server was started
// anew, or the page was away for too long. Then it asks again, for those after the newest that it has.
async function follow() {
  while (client.state !== 'closed') {
    try {
      for await (const sample of client.stream('metrics', last)) take(sample);
    } catch (error) {
      if (error.code !== 'unavailable' && error.code !== 'timeout') console.warn(error.message);
    }
    await new Promise((done) => setTimeout(done, 500)); // a server that stops may still answer, many times
  }
}

function take(sample) {
  if (sample.run === last.run) {
    if (sample.n <= last.n) {
      count.twice++;
      return;
    }
    count.missing += sample.n - last.n - 1;
  }
  count.received++;
  last = { run: sample.run, n: sample.n };
  samples.push(sample);
  if (samples.length > kept) samples.shift();
  show();
}

// Many samples at once, as after a cut, are shown once.
let asked = false;

function show() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const age = samples.at(-1).at - samples[0].at;
    const span = spans.find((s) => s >= age) ?? spans.at(-1);
    for (const view of views) view.show(span);
    const or = (n) => (n === 0 ? 'none' : whole.format(n));
    find('samples').textContent = `${whole.format(count.received)} samples received, ${or(count.missing)} missing, ${or(count.twice)} twice.`;
  });
}

// Gauges are told without being asked for.
const gauges = { uptime: duration, queued: (n) => (n < 1000 ? `${n} B` : `${tenths.format(n / 1e3)} kB`) };

client.on('gauge', ({ name, value }) => {
  const place = document.querySelector(`[data-gauge="${CSS.escape(name)}"]`);
  if (place) place.textContent = (gauges[name] ?? whole.format)(value);
});
client.on('server', ({ go, os, cpus }) => {
  find('server').textContent = `${go.replace(/^go/, 'Go ')} on ${os}, ${cpus === 1 ? '1 CPU' : `${cpus} CPUs`}`;
});

// A thousand messages, of which each is answered by one with its number: 1, 2, 3 and so on.
const burst = { size: 1000, sent: 0, back: 0, began: 0, wrong: 0 };

find('burst').addEventListener('click', () => {
  if (busy()) return;
  Object.assign(burst, { began: performance.now(), wrong: 0 });
  for (let i = 0; i < burst.size; i++) client.send('ping', ++burst.sent);
  enable();
});
client.on('pong', (n) => {
  if (n !== ++burst.back) burst.wrong++;
  const going = burst.sent - burst.back;
  const ms = whole.format(performance.now() - burst.began);
  if (going % 100) return;
  find('answers').textContent =
    going ? `${whole.format(burst.size - going)} answers…` :
    burst.wrong ? `${whole.format(burst.wrong)} answers were not in order.` :
    `${whole.format(burst.size)} answers in ${ms} ms, all in order.`;
  enable();
});

client.on('open', ({ resumed }) => {
  if (!resumed && burst.back < burst.sent) {
    // Of what was under way nobody knows.
    find('answers').textContent = `The session was lost: ${whole.format(burst.sent - burst.back)} answers won’t come.`;
    burst.back = burst.sent;
  }
  connection();
});
client.on('close', connection);
client.on('error', (error) => console.warn(error.message));
for (const event of ['online', 'offline']) addEventListener(event, connection);

function connection() {
  const state = client.state === 'waiting' && !navigator.onLine ? 'offline' : client.state;
  document.body.dataset.connection = state;
  find('state').textContent = { open: 'Live', closed: 'Closed', offline: 'Offline' }[state] ?? 'Reconnecting…';
  enable();
}

function busy() {
  return client.state !== 'open' || burst.back < burst.sent;
}

function enable() {
  find('burst').ariaDisabled = busy(); // not disabled, which would lose the keyboard's focus
}

/** @param {number} seconds */
function duration(seconds) {
  const parts = [[Math.floor(seconds / 86400), 'd'], [Math.floor(seconds / 3600) % 24, 'h'], [Math.floor(seconds / 60) % 60, 'min'], [seconds % 60, 's']];
  const first = parts.findIndex(([n]) => n > 0);
  return first < 0 ? '0 s' : parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(' ');
}

function element(tag, text) {
  const e = document.createElement(tag);
  e.textContent = text;
  return e;
}

follow();
