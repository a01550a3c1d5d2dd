// Compiled, never run: `js/types.sh`. Every line under an @ts-expect-error must be an error, all others none.
import { Client, MessageTypes, SimpleSocketHandler, WsError } from '../dist/wsctl.js';
import { Client as Core } from '../dist/wsctl.core.js';
import type { CloseInfo, ErrorCode, GapInfo, Message, OpenInfo, Options, Protocol, Room, State } from '../dist/wsctl.js';

interface Line {
  room: string;
  text: string;
}

// Interfaces all the way: what a generator writes, and what has no index signature.
interface Events {
  said: Line;
  count: number;
}
interface Chat {
  events: Events;
  messages: { say: Line; bye: undefined; maybe: Line | undefined };
  calls: {
    add: { req: [number, number]; res: number };
    now: { req: undefined; res: string };
    sum: { req: undefined; res: number; up: number };
  };
  streams: { count: { req: number; item: number }; double: { req: undefined; item: number; up: number } };
  asks: { confirm: { req: string; res: boolean } };
}

const chat = new Client<Chat>('/ws', { plain: true });
const protocol: Protocol = {} as Chat;
void protocol;

// Events.
chat.on('said', (line, message) => {
  const text: string = line.text;
  const whole: Message = message;
  void text, whole;
  // @ts-expect-error no such member
  line.txt;
});
const off: () => void = chat.on('count', (n: number) => n.toFixed(), { once: true, signal: new AbortController().signal });
off();
chat.bind('said', () => {}).bind('count', (n) => n + 1).unbind('said').unbind('count', (n) => n + 1);
// @ts-expect-error no such event
chat.on('sad', () => {});
// @ts-expect-error a message of ours is no event
chat.bind('say', () => {});
// @ts-expect-error wrong data
chat.on('count', (n: string) => n);
// @ts-expect-error no such option
chat.on('count', () => {}, { often: true });

// Local events.
chat.on('open', (info) => {
  const { resumed }: OpenInfo = info;
  const b: boolean = resumed;
  void b;
});
chat.on('gap', ({ type, dropped, room }: GapInfo) => void [type, dropped, room]);
chat.on('close', (info) => {
  const { code, reason, opened, reconnect, delay }: CloseInfo = info;
  const n: number = code + delay;
  const s: string = reason;
  const b: boolean = opened && reconnect;
  void n, s, b;
  // @ts-expect-error read only
  info.code = 1;
});
chat.on('error', (error) => {
  const e: WsError = error;
  const code: ErrorCode = e.code;
  void code;
  if (e.code === 'unavailable' || e.code === 'my_own') return;
});
// @ts-expect-error wrong data
chat.on('close', (data: string) => data);
// @ts-expect-error open has no message
chat.on('open', (data: OpenInfo, message: Message) => message);

// Messages.
chat.send('say', { room: 'go', text: 'hi' }).send('bye').send('maybe').send('maybe', { room: '', text: '' });
chat.send('bye', undefined, { volatile: true });
// @ts-expect-error no such message
chat.send('sya', { room: 'go', text: 'hi' });
// @ts-expect-error wrong data
chat.send('say', { room: 'go' });
// @ts-expect-error data is missing
chat.send('say');
// @ts-expect-error no data here
chat.send('bye', 1);
// @ts-expect-error a call sent as a message
chat.send('add', [1, 2]);
// @ts-expect-error no such option
chat.send('bye', undefined, { timeout: 1 });

// Calls.
const sum: Promise<number> = chat.call('add', [1, 2]);
const now: Promise<string> = chat.call('now', undefined, { timeout: 100, signal: new AbortController().signal });
void sum, now, chat.call('now');
// @ts-expect-error wrong result
const text: Promise<string> = chat.call('add', [1, 2]);
void text;
// @ts-expect-error wrong argument
chat.call('add', [1, '2']);
// @ts-expect-error argument is missing
chat.call('add');
// @ts-expect-error no such call
chat.call('sub', [1, 2]);
// @ts-expect-error a message sent as a call
chat.call('say', { room: 'go', text: 'hi' });

// Streams and uploads.
for await (const n of chat.stream('count', 10)) n.toFixed();
const doubled: AsyncIterableIterator<number> = chat.stream('double', undefined, { source: [1, 2], signal: new AbortController().signal });
void doubled;
const total: Promise<number> = chat.upload('sum', [1, 2, 3]);
void total, chat.upload('sum', (async function* () { yield 1; })(), { timeout: 100 });
// @ts-expect-error no such stream
chat.stream('add', [1, 2]);
// @ts-expect-error wrong argument
chat.stream('count', '10');
// @ts-expect-error argument is missing
chat.stream('count');
// @ts-expect-error wrong items
chat.stream('double', undefined, { source: ['1'] });
// @ts-expect-error wrong items
chat.upload('sum', ['1']);
// @ts-expect-error takes no stream
chat.upload('add', [1]);

// Calls of the server.
chat.handle('confirm', (text) => text.length > 1);
chat.handle('confirm', async (text: string) => text === 'x');
// @ts-expect-error wrong answer
chat.handle('confirm', () => 1);
// @ts-expect-error no such call
chat.handle('say', () => true);

// Rooms.
const go: Room<Chat> = chat.room('go');
go.on('said', (line) => line.text);
go.on('gap', ({ room }) => room);
go.send('say', { text: 'hi' });
const position: string | undefined = go.position;
void position;
// @ts-expect-error the room is there already
go.send('say', { room: 'go', txt: 'hi' });
// @ts-expect-error no such event
go.on('open', () => {});

// The core has neither.
const core = new Core<Chat>('/ws');
core.send('bye').handle;
// @ts-expect-error no streams in the core
core.stream('count', 1);
// @ts-expect-error no rooms in the core
core.room('go');

// The rest of the client.
const state: State = chat.state;
void state;
// @ts-expect-error read only
chat.state = 'open';
// @ts-expect-error no such state
if (chat.state === 'opened') chat.close();
chat.connect().close(1000, 'bye').connect();
{
  using scoped = new Client('/ws', { plain: true });
  scoped.send('x');
}
// @ts-expect-error private
chat._queue;

// Without a protocol anything goes.
const any = new Client(new URL('ws://host/ws'), { plain: true });
any.on('anything', (data) => data.whatever.there.is);
any.bind('hello_world', (text: string) => text).send('a').send('b', { c: 1 });
const whatever: number = await any.call('x', 1);
void whatever;
for await (const item of any.stream('s', 1)) item.anything;
any.handle('ask', (data) => data.goes), await any.upload('u', [1], { data: 2 });
// @ts-expect-error close stays close
any.on('close', (data: string) => data);

// The template's names.
const ws = new SimpleSocketHandler('ws://localhost:42000/ws');
ws.bind(MessageTypes.WS_OPEN, () => {}).bind(MessageTypes.WS_CLOSE, () => {}).bind('hello_world', (data) => data);
ws.send('hello', '');
ws.on('close', (data) => {
  const none: null = data;
  void none;
});
// @ts-expect-error null in the template's manner
ws.on('close', (info: CloseInfo) => info.code);
const open: 'open' = MessageTypes.WS_OPEN;
void open;
// @ts-expect-error read only
MessageTypes.WS_OPEN = 'close';
new SimpleSocketHandler<Chat>('/ws').send('bye');
// @ts-expect-error typed as the client is
new SimpleSocketHandler<Chat>('/ws').send('hello', '');

// Options.
const options: Options = {
  plain: true, protocols: ['a'], reconnect: true, minDelay: 1, maxDelay: 2, factor: 2, maxAttempts: 3, stableAfter: 4,
  connectTimeout: 5, callTimeout: 6, probeTimeout: 7, token: async () => undefined, maxQueue: 7, queueTtl: 8, WebSocket, autoConnect: false,
  shouldRetry: (code, reason, planned) => planned && code !== 4000 && reason !== 'x',
};
new Client(async () => '/ws?token=1', options);
new Client(() => new URL('/ws', 'http://host'), options);
// @ts-expect-error no such option
new Client('/ws', { plain: true, retries: 3 });
// @ts-expect-error a number is no address
new Client(() => 1, { plain: true });
// @ts-expect-error no such member
const broken: Client<{ events: {}; messages: {} }> = any;
void broken;

const error = new WsError('forbidden', 'not you', { who: 1 });
// @ts-expect-error read only
error.code = 'x';
