package kit

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// residentSize is the memory of this process that is in RAM, in bytes.
func residentSize() (int64, error) { return residentSizeOf("self") }

// residentSizeOf is that of the process that /proc has under that name.
func residentSizeOf(process string) (int64, error) {
	text, err := os.ReadFile("/proc/" + process + "/statm")
	if err != nil {
		return 0, err
	}
	var size, resident int64 // in pages
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("/proc/%s/statm is %q: %w", process, text, err)
	}
	return resident * int64(os.Getpagesize()), nil
}

// StatsOf is what another process has used so far, as far as that can be seen from outside: CPU and RSS.
func StatsOf(pid int) (Stats, error) {
	const scheduled = 2 // the clock of what all threads of a process have used, in its id
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		return Stats{}, fmt.Errorf("clock of process %d: %w", pid, err)
	}
	size, err := residentSizeOf(strconv.Itoa(pid))
	return Stats{CPU: used.Nano(), RSS: size}, err
}
