//go:build !(linux && amd64)

package main

import "errors"

func followClock(string) error { return errors.ErrUnsupported }
