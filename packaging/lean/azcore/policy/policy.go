//go:build remove_cloud_logins

// Package policy stands in for the package of this name: see ../../go.work.
package policy

// TokenRequestOptions is not used.
type TokenRequestOptions struct{ Scopes []string }
