#!/bin/sh
# Makes dist/wsctl.d.ts, the one file that `go generate` can't make, and checks the types of sources and tests.
# Needs npm. With the argument "check" nothing is written: it fails where the file isn't up to date.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

npm install --silent --no-audit --no-fund --prefix "$tmp" typescript@7.0.2 >&2
tsc=$tmp/node_modules/.bin/tsc
"$tsc" -p . --noEmit false --emitDeclarationOnly --rootDir src --outDir "$tmp/out"

out=$tmp/wsctl.d.ts
{
  # A Go test compares this with the sources: the sum over the sums of all of them, in the order of their names.
  echo "// js/src $(cd src && LC_ALL=C sha256sum -- *.ts | sha256sum | cut -d' ' -f1)"
  echo '/// <reference lib="esnext.disposable" />'
  # One file: without what ties the parts, and without private members, whose names don't exist in dist.
  for part in errors types core; do
    sed -E -e '/^(import|export) .* from /d' -e '/^ *(private|protected) /d' -e '/^export \{\};/d' "$tmp/out/$part.d.ts"
  done
} >"$out"

if [ "${1-}" = check ]; then
  cmp "$out" dist/wsctl.d.ts
else
  cp "$out" dist/wsctl.d.ts
fi
"$tsc" -p test
