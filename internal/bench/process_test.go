package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/wsctl/wsctl/internal/bench/kit"
)

// fakeVariable tells the test program to be a program that the runner speaks to.
const fakeVariable = "BENCH_TEST_FAKE"

func TestMain(m *testing.M) {
	switch os.Getenv(fakeVariable) {
	case "":
		os.Exit(m.Run())
	case "good":
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			fmt.Printf(`{"cpu_ns":%d}`+"\n", len(s.Text()))
		}
	case "noisy":
		fmt.Fprintln(os.Stderr, "by the way")
	case "broken":
		fmt.Fprintln(os.Stderr, "no more")
		os.Exit(1)
	case "listening":
		fmt.Println(kit.ListeningPrefix + "nats://127.0.0.1:4222 17")
	case "chatty":
		fmt.Println("one")
		fmt.Println("two")
	}
}

func startFake(t *testing.T, kind string) *process {
	t.Helper()
	t.Setenv(fakeVariable, kind)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := start(context.Background(), self)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func expectError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, expected one with %q", err, want)
	}
}

func TestProcessAnswers(t *testing.T) {
	p := startFake(t, "good")
	for _, line := range []string{"stats", "gc"} {
		var stats kit.Stats
		if err := p.ask(line, patience, &stats); err != nil || stats.CPU != int64(len(line)) {
			t.Errorf("%q: %+v, %v", line, stats, err)
		}
	}
	if err := p.finish(); err != nil {
		t.Error(err)
	}
}

func TestProcessIsSilent(t *testing.T) {
	expectError(t, startFake(t, "noisy").finish(), "by the way")
}

func TestProcessEndsEarly(t *testing.T) {
	p := startFake(t, "broken")
	_, err := p.read(patience)
	expectError(t, err, "no more")
	if err := p.abandon(); err != nil {
		t.Errorf("it has been told of: %v", err)
	}
}

func TestProcessSaysTooMuch(t *testing.T) {
	p := startFake(t, "chatty")
	if line, err := p.read(patience); line != "one" || err != nil {
		t.Error(line, err)
	}
	expectError(t, p.finish(), "two")
	if err := p.abandon(); err != nil {
		t.Error(err)
	}
}

func TestAbandon(t *testing.T) {
	p := startFake(t, "good")
	if err := p.abandon(); err != nil {
		t.Error(err)
	}
	if err := p.ask("stats", patience, &kit.Stats{}); err == nil {
		t.Error("it lives")
	}
}
