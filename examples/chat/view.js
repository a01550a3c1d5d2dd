// What is seen. Nothing here knows of the connection. Text is set as textContent, never as HTML: others have written it.
const find = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const hues = [4, 24, 150, 174, 198, 216, 244, 268, 296, 328]; // on which white can be read
const together = 5 * 60_000; // lines of one writer within so many ms stand under one name

let shown; // the room

// element makes <tag class="…"> with children, texts or elements.
function element(tag, className, ...children) {
  const e = document.createElement(tag);
  e.className = className;
  e.append(...children);
  return e;
}

// A face is the initials, in a colour that depends on the name.
function face(name, e = element('span', 'face')) {
  const words = name.split(' ').filter(Boolean);
  e.textContent = words.slice(0, 2).map((word) => [...word][0]).join('').toUpperCase();
  let hash = 0x811c9dc5; // FNV-1a
  for (const c of name) hash = Math.imul(hash ^ c.codePointAt(0), 0x01000193) >>> 0;
  e.style.setProperty('--hue', hues[(hash >>> 8) % hues.length]);
  e.setAttribute('aria-hidden', 'true');
  return e;
}

function lineElement(line, before) {
  if (line.note) return element('li', line.wrong ? 'note wrong' : 'note', line.note);
  const time = element('time', '', clock.format(line.at));
  time.dateTime = line.at.toISOString();
  const text = element('p', 'text', line.text);
  text.dir = 'auto';
  const goesOn = before && !before.note && before.from === line.from && before.name === line.name && line.at - before.at < together;
  const e = element('li', 'line');
  e.classList.toggle('goes-on', !!goesOn);
  e.classList.toggle('mine', line.mine);
  const name = element('b', goesOn ? 'hidden' : '', line.name); // screen readers hear who speaks, each time
  e.append(goesOn ? '' : face(line.name), element('div', 'head', name, ' ', time), text);
  return e;
}

// show shows another room.
export function show(room) {
  shown = room;
  find('room-name').textContent = '#' + room.name;
  find('lines').replaceChildren(...room.lines.map((line, i) => lineElement(line, room.lines[i - 1])));
  find('nothing').hidden = room.lines.length > 0;
  find('text').value = room.draft;
  find('text').placeholder = `Say something in #${room.name}`;
  people(room);
  typing(room);
  outbox(room);
  drawers();
  grow();
  toEnd();
}

export function added(room, line) {
  if (room !== shown) return;
  const list = find('lines');
  const stay = !atEnd();
  list.append(lineElement(line, room.lines.at(-2)));
  while (list.children.length > room.lines.length) list.firstChild.remove();
  find('nothing').hidden = true;
  if (!stay || line.mine) toEnd();
  else find('newer').hidden = false;
}

export function outbox(room) {
  if (room !== shown) return;
  const stay = !atEnd();
  find('outbox').replaceChildren(...room.outbox.map((line, i, all) => {
    const text = element('p', 'text', line.text);
    text.dir = 'auto';
    const e = element('li', 'line ' + line.state, text);
    if (line.why) {
      e.append(element('p', 'why', line.why, ' ', button('Send again', () => does.again(line)), button('Remove', () => does.forget(line))));
    } else if (!room.inside && i === all.length - 1) {
      e.append(element('p', 'why', 'Sent when the connection is back.'));
    }
    return e;
  }));
  if (!stay) toEnd();
}

function button(text, onclick) {
  const e = element('button', 'quiet', text);
  e.type = 'button';
  e.addEventListener('click', onclick);
  return e;
}

export function people(room) {
  if (room !== shown) return;
  for (const id of ['count', 'count-here']) find(id).textContent = room.members.size;
  find('people').replaceChildren(...[...room.members.values()].map(({ id, name }) => {
    const e = element('li', '', face(name), element('span', 'name', name));
    if (id === room.you) e.append(element('small', '', 'you'));
    return e;
  }));
}

export function typing(room) {
  if (room !== shown) return;
  const names = [...room.typists.keys()].map((id) => room.members.get(id)?.name).filter(Boolean);
  find('typing').textContent =
    names.length === 0 ? '' :
    names.length === 1 ? `${names[0]} is typing…` :
    names.length === 2 ? `${names[0]} and ${names[1]} are typing…` :
    'Several people are typing…';
}

export function rooms(all, current) {
  const unread = all.reduce((sum, room) => sum + room.unread, 0);
  find('rooms').replaceChildren(...all.map((room) => {
    const link = element('a', room.unread ? 'unread' : '', element('span', 'name', room.name));
    link.href = '#' + room.name;
    if (room === current) link.setAttribute('aria-current', 'page');
    if (room.unread) {
      const badge = element('span', 'badge', room.unread > 99 ? '99+' : room.unread);
      badge.setAttribute('aria-label', `${room.unread} unread`);
      link.append(badge);
    }
    return element('li', '', link);
  }));
  const elsewhere = unread - (current?.unread ?? 0);
  find('elsewhere').textContent = elsewhere > 99 ? '99+' : elsewhere || '';
  document.title = `${unread ? `(${unread}) ` : ''}${current ? `#${current.name} · ` : ''}wsctl chat`;
}

// connection shows 'connecting' (for the first time), 'open', 'waiting' (it comes back by itself) or 'closed'.
export function connection(state) {
  document.body.dataset.connection = state;
  find('state').textContent = { connecting: 'Connecting…', open: 'Connected', waiting: 'Reconnecting…', closed: 'Closed' }[state];
  find('notice').textContent = {
    connecting: '',
    open: '',
    waiting: 'Connection lost. Trying again… What you write is sent then.',
    closed: 'Connection closed. Reload the page to connect again.',
  }[state];
  if (shown) outbox(shown);
}

export function me(name) {
  find('my-name').textContent = name;
  face(name, find('my-face'));
}

export function askName(name) {
  find('nick').value = name;
  find('naming-error').textContent = '';
  find('naming-form').lastElementChild.textContent = name ? 'Change' : 'Start';
  find('naming').showModal();
  find('nick').select();
}

let does; // what to do when the user does something

// on is called once, with functions: typed(text), say(text), again(line), forget(line), leave(), go(text), rename(name).
export function on(functions) {
  does = functions;
}

const log = find('log');
const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;

function toEnd() {
  log.scrollTop = log.scrollHeight;
  find('newer').hidden = true;
}

log.addEventListener('scroll', () => {
  if (atEnd()) find('newer').hidden = true;
});
find('newer').addEventListener('click', toEnd);
new ResizeObserver(() => {
  if (find('newer').hidden) toEnd(); // the keyboard of a phone, a longer line
}).observe(log);

const text = find('text');

function grow() {
  text.style.height = 'auto';
  text.style.height = Math.min(text.scrollHeight + 2, 160) + 'px';
}

text.addEventListener('input', () => {
  grow();
  does.typed(text.value);
});
text.addEventListener('keydown', (event) => {
  // Enter that ends a word of an input method isn't meant.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  find('composer').requestSubmit();
});
find('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const line = text.value.trim();
  if (!line) return;
  text.value = '';
  grow();
  does.say(line);
  toEnd();
  text.focus();
});

find('add-room').addEventListener('submit', (event) => {
  event.preventDefault();
  does.go(find('new-room').value);
  find('new-room').value = '';
});
find('leave').addEventListener('click', () => does.leave());

find('me').addEventListener('click', () => {
  drawers();
  askName(find('my-name').textContent);
});
find('naming-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = find('nick').value.trim().replace(/\s+/g, ' ');
  if (!/[\p{L}\p{N}]/u.test(name)) {
    find('naming-error').textContent = 'A name has at least one letter or digit.';
    return;
  }
  find('naming').close();
  does.rename(name);
  text.focus();
});
find('naming').addEventListener('close', () => {
  if (!find('my-name').textContent) askName(''); // nobody is here without a name
});

// On a narrow page rooms and people are drawers. drawers opens one, or none.
const panels = { 'show-rooms': 'rooms-panel', 'show-people': 'people-panel' };

function drawers(opener) {
  for (const [id, panel] of Object.entries(panels)) {
    find(panel).classList.toggle('open', id === opener);
    find(id).setAttribute('aria-expanded', id === opener);
  }
  document.body.classList.toggle('drawer', !!opener);
}

for (const id of Object.keys(panels)) {
  find(id).addEventListener('click', () => drawers(find(panels[id]).classList.contains('open') ? undefined : id));
}
find('shade').addEventListener('click', () => drawers());
find('rooms').addEventListener('click', () => drawers());
addEventListener('keydown', (event) => {
  const opener = event.key === 'Escape' && document.querySelector('[aria-expanded=true]');
  if (!opener) return;
  drawers();
  opener.focus();
});
