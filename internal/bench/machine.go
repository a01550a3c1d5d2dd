package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc.
const tick = 10 * time.Millisecond

// usage is what has been used of the CPUs so far.
type usage struct {
	at           time.Time
	busy, stolen time.Duration // by all processes; by other guests of the host
	own          time.Duration // by the runner and the load program
}

// readUsage reads the usage, with the load program's.
func readUsage(load *process) (usage, error) {
	u := usage{at: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	if u.busy, u.stolen, err = parseMachine(string(text)); err != nil {
		return u, err
	}
	for _, pid := range []int{os.Getpid(), load.cmd.Process.Pid} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return u, err
		}
		used, err := parseProcess(string(text))
		if err != nil {
			return u, err
		}
		u.own += used
	}
	return u, nil
}

// parseMachine returns what processes have used, and what was stolen, as /proc/stat has it.
func parseMachine(stat string) (busy, stolen time.Duration, err error) {
	const user, nice, system, steal = 1, 2, 3, 8
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for _, i := range []int{user, nice, system} {
		used, err := parseTicks(fields[i])
		if err != nil {
			return 0, 0, err
		}
		busy += used
	}
	stolen, err = parseTicks(fields[steal])
	return busy, stolen, err
}

// parseProcess returns what a process has used, as its stat file has it.
func parseProcess(stat string) (time.Duration, error) {
	const user, system = 11, 12 // after the name, which may have spaces
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= system {
		return 0, fmt.Errorf("the stat of a process is %q", stat)
	}
	u, errUser := parseTicks(fields[user])
	s, errSystem := parseTicks(fields[system])
	return u + s, errors.Join(errUser, errSystem)
}

func parseTicks(text string) (time.Duration, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * tick, err
}

// noise tells which parts of the machine's CPU time others had, from before to after: processes beside the server, which used
// that much, and other guests.
func noise(before, after usage, server time.Duration, cpus int) (others, stolen float64) {
	total := float64(after.at.Sub(before.at)) * float64(cpus)
	used := after.busy - before.busy - (after.own - before.own) - server
	return max(0, float64(used)/total), float64(after.stolen-before.stolen) / total
}

// describeMachine says what the figures were measured on.
func describeMachine() string {
	model, kernel := runtime.GOARCH, "unknown"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(text))
	}
	return fmt.Sprintf("%s, %d CPUs, %s %s, %s", model, runtime.NumCPU(), runtime.GOOS, kernel, runtime.Version())
}
