//go:build !linux

package figures

import (
	"errors"
	"time"
)

// CPUTime fails: only Linux tells what is used.
func CPUTime() (time.Duration, error) { return 0, errors.ErrUnsupported }
