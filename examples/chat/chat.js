// What is said and heard: the page's side of controller.go and rooms.go. What is seen is in view.js.
import { Client } from '/js/wsctl.js';
import * as view from './view.js';

const startRooms = ['lobby', 'random'];
const linesKept = 300; // in each room, on this page; the server keeps none
const typingEvery = 3000; // ms between two "I'm typing"; others believe it for 5 s

const rooms = new Map(); // by name
let current; // the room that is shown
let nick = remembered('name') ?? '';

// Makes this page the same member again when it comes back on another connection. It is nobody else's business.
const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, '0')).join('');

// Connects when there is a name, and again by itself whenever the connection is lost.
const client = new Client('/ws', { autoConnect: false });

// resumed: for the server the page was here all the time. What was said meanwhile comes now, and what was on its way goes on.
client.on('open', ({ resumed }) => {
  view.connection('open');
  for (const room of rooms.values()) {
    if (!resumed || room.members.get(room.you)?.name !== nick) enter(room); // or has a new name since
    if (!resumed || !room.you) continue;
    room.inside = true;
    view.outbox(room);
    flush(room);
  }
});
client.on('close', ({ reconnect }) => {
  for (const room of rooms.values()) {
    room.inside = false;
    for (const id of room.typists.keys()) stopTyping(room, id);
    view.outbox(room);
  }
  view.connection(reconnect ? 'waiting' : 'closed');
});
client.on('error', (error) => console.warn(error.message));

// The answer to enter: all that the page knew about who is here is replaced.
client.on('room', ({ room: name, you, again, members }) => {
  const room = rooms.get(name);
  if (!room) return; // left in the meantime
  const back = room.you && !again;
  Object.assign(room, { inside: true, you, members: new Map(members.map((m) => [m.id, m])) });
  if (back) add(room, { note: 'You are back. What was said meanwhile wasn’t kept.' });
  view.people(room);
  flush(room);
});
client.on('joined', ({ room: name, id, name: who }) => {
  const room = rooms.get(name);
  if (!room) return;
  const before = room.members.get(id);
  room.members.set(id, { id, name: who });
  add(room, { note: before ? `${before.name} is now ${who}` : `${who} has come` });
  view.people(room);
});
client.on('left', ({ room: name, id }) => {
  const room = rooms.get(name);
  const gone = room?.members.get(id);
  if (!gone) return;
  stopTyping(room, id);
  room.members.delete(id);
  add(room, { note: `${gone.name} has left` });
  view.people(room);
});
client.on('said', ({ room: name, at, from, name: who, text }) => {
  const room = rooms.get(name);
  if (!room) return;
  // One's own line comes back like any other, and has its place among them by that.
  const mine = from === room.you;
  if (mine && room.sending) drop(room, room.sending);
  stopTyping(room, from);
  add(room, { at: new Date(at), from, name: who, text, mine });
  if (!mine && (room !== current || document.hidden)) {
    room.unread++;
    showRooms();
  }
});
client.on('typing', ({ room: name, id, for: ms }) => {
  const room = rooms.get(name);
  if (!room?.members.has(id)) return;
  stopTyping(room, id);
  if (ms > 0) room.typists.set(id, setTimeout(stopTyping, ms, room, id));
  view.typing(room);
});

function stopTyping(room, id) {
  clearTimeout(room.typists.get(id));
  if (room.typists.delete(id)) view.typing(room);
}

// Also where the page is in the room already: that changes nothing. No limit of time: a call outlives the connection.
async function enter(room) {
  if (client.state !== 'open') return; // open will do it
  try {
    await client.call('enter', { room: room.name, name: nick, key }, { timeout: Infinity });
  } catch (error) {
    if (error.code === 'too_many' && error.data?.retry) setTimeout(enter, error.data.retry, room);
    else if (error.code !== 'unavailable') add(room, { note: error.message, wrong: true });
  }
}

function newRoom(name) {
  const room = {
    name,
    inside: false, // there is a connection, and the server has let us in
    you: undefined, // our id, once it has
    members: new Map(), // by id
    typists: new Map(), // timers, by id
    lines: [],
    outbox: [], // see flush
    sending: undefined, // the line of it that is on its way
    unread: 0,
    draft: '',
  };
  rooms.set(name, room);
  return room;
}

function add(room, line) {
  room.lines.push(line);
  if (room.lines.length > linesKept) room.lines.shift();
  view.added(room, line);
}

// The outbox of a room has what isn't said yet: {text, state, why}. One line at a time is on its way, so that they stay in
// order. One that is on its way when the connection is lost is said once all the same; only where the server has forgotten the
// page nobody knows, and its writer decides.
async function flush(room) {
  const line = room.outbox.find((l) => l.state === 'waiting');
  if (!room.inside || room.sending || !line) return;
  room.sending = line;
  line.state = 'sending';
  view.outbox(room);
  let pause = 0;
  try {
    await client.call('say', { room: room.name, text: line.text }, { timeout: Infinity });
    drop(room, line);
  } catch ({ code, message, data }) {
    if (code === 'too_many') {
      line.state = 'waiting';
      pause = data?.retry ?? 1000;
    } else if (code === 'forbidden' && !room.inside) {
      line.state = 'waiting'; // it came to a server that hasn't let us in yet
    } else if (code === 'unavailable') {
      Object.assign(line, { state: 'unsure', why: 'The server was away: perhaps sent, perhaps not.' });
    } else {
      Object.assign(line, { state: 'refused', why: message });
    }
  }
  if (room.sending === line) room.sending = undefined;
  view.outbox(room);
  setTimeout(flush, pause, room);
}

function drop(room, line) {
  room.outbox = room.outbox.filter((l) => l !== line);
  if (room.sending === line) room.sending = undefined;
  view.outbox(room);
}

let typedAt = 0; // when the others were last told; 0: they don't think that this page types

// volatile: what can't be told now isn't worth telling later.
function typed(text) {
  current.draft = text;
  const on = text.trim() !== '';
  if (on ? Date.now() - typedAt < typingEvery : !typedAt) return;
  typedAt = on ? Date.now() : 0;
  client.send('typing', { room: current.name, on }, { volatile: true });
}

// The name of the room in the address, "lobby" of "#lobby", makes a room a link that can be shared.
function show() {
  const name = roomName(location.hash) || rooms.keys().next().value || startRooms[0];
  let room = rooms.get(name);
  if (!room) {
    room = newRoom(name);
    remember('rooms', JSON.stringify([...rooms.keys()]));
    enter(room);
  }
  if (current && current !== room) stopMyTyping();
  current = room;
  history.replaceState(null, '', '#' + name);
  seen();
  view.show(room);
}

function stopMyTyping() {
  if (typedAt) client.send('typing', { room: current.name, on: false }, { volatile: true });
  typedAt = 0;
}

function leave() {
  if (client.state !== 'closed') client.send('leave', { room: current.name }); // also later: a session may be in it
  rooms.delete(current.name);
  remember('rooms', JSON.stringify([...rooms.keys()]));
  typedAt = 0;
  current = undefined;
  location.hash = rooms.keys().next().value ?? startRooms[0];
}

function connect() {
  view.connection('connecting');
  client.connect();
}

function seen() {
  if (!document.hidden && current) current.unread = 0;
  showRooms();
}

function showRooms() {
  view.rooms([...rooms.values()], current);
}

// What the server takes for a name of a room, of what somebody typed or the address says; '' if there is nothing of it.
function roomName(text) {
  try {
    text = decodeURIComponent(text);
  } catch {} // a lone % is no letter either
  text = text.toLowerCase().replace(/[^\p{L}\p{M}\p{N}]+/gu, '-').replace(/^[-\p{M}]+|-+$/gu, '');
  return [...text].slice(0, 32).join('');
}

// A browser may forbid to remember anything.
function remembered(name) {
  try {
    return localStorage.getItem('chat.' + name);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem('chat.' + name, value);
  } catch {}
}

function rememberedRooms() {
  try {
    const names = JSON.parse(remembered('rooms')).map(roomName).filter(Boolean);
    if (names.length) return names.slice(0, 15);
  } catch {} // the first time, or not ours
  return startRooms;
}

view.on({
  typed,
  say(text) {
    current.outbox.push({ text, state: 'waiting' });
    current.draft = '';
    typedAt = 0; // the line itself says that it's written
    view.outbox(current);
    flush(current);
  },
  again(line) {
    Object.assign(line, { state: 'waiting', why: undefined });
    view.outbox(current);
    flush(current);
  },
  forget: (line) => drop(current, line),
  leave,
  go(text) {
    const name = roomName(text);
    if (name) location.hash = name;
  },
  rename(name) {
    nick = name;
    remember('name', nick);
    view.me(nick);
    if (client.state === 'idle') connect();
    else for (const room of rooms.values()) enter(room);
  },
});

addEventListener('hashchange', show);
document.addEventListener('visibilitychange', seen);
rememberedRooms().forEach(newRoom);
show();
view.me(nick);
if (nick) connect();
else view.askName('');
