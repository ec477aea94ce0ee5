//go:build remove_cloud_logins

// Package sigv4 stands in for the module of this name: see ../go.work.
package sigv4

import (
	"errors"
	"net/http"
)

// Removed is what the module does not have.
const Removed = true

// SigV4Config takes every field: a configuration is to be refused for the login, not
// for a field of it.
type SigV4Config struct {
	Fields map[string]any `yaml:",inline"`
}

// NewSigV4RoundTripper always fails.
func NewSigV4RoundTripper(*SigV4Config, http.RoundTripper) (http.RoundTripper, error) {
	return nil, errors.New("this build has no login of AWS")
}
