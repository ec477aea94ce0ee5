//go:build remove_cloud_logins

// Package azidentity stands in for the module of this name: see ../go.work. All its
// functions fail.
package azidentity

import (
	"crypto"
	"crypto/x509"
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

var errRemoved = errors.New("this build has no login of Azure")

// ClientID is not used.
type ClientID string

// ManagedIdentityCredentialOptions is not used.
type ManagedIdentityCredentialOptions struct {
	ClientOptions azcore.ClientOptions
	ID            ClientID
}

// NewManagedIdentityCredential always fails.
func NewManagedIdentityCredential(*ManagedIdentityCredentialOptions) (azcore.TokenCredential, error) {
	return nil, errRemoved
}

// WorkloadIdentityCredentialOptions is not used.
type WorkloadIdentityCredentialOptions struct {
	ClientOptions                     azcore.ClientOptions
	ClientID, TenantID, TokenFilePath string
}

// NewWorkloadIdentityCredential always fails.
func NewWorkloadIdentityCredential(*WorkloadIdentityCredentialOptions) (azcore.TokenCredential, error) {
	return nil, errRemoved
}

// ClientSecretCredentialOptions is not used.
type ClientSecretCredentialOptions struct{ ClientOptions azcore.ClientOptions }

// NewClientSecretCredential always fails.
func NewClientSecretCredential(_, _, _ string, _ *ClientSecretCredentialOptions) (azcore.TokenCredential, error) {
	return nil, errRemoved
}

// DefaultAzureCredentialOptions is not used.
type DefaultAzureCredentialOptions struct {
	ClientOptions azcore.ClientOptions
	TenantID      string
}

// NewDefaultAzureCredential always fails.
func NewDefaultAzureCredential(*DefaultAzureCredentialOptions) (azcore.TokenCredential, error) {
	return nil, errRemoved
}

// ParseCertificates always fails.
func ParseCertificates(_, _ []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	return nil, nil, errRemoved
}

// ClientCertificateCredentialOptions is not used.
type ClientCertificateCredentialOptions struct {
	ClientOptions        azcore.ClientOptions
	SendCertificateChain bool
}

// NewClientCertificateCredential always fails.
func NewClientCertificateCredential(_, _ string, _ []*x509.Certificate, _ crypto.PrivateKey, _ *ClientCertificateCredentialOptions) (azcore.TokenCredential, error) {
	return nil, errRemoved
}
