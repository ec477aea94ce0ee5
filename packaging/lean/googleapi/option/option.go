//go:build remove_cloud_logins

// Package option stands in for the package of this name: see ../../go.work.
package option

import "golang.org/x/oauth2/google"

// ClientOption is not used.
type ClientOption struct{}

// CredentialsType is not used.
type CredentialsType string

// ServiceAccount is not used.
const ServiceAccount CredentialsType = "service_account"

// WithScopes does nothing.
func WithScopes(...string) ClientOption { return ClientOption{} }

// WithAuthCredentialsFile does nothing.
func WithAuthCredentialsFile(CredentialsType, string) ClientOption { return ClientOption{} }

// WithCredentials does nothing.
func WithCredentials(*google.Credentials) ClientOption { return ClientOption{} }
