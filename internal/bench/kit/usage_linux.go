package kit

import (
	"fmt"
	"os"
)

// residentSize is the memory of this process that is in RAM, in bytes.
func residentSize() (int64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident int64 // in pages
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("/proc/self/statm is %q: %w", text, err)
	}
	return resident * int64(os.Getpagesize()), nil
}
