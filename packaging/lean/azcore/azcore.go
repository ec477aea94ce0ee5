//go:build remove_cloud_logins

// Package azcore stands in for the module of this name: see ../go.work.
package azcore

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// AccessToken is what nobody gives.
type AccessToken struct {
	Token     string
	ExpiresOn time.Time
}

// TokenCredential is implemented by nobody.
type TokenCredential interface {
	GetToken(context.Context, policy.TokenRequestOptions) (AccessToken, error)
}

// ClientOptions is not used.
type ClientOptions struct{ Cloud cloud.Configuration }
