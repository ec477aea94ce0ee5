package regular

import config_util "github.com/prometheus/common/config"

// Refs returns a client's configuration that names references where c names files: the
// client has to be built with Secrets for its secret manager, and waits for none of
// them. What stays are the files of http_headers, for which upstream has no reference.
// c is not changed.
func Refs(c config_util.HTTPClientConfig) config_util.HTTPClientConfig {
	refer := func(ref, file *string) {
		if *file != "" {
			*ref, *file = *file, ""
		}
	}
	referTLS := func(t *config_util.TLSConfig) {
		refer(&t.CARef, &t.CAFile)
		refer(&t.CertRef, &t.CertFile)
		refer(&t.KeyRef, &t.KeyFile)
	}
	referTLS(&c.TLSConfig)
	if c.BearerTokenFile != "" {
		// Upstream has no reference for this, and the same meaning for that.
		c.Authorization = &config_util.Authorization{Type: "Bearer", CredentialsRef: c.BearerTokenFile}
		c.BearerTokenFile = ""
	}
	if c.Authorization != nil {
		own := *c.Authorization
		refer(&own.CredentialsRef, &own.CredentialsFile)
		c.Authorization = &own
	}
	if c.BasicAuth != nil {
		own := *c.BasicAuth
		refer(&own.UsernameRef, &own.UsernameFile)
		refer(&own.PasswordRef, &own.PasswordFile)
		c.BasicAuth = &own
	}
	if c.OAuth2 != nil {
		own := *c.OAuth2
		refer(&own.ClientSecretRef, &own.ClientSecretFile)
		refer(&own.ClientCertificateKeyRef, &own.ClientCertificateKeyFile)
		referTLS(&own.TLSConfig)
		c.OAuth2 = &own
	}
	return c
}
