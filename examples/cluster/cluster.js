// The page. The node that has served it, the one that it is connected to, and the one where it will be in a minute may be three.
import { Client } from '/js/wsctl.js';

const linesKept = 500; // on this page
const countEvery = 250; // ms

// Names this page to the others; see Words in controller.go. It is no secret.
const page = Array.from(crypto.getRandomValues(new Uint8Array(8)), (n) => n.toString(16).padStart(2, '0')).join('');

const numbers = new Map(); // by page: the number of its last line that was heard
const outbox = []; // {page, n, text}: not kept yet by the server
let said = 0; // the number of the last line of this page
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
client.on('gap', ({ room }) => room && note('You were away for too long: some lines are missing.', 'wrong'));
client.on('error', (error) => console.info(error.message));

// Lines come in the same order to everybody. One that was said twice has the same number.
client.on('said', (line) => {
  const last = numbers.get(line.page) ?? line.n - 1;
  if (line.page === page) heard(line.n);
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
      showPeople([...new Set(people.values())].sort());
    }
  } catch (error) {
    console.info(error.message);
  }
  setTimeout(() => mine === watches && client.state === 'open' && watch(), 1000); // unless it has been begun anew
}

function say(text) {
  const line = { page, n: ++said, text };
  outbox.push(line);
  const e = element('li', '', text);
  e.dataset.n = line.n;
  find('waiting').append(e);
  if (outbox.length === 1) flush();
}

// Takes a line of this page from those that wait.
function heard(n) {
  find('waiting').querySelector(`[data-n="${n}"]`)?.remove();
}

// One line after the other, so that they stay in order. Where the answer is lost with the node, nobody knows whether the line was
// said: then it is said again under the same number, until it is kept.
async function flush() {
  while (outbox[0] && client.state !== 'closed') {
    try {
      await client.call('say', outbox[0], { timeout: Infinity });
      outbox.shift();
    } catch ({ code, message }) {
      if (code === 'bad_request') {
        note(message, 'wrong');
        heard(outbox.shift().n);
      } else await new Promise((done) => setTimeout(done, 200));
    }
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
  const log = find('log');
  const stay = log.scrollHeight - log.scrollTop - log.clientHeight > 60;
  log.append(e);
  while (log.children.length > linesKept) log.firstChild.remove();
  if (!stay) log.scrollTop = log.scrollHeight;
}

function show() {
  const { state } = client;
  document.body.dataset.connection = state;
  find('connection').textContent = { idle: '', open: 'Connected to', closed: 'Closed' }[state] ?? 'Looking for a node';
  find('node').textContent = state === 'open' ? node : '';
  find('kill').disabled = state !== 'open';
  for (const [id, n] of Object.entries(figures)) find(id).textContent = n;
}

function showPeople(names) {
  find('here').textContent = names.length;
  find('people').replaceChildren(...names.map((name) => element('li', '', name)));
}

find('kill').addEventListener('click', () => {
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
find('naming').addEventListener('cancel', (event) => event.preventDefault()); // nobody is here without a name
find('naming-form').addEventListener('submit', () => {
  name = find('name').value.trim();
  client.connect();
  show();
  find('text').focus();
});
find('naming').showModal();
