package pushcheck

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	commonconfig "github.com/prometheus/common/config"
)

// namedFile is a file that a destination's entry names.
type namedFile struct {
	path string
	what string // what it has to hold
	key  string // the setting that names it
}

// hint is what to do about an error of reading the file.
func (f namedFile) hint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "put " + f.what + " there, or name the right file in " + f.key
	case errors.Is(err, fs.ErrPermission):
		return "let the user that runs the agent read it, and run this check as that user, or, for the installed service, with sudo"
	}
	return "name a file that holds " + f.what + " in " + f.key
}

// fileHint is what to do about an error of reading one of the files that the entry
// names, whoever has read it; and otherwise, where it is none.
func (c *check) fileHint(err error, otherwise string) string {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		for _, f := range c.files() {
			if f.path == at.Path {
				return f.hint(err)
			}
		}
	}
	return otherwise
}

// files are all that the entry names.
func (c *check) files() []namedFile {
	http := &c.rw.HTTPClientConfig
	files := append(tlsFiles("", http.TLSConfig), c.credentialsFile())
	if b := http.BasicAuth; b != nil {
		files = append(files, namedFile{b.UsernameFile, "the user's name", "basic_auth.username_file"}, passwordFile(b))
	}
	if o := http.OAuth2; o != nil {
		files = append(files, tlsFiles("oauth2.", o.TLSConfig)...)
		files = append(files, clientSecretFile(o), namedFile{o.ClientCertificateKeyFile, "the client's key", "oauth2.client_certificate_key_file"})
	}
	if h := http.HTTPHeaders; h != nil {
		for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
			for _, path := range h.Headers[name].Files {
				files = append(files, namedFile{path, "the header's value", "http_headers." + name + ".files"})
			}
		}
	}
	return files
}

func (c *check) credentialsFile() namedFile {
	a := c.rw.HTTPClientConfig.Authorization
	switch {
	case a == nil:
		return namedFile{}
	case !strings.EqualFold(cmp.Or(a.Type, "Bearer"), "Bearer"):
		return namedFile{a.CredentialsFile, "the credentials", "authorization.credentials_file"}
	}
	// Whichever of them was written: they have become one.
	return namedFile{a.CredentialsFile, "the token", "token_file or credentials_file"}
}

func passwordFile(b *commonconfig.BasicAuth) namedFile {
	return namedFile{b.PasswordFile, "the password", "basic_auth.password_file"}
}

func clientSecretFile(o *commonconfig.OAuth2) namedFile {
	return namedFile{o.ClientSecretFile, "the client's secret", "oauth2.client_secret_file"}
}

func tlsFiles(of string, t commonconfig.TLSConfig) []namedFile {
	of += "tls_config."
	return []namedFile{
		{t.CAFile, "the certificate of the authority", of + "ca_file"},
		{t.CertFile, "the client's certificate", of + "cert_file"},
		{t.KeyFile, "the client's key", of + "key_file"},
	}
}
