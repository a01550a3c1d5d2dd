// Compiled, never run: streams and the server's calls with a Protocol that WriteTypes has written.
// Each line under an @ts-expect-error must be an error, all others none.
import { Client } from '../../dist/wsctl.js';
import type { Protocol, fixture_Line } from './protocol';

const client = new Client<Protocol>('/ws');
const line: fixture_Line = { Room: 'go', Text: 'hi', At: '2026-11-25T12:00:00Z' };
async function* lines() {
  yield line;
}

// Streams.
for await (const l of client.stream('lines', 1)) l.At.slice(0, 4);
for await (const l of client.stream('talk', undefined, { source: lines() })) l?.Text.slice(1);
// @ts-expect-error argument is missing
client.stream('lines');
// @ts-expect-error another item
for await (const l of client.stream('lines', 1)) l.toFixed();
// @ts-expect-error it may be null
for await (const l of client.stream('talk')) l.Text;
// @ts-expect-error another item of the source
client.stream('talk', undefined, { source: [1] });
// @ts-expect-error a call
client.stream('add', [1, 2]);

// Uploads.
const count: Promise<number> = client.upload('upload', ['YWJj'], { data: 'name' });
const none: Promise<undefined> = client.upload('feed', [1, 2.5]);
void count, none;
// @ts-expect-error bytes are a string
client.upload('upload', [new Uint8Array()], { data: 'name' });
// @ts-expect-error takes no stream
client.upload('add', [1]);

// The server's calls.
client.handle('confirm', (question) => question.endsWith('?'));
client.handle('confirm', async () => true);
client.handle('pick', (from) => (from[0]?.Text ? 0 : null));
client.handle('pick', () => undefined);
// @ts-expect-error another answer
client.handle('confirm', () => 'yes');
// @ts-expect-error another question
client.handle('confirm', (n: number) => n > 1);
// @ts-expect-error no such call
client.handle('Confirm', () => true);
