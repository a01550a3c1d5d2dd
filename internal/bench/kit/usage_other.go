//go:build !linux

package kit

import "errors"

func residentSize() (int64, error) { return 0, errors.ErrUnsupported }

// StatsOf fails: only Linux tells what is used.
func StatsOf(int) (Stats, error) { return Stats{}, errors.ErrUnsupported }
