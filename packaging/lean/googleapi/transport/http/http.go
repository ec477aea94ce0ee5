//go:build remove_cloud_logins

// Package http stands in for the package of this name: see ../../../go.work.
package http

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/api/option"
)

// NewTransport always fails.
func NewTransport(context.Context, http.RoundTripper, ...option.ClientOption) (http.RoundTripper, error) {
	return nil, errors.New("this build has no login of Google Cloud")
}
