#!/bin/sh
# Checks the package that npm makes of this folder: what is in it, that Node and TypeScript find both entries by their
# names, types first, and what publint and arethetypeswrong say. Needs npm.
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

npm pack --silent --pack-destination "$tmp" >/dev/null
mv "$tmp"/wsctl-*.tgz "$tmp/wsctl.tgz"
tar -tf "$tmp/wsctl.tgz" | LC_ALL=C sort >"$tmp/packed"
{
  for name in LICENSE README.md package.json dist/*; do
    [ ! -e "$name" ] || echo "package/$name"
  done
} | LC_ALL=C sort | diff - "$tmp/packed" || { echo "^ what the package has, on the right, and should have"; exit 1; }

cd "$tmp"
echo '{ "private": true, "type": "module" }' >package.json
npm install --silent --no-audit --no-fund ./wsctl.tgz typescript@7.0.2 publint@0.3.25 @arethetypeswrong/cli@0.18.5
bin=node_modules/.bin

cat >page.ts <<'TS'
import { Client, SimpleSocketHandler, WsError, type Protocol } from 'wsctl';
import { Client as Core, WsError as CoreError } from 'wsctl/core';

interface Sums extends Protocol {
  events: { said: string };
  messages: { say: string };
  calls: { add: { req: [number, number]; res: number } };
  streams: { count: { req: number; item: number } };
  asks: {};
}

export async function page(client: Client<Sums>, core: Core<Sums>): Promise<number> {
  client.on('said', (text) => text.toUpperCase());
  core.on('said', (text) => text.toUpperCase());
  for await (const n of client.stream('count', 3)) n.toFixed();
  // @ts-expect-error: core has no streams
  core.stream;
  // @ts-expect-error: any would take it
  client.on('said', (text) => text.toFixed());
  // @ts-expect-error
  core.call('add', 'one');
  // @ts-expect-error
  client.send('add', [1, 2]);
  return (await client.call('add', [1, 2])) + (await core.call('add', [1, 2]));
}

for (const there of [Client, SimpleSocketHandler, WsError, Core, CoreError]) {
  if (typeof there !== 'function') throw new Error('not a class');
}
const offline = { autoConnect: false, WebSocket: class {} as any };
if (new Client('ws://host/ws', offline).state !== 'idle' || new Core('ws://host/ws', offline).state !== 'idle') {
  throw new Error('not idle');
}
TS
for as in esnext/bundler node16/node16 nodenext/nodenext; do
  echo "tsc --module ${as%/*} --moduleResolution ${as#*/}"
  "$bin/tsc" --strict --target es2022 --lib es2022,dom,esnext.disposable --types '' --module "${as%/*}" --moduleResolution "${as#*/}" page.ts
  node page.js
done
"$bin/publint" --strict node_modules/wsctl
"$bin/attw" --profile esm-only --format ascii wsctl.tgz
