// Compiled, never run: the client with a Protocol that WriteTypes has written. Every line under an @ts-expect-error must be an
// error, all others none.
import { Client } from '../../dist/wsctl.js';
import type { Protocol as Any } from '../../dist/wsctl.js';
import type { Page_Line, Protocol, fixture_Line, hall_Line } from './protocol';

const client = new Client<Protocol>('/ws');
const any: Any = {} as Protocol;
void any;
const line: fixture_Line = { Room: 'go', Text: 'hi', At: '2026-11-25T12:00:00Z' };

// Events.
client.on('said', (l) => l.At.slice(0, 4) + l.Room);
client.on('quoted-names', (o) => o['a-b'].toFixed() + o.big.length + (o.Maybe ?? '').length);
client.on('painted', (colors) => {
  for (const color of colors) {
    if (color === 'red') continue;
    // @ts-expect-error no such color
    if (color === 'blue') continue;
  }
});
client.on('maybe', (l) => l?.Text);
client.on('left', (o) => (o.struct ?? line).Text + o.number.toFixed());
client.on('nothing', (none) => Object.keys(none));
client.on('listed', (page) => page.next?.next?.Items[0]?.Length.toFixed());
// @ts-expect-error no such event
client.on('Said', () => {});
// @ts-expect-error it may be null
client.on('maybe', (l) => l.Text);
// @ts-expect-error it may be missing
client.on('left', (o) => o.struct.Text);
// @ts-expect-error no such member
client.on('said', (l) => l.text);
// @ts-expect-error a string, not a number
client.on('quoted-names', (o) => o.big.toFixed());
// @ts-expect-error unknown until it is looked at
client.on('anything', (data) => data.length);

// Messages.
client.send('say', line).send('say', 'text').send('bye');
// @ts-expect-error no such message
client.send('Say', line);
// @ts-expect-error data is missing
client.send('say');
// @ts-expect-error a member is missing
client.send('say', { Room: 'go', Text: 'hi' });
// @ts-expect-error one member more
client.send('say', { ...line, Loud: true });
// @ts-expect-error no data here
client.send('bye', line);
// @ts-expect-error a call sent as a message
client.send('add', [1, 2]);
// @ts-expect-error a call sent as a message
client.send('find');
// @ts-expect-error a stream sent as a message
client.send('lines', 1);

// Calls.
const sum: Promise<number> = client.call('add', [1, 2]);
const now: Promise<string> = client.call('now');
const nothing: Promise<undefined> = client.call('say', line);
const found: Promise<fixture_Line[]> = client.call('find');
const pages: Promise<{ [key: string]: Page_Line }> = client.call('move', { Length: 1, Moving: true });
void sum, now, nothing, found, pages, client.call('find', null), client.call('find', line), client.call('raw', { any: 1 });
// @ts-expect-error three numbers
client.call('add', [1, 2, 3]);
// @ts-expect-error argument is missing
client.call('add');
// @ts-expect-error another result
const text: Promise<string> = client.call('add', [1, 2]);
void text;
// @ts-expect-error the line of another package
client.call('find', { Length: 1, Moving: true } satisfies hall_Line);
// @ts-expect-error a stream called
client.call('lines', 1);
// @ts-expect-error what the server calls
client.call('confirm', 'sure?');
