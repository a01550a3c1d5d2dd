#!/usr/bin/env bash
# Runs every check of every module here. Needs Go; installs the rest from Debian's packages if it runs as root, and says what
# to install where it can't. Ends with a line "N passed, N failed", and ", N skipped" if something couldn't be run.
#
#	./test.sh                everything, in some minutes
#	FUZZ=5000000x ./test.sh  fuzz for longer than the usual 30,000 inputs each
set -u
cd "$(dirname "$0")"
root=$PWD
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# check NAME COMMAND...: runs it, silently if it succeeds.
check() {
	local name=$1 start=$SECONDS test
	shift
	if "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		printf 'ok    %-50s %4d s\n' "$name" $((SECONDS - start))
		for test in $(sed -n 's/^ *--- SKIP: \([^ ]*\).*/\1/p' "$log" | sort -u); do
			skip "$name" "$test $(grep -A3 "^=== RUN   $test\$" "$log" | grep -m1 -oE '_test\.go:[0-9]+: .*' | cut -d' ' -f2-)"
		done
	else
		failed=$((failed + 1))
		printf 'FAIL  %s\n' "$name"
		grep -hE -B20 '^ *--- FAIL|^panic:|DATA RACE' "$log" | head -n 200
		tail -n 60 "$log"
	fi
}

# skip NAME WHY
skip() {
	skipped=$((skipped + 1))
	printf 'SKIP  %s: %s\n' "$1" "$2"
}

# need COMMAND PACKAGE...: installs Debian packages unless there is such a command.
need() {
	local command=$1
	shift
	command -v "$command" >/dev/null && return
	if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
		echo "installing $*"
		{ apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 || tail -n 20 "$log"
	fi
	command -v "$command" >/dev/null || echo "$command is missing: install it (Debian: apt-get install --no-install-recommends $*)"
}

gofmt_clean() {
	local files
	files=$(find . -name '*.go' -not -path '*/node_modules/*' -exec gofmt -l {} +) || { echo "gofmt failed"; return 1; }
	[ -z "$files" ] || { echo "gofmt would change:"; echo "$files"; return 1; }
}

# generated: go generate changes nothing.
generated() {
	local before after
	before=$(find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum)
	go generate ./... || return
	after=$(find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum)
	[ "$before" = "$after" ] || { echo "go generate has changed:"; diff <(echo "$before") <(echo "$after"); return 1; }
}

vulnerabilities() {
	if go run $govulncheck ./... >"$log" 2>&1; then
		passed=$((passed + 1))
		printf 'ok    %s\n' "$1"
	elif ! grep -q 'exit status 3' "$log" && grep -qE 'fetching vulnerabilities|no such host|connection refused|403 Forbidden|404 Not Found|dial tcp' "$log"; then
		skip "$1" "the vulnerability data can't be had: $(grep -m 1 -i 'vuln' "$log" | cut -c1-160)"
	else
		failed=$((failed + 1))
		printf 'FAIL  %s\n' "$1"
		tail -n 100 "$log"
	fi
}

need gcc gcc libc6-dev # for -race
need chromium chromium
need redis-server redis-server
need redis-sentinel redis-sentinel

check "gofmt" gofmt_clean
for mod in $(find . -name go.mod -not -path '*/node_modules/*' | sort); do
	dir=$(dirname "$mod")
	name=${dir#./}
	[ "$dir" = . ] && name=wsctl
	cd "$root/$dir" || exit 2
	check "$name: go.mod is tidy" go mod tidy -diff
	check "$name: vet" go vet ./...
	for os in windows darwin; do
		check "$name: vet for $os" env GOOS=$os CGO_ENABLED=0 go vet ./...
	done
	check "$name: staticcheck" go run $staticcheck ./...
	vulnerabilities "$name: govulncheck"
	check "$name: go generate changes nothing" generated
	check "$name: test -race -shuffle=on" go test -race -shuffle=on -timeout 8m -v ./...
	if [ "$dir" = . ]; then # reads and writes are others without the race detector, and so are idle connections elsewhere; the page's side isn't
		check "$name: test -shuffle=on" go test -shuffle=on -v -skip '^TestJS' .
		check "$name: test -shuffle=on, without parking" go test -shuffle=on -v -skip '^TestJS' -tags wsctl_nowatch .
	fi
	for pkg in $(go list ./...); do
		for fuzz in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz'); do
			# By count: a time limit that ends within an input is reported as its failure now and then.
			check "$name: $fuzz, ${FUZZ:-30000x}" go test -run '^$' -fuzz "^$fuzz\$" -fuzztime "${FUZZ:-30000x}" -fuzzminimizetime 20x "$pkg"
		done
	done
	cd "$root" || exit 2
done

if ! command -v npm >/dev/null; then
	skip "js: types, package, sizes" "npm is missing (Debian: apt-get install npm)"
elif ! npm view typescript version >/dev/null 2>&1; then
	skip "js: types, package, sizes" "npm can't reach its registry"
else
	check "js: types" js/types.sh check
	check "js: npm package" js/test/npm.sh
	check "js: sizes beside the peers'" node js/bench/sizes.mjs
fi

echo
if [ $skipped -gt 0 ]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[ $failed -eq 0 ]
