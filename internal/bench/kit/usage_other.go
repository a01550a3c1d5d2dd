//go:build !linux

package kit

import "errors"

func residentSize() (int64, error) { return 0, errors.ErrUnsupported }
