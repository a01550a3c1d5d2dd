#!/bin/sh
# Makes dist/wsctl.d.ts and dist/wsctl.core.d.ts, the files that `go generate` can't make, and checks the types of sources
# and tests. Needs npm. With the argument "check" nothing is written: it fails where a file isn't up to date.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

npm install --silent --no-audit --no-fund --prefix "$tmp" typescript@7.0.2 >&2
tsc=$tmp/node_modules/.bin/tsc
"$tsc" -p . --noEmit false --emitDeclarationOnly --rootDir src --outDir "$tmp/out"

# join PART...: one file, without what ties the parts, and without private members, whose names don't exist in dist.
join() {
  # A Go test compares this with the sources: the sum over the sums of all of them, in the order of their names.
  echo "// js/src $(cd src && LC_ALL=C sha256sum -- *.ts | sha256sum | cut -d' ' -f1)"
  echo '/// <reference lib="esnext.disposable" />'
  for part; do
    sed -E -e '/^(import|export) .* from /d' -e '/^ *(private|protected) /d' -e '/^export \{\};/d' "$tmp/out/$part.d.ts"
  done
}
join errors types core >"$tmp/wsctl.core.d.ts"
{
  join errors types core stream room template
  # What js/src/index.ts says by `declare module`, which a file of its own can't.
  echo 'export interface Client<P extends Protocol = AnyProtocol, L extends LocalEvents = ClientEvents> extends Streaming<P>, Rooms<P> {}'
} >"$tmp/wsctl.d.ts"

for file in wsctl.d.ts wsctl.core.d.ts; do
  if [ "${1-}" = check ]; then
    cmp "$tmp/$file" "dist/$file"
  else
    cp "$tmp/$file" "dist/$file"
  fi
done
"$tsc" -p test
"$tsc" -p test/go-types
