package main

import (
	"strings"
	"testing"
)

func TestTables(t *testing.T) {
	calls := work{name: "calls", parts: whole}
	slow := work{name: "slow", parts: whole, figure: figureP99, reference: &calls}
	memory := work{name: "memory", parts: []string{"", afterGC}, figure: figureMemory}
	absent := work{name: "absent", parts: whole}
	rows := []row{
		{work: "calls", stack: "wsctl", figure: 2.5, least: 2, most: 12, rate: 1234.5, p50: 9.99, p99: 50, rounds: 3, saturated: true},
		{work: "calls", stack: "gorilla", figure: 10, least: 10, most: 10, rate: 100, p50: 10, p99: 100, rounds: 3, noisy: 1},
		{work: "calls", stack: "geth", errors: []string{"it has ended"}},
		{work: "slow", stack: "wsctl", figure: 75, least: 70, most: 80, rate: 1000, p50: 10, p99: 75, ratio: 1.5, rounds: 3},
		{work: "slow", stack: "geth", figure: 75, least: 70, most: 80, rate: 1000, p50: 10, p99: 75, rounds: 3},
		{work: "memory", stack: "wsctl", figure: 2000, least: 1999.6, most: 2001, rounds: 3},
		{work: "memory", stack: "gorilla", figure: 4000, least: 4000, most: 4000, rounds: 2, errors: []string{"no"}},
		{work: "memory" + afterGC, stack: "wsctl", errors: []string{"no"}},
	}
	var got strings.Builder
	writeTables(&got, rows, []work{slow, memory, absent}) // calls come with slow
	want := legend + `## calls

| stack | CPU µs | least–most | × gorilla | units/s | p50 µs | p99 µs | |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
| wsctl | 2.50 | 2.00–12.0 | 0.25 | 1234 | 9.99 | 50.0 | ! |
| gorilla | 10.0 | 10.0–10.0 | 1.00 | 100 | 10.0 | 100 | ~ |
| geth | | | | | | | 1 of 1 rounds failed: it has ended |

## slow

| stack | p99 µs | least–most | × calls | units/s | p50 µs | p99 µs | |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
| wsctl | 75.0 | 70.0–80.0 | 1.50 | 1000 | 10.0 | 75.0 |  |
| geth | 75.0 | 70.0–80.0 |  | 1000 | 10.0 | 75.0 |  |

## memory

| stack | bytes of a connection | least–most | × gorilla | |
| --- | ---: | ---: | ---: | --- |
| wsctl | 2000 | 2000–2001 | 0.50 |  |
| gorilla | 4000 | 4000–4000 | 1.00 | 1 of 3 rounds failed: no |

## memory after gc

| stack | bytes of a connection | least–most | × gorilla | |
| --- | ---: | ---: | ---: | --- |
| wsctl | | | | 1 of 1 rounds failed: no |

`
	if got.String() != want {
		t.Errorf("got\n%s\nexpected\n%s", got.String(), want)
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 123456: "123456"} {
		if got := number(f); got != want {
			t.Errorf("number(%v) = %q, expected %q", f, got, want)
		}
	}
}
