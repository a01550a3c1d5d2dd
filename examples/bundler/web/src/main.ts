// The page's side of ../../controller.go, with its types: a wrong name or payload here doesn't compile.
import { Client, WsError } from 'wsctl';
import type { Dice, Odds, Protocol, Throw } from './protocol';

const find = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
const count = find<HTMLInputElement>('count');
const sides = find<HTMLInputElement>('sides');
const state = find('state');

const client = new Client<Protocol>('/ws');

// A new session knows nothing of the streams of the one before; one that is resumed goes on with them.
client.on('open', ({ resumed }) => {
  show('Connected.', true);
  if (!resumed) watch();
});
client.on('close', ({ reconnect }) => show(reconnect ? 'Connection lost. Trying again…' : 'Connection closed.', false));

// An event: what others roll.
client.on('rolled', (theirs) => list('Somebody', theirs));

// A call: its answer is awaited, its error caught.
find('dice').addEventListener('submit', async (event) => {
  event.preventDefault(); // don't load a new page
  try {
    list('You', await client.call('roll', dice()));
  } catch (error) {
    state.textContent = reason(error);
  }
});

// A stream: a loop over what comes. The server waits while the page draws, and stops when the loop is left.
let watching = new AbortController();
async function watch(): Promise<void> {
  watching.abort();
  const { signal } = (watching = new AbortController());
  try {
    for await (const odds of client.stream('odds', dice(), { signal })) {
      draw(odds);
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    if (!signal.aborted) find('caption').textContent = reason(error);
  }
}
find('dice').addEventListener('input', watch);

function dice(): Dice {
  return { count: count.valueAsNumber, sides: sides.valueAsNumber };
}

function reason(error: unknown): string {
  return error instanceof WsError ? error.message : String(error);
}

function show(text: string, open: boolean): void {
  state.textContent = text;
  document.querySelector('button')!.disabled = !open;
}

function list(who: string, { faces, total }: Throw): void {
  const item = document.createElement('li');
  item.textContent = `${who} rolled ${faces.join(' + ')} = ${total}`;
  const throws = find('throws');
  throws.prepend(item);
  while (throws.children.length > 6) throws.lastChild!.remove();
}

function draw({ throws, shares }: Odds): void {
  const most = Math.max(...shares);
  find('odds').replaceChildren(
    ...shares.map((share) => {
      const bar = document.createElement('div');
      bar.style.height = `${(100 * share) / most}%`;
      return bar;
    }),
  );
  find('caption').textContent = `${throws.toLocaleString()} throws`;
}
