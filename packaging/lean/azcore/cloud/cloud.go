//go:build remove_cloud_logins

// Package cloud stands in for the package of this name: see ../../go.work.
package cloud

// Configuration is not used.
type Configuration struct{}

// These clouds are the same here.
var AzureChina, AzureGovernment, AzurePublic Configuration
