//go:build !linux

package kit

import (
	"errors"
	"time"
)

func cpuTime() (time.Duration, error) { return 0, errors.ErrUnsupported }

func residentSize() (int64, error) { return 0, errors.ErrUnsupported }
