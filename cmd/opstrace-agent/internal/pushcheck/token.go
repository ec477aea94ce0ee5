package pushcheck

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/regular"
)

// token is what authorizes the requests.
type token struct {
	file    string    // empty: it is in the configuration
	tenant  string    // the tenant whose token it says it is; empty: it does not say
	begins  time.Time // when it was issued, or is good from; zero: it does not say
	expires time.Time
}

// minute is how a time is shown that may be near.
const minute = "2006-01-02 15:04 UTC"

// readToken looks at what the agent would read for every request.
func (c *check) readToken() bool {
	http := &c.rw.HTTPClientConfig
	switch {
	case http.Authorization != nil && http.Authorization.CredentialsFile != "":
		return c.readFile(c.credentialsFile(), true)
	case http.Authorization != nil:
		c.describeToken("", string(http.Authorization.Credentials))
	case http.BasicAuth != nil && http.BasicAuth.PasswordFile != "":
		return c.readFile(passwordFile(http.BasicAuth), false)
	case http.OAuth2 != nil && http.OAuth2.ClientSecretFile != "":
		return c.readFile(clientSecretFile(http.OAuth2), false)
	case http.BasicAuth == nil && http.OAuth2 == nil &&
		c.rw.SigV4Config == nil && c.rw.AzureADConfig == nil && c.rw.GoogleIAMConfig == nil:
		c.anonymous = true
		c.note(StepToken, "none is configured", "right only for an instance without authentication; otherwise set token_file")
	}
	return true
}

func (c *check) readFile(file namedFile, bearer bool) bool {
	path := file.path
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it is a directory")}
	}
	var content []byte
	if err == nil {
		content, err = regular.Read(path)
	}
	if err != nil {
		return c.fail(StepToken, err.Error(), file.hint(err))
	}
	secret := strings.TrimSpace(string(content))
	switch {
	case secret == "":
		return c.fail(StepToken, path+" is empty", "write "+file.what+" into it; it is read again for every request")
	case bearer && strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return c.fail(StepToken, path+" holds more than a token", "it must hold the token alone, on one line")
	}
	if info.Mode().Perm()&0o004 != 0 {
		c.note(StepToken, path+" can be read by everybody on this host", "chmod o-r "+path)
	}
	if !bearer {
		c.ok(StepToken, path+" is readable", 0)
		return true
	}
	c.describeToken(path, secret)
	return true
}

// describeToken tells what a token says of itself. Its signature is not
// verified: only the endpoint can. A token that says nothing may be good too.
func (c *check) describeToken(file, secret string) {
	c.token = &token{file: file}
	name := file
	if name == "" {
		name = "in the configuration"
	}
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(secret, &claims); err != nil {
		hint := "right for another receiver than Opstrace"
		if c.hostTenant() != "" {
			hint = "a token of Opstrace begins with eyJ and has two dots: check that this is the right one, and whole"
		}
		c.note(StepToken, name+", not one of Opstrace's", hint)
		return
	}
	text := name
	if tenant, ok := strings.CutPrefix(claims.Subject, "tenant-"); ok {
		c.token.tenant = tenant
		text += ", for tenant " + redact.Line(tenant, 64)
	}
	c.describeFuture(claims, name)
	defer c.describeTenant()
	if claims.ExpiresAt == nil {
		c.ok(StepToken, text, 0)
		return
	}
	c.token.expires = claims.ExpiresAt.Time
	left := time.Until(c.token.expires)
	day := c.token.expires.UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		c.note(StepToken, fmt.Sprintf("%s, expired on %s", text, day), renewal(c.token.file))
	case left < soon:
		c.note(StepToken, fmt.Sprintf("%s, expires in %s", text, number.Duration(left)), renewal(c.token.file))
	default:
		c.ok(StepToken, fmt.Sprintf("%s, expires on %s", text, day), 0)
	}
}

// describeFuture tells of a token that is not good yet: an endpoint refuses it as it
// refuses one that has expired.
func (c *check) describeFuture(claims jwt.RegisteredClaims, name string) {
	for _, from := range []*jwt.NumericDate{claims.IssuedAt, claims.NotBefore} {
		if from != nil && from.After(c.token.begins) {
			c.token.begins = from.Time
		}
	}
	if c.token.begins.After(time.Now()) {
		c.note(StepToken, fmt.Sprintf("%s, issued in the future: %s", name, c.token.begins.UTC().Format(minute)),
			fmt.Sprintf("set the clock of this host, which says %s, or of the one where the token was made", time.Now().UTC().Format(minute)))
	}
}

// describeTenant tells of a token that is another tenant's, also where the endpoint
// does not ask for one.
func (c *check) describeTenant() {
	if host := c.hostTenant(); host != "" && c.token.tenant != "" && c.token.tenant != host {
		c.note(StepTenant, fmt.Sprintf("the token is that of tenant %s, and the url that of tenant %s", redact.Line(c.token.tenant, 64), host),
			"take the token of that tenant, or change the url")
	}
}

// noteReadable warns of a token that leaves this host unencrypted.
func (c *check) noteReadable() {
	host := c.rw.URL.Hostname()
	if c.rw.URL.Scheme != "http" || c.token == nil || host == "localhost" || net.ParseIP(host).IsLoopback() {
		return
	}
	c.note(StepTLS, "none: the token can be read on the way", "write https:// in the url")
}

// soon is how long before its end a token or a certificate is worth a note.
const soon = 14 * 24 * time.Hour

// hostTenant is the tenant in the name of an Opstrace endpoint, which is
// cortex.<tenant>.<cluster's domain>; empty for another endpoint.
func (c *check) hostTenant() string {
	labels := strings.Split(c.rw.URL.Hostname(), ".")
	if len(labels) < 4 || labels[0] != "cortex" {
		return ""
	}
	return labels[1]
}
