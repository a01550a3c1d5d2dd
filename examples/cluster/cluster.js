// The page. The node that has served it, the one that it is connected to, and the one where it will be in a minute may be three.
import { Client } from '/js/wsctl.js';

const linesKept = 500; // on this page
const countEvery = 250; // ms

// Names this page to the others; see Words in controller.go. It is no secret.
const page = Array.from(crypto.getRandomValues(new Uint8Array(8)), (n) => n.toString(16).padStart(2, '0')).join('');

const numbers = new Map(); // by page: the number of its last line that was heard
const outbox = []; // {text, e}: not kept yet by the server; e is what shows it
let kept = 0; // the number of the last line of this page that is
let name = '';
let node = ''; // where the page is, or was
let counter; // a timer
let counted = 0;
const figures = { heard: 0, missing: 0, moves: 0 };

const client = new Client('/ws', { autoConnect: false, token: () => name });

// A node that is killed takes the session with it. Then the next node sends what was said in the room meanwhile, by itself. But
// a stream is begun anew here, and a call that has no answer is made again.
client.on('open', ({ resumed }) => {
  show();
  if (!resumed) watch();
});
client.on('close', ({ code, reason, reconnect }) => {
  show();
  if (!reconnect) note(`The connection is closed: ${reason || code}. Reload the page.`, 'wrong');
});
client.on('welcome', (to) => {
  if (node && node !== to.node) {
    figures.moves++;
    note(`Moved from ${node} to ${to.node}.`);
  }
  node = to.node;
  show();
});
client.on('gap', ({ room }) => room && note('Some lines may be missing here: the broker doesn’t keep them any more.', 'wrong'));
client.on('error', (error) => console.info(error.message));

// Lines come in the same order to everybody. One that was said twice has the same number.
client.on('said', (line) => {
  const last = numbers.get(line.page) ?? line.n - 1;
  if (line.page === page && line.n > kept) outbox[0].e.remove(); // the answer comes yet
  if (line.n <= last) return;
  numbers.set(line.page, line.n);
  figures.heard++;
  figures.missing += line.n - last - 1;
  add(line);
  show();
});

// watch shows who is here, on all nodes. Somebody who moves to another node may be here twice for some seconds: with the node
// that is dead, and with the new one.
let watches = 0;
async function watch() {
  const mine = ++watches;
  const people = new Map(); // names, by the id of the connection
  try {
    for await (const person of client.stream('people')) {
      if (person.here) people.set(person.id, person.name);
      else people.delete(person.id);
      showPeople(people);
    }
  } catch (error) {
    console.info(error.message);
  }
  setTimeout(() => mine === watches && client.state === 'open' && watch(), 1000); // unless it has been begun anew
}

function say(text) {
  const e = element('li', '', text);
  find('waiting').append(e);
  outbox.push({ text, e });
  if (outbox.length === 1) flush();
}

// One line after the other, so that they stay in order. Where the answer is lost with the node, nobody knows whether the line was
// said: then it is said again under the same number, until it is kept.
async function flush() {
  while (outbox[0] && client.state !== 'closed') {
    const { text, e } = outbox[0];
    try {
      await client.call('say', { page, n: kept + 1, text }, { timeout: Infinity });
      kept++;
    } catch ({ code, message }) {
      if (code !== 'bad_request') {
        await new Promise((done) => setTimeout(done, 200));
        continue;
      }
      note(message, 'wrong');
    }
    outbox.shift();
    e.remove(); // also where nobody has heard it: the broker may have lost what it had kept
  }
}

// What is seen. Text is never HTML: others have written it.
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

function find(id) {
  return document.getElementById(id);
}

function element(tag, className, ...children) {
  const e = document.createElement(tag);
  e.className = className;
  e.append(...children);
  return e;
}

function add({ page: writer, from, node, at, text }) {
  const time = element('time', '', clock.format(new Date(at)));
  time.dateTime = at;
  append(element('li', writer === page ? 'line mine' : 'line',
    element('b', '', from), element('span', 'on', node), time, element('p', 'text', text)));
}

function note(text, className = '') {
  append(element('li', 'note ' + className, text));
  show();
}

function append(e) {
  log.append(e);
  while (log.children.length > linesKept) log.firstChild.remove();
  follow();
}

// The end of the conversation stays in sight until the reader scrolls up, also where lines that wait, or the keyboard of a phone,
// take room from it.
const log = find('log');
let following = true;
let place = 0; // where it was scrolled to

function follow() {
  if (following) log.scrollTop = log.scrollHeight;
  place = log.scrollTop;
}

log.addEventListener('scroll', () => {
  if (following && log.scrollTop >= place) return follow(); // not the reader's, who scrolls upwards; there may be less room by now
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  place = log.scrollTop;
});
new ResizeObserver(follow).observe(log);

function show() {
  const { state } = client;
  document.body.dataset.connection = state;
  find('connection').textContent = { idle: '', open: 'Connected to', closed: 'Closed' }[state] ?? 'Looking for a node';
  find('node').textContent = state === 'open' ? node : '';
  find('kill').ariaDisabled = state !== 'open'; // not disabled: that would lose the focus
  for (const [id, n] of Object.entries(figures)) find(id).textContent = n;
}

let shown; // the people that are to be shown

// Many who come at once, as all do at the beginning, are shown once.
function showPeople(people) {
  if (!shown) requestAnimationFrame(drawPeople);
  shown = people;
}

function drawPeople() {
  const names = [...new Set(shown.values())].sort();
  find('here').textContent = names.length;
  find('people').replaceChildren(...names.map((name) => element('li', '', name)));
  shown = undefined;
}

find('kill').addEventListener('click', () => {
  if (client.state !== 'open') return;
  note(`Killing ${node}…`);
  client.send('kill', undefined, { volatile: true }); // this node, or none
});
find('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = find('text').value.trim();
  find('text').value = '';
  if (text) say(text);
});
find('count').addEventListener('click', () => {
  counter = counter ? clearInterval(counter) : setInterval(() => say(`${++counted}`), countEvery);
  find('count').setAttribute('aria-pressed', !!counter);
});
find('naming-form').addEventListener('submit', () => {
  name = find('name').value.trim();
  client.connect();
  show();
});
find('naming').addEventListener('close', () => {
  if (name) find('text').focus();
  else find('naming').showModal(); // after Escape: nobody is here without a name
});
find('naming').showModal();
