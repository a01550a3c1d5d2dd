// The page's side of controller.go: what is sent here are methods there, what is awaited here is sent there.
import { Client } from '/js/wsctl.js';

const find = (id) => document.getElementById(id);

// Connects at once, and again by itself whenever the connection is lost. Nothing is lost with it.
const client = new Client('/ws');

let pages = ''; // what the server has said last: it says nothing new to a page that comes back

// open and close are told by the client itself.
client.on('open', () => {
  show('notice', '');
  show('pages', pages);
  enableButtons(true);
});
client.on('close', ({ reconnect }) => {
  show('notice', reconnect ? 'Connection lost. Trying again…' : 'Connection closed. Reload the page to connect again.');
  show('pages', 'Not connected');
  enableButtons(false);
});

// All others are messages of the server.
client.on('pages', (n) => {
  pages = n === 1 ? '1 page connected' : `${n} pages connected`;
  show('pages', pages);
});
client.on('hello_world', (text) => show('greeting', text));
client.on('gdc', (answer) => {
  show('result', answer);
  find('result').classList.toggle('wrong', typeof answer !== 'number'); // a sentence says what was wrong
});

find('hello').addEventListener('click', () => client.send('hello'));
find('gcd').addEventListener('submit', (event) => {
  event.preventDefault(); // don't load a new page
  client.send('compute_gdc', [find('a').valueAsNumber, find('b').valueAsNumber]);
});

// textContent, never innerHTML: what comes over the wire is text.
function show(id, text) {
  find(id).textContent = text;
}

function enableButtons(on) {
  for (const button of document.querySelectorAll('button')) button.disabled = !on;
  document.body.classList.toggle('connected', on);
}
