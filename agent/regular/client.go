package regular

import (
	"errors"
	"fmt"

	config_util "github.com/prometheus/common/config"
)

// CheckClient returns an error that names a file of an HTTP client's which is there and
// no regular one: building the client, or each of its requests, might wait for it, and
// no timeout ends that. What is missing is for the client to say.
func CheckClient(c config_util.HTTPClientConfig) error {
	for _, path := range clientFiles(c) {
		var no *NotRegular
		if err := Check(path); errors.As(err, &no) {
			return fmt.Errorf("cannot use %s: %w", path, no)
		}
	}
	return nil
}

// clientFiles are the files that a client reads.
func clientFiles(c config_util.HTTPClientConfig) []string {
	files := []string{c.BearerTokenFile, c.TLSConfig.CAFile, c.TLSConfig.CertFile, c.TLSConfig.KeyFile}
	if c.Authorization != nil {
		files = append(files, c.Authorization.CredentialsFile)
	}
	if c.BasicAuth != nil {
		files = append(files, c.BasicAuth.UsernameFile, c.BasicAuth.PasswordFile)
	}
	if o := c.OAuth2; o != nil {
		files = append(files, o.ClientSecretFile, o.ClientCertificateKeyFile, o.TLSConfig.CAFile, o.TLSConfig.CertFile, o.TLSConfig.KeyFile)
	}
	if c.HTTPHeaders != nil {
		for _, h := range c.HTTPHeaders.Headers {
			files = append(files, h.Files...)
		}
	}
	named := files[:0]
	for _, f := range files {
		if f != "" {
			named = append(named, f)
		}
	}
	return named
}
